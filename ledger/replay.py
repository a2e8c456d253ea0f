"""Replay: run a receipt again from the events and the vault, and compare what comes out.

1. Read the receipt and every event it rests on; verify that its statement is what those events say.
2. Read the batches and datasets from the vault, each against its digest.
3. Run the same procedure version on them, in a pinned numeric environment, and judge it by the same contract.
4. Build the statement again and compare it with the recorded one, byte for byte.

In another numeric environment exact digests may differ; then everything else must be equal, the environment
aside, and every changed artifact must be equal after rounding (``reproduced-quantised``).  The world is never
asked: time, ids and earlier revisions come from the ledger.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from domain.errors import InvalidError, UnknownError
from domain.events import (
    ArtifactReference,
    NumericEnvironment,
    ReceiptIssued,
    ReceiptReplayed,
    Recorded,
    RunGatesDecided,
    RunStarted,
)
from ledger.desk import Desk
from ledger.dsse import parse_envelope
from ledger.errors import ErasedSubjectError
from ledger.ledger import Proposal
from ledger.mentions import of_subject, of_type
from ledger.performance import perform_again
from ledger.receipt import build_statement, parse_receipt
from ledger.recorded import event_of
from ledger.run import run_facts

REPRODUCED = "reproduced"
REPRODUCED_QUANTISED = "reproduced-quantised"
DIVERGED = "diverged"


class Replay(Struct, frozen=True, kw_only=True):
    """What a replay found; ``first_difference`` is a JSON path with both values, empty when the bytes are
    equal."""

    receipt_id: str
    receipt_index: int
    result: str
    first_difference: str
    environment: NumericEnvironment
    statement: bytes

    @property
    def is_reproduced(self) -> bool:
        """The same numbers came out."""
        return self.result != DIVERGED


async def find_receipt(desk: Desk, receipt_id: str) -> int:
    """Ledger index of a receipt.  Raises: UnknownError."""
    index = await desk.ledger.first(of_type(ReceiptIssued.TYPE), of_subject(f"receipt/{receipt_id}"))
    if index is None:
        raise UnknownError(
            "no such receipt", field="receipt_id", actual=receipt_id, remedy="tally receipts lists them."
        )
    return index


async def replay(desk: Desk, receipt_id: str) -> Replay:
    """Run a receipt again.

    Raises: UnknownError, InvalidError when the receipt does not fit its own events, ErasedSubjectError when
    what it was made from was shredded since.
    """
    receipt_index = await find_receipt(desk, receipt_id)
    event = (await desk.ledger.get(receipt_index))[1].event
    if not isinstance(event, ReceiptIssued):
        raise InvalidError("not a receipt", field="index", actual=str(receipt_index))
    recorded_statement = parse_envelope(event.envelope).payload
    _, predicate = parse_receipt(event.envelope)
    facts = await run_facts(desk.ledger, predicate.run.started_index)
    decided = (await desk.ledger.get(predicate.run.decided_index))[1].event
    if not isinstance(decided, RunGatesDecided):
        raise InvalidError(
            "the receipt names no decision", field="decided_index", actual=str(predicate.run.decided_index)
        )
    if build_statement(facts, decided, predicate.run.decided_index) != recorded_statement:
        raise InvalidError(
            "the receipt says something else than the events it names",
            field=receipt_id,
            remedy="Run tally audit.",
        )
    source = desk.source(event_of(facts.started, RunStarted).source_id)
    if source.erased_index is not None and predicate.run.decided_index < source.erased_index:
        raise ErasedSubjectError(source.source_id, source.subject_key_id, source.erased_index)
    again = (await perform_again(desk, facts, decided.known_revisions)).decided
    statement = build_statement(facts, again, predicate.run.decided_index)
    result, difference = REPRODUCED, ""
    if statement != recorded_statement:
        lenient = build_statement(facts, _forgive_environment(again, decided), predicate.run.decided_index)
        result = REPRODUCED_QUANTISED if lenient == recorded_statement else DIVERGED
        difference = first_difference(msgspec.json.decode(recorded_statement), msgspec.json.decode(statement))
    return Replay(
        receipt_id=receipt_id,
        receipt_index=receipt_index,
        result=result,
        first_difference=difference,
        environment=again.environment,
        statement=statement,
    )


async def record_replay(desk: Desk, replayed: Replay, actor: str) -> Recorded:
    """Record what a replay found; each replay is an event of its own."""
    event = ReceiptReplayed(
        receipt_id=replayed.receipt_id,
        receipt_index=replayed.receipt_index,
        result=replayed.result,
        first_difference=replayed.first_difference,
        environment=replayed.environment,
    )
    proposal = Proposal(
        event=event, actor=actor, subject=f"replay/{replayed.receipt_id}", causation=(replayed.receipt_index,)
    )
    return (await desk.ledger.record(proposal))[0]


def first_difference(expected: Any, actual: Any, path: str = "$") -> str:
    """Where two JSON values first differ, depth first, keys in order; empty when they are equal."""
    match expected, actual:
        case dict(), dict():
            for key in sorted({*expected, *actual}):
                if key not in expected or key not in actual:
                    return (
                        f"{path}.{key}: only in the {'recorded' if key in expected else 'replayed'} statement"
                    )
                if found := first_difference(expected[key], actual[key], f"{path}.{key}"):
                    return found
            return ""
        case list(), list():
            for index, (left, right) in enumerate(zip(expected, actual, strict=False)):
                if found := first_difference(left, right, f"{path}[{index}]"):
                    return found
            return (
                ""
                if len(expected) == len(actual)
                else f"{path}: recorded {len(expected)} items, replayed {len(actual)}"
            )
        case _:
            return "" if expected == actual else f"{path}: recorded {expected!r}, replayed {actual!r}"[:500]


def _forgive_environment(again: RunGatesDecided, decided: RunGatesDecided) -> RunGatesDecided:
    """``again`` with the recorded environment, and with the recorded exact digest wherever the quantised one
    is equal."""
    recorded = {artifact.name: artifact for artifact in decided.artifacts}
    return replace(
        again,
        environment=decided.environment,
        artifacts=tuple(
            _forgive_artifact(artifact, recorded.get(artifact.name)) for artifact in again.artifacts
        ),
    )


def _forgive_artifact(again: ArtifactReference, recorded: ArtifactReference | None) -> ArtifactReference:
    if (
        recorded is None
        or again.quantised_digest is None
        or again.quantised_digest != recorded.quantised_digest
    ):
        return again
    return recorded
