"""Revisions: which of two states of one record is the current one.

Providers send a record more than once: first tentative, later final, corrected by the person, deleted.
Messages overtake one another.  The order therefore comes from the record, not from arrival:

1. whatever is settled (final, corrected, deleted) outranks whatever is tentative, however late the tentative
   one arrives;
2. among the settled, and among the tentative, the provider's own time of the revision decides;
3. at the same time, the higher rank decides (deleted over corrected over final);
4. the same rank at the same time is the same revision again, and the last delivery stands, because providers
   re-send a superset (Terra: overwrite when the incoming ordering time is not smaller).

A correction that shortens a night is a newer revision like any other; the earlier one stays readable as what
was known then. A settled revision with a later provider time also follows a deletion: people do restore what
they deleted.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

from domain.errors import InvalidError
from domain.health.records import RevisionState
from domain.metrics import MetricTrack
from domain.procedures.procedure import RecordRevision

SUPERSEDED_METRIC = "revision.is_superseded"

RANK: Mapping[RevisionState, int] = {
    RevisionState.TENTATIVE: 0,
    RevisionState.FINAL: 1,
    RevisionState.CORRECTED: 2,
    RevisionState.DELETED: 3,
}


class OrderReason(enum.StrEnum):
    """Why an incoming revision is the current one, or is not."""

    FIRST = "first"
    NEWER = "newer"
    SETTLED = "settled_after_tentative"
    HIGHER_RANK = "higher_rank_at_same_time"
    SAME_AGAIN = "same_revision_again"
    TENTATIVE_LATE = "tentative_after_settled"
    OLDER = "older"
    LOWER_RANK = "lower_rank_at_same_time"


def decide_order(known: RecordRevision | None, incoming: RecordRevision) -> tuple[bool, OrderReason]:
    """Whether ``incoming`` is the current state of its record once it is known, and why.

    Raises: InvalidError when the two are revisions of different records.
    """
    if known is None:
        return True, OrderReason.FIRST
    if known.record_key != incoming.record_key:
        raise InvalidError("only revisions of one record have an order", field="record_key")
    known_settled, incoming_settled = known.rank > 0, incoming.rank > 0
    if known_settled != incoming_settled:
        return incoming_settled, OrderReason.SETTLED if incoming_settled else OrderReason.TENTATIVE_LATE
    if known.ordering_ns != incoming.ordering_ns:
        is_newer = incoming.ordering_ns > known.ordering_ns
        return is_newer, OrderReason.NEWER if is_newer else OrderReason.OLDER
    if known.rank != incoming.rank:
        is_higher = incoming.rank > known.rank
        return is_higher, OrderReason.HIGHER_RANK if is_higher else OrderReason.LOWER_RANK
    return True, OrderReason.SAME_AGAIN


def revision_metric(known: Mapping[str, RecordRevision], incoming: Sequence[RecordRevision]) -> MetricTrack:
    """``revision.is_superseded`` for a run's records: 1 where something known, or something else in the same
    run, is more current.

    ``known`` maps record keys to the current revision before this run.
    """
    current = current_after(known, incoming)
    last = {
        revision.record_key: position
        for position, revision in enumerate(incoming)
        if _is_current(revision, current)
    }
    values = tuple(
        0.0 if last.get(revision.record_key) == position else 1.0
        for position, revision in enumerate(incoming)
    )
    return MetricTrack(name=SUPERSEDED_METRIC, unit="1", values=values)


def current_after(
    known: Mapping[str, RecordRevision], incoming: Sequence[RecordRevision]
) -> dict[str, RecordRevision]:
    """The current revision of every record named in ``incoming``, after it; ``known`` is not changed."""
    current: dict[str, RecordRevision] = {}
    for revision in incoming:
        before = current.get(revision.record_key, known.get(revision.record_key))
        is_current, _ = decide_order(before, revision)
        current[revision.record_key] = revision if is_current or before is None else before
    return current


def _is_current(revision: RecordRevision, current: Mapping[str, RecordRevision]) -> bool:
    return current[revision.record_key] == revision
