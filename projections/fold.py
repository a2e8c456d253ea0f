"""From records to rows: the pure part of the projection.

``fold`` takes the next records of a ledger and returns an *increment*: Arrow tables of fact rows, and the
position after them.  It reads no file and no clock; folding the same records again gives the same rows.

Entries are read here without checking them: their bytes come from the ledger's own log, ``tally audit`` is
what proves them, and checking each would cost more than everything else.  ``projections.view`` checks where
an increment is joined to the view.

Relied upon (``domain.lookups.unique_key``): a run is started once and decided once, and its start comes
first.  A receipt rests on nothing recorded after its run was decided, so the latest of its causes is the
decision.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Final, NamedTuple, cast

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Struct
from msgspec.structs import astuple

from domain.errors import InvalidError, MalformedError, UnknownError
from domain.events import ReceiptIssued, RunGatesDecided, RunStarted
from domain.outcomes import Outcome, Reason
from ledger.entry import PREVIOUS_OF_FIRST
from ledger.merkle import leaf_hash
from ledger.ports import Record, RecordColumns
from projections import bodies
from projections.facts import CONCERN, FLAT, METRIC_TRACK, RECEIPT_ISSUED, RUN_DECIDED, UNDERSTOOD, FactTable

# Bodies of so many events at a time stay in the processor's cache until they are columns.
SLICE_EVENTS: Final = 1_024
PASS, ABSTAIN = Outcome.PASS.value, Outcome.ABSTAIN.value

Rows = dict[str, Any]
"""Arrow rows by fact table name."""


class Position(Struct, frozen=True, kw_only=True):
    """How far a view has come: the next index it wants, and the leaf hash (hex) of the entry before it."""

    next_index: int = 0
    leaf: str = PREVIOUS_OF_FIRST


class Increment(Struct, frozen=True, kw_only=True, eq=False):
    """What some records add to a view: rows, runs that were opened (id to index of their start) and closed,
    and the position after."""

    before: Position
    after: Position
    rows: Rows
    opened: dict[str, int]
    closed: tuple[str, ...]


def fold(records: Sequence[Record], before: Position, open_runs: Mapping[str, int]) -> Increment:
    """Fold ``records``, which follow ``before`` without a gap; ``open_runs`` maps undecided runs to the
    index of their start.

    Raises: as ``Folding.take``.
    """
    folding = Folding(before, open_runs)
    for start in range(0, len(records), SLICE_EVENTS):
        folding.take(RecordColumns.of(records[start : start + SLICE_EVENTS]))
    return folding.increment()


class Folding:
    """An increment that grows by some entries at a time; the first follow ``before`` without a gap, and
    ``open_runs`` maps undecided runs to the index of their start."""

    def __init__(self, before: Position, open_runs: Mapping[str, int]) -> None:
        self.before = before
        self.next_index = before.next_index
        self._runs = dict(open_runs)
        self._last = b""
        self._slices: defaultdict[str, list[Any]] = defaultdict(list)
        self._opened: dict[str, int] = {}
        self._closed: list[str] = []

    def take(self, columns: RecordColumns) -> None:
        """Fold some entries, at best about ``SLICE_EVENTS``.  Bodies of events without rows are not looked
        at, nor are those of receipts; ids and seals of no event are.

        Raises: UnknownError for an event type of a newer version; MalformedError, InvalidError,
        msgspec.DecodeError, ValueError or pyarrow.ArrowException for a body that cannot be read.
        """
        rows, started, ended = _fold_slice(columns, self._runs)
        self._opened |= started
        self._closed += ended
        for name, staged in rows.items():
            self._slices[name].append(staged)
        self.next_index = columns.indices[-1] + 1
        self._last = columns.entries[-1]

    def increment(self) -> Increment:
        """What was taken since the last increment, at least one entry; from here on, the next one grows."""
        increment = Increment(
            before=self.before,
            after=Position(next_index=self.next_index, leaf=leaf_hash(self._last).hex()),
            rows={name: pa.Table.from_batches(staged) for name, staged in self._slices.items()},
            opened=self._opened,
            closed=tuple(self._closed),
        )
        self.before = increment.after
        self._slices, self._opened, self._closed = defaultdict(list), {}, []
        return increment


class _Events(NamedTuple):
    """Entries of one type."""

    indices: list[int]
    entries: list[bytes]
    payloads: list[bytes]


def _by_type(columns: RecordColumns) -> dict[str, _Events]:
    places: defaultdict[str, list[int]] = defaultdict(list)
    for at, event_type in enumerate(columns.event_types):
        places[event_type].append(at)
    indices, entries, payloads = columns.indices, columns.entries, columns.payloads
    return {
        event_type: _Events(
            [indices[at] for at in found], [entries[at] for at in found], [payloads[at] for at in found]
        )
        for event_type, found in places.items()
    }


def _fold_slice(columns: RecordColumns, runs: dict[str, int]) -> tuple[Rows, dict[str, int], tuple[str, ...]]:
    """Rows of a few entries; ``runs`` is brought up to date."""
    by_type = _by_type(columns)
    if unknown := by_type.keys() - UNDERSTOOD:
        raise UnknownError(
            "event type of a newer version",
            actual=min(unknown),
            remedy="Upgrade Tallystick, then start the projection again.",
        )
    rows: Rows = {}
    opened: dict[str, int] = {}
    for event_type in by_type.keys() & FLAT.keys():
        group, (_, table) = by_type[event_type], FLAT[event_type]
        decode = _DECODERS[event_type].decode
        decoded = [decode(payload) for payload in group.payloads]
        rows[table.name] = _stage(table, [*_place(group), *zip(*map(astuple, decoded), strict=True)])
        if event_type == RunStarted.TYPE:
            starts = cast(list[bodies.RunStarted], decoded)
            opened = {body.run_id: index for body, index in zip(starts, group.indices, strict=True)}
    runs |= opened
    closed: tuple[str, ...] = ()
    if decided := by_type.get(RunGatesDecided.TYPE):
        decided_rows, closed = _decided_rows(decided, runs)
        rows |= decided_rows
    if receipts := by_type.get(ReceiptIssued.TYPE):
        rows[RECEIPT_ISSUED.name] = _receipt_rows(receipts)
    return rows, opened, closed


def _decided_rows(events: _Events, runs: dict[str, int]) -> tuple[Rows, tuple[str, ...]]:
    indices, times_ns = _place(events)
    decided = [_DECIDED.decode(payload) for payload in events.payloads]
    gates = [_GATES.decode(body.gates) for body in decided]
    closed = tuple(body.run_id for body in decided)
    try:
        run_indices = [runs.pop(run_id) for run_id in closed]
    except KeyError as error:
        raise InvalidError(
            "a run was decided that was never started", field="run_id", actual=str(error)[:80]
        ) from None
    place = (np.array(indices), np.array(times_ns), np.array(run_indices))
    judged = (list(map(_reason, decided, gates)), list(map(_window_outcomes, gates)))
    rows = {
        RUN_DECIDED.name: _stage(
            RUN_DECIDED, [*place, *judged, *zip(*map(_RUN_FIELDS, decided), strict=True)]
        ),
        METRIC_TRACK.name: _stage(METRIC_TRACK, [*place, [body.metrics for body in decided]]),
    }
    concerns = [[gate for gate in found if gate.outcome != PASS] for found in gates]
    if tracks := _tracks(CONCERN, place, concerns, ("gate_id", "outcome", "reason", "required")):
        rows[CONCERN.name] = tracks
    return rows, closed


def _tracks(
    table: FactTable, place: Sequence[Any], tracks: Sequence[Sequence[object]], names: Iterable[str]
) -> Any:
    """Rows of what runs have several of; ``place`` holds index, time and run index of each run.  ``None``
    when there are none."""
    every = list(chain.from_iterable(tracks))
    if not every:
        return None
    counts = np.fromiter(map(len, tracks), np.int64, len(tracks))
    # Where a track stands within its run: its place among all, less that of its run's first.
    positions = np.arange(len(every)) - np.repeat(np.cumsum(counts) - counts, counts)
    columns = [list(map(attrgetter(name), every)) for name in names]
    return _stage(table, [*(np.repeat(column, counts) for column in place), positions, *columns])


def _reason(body: bodies.RunGatesDecided, gates: tuple[bodies.Gate, ...]) -> str:
    """Why the verdict is not pass: the failure, or the first gate that has the verdict's outcome."""
    if body.failure:
        return Reason.PROCEDURE_FAILED.value
    if body.verdict == PASS:
        return Reason.NONE.value
    found = (
        gate.reason
        for gate in gates
        if gate.outcome == body.verdict and (gate.required or body.verdict != ABSTAIN)
    )
    return next(found, Reason.LACK_OF_DATA_SAMPLES.value)


