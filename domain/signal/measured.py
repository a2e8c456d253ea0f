"""Measured: one value of one metric in one window, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from domain.metrics import MetricTrack
from domain.outcomes import Reason


class Measured(Struct, frozen=True):
    """A quantised value, or ``None`` with a reason; ``guard_band`` is the half-width of its own
    uncertainty."""

    value: float | None
    reason: Reason = Reason.NONE
    guard_band: float = 0.0


def missing(reason: Reason) -> Measured:
    """A value that could not be measured."""
    return Measured(None, reason)


def worst_of(pick: Callable[[Sequence[float]], float], items: Sequence[Measured]) -> Measured:
    """The worst of several channels, ``pick`` being ``max`` or ``min``; a missing one is worse than any
    value."""
    values: list[float] = []
    for item in items:
        if item.value is None:
            return item
        values.append(item.value)
    return items[values.index(pick(values))] if values else missing(Reason.NOT_MEASURED)


def track_of(name: str, unit: str, items: Sequence[Measured]) -> MetricTrack:
    """The track of one metric, one item per window; columns that say nothing are left out."""
    is_missing = any(item.value is None for item in items)
    is_guarded = any(item.guard_band > 0.0 for item in items)
    return MetricTrack(
        name=name,
        unit=unit,
        values=tuple(item.value for item in items),
        reasons=tuple(item.reason for item in items) if is_missing else (),
        guard_bands=tuple(item.guard_band for item in items) if is_guarded else (),
    )
