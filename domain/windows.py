"""Windows: which slices of a recording are looked at, and the samples each channel has in one.

Windows have a fixed length and follow each other without overlap from the first instant that all channels
cover; a tail shorter than a window is in none of them, and nothing is claimed about it.  A recording
shorter than one window is one shorter window, so that it is judged rather than refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from numpy.typing import NDArray

from domain.errors import LimitError, MalformedError
from domain.metrics import WINDOWS_MAX, Window
from domain.outcomes import Reason
from domain.signal.timemarks import Timeline

# 35 minutes at 2 kHz: the delay of one such window takes about a second and 300 MB.
WINDOW_SAMPLES_MAX = 2**22
# A clock that runs 1 permille slow leaves a window that much short of its samples; that is the rate's
# fault, not a gap.
SHORTFALL_RATIO_MAX = 1e-3


class WindowSlice(Struct, frozen=True, kw_only=True, eq=False):
    """One channel in one window.

    ``present``: all samples whose time lies in the window, in time order, whatever is missing between them.
    ``whole``: the samples of the window one after the other without a break, or ``None`` with a ``reason``.
    ``first_ns``, ``last_ns``: times of the first and last sample of ``whole``, relative to the start of the
    window.
    """

    present: NDArray[Any]
    whole: NDArray[Any] | None
    reason: Reason
    first_ns: float = 0.0
    last_ns: float = 0.0


class AlignedPair(Struct, frozen=True, kw_only=True, eq=False):
    """Two channels on one grid: sample ``i`` of ``y`` was taken ``skew_seconds`` after sample ``i`` of ``x``.

    Both ``None``, with a reason, when there is no such grid.
    """

    x: NDArray[Any] | None
    y: NDArray[Any] | None
    reason: Reason
    skew_seconds: float = 0.0


def plan_windows(timelines: Sequence[Timeline], window_seconds: float) -> tuple[Window, ...]:
    """Windows of ``window_seconds`` over the time that all ``timelines`` cover.

    Work and memory go with the number of windows, never with a span that a wrong clock claims.
    Raises: MalformedError when the channels have no time in common; LimitError.
    """
    start = max(timeline.start_ns for timeline in timelines)
    end = min(timeline.end_ns for timeline in timelines)
    if end <= start:
        raise MalformedError(
            "the channels have no time in common",
            field="channels",
            expected="one recording",
            actual=f"a channel ends at {end} ns and another starts at {start} ns",
        )
    rate_hz = max(timeline.channel.sample_rate_hz for timeline in timelines)
    if window_seconds * rate_hz > WINDOW_SAMPLES_MAX:
        raise LimitError(
            "a window has too many samples",
            field="window_seconds",
            expected=f"<= {WINDOW_SAMPLES_MAX / rate_hz:g} s at {rate_hz:g} Hz",
            actual=f"{window_seconds:g} s",
        )
    window_ns = round(window_seconds * 1e9)
    # Channels sampled at the same rate may start up to half an interval apart, and then end so.
    slack_ns = round(max(timeline.interval_ns for timeline in timelines) / 2)
    count = (end - start + slack_ns) // window_ns
    if count > WINDOWS_MAX:
        raise LimitError(
            "too many windows in one run",
            field="window_seconds",
            expected=f"<= {WINDOWS_MAX} windows",
            actual=f"{count} over {(end - start) / 1e9:g} s",
            remedy="Use longer windows or several batches; a span of years points to a wrong clock.",
        )
    if count == 0:
        return (Window(start_ns=start, end_ns=end),)
    return tuple(
        Window(start_ns=start + at * window_ns, end_ns=start + (at + 1) * window_ns) for at in range(count)
    )


def slice_window(timeline: Timeline, start_ns: int, end_ns: int) -> WindowSlice:
    """The samples that a channel has in the window ``[start_ns, end_ns)``."""
    begin, end = timeline.position_at(start_ns), timeline.position_at(end_ns)
    present = timeline.samples[begin:end]
    if begin >= timeline.samples.size:
        return WindowSlice(present=present, whole=None, reason=Reason.LACK_OF_DATA_SAMPLES)
    half = timeline.interval_ns / 2
    to_window = timeline.start_ns - start_ns
    first = timeline.time_at(begin) + to_window
    if first > half:
        return WindowSlice(present=present, whole=None, reason=Reason.GAP)
    if timeline.is_covered_twice(begin):
        return WindowSlice(present=present, whole=None, reason=Reason.DUPLICATE)
    wanted = round((end_ns - start_ns) / timeline.interval_ns)
    stop, reason = timeline.next_break(begin)
    shortfall = max(1, int(wanted * SHORTFALL_RATIO_MAX))
    if wanted < 1 or stop - begin < max(wanted - shortfall, 1):
        return WindowSlice(present=present, whole=None, reason=reason)
    stop = min(stop, begin + wanted)
    return WindowSlice(
        present=present,
        whole=timeline.samples[begin:stop],
        reason=Reason.NONE,
        first_ns=first,
        last_ns=timeline.time_at(stop - 1) + to_window,
    )


def align_pair(x: WindowSlice, y: WindowSlice, interval_ns: float) -> AlignedPair:
    """Two slices of one window on a common grid.

    Misaligned when the grids slip against each other by more than half a sample from the first sample to
    the last: the phase between the channels would then mean nothing at high frequencies.
    """
    if x.whole is None or y.whole is None:
        return AlignedPair(x=None, y=None, reason=x.reason if x.whole is None else y.reason)
    count = min(x.whole.size, y.whole.size)
    skew_first = y.first_ns - x.first_ns
    skew_last = y.last_ns - x.last_ns - (y.whole.size - x.whole.size) * interval_ns
    if abs(skew_last - skew_first) > interval_ns / 2:
        return AlignedPair(x=None, y=None, reason=Reason.MISALIGNED)
    return AlignedPair(
        x=x.whole[:count],
        y=y.whole[:count],
        reason=Reason.NONE,
        skew_seconds=(skew_first + skew_last) / 2e9,
    )