def _window_outcomes(gates: tuple[bodies.Gate, ...]) -> str:
    """One letter per window: the worst of its gates, by the rule that makes the verdict of the run
    (``domain.gates``)."""
    if not gates:
        return ""
    count = len(gates[0].outcomes)
    is_any_required = True in [gate.required for gate in gates]
    if is_any_required and not "".join([gate.outcomes for gate in gates]).strip("p"):
        return "p" * count
    ranks = [gate.outcomes.translate(_REQUIRED_RANK if gate.required else _OPTIONAL_RANK) for gate in gates]
    # A pass of nothing would be a claim: without a required gate, every window abstains at best.
    floor = ("0" if is_any_required else "2") * count
    return "".join(map(max, floor, *ranks)).translate(_LETTER)


def _receipt_rows(events: _Events) -> Any:
    lines = [entry.split(b"\n", 8) for entry in events.entries]
    receipts, decisions = [], []
    for _, _, _, _, _, _, subject, causation, _ in lines:
        if not subject.startswith(b"receipt/") or causation == b"-":
            raise MalformedError(
                "not the entry of a receipt",
                field="subject",
                expected="receipt/<id>, caused by its decision",
                actual=repr(subject)[:80],
            )
        receipts.append(subject[8:])
        decisions.append(int(causation[causation.rfind(b",") + 1 :]))
    times = [int(line[4]) for line in lines]
    return _stage(RECEIPT_ISSUED, [events.indices, times, receipts, decisions])


def _place(events: _Events) -> tuple[list[int], list[int]]:
    """Indices and times of entries."""
    return events.indices, [int(entry.split(b"\n", 5)[4]) for entry in events.entries]


def _stage(table: FactTable, columns: Iterable[Any]) -> Any:
    """An Arrow batch of these columns; Arrow checks that carried text is UTF-8 and that numbers fit."""
    arrays = [
        pa.array(values if column.carry is None else list(map(column.carry, values)), column.arrow_type)
        for column, values in zip(table.columns, columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)


_DECODERS: Final = {event_type: msgspec.json.Decoder(body) for event_type, (body, _) in FLAT.items()}
_DECIDED: Final = msgspec.json.Decoder(bodies.RunGatesDecided)
_GATES: Final = msgspec.json.Decoder(tuple[bodies.Gate, ...])
_RUN_FIELDS: Final = attrgetter(
    "run_id", "verdict", "is_presentable", "failure", "windows", "window_scores", "gates", "artifacts"
)
_REQUIRED_RANK: Final = str.maketrans("pbaf", "0123")
_OPTIONAL_RANK: Final = str.maketrans("pbaf", "0103")
_LETTER: Final = str.maketrans("0123", "pbaf")
