"""The fold's quick reading of entries against the ledger's own parser, and its rows against the events."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.contract import Contract, Gate
from domain.errors import InvalidError, MalformedError, UnknownError
from domain.event_codec import encode_event
from domain.events import ReceiptIssued, RunGatesDecided
from domain.gates import decide
from domain.metrics import MetricTrack, Window
from domain.outcomes import Reason
from ledger.entry import FIELD_CHARACTERS_MAX, check_field, parse_entry
from ledger.ports import Record
from projections.fold import Position, fold
from tests.projections.story import ENVIRONMENT, SECOND_NS, START_NS, Story, tell


def is_field(text: str) -> bool:
    try:
        check_field(text, "subject")
    except InvalidError:
        return False
    return True


fields = st.text(min_size=1, max_size=FIELD_CHARACTERS_MAX - 8).filter(is_field)


@given(origin=fields, receipt_id=fields, causes=st.sets(st.integers(0, 30), min_size=1))
def test_place_time_subject_and_cause_are_those_that_the_parser_reads(
    origin: str, receipt_id: str, causes: set[int]
) -> None:
    story = Story(1, origin=origin)
    for number in range(31):
        story.connection(f"c-{number}")
    story.add(ReceiptIssued(envelope=b"{}"), f"receipt/{receipt_id}", tuple(sorted(causes)))
    receipts = fold(story.records, Position(), {}).rows["receipt_issued"].to_pylist()
    entry = parse_entry(story.records[31].entry)
    assert receipts == [
        {
            "entry_index": entry.index,
            "recorded_at_ns": entry.recorded_at_ns,
            "receipt_id": entry.subject.removeprefix("receipt/"),
            "decision_index": max(entry.causation),
        }
    ]


@pytest.mark.parametrize(("subject", "causation"), [("run/r", (0,)), ("receipt/t", ())])
def test_a_receipt_that_names_no_receipt_or_no_decision_is_refused(
    subject: str, causation: tuple[int, ...]
) -> None:
    story = Story(1)
    story.opening()
    story.add(ReceiptIssued(envelope=b"{}"), subject, causation)
    with pytest.raises(MalformedError):
        fold(story.records, Position(), {})


def test_the_newest_unknown_type_is_named() -> None:
    story = Story(1)
    story.add_bytes("thing.happened.v3", b"{}", "thing/x")
    with pytest.raises(UnknownError) as caught:
        fold(story.records, Position(), {})
    assert caught.value.actual == "thing.happened.v3"


def test_a_run_may_start_in_one_increment_and_end_in_another() -> None:
    records = tell(61, rounds=2).records
    decided = next(record.index for record in records if record.event_type == "run.gates_decided.v1")
    first = fold(records[:decided], Position(), {})
    assert len(first.opened) == 1
    second = fold(records[decided : decided + 1], first.after, first.opened)
    assert second.closed == tuple(first.opened)
    (run_index,) = first.opened.values()
    assert second.rows["run_decided"]["run_index"].to_pylist() == [run_index]
    assert second.rows["metric_track"]["run_index"].unique().to_pylist() == [run_index]
    with pytest.raises(InvalidError):
        fold(records[decided : decided + 1], first.after, {})


def judged(required: Sequence[bool], values: Sequence[Sequence[float | None]]) -> Record:
    """A decision over gates of which some are required, by the engine itself."""
    windows = tuple(
        Window(start_ns=START_NS + i * SECOND_NS, end_ns=START_NS + (i + 1) * SECOND_NS)
        for i in range(len(values[0]))
    )
    contract = Contract(
        contract_id="c",
        version=1,
        title="t",
        gates=tuple(
            Gate(
                gate_id=f"g-{i}",
                metric=f"m-{i}",
                rule="at_most",
                pass_limit=1.0,
                fail_limit=2.0,
                unit="1",
                rule_id="r",
                required=is_required,
            )
            for i, is_required in enumerate(required)
        ),
    )
    metrics = tuple(
        MetricTrack(
            name=f"m-{i}",
            unit="1",
            values=tuple(column),
            reasons=tuple(Reason.GAP if value is None else Reason.NONE for value in column),
        )
        for i, column in enumerate(values)
    )
    story = Story(1)
    decision = decide(contract, windows, metrics)
    event = RunGatesDecided(
        run_id="r-1",
        windows=windows,
        window_scores=decision.window_scores,
        metrics=metrics,
        gates=decision.gates,
        verdict=decision.verdict,
        is_presentable=decision.is_presentable,
        artifacts=(),
        environment=ENVIRONMENT,
    )
    story.add_bytes(event.TYPE, encode_event(event), "run/r-1")
    return story.records[0]


@given(
    required=st.lists(st.booleans(), min_size=1, max_size=4),
    data=st.data(),
    window_count=st.integers(1, 5),
)
def test_the_outcome_of_a_run_of_one_window_is_the_outcome_of_that_window(
    required: list[bool], data: st.DataObject, window_count: int
) -> None:
    """The same rule makes the verdict of a run and the outcome of a window."""
    value = st.sampled_from([0.5, 1.5, 3.0, None])
    values = [data.draw(st.lists(value, min_size=window_count, max_size=window_count)) for _ in required]
    rows = fold([judged(required, values)], Position(), {"r-1": 7}).rows["run_decided"].to_pylist()
    for i, letter in enumerate(rows[0]["window_outcomes"]):
        one = judged(required, [[column[i]] for column in values])
        alone = fold([one], Position(), {"r-1": 7}).rows["run_decided"].to_pylist()
        assert alone[0]["verdict"][0] == letter
