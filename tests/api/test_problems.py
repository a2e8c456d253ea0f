"""Errors: each is a problem that says what is wrong and what to do, and blames whose fault it is."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from litestar import get
from litestar.testing import create_test_client

from adapters.key_store_transit import UnreachableKeyServerError
from api.edge import with_edge
from api.problems import EXCEPTION_HANDLERS, PROBLEMS, problem_name
from domain.errors import (
    ConflictError,
    InvalidError,
    LimitError,
    MalformedError,
    TallystickError,
    UnknownError,
)
from ledger.errors import (
    ClosedError,
    CorruptObjectError,
    RefusedByStoreError,
    UnknownObjectError,
    UnknownSubjectKeyError,
    UnreachableStoreError,
)
from projections.errors import ViewBehindError
from tests.api.story import Api, assert_problem

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        ("/nothing", 404, "unknown"),
        ("/v1/nothing", 404, "unknown"),
        ("/v1/batches/b" + "0" * 24, 404, "unknown"),
        ("/v1/runs/run-" + "0" * 24, 404, "unknown"),
        ("/v1/runs/run-" + "0" * 24 + "/history", 404, "unknown"),
        ("/v1/receipts/r" + "0" * 24, 404, "unknown"),
        ("/v1/entries/9999999", 404, "unknown"),
        ("/v1/entries/9999999/proof", 404, "unknown"),
        ("/v1/entries/abc", 404, "unknown"),
        ("/v1/consistency?size_old=9999999", 404, "unknown"),
        ("/v1/sources/nobody/metrics", 404, "unknown"),
        ("/v1/provider-health?source=nobody", 404, "unknown"),
        ("/v1/telemetry?metric=x&source=nobody", 404, "unknown"),
        ("/v1/telemetry?metric=x", 422, "invalid"),
        ("/v1/telemetry", 400, "malformed"),
        ("/v1/telemetry?metric=x&source=colocated-seismometers&parts=1", 400, "malformed"),
        ("/v1/runs?page_size=-1", 400, "malformed"),
        ("/v1/runs?page_size=many", 400, "malformed"),
        ("/v1/runs?page_token=x", 400, "malformed"),
        ("/v1/runs?verdict=good", 400, "malformed"),
        ("/v1/runs?nonsense=1", 400, "malformed"),
        ("/v1/runs?verdict=null", 400, "malformed"),
        ("/v1/runs?source=Null", 400, "malformed"),
        ("/v1/runs?verdict=pass&verdict=fail", 400, "malformed"),
        ("/v1/entries?start=-1", 400, "malformed"),
        ("/v1/entries?start=9223372036854775808", 400, "malformed"),
        ("/v1/entries?start=" + "9" * 5_000, 400, "malformed"),
        ("/v1/batches/..%2f..%2fetc%2fpasswd", 404, "unknown"),
        ("/v1/batches/%00", 400, "malformed"),
        ("/v1/batches/b1'%20OR%201=1--", 400, "malformed"),
        ("/v1/runs?source=%00", 400, "malformed"),
        ("/v1/runs?source=%ff%fe", 400, "malformed"),
        ("/v1/runs?source=a%0d%0aSet-Cookie:%20x", 400, "malformed"),
        ("/v1/runs?%ff=1", 400, "malformed"),
        ("/console/..%2fproblems.py", 404, "unknown"),
        ("/console/secret.txt", 404, "unknown"),
        ("/reports/AAAA", 404, "unknown"),
    ],
)
def test_what_is_wrong_is_told_as_a_problem(api: Api, path: str, status: int, name: str) -> None:
    assert_problem(api.get(path), status, name)


def test_another_method_is_refused_and_the_right_ones_are_named(api: Api) -> None:
    answer = api.ask("DELETE", "/v1/runs", api.read)
    assert_problem(answer, 405, "method")
    assert "GET" in answer.headers["allow"]


def test_a_head_is_a_get_without_its_body(api: Api) -> None:
    answer = api.ask("HEAD", "/v1/runs", api.read)
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == len(api.get("/v1/runs").content)


def test_a_wrong_media_type_is_told_with_the_right_ones(api: Api) -> None:
    answer = api.post("/v1/setup", content=b"x", headers={"Content-Type": "text/csv"})
    assert_problem(answer, 415, "media-type")
    assert "application/yaml" in answer.headers["accept-post"]


def test_compressed_bodies_are_refused_instead_of_kept_as_noise(api: Api) -> None:
    answer = api.post(
        "/v1/batches?source=colocated-seismometers", content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}
    )
    assert_problem(answer, 415, "media-type")


@pytest.mark.parametrize("path", ["/healthz", "/v1/runs", "/nothing", "/", "/docs", "/openapi.json"])
def test_every_answer_carries_the_headers_that_protect_it(api: Api, path: str) -> None:
    headers = api.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-request-id"]
    assert "set-cookie" not in headers


def test_answers_with_data_are_not_kept_by_caches(api: Api) -> None:
    assert api.get("/v1/runs").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (MalformedError("x"), "malformed"),
        (UnknownError("x"), "unknown"),
        (ConflictError("x"), "conflict"),
        (LimitError("x"), "limit"),
        (InvalidError("x"), "invalid"),
        (TallystickError("x"), "storage"),
        (UnreachableStoreError("x"), "unreachable"),
        (RefusedByStoreError("x"), "unreachable"),
        (UnreachableKeyServerError("x"), "unreachable"),
        (ClosedError("x"), "closing"),
        (UnknownSubjectKeyError("k", is_destroyed=True), "shredded"),
        (UnknownSubjectKeyError("k", is_destroyed=False), "damaged"),
        (UnknownObjectError(DIGEST), "damaged"),
        (CorruptObjectError(DIGEST, DIGEST), "damaged"),
        (ViewBehindError(index=1, position=0, timeout_seconds=5), "view"),
    ],
)
def test_an_error_becomes_the_problem_of_its_kind(error: TallystickError, name: str) -> None:
    assert problem_name(error) == name


@pytest.mark.parametrize(
    "cause", [OSError(errno.ENOSPC, "No space left on device"), sqlite3.OperationalError("disk full")]
)
@pytest.mark.parametrize("error", [LimitError("no room left"), InvalidError("the store refused")])
def test_what_the_machine_refused_is_not_the_callers_mistake(
    error: TallystickError, cause: Exception
) -> None:
    error.__cause__ = cause
    assert problem_name(error) == "storage"
    assert PROBLEMS["storage"][0] == 503


@pytest.mark.parametrize("kind", [UnreachableStoreError, RefusedByStoreError, ClosedError])
def test_a_store_that_cannot_be_asked_is_told_without_its_address(kind: type[TallystickError]) -> None:
    @get("/asked")
    async def asked() -> None:
        raise kind("not now", field="10.1.2.3:2113")

    with create_test_client(asked, exception_handlers=EXCEPTION_HANDLERS) as client:
        client.app.asgi_handler = with_edge(client.app.asgi_handler)
        response = client.get("/asked")
    problem = assert_problem(response, 503)
    assert response.headers["retry-after"]
    assert "10.1.2.3" not in str(problem)


def test_a_lost_vault_object_is_a_500_and_not_a_404(fresh_api: Api) -> None:
    batch = fresh_api.items("/v1/batches")[0]
    for path in (fresh_api.home / "vault").rglob("*"):
        if path.is_file():
            path.unlink()
    assert_problem(fresh_api.get(f"/v1/batches/{batch['batch_id']}/content", fresh_api.admin), 500, "damaged")


def test_a_bug_is_a_500_that_says_nothing_but_an_id() -> None:
    @get("/broken")
    async def broken() -> None:
        raise RuntimeError("secret of the implementation")

    with create_test_client(
        broken, exception_handlers=EXCEPTION_HANDLERS, raise_server_exceptions=False
    ) as client:
        client.app.asgi_handler = with_edge(client.app.asgi_handler)
        problem = assert_problem(client.get("/broken"), 500, "unexpected")
    assert "secret" not in str(problem)


def test_what_fails_outside_of_the_framework_is_a_problem_too() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("secret")

    with create_test_client([], raise_server_exceptions=False) as client:
        client.app.asgi_handler = with_edge(broken)
        problem = assert_problem(client.get("/"), 500, "unexpected")
    assert "secret" not in str(problem)


def test_text_that_is_no_utf8_and_endless_text_do_no_harm(api: Api) -> None:
    problem = assert_problem(api.get("/v1/runs?" + "x" * 3_000 + "=1"), 400)
    assert len(problem["detail"]) < 1_200


def test_every_problem_says_what_to_do() -> None:
    for status, title, remedy in PROBLEMS.values():
        assert 400 <= status < 600
        assert title
        assert remedy.endswith(".")


def test_the_table_of_problems_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs/api.md").read_text()
    for name in PROBLEMS:
        assert f"`{name}`" in text
