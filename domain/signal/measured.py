"""Measured: one value of one metric in one window, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

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
    if not items:
        return missing(Reason.NOT_MEASURED)
    values = [item.value for item in items]
    if None in values:
        return items[values.index(None)]
    return items[values.index(pick(cast(list[float], values)))]


def track_of(name: str, unit: str, items: Sequence[Measured]) -> MetricTrack:
    """The track of one metric, one item per window; columns that say nothing are left out."""
    values = tuple([item.value for item in items])
    guard_bands = tuple([item.guard_band for item in items])
    return MetricTrack(
        name=name,
        unit=unit,
        values=values,
        reasons=tuple([item.reason for item in items]) if None in values else (),
        guard_bands=guard_bands if any(band > 0.0 for band in guard_bands) else (),
    )
