"""Statements: durable and proven before the answer, the same bytes once, many callers in one append."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.errors import InvalidError, LimitError, MalformedError
from domain.events import StatementAdded
from ledger.errors import ClosedError
from ledger.ledger import Ledger, Proposal
from ledger.policy import policy_of_log
from ledger.statements import (
    MEDIA_TYPE_DEFAULT,
    STATEMENT_BYTES_MAX,
    WAITING_MAX,
    BusyError,
    InvalidStatementProofError,
    Placed,
    StatementWriter,
    parse_media_type,
    verify_statement,
)
from ledger.tlog_proof import parse_tlog_proof
from tests.ledger.desk import ORIGIN, open_ledger
from tests.ledger.signing_key import SigningKey

ACTOR = "api:test"
POLICY = policy_of_log(SigningKey(ORIGIN).verifier_key)


@asynccontextmanager
async def writer_in(folder: Path) -> AsyncIterator[tuple[Ledger, StatementWriter]]:
    async with open_ledger(folder) as ledger:
        yield ledger, StatementWriter(ledger)


def test_a_statement_is_answered_with_a_proof_that_verifies(tmp_path: Path) -> None:
    async def story() -> None:
        async with writer_in(tmp_path) as (ledger, writer):
            placed = await writer.add(b"the tank is full", "text/plain", ACTOR)
            assert placed.is_new
            proof = parse_tlog_proof(placed.proof)
            entry, witnessed = verify_statement(b"the tank is full", proof, POLICY)
            assert (entry.index, entry.subject, entry.actor) == (placed.index, "statement/text/plain", ACTOR)
            assert witnessed.checkpoint.size == ledger.size
            record, recorded = await ledger.get(placed.index)
            assert record.payload == b"the tank is full"
            assert record.entry == proof.extra
            assert recorded.event == StatementAdded(statement=b"the tank is full")

    asyncio.run(story())


def test_the_same_bytes_get_the_same_place_also_after_reopening(tmp_path: Path) -> None:
    async def once() -> Placed:
        async with writer_in(tmp_path) as (_, writer):
            return await writer.add(b"said before", "text/plain", ACTOR)

    async def among_others() -> list[Placed]:
        async with writer_in(tmp_path) as (_, writer):
            asked = [b"new", b"said before", b"new", b"newer"]
            return await asyncio.gather(*(writer.add(one, "text/html", ACTOR) for one in asked))

    first = asyncio.run(once())
    again = asyncio.run(among_others())
    assert [placed.is_new for placed in again] == [True, False, False, True]
    assert again[1].index == first.index
    assert again[0].index == again[2].index
    for statement, placed in zip((b"new", b"said before", b"new", b"newer"), again, strict=True):
        verify_statement(statement, parse_tlog_proof(placed.proof), POLICY)


def test_many_callers_share_appends_and_each_gets_his_own_proof(tmp_path: Path) -> None:
    async def story() -> None:
        async with writer_in(tmp_path) as (ledger, writer):
            said = [b"statement %d" % number for number in range(1_500)]
            placed = await asyncio.gather(*(writer.add(one, MEDIA_TYPE_DEFAULT, ACTOR) for one in said))
            assert sorted(one.index for one in placed) == list(range(2, 1_502))
            for statement, one in zip(said, placed, strict=True):
                verify_statement(statement, parse_tlog_proof(one.proof), POLICY)
            records = await ledger.read(0, 2_000)
            assert sum(bool(record.seal) for record in records) < 10

    asyncio.run(story())


def test_statements_of_the_greatest_length_fit_whatever_comes_together(tmp_path: Path) -> None:
    async def story() -> None:
        async with writer_in(tmp_path) as (ledger, writer):
            said = [bytes([number]) * STATEMENT_BYTES_MAX for number in range(30)]
            await asyncio.gather(*(writer.add(one, MEDIA_TYPE_DEFAULT, ACTOR) for one in said))
            assert ledger.size == 32

    asyncio.run(story())


def test_other_events_between_statements_do_not_disturb_their_proofs(tmp_path: Path) -> None:
    async def story() -> None:
        async with writer_in(tmp_path) as (ledger, writer):

            async def other(number: int) -> None:
                event = StatementAdded(statement=b"by another way %d" % number)
                await ledger.record(Proposal(event=event, actor="cli", subject="statement/x/y"))

            async def one(number: int) -> None:
                statement = b"%d" % number
                placed = await writer.add(statement, "text/plain", ACTOR)
                verify_statement(statement, parse_tlog_proof(placed.proof), POLICY)

            await asyncio.gather(*(work(number) for number in range(100) for work in (one, other)))

    asyncio.run(story())


def test_bounds_are_refused_by_name(tmp_path: Path) -> None:
    async def story() -> None:
        async with writer_in(tmp_path) as (ledger, writer):
            with pytest.raises(LimitError):
                await writer.add(b"x" * (STATEMENT_BYTES_MAX + 1), "text/plain", ACTOR)
            with pytest.raises(InvalidError):
                await writer.add(b"", "text/plain", ACTOR)
            said = [b"%d" % number for number in range(WAITING_MAX + 1)]
            crowd = [asyncio.create_task(writer.add(one, "text/plain", ACTOR)) for one in said]
            answers = await asyncio.gather(*crowd, return_exceptions=True)
            refused = [answer for answer in answers if isinstance(answer, BusyError)]
            assert len(refused) == 1
            assert ledger.size == 2 + WAITING_MAX

    asyncio.run(story())


def test_a_closed_ledger_refuses_and_the_writer_can_be_asked_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with writer_in(tmp_path) as (ledger, writer):
            await ledger.close()
            for _ in range(2):
                with pytest.raises(ClosedError):
                    await writer.add(b"too late", "text/plain", ACTOR)

    asyncio.run(story())


def test_a_caller_who_goes_away_does_not_take_the_others_with_him(tmp_path: Path) -> None:
    async def story() -> None:
        async with writer_in(tmp_path) as (_, writer):
            gone = asyncio.create_task(writer.add(b"gone", "text/plain", ACTOR))
            staying = asyncio.create_task(writer.add(b"staying", "text/plain", ACTOR))
            await asyncio.sleep(0)
            gone.cancel()
            placed = await staying
            verify_statement(b"staying", parse_tlog_proof(placed.proof), POLICY)
            assert (await writer.add(b"gone", "text/plain", ACTOR)).is_new is False

    asyncio.run(story())


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bytes, bytes]]:
    """Three statements with their proofs."""

    async def story() -> list[tuple[bytes, bytes]]:
        async with writer_in(tmp_path_factory.mktemp("proven")) as (_, writer):
            said = [b"one", b"two", b"three"]
            placed = await asyncio.gather(*(writer.add(one, "text/plain", ACTOR) for one in said))
            return [(one, place.proof) for one, place in zip(said, placed, strict=True)]

    return asyncio.run(story())


def test_a_proof_is_of_its_own_statement_only(proven: list[tuple[bytes, bytes]]) -> None:
    (first, proof), (second, other) = proven[:2]
    with pytest.raises(InvalidStatementProofError) as caught:
        verify_statement(second, parse_tlog_proof(proof), POLICY)
    assert caught.value.field == "step 2"
    swapped = replace(parse_tlog_proof(other), extra=parse_tlog_proof(proof).extra)
    with pytest.raises(InvalidStatementProofError) as caught:
        verify_statement(first, swapped, POLICY)
    assert caught.value.field == "step 1"


@given(st.data())
def test_a_changed_byte_of_a_proof_is_refused(proven: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    statement, proof = data.draw(st.sampled_from(proven))
    changed = bytearray(proof)
    changed[data.draw(st.integers(0, len(proof) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises((MalformedError, InvalidError)):
        verify_statement(statement, parse_tlog_proof(bytes(changed)), POLICY)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("text/plain", "text/plain"),
        ("Application/JSON; charset=utf-8", "application/json"),
        ("application/vnd.in-toto+json", "application/vnd.in-toto+json"),
    ],
)
def test_a_media_type_is_kept_without_its_parameters(text: str, expected: str) -> None:
    assert parse_media_type(text) == expected


@pytest.mark.parametrize("text", ["", "text", "/", "text/", "a b/c", "text/plain\nx", "é/x", "a" * 64 + "/b"])
def test_what_is_no_media_type_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_media_type(text)
