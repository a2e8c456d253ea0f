"""Files for auditors over the API: they verify by both verifiers, and only auditors are handed them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ledger.audit_bundle import verify_audit_bundle
from ledger.completeness import verify_completeness
from ledger.notes import parse_verifier_key
from ledger.policy import policy_of_log
from tests.api.story import Api, assert_problem, open_api
from tests.docs.test_verify import verify
from tests.story.told import DEVICE


@pytest.fixture(scope="module")
def api(told: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with open_api(told, tmp_path_factory.mktemp("evidence") / "home") as opened:
        yield opened


@pytest.fixture(scope="module")
def vkey(api: Api) -> str:
    found: str = api.get("/v1/ledger").json()["verifier_key"]
    return found


def test_a_receipt_comes_with_everything_it_rests_on(api: Api, vkey: str) -> None:
    for receipt in api.items("/v1/receipts"):
        answer = api.get(f"/v1/receipts/{receipt['receipt_id']}/audit-bundle", api.audit)
        assert answer.headers["content-type"] == "application/vnd.tallystick.audit-bundle+json"
        verified = asyncio.run(verify_audit_bundle(answer.content, policy_of_log(parse_verifier_key(vkey))))
        assert [one.receipt_id for one in verified.receipts] == [receipt["receipt_id"]]
        theirs = verify.verify_audit_bundle(answer.content, verify.Policy([verify.parse_key(vkey)]))
        assert theirs["receipts"] == [receipt["receipt_id"]]
    assert_problem(api.get(f"/v1/receipts/r{'0' * 24}/audit-bundle", api.audit), 404, "unknown")


def test_a_list_is_proven_complete_and_so_is_that_there_is_none(api: Api, vkey: str) -> None:
    policy = policy_of_log(parse_verifier_key(vkey))
    expected = {receipt["receipt_id"] for receipt in api.items("/v1/receipts")}
    found = set()
    for topic, is_there in (
        (f"receipts/{DEVICE}", True),
        ("receipts/oura-demo", None),
        ("receipts/x", False),
    ):
        answer = api.post(f"/v1/proofs/completeness?topic={topic}", api.audit)
        assert answer.status_code == 200, answer.text
        complete = verify_completeness(answer.content, policy)
        found |= {one.subject.removeprefix("receipt/") for one in complete.events}
        assert is_there is None or bool(complete.events) == is_there
        theirs = verify.verify_completeness(answer.content, verify.Policy([verify.parse_key(vkey)]))
        assert len(theirs["entries"]) == len(complete.events)
    assert found <= expected
    # Nothing new is recorded where nothing new is there.
    before = api.get("/v1/ledger").json()["size"]
    again = api.post("/v1/proofs/completeness?topic=receipts/x&is_newest=true", api.audit)
    assert again.status_code == 200
    assert api.get("/v1/ledger").json()["size"] == before


def test_many_who_ask_at_once_are_answered_or_told_to_wait(api: Api, vkey: str) -> None:
    def ask(number: int) -> tuple[int, bytes]:
        answer = api.post(f"/v1/proofs/completeness?topic=recalls{number}", api.audit)
        return answer.status_code, answer.content

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(24)))
    assert {status for status, _ in answers} <= {200, 429}
    policy = policy_of_log(parse_verifier_key(vkey))
    proofs = [verify_completeness(content, policy) for status, content in answers if status == 200]
    assert proofs
    assert all(proof.events == () for proof in proofs)


@pytest.mark.parametrize(
    "query", ["", "topic=", "topic=a%0Ab", "topic=" + "a" * 257, "topic=a&topic=b", "topic=a&is_newest=3"]
)
def test_a_topic_that_is_none_is_refused(api: Api, query: str) -> None:
    answer = api.post(f"/v1/proofs/completeness?{query}", api.audit)
    assert answer.status_code in (400, 422)
    assert_problem(answer, answer.status_code)


def test_readers_are_not_handed_what_auditors_are(api: Api) -> None:
    receipt = api.items("/v1/receipts")[0]["receipt_id"]
    assert_problem(api.get(f"/v1/receipts/{receipt}/audit-bundle"), 403, "scope")
    assert_problem(api.post("/v1/proofs/completeness?topic=recalls", api.read), 403, "scope")
