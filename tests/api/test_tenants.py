"""Who may do what: every route, with every kind of key that may not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.application import routes
from api.openapi import describe
from tests.api.story import OTHER_TENANT, Api, assert_problem, open_api

DOCUMENT = describe(routes())
OPERATIONS = [
    (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if path.startswith("/v1/")
]
NAMES = [operation["operationId"] for _, _, operation in OPERATIONS]


@pytest.fixture(scope="module")
def api(told: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An application of this module's own: it makes keys and another tenant's ledger."""
    with open_api(told, tmp_path_factory.mktemp("tenants") / "home") as opened:
        yield opened


@pytest.fixture(scope="module")
def real_ids(api: Api) -> dict[str, str]:
    """Ids of things that are there, as the first tenant sees them."""
    receipt = api.items("/v1/receipts?procedure=delay-track&is_presentable=true")[0]
    return {
        "batch_id": api.items("/v1/batches")[0]["batch_id"],
        "run_id": receipt["run_id"],
        "receipt_id": receipt["receipt_id"],
        "source_id": "colocated-seismometers",
        "index": "20",
        "name": "report.json",
        "path": "0/000.p/20",
        "topic": "receipts/colocated-seismometers",
        "source": "colocated-seismometers",
        "metric": "sampling.gap_ratio",
        "size_old": "3",
    }


def address(path: str, operation: dict[str, Any], ids: dict[str, str]) -> str:
    """The path with real ids in it, and what the query must have."""
    query = []
    for parameter in operation.get("parameters", ()):
        name = parameter["name"]
        if parameter["in"] == "path":
            path = path.replace(f"{{{name}}}", ids.get(name, "1"))
        elif parameter["in"] == "query" and parameter.get("required"):
            query.append(f"{name}={ids.get(name, '1')}")
    return path + ("?" + "&".join(query) if query else "")


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_nobody_comes_in_without_a_key_in_force(
    api: Api, real_ids: dict[str, str], method: str, path: str, operation: dict[str, Any]
) -> None:
    url = address(path, operation, real_ids)
    revoked = api.key("admin")
    api.keys.revoke("demo", revoked.split("_")[1])
    expired = api.keys.create("demo", ("admin",), label="x", now_ns=1, expires_at_ns=time.time_ns())[0]
    foreign = api.read[:-1] + ("a" if api.read[-1] != "a" else "b")
    for key in ("", revoked, expired, foreign, "tl_", "x" * 9_000):
        problem = assert_problem(api.ask(method, url, key), 401, "unauthorised")
        assert "demo" not in str(problem)
    assert_problem(api.ask(method, url, headers={"Authorization": f"Basic {api.read}"}), 401)
    answer = api.client.request(method, url, headers=[("Authorization", f"Bearer {api.read}")] * 2)
    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_a_key_does_only_what_its_scopes_allow(
    api: Api, real_ids: dict[str, str], method: str, path: str, operation: dict[str, Any]
) -> None:
    needed = operation.get("x-scope", "")
    url = address(path, operation, real_ids)
    enough = {"ingest": {"ingest"}, "read": {"read", "audit"}, "audit": {"audit"}, "admin": set()}
    for scope, key in (("ingest", api.ingest), ("read", api.read), ("audit", api.audit)):
        if needed and scope not in enough[needed]:
            assert_problem(api.ask(method, url, key), 403, "scope")


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS, ids=NAMES)
def test_another_tenants_things_are_not_there(
    api: Api, real_ids: dict[str, str], method: str, path: str, operation: dict[str, Any]
) -> None:
    """The rival has every scope and knows every id; what is not found looks like what never was."""
    rival = api.key("admin", tenant=OTHER_TENANT)
    url = address(path, operation, real_ids)
    answer = api.ask(method, url, rival)
    # A proof that there is nothing about a topic names it.
    told = answer.text.replace(url, "").replace("no such", "").replace(f'"topic":"{real_ids["topic"]}"', "")
    assert "colocated-seismometers" not in told or answer.status_code == 404
    for secret in ("CA.STS2", "DEMO-CERT", "wearer-1-oura", real_ids["run_id"][:-1] + "\x00"):
        assert secret not in answer.text
    if "{" in path and "index" not in path and "tlog" not in path:
        assert answer.status_code == 404, answer.text
    if method == "get" and answer.status_code == 200 and "application/json" in answer.headers["content-type"]:
        content = answer.json()
        rows = content.get("items", []) if isinstance(content, dict) else content
        assert all("demo" not in str(row) for row in rows)


def test_a_page_token_of_another_tenant_is_refused(api: Api) -> None:
    token = api.get("/v1/entries?page_size=1").json()["next_page_token"]
    assert api.get(f"/v1/entries?page_size=1&page_token={token}").status_code == 200
    rival = api.key("read", tenant=OTHER_TENANT)
    assert_problem(api.get(f"/v1/entries?page_size=1&page_token={token}", rival), 400, "malformed")


def test_an_idempotency_key_of_another_tenant_says_nothing(api: Api) -> None:
    url = "/v1/setup"
    headers = {"Idempotency-Key": "shared", "Content-Type": "application/json"}
    assert api.post(url, content=b"{}", headers=headers).status_code == 200
    rival = api.key("admin", tenant=OTHER_TENANT)
    answer = api.post(url, rival, content=b'{"devices": []}', headers=headers)
    assert answer.status_code == 200
    assert "idempotency-replayed" not in answer.headers


def test_a_report_link_opens_one_report_for_a_minute_and_ends_with_its_key(api: Api) -> None:
    key = api.key("read")
    receipt_id = api.items("/v1/receipts")[0]["receipt_id"]
    path = api.get(f"/v1/receipts/{receipt_id}/report-link", key).json()["path"]
    shown = api.get(path, "")
    assert shown.status_code == 200
    assert "sandbox" in shown.headers["content-security-policy"]
    assert shown.text == api.get(f"/v1/receipts/{receipt_id}/report").text
    for place in (5, len(path) // 2, len(path) - 1):
        changed = path[:place] + ("A" if path[place] != "A" else "B") + path[place + 1 :]
        assert api.get(changed, "").status_code == 404
    api.keys.revoke("demo", key.split("_")[1])
    assert_problem(api.get(path, ""), 404)


def test_the_key_tells_whose_it_is(api: Api) -> None:
    own = api.get("/v1/key", api.ingest).json()
    assert (own["tenant"], own["scopes"]) == ("demo", ["ingest"])
    assert api.ingest.split("_")[2] not in str(own)
