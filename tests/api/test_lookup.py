"""Looking entries up over HTTP: what is found is what the ledger says, for its own tenant only."""

from __future__ import annotations

from typing import Any

import pytest

from api.demo import DEVICE
from tests.api.story import OTHER_TENANT, Api


def everything(api: Api, path: str, key: str | None = None) -> list[dict[str, Any]]:
    """Every page of a list."""
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        more = f"{'&' if '?' in path else '?'}page_size=7" + (f"&page_token={token}" if token else "")
        page = api.get(path + more, key)
        assert page.status_code == 200, page.text
        found += page.json()["items"]
        token = page.json()["next_page_token"]
        if not token:
            return found


def entries(api: Api) -> list[dict[str, Any]]:
    return everything(api, "/v1/entries")


def indices(items: list[dict[str, Any]]) -> list[int]:
    return [item["index"] for item in items]


def test_entries_are_listed_by_type_subject_and_both(api: Api) -> None:
    every = entries(api)
    for event_type in {item["event_type"] for item in every}:
        found = everything(api, f"/v1/entries?event_type={event_type}")
        assert found == [item for item in every if item["event_type"] == event_type]
    for subject in {item["subject"] for item in every}:
        found = everything(api, f"/v1/entries?subject={subject}")
        assert found == [item for item in every if item["subject"] == subject]
    issued = next(item for item in every if item["event_type"] == "receipt.issued.v1")
    both = everything(api, f"/v1/entries?event_type=receipt.issued.v1&subject={issued['subject']}")
    assert both == [issued]
    assert everything(api, f"/v1/entries?event_type=batch.ingested.v1&subject={issued['subject']}") == []


