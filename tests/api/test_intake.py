"""Taking in: batches, setups and contracts over HTTP, and the same request sent twice."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.story import Api, assert_problem, open_api
from tests.story.told import RATE_HZ, recording

URL = "/v1/batches?source=colocated-seismometers&file_name=a.csv"
DATA = Path(__file__).parents[2] / "api/demo_data"


def test_a_batch_is_durable_when_it_is_answered_and_the_same_bytes_are_the_same_batch(fresh_api: Api) -> None:
    first = fresh_api.post(URL, fresh_api.ingest, content=b"time,a [counts]\n1,2\n")
    assert first.status_code == 201
    found = first.json()
    assert first.headers["location"] == f"/v1/batches/{found['batch_id']}"
    assert found["digest"] == "sha256:" + hashlib.sha256(b"time,a [counts]\n1,2\n").hexdigest()
    again = fresh_api.post(URL, fresh_api.ingest, content=b"time,a [counts]\n1,2\n")
    assert (again.status_code, again.json()) == (200, {**found, "is_new": False})
    batch = fresh_api.get(first.headers["location"]).json()["batch"]
    assert (batch["batch_id"], batch["entry_index"]) == (found["batch_id"], found["index"])


def test_what_cannot_be_read_is_kept_and_quarantined(fresh_api: Api) -> None:
    path = fresh_api.post(URL, content=b"\x00 no table").headers["location"]
    fresh_api.get("/v1/runs")
    state = fresh_api.get(path).json()
    for _ in range(200):
        if state["batch"]["status"] != "ingested":
            break
        state = fresh_api.get(path).json()
    assert state["batch"]["status"] == "quarantined"
    assert state["quarantine"]["stage"] == "parse"
    assert fresh_api.get(f"{path}/content", fresh_api.admin).content == b"\x00 no table"


@pytest.mark.parametrize(
    ("url", "status", "name"),
    [
        ("/v1/batches", 400, "malformed"),
        ("/v1/batches?source=nobody", 404, "unknown"),
        ("/v1/batches?source=../x", 400, "malformed"),
        ("/v1/batches?source=colocated-seismometers&kind=oura.sleep", 422, "invalid"),
        ("/v1/batches?source=wearer-1-oura", 422, "invalid"),
        ("/v1/batches?source=wearer-1-oura&kind=garmin.sleep", 422, "invalid"),
        ("/v1/batches?source=wearer-1-oura&kind=a/b", 400, "malformed"),
        (f"{URL}&sequence=-1", 400, "malformed"),
        (f"{URL}&provider_event_time_ns=9223372036854775808", 400, "malformed"),
        (f"{URL}&format_options=[]", 400, "malformed"),
        (f"{URL}&format_options={'[' * 4_000}", 400, "malformed"),
        (f"{URL}&format_options=%7B%22sample_rate%22:200%7D", 422, "invalid"),
        (f"{URL}&format_options=%7B%22sample_rate_hz%22:%22fast%22%7D", 422, "invalid"),
        ("/v1/batches?source=colocated-seismometers&file_name=a%0d%0ab", 422, "invalid"),
    ],
)
def test_what_is_said_about_a_batch_is_checked_before_it_is_recorded(
    api: Api, url: str, status: int, name: str
) -> None:
    size = api.get("/v1/ledger").json()["size"]
    assert_problem(api.post(url, content=b"x"), status, name)
    assert api.get("/v1/ledger").json()["size"] == size


def test_no_bytes_are_no_batch(api: Api) -> None:
    assert_problem(api.post(URL, content=b""), 422, "invalid")


def test_the_same_bytes_to_be_read_in_another_way_are_another_batch(fresh_api: Api) -> None:
    data = recording(0, 60)

    def sent(options: dict[str, object]) -> tuple[int, str]:
        answer = fresh_api.post(f"{URL}&format_options={quote(json.dumps(options))}", content=data)
        return answer.status_code, answer.json()["batch_id"]

    def settled(batch_id: str) -> str:
        for _ in range(200):
            state = fresh_api.get(f"/v1/batches/{batch_id}").json()["batch"]["status"]
            if state != "ingested":
                break
        return str(state)

    status, misread = sent({"time_column": "no such column"})
    assert (status, settled(misread)) == (201, "quarantined")
    status, read = sent({"time_unit": "ns", "sample_rate_hz": RATE_HZ})
    assert (status, settled(read)) == (201, "derived")
    assert read != misread
    # However they are spelled, and whatever is left at its default.
    again = {"sample_rate_hz": float(RATE_HZ), "non_finite": "refuse", "time_unit": "ns"}
    assert sent(again) == (200, read)
    status, plain = sent({})
    assert (status, plain in (read, misread)) == (201, False)


def test_a_digest_that_came_with_the_body_is_checked(fresh_api: Api) -> None:
    def headers(data: bytes) -> dict[str, str]:
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        return {"Content-Digest": f"sha-256=:{digest}:"}

    assert_problem(fresh_api.post(URL, content=b"tru", headers=headers(b"truncated")), 422, "invalid")
    assert fresh_api.post(URL, content=b"whole", headers=headers(b"whole")).status_code == 201
    assert_problem(fresh_api.post(URL, content=b"x", headers={"Content-Digest": "md5=:AAAA:"}), 400)


class TestIdempotencyKey:
    """draft-ietf-httpapi-idempotency-key-header-07, and keys without quotes as well."""

    def test_the_same_request_gets_the_same_answer(self, fresh_api: Api) -> None:
        first = fresh_api.post(URL, content=b"one", headers={"Idempotency-Key": '"k-1"'})
        again = fresh_api.post(URL, content=b"one", headers={"Idempotency-Key": "k-1"})
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["location"] == first.headers["location"]
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"

    @pytest.mark.parametrize(
        ("url", "data"), [(URL, b"two"), (f"{URL}&sequence=1", b"one"), (f"{URL}x", b"one")]
    )
    def test_another_request_is_refused(self, fresh_api: Api, url: str, data: bytes) -> None:
        headers = {"Idempotency-Key": "k-1"}
        assert fresh_api.post(URL, content=b"one", headers=headers).status_code == 201
        assert_problem(fresh_api.post(url, content=data, headers=headers), 422, "reused-key")

    def test_it_is_remembered_over_a_restart(self, told: Path, tmp_path: Path) -> None:
        headers = {"Idempotency-Key": "k-1"}
        with open_api(told, tmp_path / "home") as api:
            first = api.post(URL, content=b"one", headers=headers)
        with open_api(tmp_path / "home", tmp_path / "again") as api:
            again = api.post(URL, content=b"one", headers=headers)
            assert (again.status_code, again.content) == (201, first.content)
            assert_problem(api.post(URL, content=b"two", headers=headers), 422, "reused-key")

    def test_an_error_may_be_tried_again(self, fresh_api: Api) -> None:
        headers = {"Idempotency-Key": "k-1", "Content-Type": "application/json"}
        setup = {"deployments": [deployment("nothing")]}
        assert_problem(fresh_api.post("/v1/setup", json=setup, headers=headers), 404)
        contract = (DATA / "contracts/spectra.yaml").read_bytes()
        contract = contract.replace(b"contract_id: spectra", b"contract_id: nothing")
        published = fresh_api.post(
            "/v1/contracts", content=contract, headers={"Content-Type": "application/yaml"}
        )
        assert published.json()["is_new"]
        assert fresh_api.post("/v1/setup", json=setup, headers=headers).status_code == 200

    def test_a_replay_is_recorded_once(self, fresh_api: Api) -> None:
        receipt = fresh_api.items("/v1/receipts?procedure=oura.sleep")[0]["receipt_id"]
        path = f"/v1/receipts/{receipt}/replay"
        answers = {fresh_api.post(path, headers={"Idempotency-Key": "k"}).text for _ in range(3)}
        assert len(answers) == 1
        assert len(fresh_api.items("/v1/entries?event_type=receipt.replayed.v1")) == 1

    @pytest.mark.parametrize("key", ['"', "a b", '"a', "", "x" * 129, "é"])
    def test_what_is_no_key_is_refused(self, api: Api, key: str) -> None:
        answer = api.post(URL, content=b"one", headers={"Idempotency-Key": key.encode("latin-1")})
        if key == "":
            assert answer.status_code in (200, 201)
        else:
            assert_problem(answer, 400, "malformed")


def deployment(contract: str) -> dict[str, Any]:
    return {
        "procedure": "spectra",
        "version": "1.0.0",
        "consumes": "samples",
        "contract": contract,
        "contract_version": 1,
    }


def test_a_setup_is_applied_once(fresh_api: Api) -> None:
    setup = {"connections": [{"connection_id": "wearer-2-oura", "provider": "oura"}]}
    first = fresh_api.post("/v1/setup", json=setup).json()["events"]
    again = fresh_api.post("/v1/setup", json=setup).json()["events"]
    assert [event["is_new"] for event in (*first, *again)] == [True, False]
    assert {row["source_id"] for row in fresh_api.items("/v1/sources")} >= {"wearer-2-oura"}


@pytest.mark.parametrize(
    ("body", "status", "name"),
    [
        (b"", 400, "malformed"),
        (b"[]", 400, "malformed"),
        (b'{"devices": 1}', 400, "malformed"),
        (b'{"surprise": 1}', 400, "malformed"),
        (b'{"a":' * 1_000, 400, "malformed"),
        (b"\xff\xfe", 400, "malformed"),
        (b'{"contracts": ["../../etc/passwd"]}', 400, "malformed"),
        (b'{"contracts": ["spectra.yaml"]}', 422, "invalid"),
        (b'{"devices": []' + b" " * 300_000 + b"}", 413, "limit"),
    ],
)
def test_a_setup_that_is_none_is_refused(api: Api, body: bytes, status: int, name: str) -> None:
    answer = api.post("/v1/setup", content=body, headers={"Content-Type": "application/json"})
    problem = assert_problem(answer, answer.status_code)
    # Depth is a limit of its own where the parser reaches it.
    assert problem["type"].endswith((name, "limit"))
    assert answer.status_code in (status, 413)


def test_a_device_that_is_another_one_is_a_conflict(api: Api) -> None:
    device = {
        "device_id": "colocated-seismometers",
        "manufacturer": "Somebody else",
        "model": "X",
        "serial_number": "1",
        "channels": [{"name": "a", "unit": "counts"}],
    }
    assert_problem(api.post("/v1/setup", json={"devices": [device]}), 409, "conflict")


def test_a_contract_that_does_not_parse_is_told_with_its_line(api: Api) -> None:
    contract = (
        (DATA / "contracts/spectra.yaml").read_bytes().replace(b"    pass_limit:", b"    pas_limit:", 1)
    )
    answer = api.post("/v1/contracts", content=contract, headers={"Content-Type": "application/yaml"})
    assert "line" in assert_problem(answer, 400, "malformed")["detail"]
