"""History: what happened, when, and why it was trusted, as the ledger's entries about one thing in order.

The entries of a run are those it rests on (source, configuration, calibration, contract, deployment, batch,
dataset), those it made (start, decision, receipt), and those that came of it (quarantine, replays).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from domain.errors import UnknownError
from domain.event_codec import decode_event
from domain.events import Recorded, RunStarted
from domain.lookups import run_name
from ledger.desk import Desk
from ledger.entry import Entry, parse_entry
from ledger.mentions import mentions_of
from ledger.ports import Record
from ledger.recorded import event_of
from ledger.run import receipt_index_of

READ_BATCH = 2_048
# What a person reads; a source with more is asked about by batch or run.
ENTRIES_MAX = 10_000


class HistoryEntry(Struct, frozen=True, kw_only=True):
    """One entry: what it says of itself without its body."""

    index: int
    recorded_at_ns: int
    event_type: str
    actor: str
    subject: str
    causation: tuple[int, ...]


async def history_of_run(desk: Desk, run_id: str) -> list[HistoryEntry]:
    """The entries of a run, by look-ups alone.  Raises: UnknownError."""
    ledger = desk.ledger
    started_index = await ledger.find(run_name(run_id))
    if started_index is None:
        raise UnknownError("no such run", field="run_id", actual=run_id)
    started = event_of((await ledger.get(started_index))[1], RunStarted)
    indices = {started.source_index, started.contract_index, started.deployment_index, started_index}
    for dataset in started.datasets:
        indices |= {dataset.index, dataset.batch_index}
    for optional in (started.configuration_index, started.calibration_index):
        if optional is not None:
            indices.add(optional)
    receipt_index = await receipt_index_of(ledger, run_id)
    if receipt_index is not None:
        indices |= {receipt_index - 1, receipt_index}
    return [_said((await ledger.get(index))[1]) for index in sorted(indices)]


async def history_of(
    desk: Desk, subject: str, on_progress: Callable[[int, int], None] = lambda done, size: None
) -> list[HistoryEntry]:
    """The entries about ``subject`` (the id of a source, batch, run or receipt, or an entry's subject), those
    that led to them and those that followed.

    The whole ledger is read.  Raises: UnknownError.
    """
    entries: list[Entry] = []
    seeds: set[int] = set()
    name = subject.partition("/")[2] or subject
    while records := await desk.ledger.read(len(entries), READ_BATCH):
        for record in records:
            entry = parse_entry(record.entry)
            entries.append(entry)
            if _is_about(entry, record, subject, name):
                seeds.add(entry.index)
        on_progress(len(entries), desk.ledger.size)
    if not seeds:
        raise UnknownError(
            "nothing is recorded about this",
            field="subject",
            actual=subject[:80],
            remedy="Give the id of a source, batch, run or receipt, or an entry's subject such as run/<id>.",
        )
    chosen = _before(entries, seeds) | _after(entries, seeds)
    return [_line(entry) for entry in entries if entry.index in chosen][:ENTRIES_MAX]


def _is_about(entry: Entry, record: Record, subject: str, name: str) -> bool:
    if entry.subject == subject or entry.subject.partition("/")[2] == name:
        return True
    if name.encode() not in record.payload:
        return False
    return any(
        topic.partition("/")[2] == name
        for topic in mentions_of(decode_event(record.event_type, record.payload))
    )


def _before(entries: list[Entry], seeds: Iterable[int]) -> set[int]:
    """The seeds and everything that led to them."""
    reached: set[int] = set()
    waiting = list(seeds)
    while waiting:
        index = waiting.pop()
        if index not in reached:
            reached.add(index)
            waiting += entries[index].causation
    return reached


def _after(entries: list[Entry], seeds: Iterable[int]) -> set[int]:
    """The seeds and everything that followed from them."""
    reached = set(seeds)
    for entry in entries:
        if not reached.isdisjoint(entry.causation):
            reached.add(entry.index)
    return reached


def _line(entry: Entry) -> HistoryEntry:
    return HistoryEntry(
        index=entry.index,
        recorded_at_ns=entry.recorded_at_ns,
        event_type=entry.event_type,
        actor=entry.actor,
        subject=entry.subject,
        causation=entry.causation,
    )


def _said(recorded: Recorded) -> HistoryEntry:
    return HistoryEntry(
        index=recorded.index,
        recorded_at_ns=recorded.recorded_at_ns,
        event_type=recorded.event.TYPE,
        actor=recorded.actor,
        subject=recorded.subject,
        causation=recorded.causation,
    )