def test_entries_are_listed_by_time(api: Api) -> None:
    every = entries(api)
    times = [item["recorded_at_ns"] for item in every]
    middle, later = times[len(times) // 3], times[2 * len(times) // 3]
    found = everything(api, f"/v1/entries?recorded_from_ns={middle}&recorded_until_ns={later}")
    assert found == [item for item in every if middle <= item["recorded_at_ns"] < later]
    runs = everything(api, f"/v1/entries?recorded_from_ns={middle}&event_type=run.started.v1")
    assert runs == [
        item for item in every if item["recorded_at_ns"] >= middle and item["event_type"] == "run.started.v1"
    ]
    assert everything(api, f"/v1/entries?recorded_from_ns={times[-1] + 1}") == []
    assert everything(api, f"/v1/entries?start=5&recorded_until_ns={times[0]}") == []


def test_a_receipt_and_its_run_are_found_by_either(api: Api) -> None:
    receipt = api.items("/v1/receipts")[0]
    by_receipt = everything(api, f"/v1/lookup?receipt={receipt['receipt_id']}")
    assert receipt["receipt_index"] in indices(by_receipt)
    by_run = everything(api, f"/v1/lookup?run={receipt['run_id']}")
    assert [item["event_type"] for item in by_run] == [
        "run.started.v1",
        "run.gates_decided.v1",
        "receipt.issued.v1",
    ]
    assert indices(by_run)[-1] == receipt["receipt_index"]


def test_all_of_a_device_is_found(api: Api) -> None:
    found = everything(api, f"/v1/lookup?device={DEVICE}")
    types = {item["event_type"] for item in found}
    assert types >= {"device.registered.v1", "batch.ingested.v1", "dataset.derived.v1", "receipt.issued.v1"}
    receipts = [item["receipt_index"] for item in api.items(f"/v1/receipts?source={DEVICE}")]
    assert set(receipts) <= set(indices(found))
    assert indices(found) == sorted(set(indices(found)))


def test_a_dataset_leads_from_its_batch_to_the_receipts_that_rest_on_it(api: Api) -> None:
    derived = everything(api, "/v1/entries?event_type=dataset.derived.v1")[0]
    batch = derived["subject"].removeprefix("batch/")
    receipt = next(
        item
        for item in api.items("/v1/receipts")
        if derived["index"] in [d["index"] for d in _predicate(api, item["receipt_id"])["datasets"]]
    )
    digest = next(
        d["digest"]
        for d in _predicate(api, receipt["receipt_id"])["datasets"]
        if d["index"] == derived["index"]
    )
    found = indices(everything(api, f"/v1/lookup?dataset={digest}"))
    assert {derived["index"], receipt["receipt_index"]} <= set(found)
    by_batch = indices(everything(api, f"/v1/lookup?batch={batch}"))
    assert {derived["index"], receipt["receipt_index"]} <= set(by_batch)


def _predicate(api: Api, receipt_id: str) -> dict[str, Any]:
    predicate: dict[str, Any] = api.get(f"/v1/receipts/{receipt_id}").json()["statement"]["predicate"]
    return predicate


def test_a_batch_is_found_by_the_idempotency_key_it_came_under(api: Api) -> None:
    headers = {"Idempotency-Key": "found-again", "Content-Type": "text/csv"}
    sent = api.post(f"/v1/batches?source={DEVICE}", content=b"neither time nor value", headers=headers)
    assert sent.status_code == 201, sent.text
    found = everything(api, "/v1/lookup?idempotency_key=found-again")
    assert indices(found)[0] == sent.json()["index"]
    other = api.get("/v1/lookup?idempotency_key=found-again", api.key("read", tenant=OTHER_TENANT))
    assert other.status_code == 404
    assert api.get("/v1/lookup?idempotency_key=never-used").status_code == 404


def test_another_tenant_finds_nothing_of_it(api: Api) -> None:
    rival = api.key("read", tenant=OTHER_TENANT)
    receipt = api.items("/v1/receipts")[0]
    for query in (f"device={DEVICE}", f"receipt={receipt['receipt_id']}", f"run={receipt['run_id']}"):
        assert api.get(f"/v1/lookup?{query}", rival).status_code == 404
    assert everything(api, "/v1/entries?event_type=receipt.issued.v1", rival) == []


def test_a_page_token_belongs_to_its_question(api: Api) -> None:
    token = api.get(f"/v1/lookup?device={DEVICE}&page_size=1").json()["next_page_token"]
    assert token
    receipt = api.items("/v1/receipts")[0]
    for path in (f"/v1/lookup?receipt={receipt['receipt_id']}", "/v1/entries?subject=x/y"):
        assert api.get(f"{path}&page_token={token}").status_code == 400


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("receipt=r" + "0" * 24 + "&device=x", 400),
        ("receipt=nonsense", 400),
        ("run=../x", 400),
        ("dataset=sha256:abc", 400),
        ("device=" + "x" * 65, 400),
        ("idempotency_key=" + "x" * 129, 400),
        ("anything=x", 400),
        ("receipt=r" + "0" * 24, 404),
        ("run=run-" + "0" * 24, 404),
        ("batch=b" + "0" * 24, 404),
        ("device=nobody", 404),
        ("dataset=sha256:" + "0" * 64, 404),
    ],
)
def test_questions_without_an_answer_are_problems(api: Api, query: str, status: int) -> None:
    answer = api.get(f"/v1/lookup?{query}")
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_withheld_results_stay_withheld_however_they_are_found(api: Api) -> None:
    withheld = next(item for item in api.items("/v1/receipts") if not item["is_presentable"])
    path = f"/v1/lookup?run={withheld['run_id']}"

    def decided(key: str) -> dict[str, Any]:
        return next(i for i in everything(api, path, key) if i["event_type"] == "run.gates_decided.v1")

    assert decided(api.read)["is_withheld"]
    assert decided(api.read)["payload_base64"] == ""
    assert decided(api.audit)["payload_base64"]


def test_the_history_of_keys_names_the_key_that_seals(api: Api) -> None:
    history = api.get("/v1/keys").json()
    ledger = api.get("/v1/ledger").json()
    assert [key["verifier_key"] for key in history["keys"]] == [ledger["verifier_key"]]
    assert history["keys"][0]["standing"] == "valid"
    assert history["keys"][0]["until_index"] is None
    created = api.get(f"/v1/entries/{history['indices'][0]}").json()
    assert created["event_type"] == "key.created.v1"
