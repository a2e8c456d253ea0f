"""Freshness: how old a record was when it arrived.

An exact age beside the time of receipt, which the ledger holds in clear, would give away the minute in which
a person woke. The age is therefore rounded up to whole days.
"""

from __future__ import annotations

from domain.health.instants import DAY_SECONDS, SECOND_NS
from domain.outcomes import Reason

AGE_METRIC = "freshness.age_seconds"


def age_seconds(end_ns: int | None, received_at_ns: int) -> tuple[float | None, Reason]:
    """Seconds from the record's end to its arrival, rounded up to whole days; 0 for a record that ends after
    it arrived (that is for plausibility to judge).  ``None`` with its reason when either instant is unknown.
    """
    if end_ns is None or received_at_ns <= 0:
        return None, Reason.NOT_MEASURED
    age_ns = max(0, received_at_ns - end_ns)
    return float(-(-age_ns // (DAY_SECONDS * SECOND_NS)) * DAY_SECONDS), Reason.NONE
