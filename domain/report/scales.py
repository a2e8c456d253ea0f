"""Scales: from numbers to shares of an axis, and the ticks a person reads them by."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from msgspec import Struct

from domain.report.model import Axis, Numbers
from domain.report.wording import SUPERSCRIPTS, clock_time, day, number

TICKS_MAX = 7
# Shares are rounded before they are cut into pixels: the last bits of a logarithm differ between processors.
SHARE_DECIMALS = 9
_TIME_STEPS_S = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1_800,
    3_600,
    7_200,
    10_800,
    21_600,
    43_200,
    86_400,
)


class Tick(Struct, frozen=True):
    share: float
    label: str


class Scale(Struct, frozen=True, kw_only=True):
    """An axis with its ends; ``low`` < ``high``, in the numbers of the axis (logarithms for a log axis)."""

    kind: Literal["linear", "log", "time"]
    low: float
    high: float

    def shares(self, values: Numbers) -> Numbers:
        """Where ``values`` lie, 0 at the low end and 1 at the high one; NaN where the axis has no place for
        them.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            placed = np.log10(np.where(values > 0, values, np.nan)) if self.kind == "log" else values
            shares: Numbers = np.round((placed - self.low) / (self.high - self.low), SHARE_DECIMALS)
        return np.where(np.isfinite(shares), shares, np.nan)

    def ticks(self) -> tuple[Tick, ...]:
        """At most ``TICKS_MAX`` round numbers, ascending."""
        match self.kind:
            case "linear":
                return self._at(_linear_ticks(self.low, self.high))
            case "log":
                return self._at(_log_ticks(self.low, self.high))
            case "time":
                return self._at(_time_ticks(self.low, self.high))

    def _at(self, ticks: list[tuple[float, str]]) -> tuple[Tick, ...]:
        span = self.high - self.low
        placed = (Tick(round((value - self.low) / span, SHARE_DECIMALS), label) for value, label in ticks)
        return tuple(tick for tick in placed if -1e-9 <= tick.share <= 1 + 1e-9)[: 2 * TICKS_MAX]


def scale_of(axis: Axis, values: list[Numbers], *, has_room: bool) -> Scale:
    """The scale that shows all ``values``, or those between the ends that the axis fixes.

    ``has_room`` leaves a little space beyond the lowest and the highest.
    """
    joined = np.concatenate([*values, np.zeros(0)])
    joined = joined[np.isfinite(joined) & ((joined > 0) | (axis.scale != "log"))]
    low, high = (float(joined.min()), float(joined.max())) if joined.size else (1.0, 10.0)
    low = low if axis.low is None else axis.low
    high = high if axis.high is None else axis.high
    if axis.scale == "log":
        low, high = (math.log10(end) if end > 0 else -12.0 for end in (low, high))
    if not low < high:
        room = max(abs(low) * 0.05, 1e-9) if axis.scale != "log" else 0.5
        low, high = low - room, low + room
    elif has_room:
        room = (high - low) * 0.05
        low = low - room if axis.low is None else low
        high = high + room if axis.high is None else high
    if not math.isfinite(high - low):
        low, high = -1.0, 1.0
    return Scale(kind=axis.scale, low=low, high=high)


def _linear_ticks(low: float, high: float) -> list[tuple[float, str]]:
    rough = (high - low) / (TICKS_MAX - 2)
    if not rough > 0:
        return []
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next((size * magnitude for size in (1.0, 2.0, 5.0) if size * magnitude >= rough), 10.0 * magnitude)
    first, last = math.ceil(low / step), math.floor(high / step)
    if last - first > 2 * TICKS_MAX:
        return []
    return [
        (index * step, number(round(index * step, 12) if step > 1e-9 else index * step))
        for index in range(first, last + 1)
    ]


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    if last - first < 1:
        values = [size * 10.0**decade for decade in range(math.floor(low), last + 1) for size in (1, 2, 5)]
        return [(math.log10(value), number(value)) for value in values if value > 0]
    stride = -(-(last - first + 1) // TICKS_MAX)
    decades = range(first + (-first) % stride, last + 1, stride)
    return [(float(decade), _power(decade)) for decade in decades]


def _power(decade: int) -> str:
    return number(10.0**decade) if -3 <= decade <= 3 else f"10{str(decade).translate(SUPERSCRIPTS)}"


def _time_ticks(low: float, high: float) -> list[tuple[float, str]]:
    seconds = (high - low) / 1e9
    days = [86_400 * size for size in (2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000, 100_000)]
    step = next((size for size in (*_TIME_STEPS_S, *days) if seconds / size <= TICKS_MAX - 1), None)
    if step is None:
        return []
    step_ns = step * 1_000_000_000
    start, end = math.ceil(low), math.floor(high)
    marks = range(-(-start // step_ns) * step_ns, end + 1, step_ns)
    if step >= 86_400:
        return [(float(mark), day(mark)) for mark in marks]
    return [(float(mark), clock_time(mark)[: 8 if step < 60 else 5]) for mark in marks]
