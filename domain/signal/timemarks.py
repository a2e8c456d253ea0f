"""Time marks: what they say about gaps, duplicates, order, jitter, rate and clock steps.

A *piece* is the stretch of samples from one mark to the next.  A timeline is the pieces of a channel sorted
by time. Where a piece does not begin where the ones before it ended, to within half a sample interval, the
timeline has a *break*: a *gap* if it begins later (the step between samples is more than 1.5 intervals), an
*overlap* if earlier.

Marks alone cannot tell a clock set forward from lost samples, nor a clock set back from a stretch sent
twice; the first is counted as a gap, the second as both duplicates and a clock step.  A stretch that
arrives late but fits into its place is out of order and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from domain.dataset import Channel
from domain.errors import MalformedError
from domain.outcomes import Reason
from domain.quantise import quantise_score, quantise_seconds
from domain.signal.measured import Measured, missing
from domain.signal.quantiles import median, nearest_rank

# Below 5 ms, and below ten times the usual scatter, a mark off its place is jitter rather than a step of
# the clock.
STEP_SECONDS_MIN = 0.005
STEP_SCATTERS_MIN = 10.0
# Two marks always lie on a line; with fewer than three there is no jitter to see.
JITTER_MARKS_MIN = 3
RATE_MARKS_MIN = 2


class Timeline(Struct, frozen=True, kw_only=True, eq=False):
    """The pieces of a channel, ascending in time; arrays have one element per piece unless said otherwise.

    ``samples``: all samples in time order (the channel's own array unless something arrived out of order).
    ``time_ns``: time of the piece's first sample.  ``position``: its index in ``samples``, with the number
    of samples appended (one more element).  ``deviation_ns``: begin of the piece minus the end of
    everything before it; 0 first.
    ``slot``: position on the nominal grid.  ``phase_ns``: time minus ``slot`` intervals, gaps taken out,
    first 0.
    ``gaps_ns``: shape (g, 2), begin and end of each gap.  ``breaks``: pieces that follow a gap or an overlap.
    ``overlap_samples``: how many samples of the piece lie before the end of what came before.
    ``backward_ns``: times of the pieces that were recorded after a later one, ascending.
    """

    channel: Channel
    interval_ns: float
    samples: NDArray[Any]
    time_ns: NDArray[np.int64]
    position: NDArray[np.int64]
    covered_ns: NDArray[np.int64]
    deviation_ns: NDArray[np.float64]
    slot: NDArray[np.int64]
    phase_ns: NDArray[np.float64]
    timing_quality_percent: NDArray[np.float64]
    gaps_ns: NDArray[np.int64]
    breaks: NDArray[np.int64]
    overlap_samples: NDArray[np.int64]
    backward_ns: NDArray[np.int64]
    start_ns: int
    end_ns: int
    """One interval after the last sample."""

    @property
    def gap_count(self) -> int:
        """How many gaps the channel has."""
        return int(self.gaps_ns.shape[0])

    def position_at(self, time_ns: int) -> int:
        """Index in ``samples`` of the first one that lies at ``time_ns`` or later, half an interval early
        allowed."""
        # In integers: a Unix time in nanoseconds has more digits than a double.
        early = time_ns - math.floor(self.interval_ns / 2)
        piece = int(self.time_ns.searchsorted(early)) - 1
        if piece < 0:
            return 0
        steps = math.ceil((early - int(self.time_ns[piece])) / self.interval_ns)
        begin, end = int(self.position[piece]), int(self.position[piece + 1])
        return min(begin + steps, end)

    def time_at(self, position: int) -> float:
        """Time of a sample relative to ``start_ns``, nanoseconds."""
        piece = int(self.position.searchsorted(position, "right")) - 1
        steps = position - int(self.position[piece])
        return (int(self.time_ns[piece]) - self.start_ns) + steps * self.interval_ns

    def is_covered_twice(self, position: int) -> bool:
        """Whether samples in pieces before that of the one at ``position`` lie at its time or later."""
        piece = int(self.position.searchsorted(position, "right")) - 1
        return int(self.covered_ns[piece]) - self.start_ns > self.time_at(position) + self.interval_ns / 2

    def next_break(self, position: int) -> tuple[int, Reason]:
        """Where the unbroken stretch that holds the sample at ``position`` ends, and what ends it."""
        piece = int(self.position.searchsorted(position, "right")) - 1
        at = int(self.breaks.searchsorted(piece, "right"))
        if at == self.breaks.size:
            return self.samples.size, Reason.LACK_OF_DATA_SAMPLES
        broken = int(self.breaks[at])
        reason = Reason.GAP if self.deviation_ns[broken] > 0 else Reason.DUPLICATE
        return int(self.position[broken]), reason


class SamplingQuality(Struct, frozen=True, kw_only=True):
    """What the marks say of one channel in one window."""

    gap_ratio: Measured
    duplicate_count: Measured
    out_of_order_count: Measured
    jitter_p99_ratio: Measured
    rate_error_ppm: Measured
    step_seconds: Measured


def timelines_of(channels: Sequence[Channel]) -> tuple[Timeline, ...]:
    """Timelines of channels; marks that one has in common with the channel before it, as those of one
    digitiser have, are sorted out once.

    Raises: MalformedError when a channel has no samples.
    """
    timelines: list[Timeline] = []
    for channel in channels:
        if timelines and _has_marks_of(timelines[-1], channel):
            shared = replace(
                timelines[-1],
                channel=channel,
                samples=channel.samples,
                timing_quality_percent=channel.timing_quality_percent,
            )
            timelines.append(shared)
        else:
            timelines.append(timeline_of(channel))
    return tuple(timelines)


def timeline_of(channel: Channel) -> Timeline:
    """Sort out the marks of a channel, in time proportional to their number.

    Raises: MalformedError when the channel has no samples.
    """
    if channel.samples.size == 0:
        raise MalformedError(
            "the channel has no samples", field=f"channels[{channel.name}]", expected="at least 1"
        )
    interval = channel.interval_ns
    index, time = channel.marks[:, 0], channel.marks[:, 1]
    quality = channel.timing_quality_percent
    count = np.concatenate((index[1:], (channel.samples.size,))) - index
    backward = _backward(time, count, interval)
    samples = channel.samples
    if time.size > 1 and bool(np.any(time[1:] < time[:-1])):
        order = np.argsort(time, kind="stable")
        index, time, quality, count = index[order], time[order], quality[order], count[order]
        samples = _reordered(samples, index, count)
    position = np.concatenate((np.zeros(1, np.int64), np.cumsum(count)))

    end = time + np.rint(count * interval).astype(np.int64)
    reached = np.maximum.accumulate(end)
    covered = np.concatenate((time[:1], reached[:-1]))
    deviation = (time - covered).astype(np.float64)
    is_gap = deviation > interval / 2
    is_overlap = deviation < -interval / 2
    at = np.flatnonzero(is_gap)
    gaps = np.empty((at.size, 2), np.int64)
    gaps[:, 0], gaps[:, 1] = covered[at], time[at]
    overlap = np.zeros(time.size, np.int64)
    overlap[is_overlap] = np.minimum(np.rint(-deviation[is_overlap] / interval), count[is_overlap])

    # Whole missing or repeated intervals move the slot; what is left of them stays in the phase.
    step = time[1:] - time[:-1] - count[:-1] * interval
    slot = np.zeros(time.size, np.int64)
    slot[1:] = np.cumsum(count[:-1] + np.rint(step / interval).astype(np.int64))
    phase = (time - time[0]) - slot * interval
    return Timeline(
        channel=channel,
        interval_ns=interval,
        samples=samples,
        time_ns=time,
        position=position,
        covered_ns=covered,
        deviation_ns=deviation,
        slot=slot,
        phase_ns=phase,
        timing_quality_percent=quality,
        gaps_ns=gaps,
        breaks=np.flatnonzero(is_gap | is_overlap),
        overlap_samples=overlap,
        backward_ns=backward,
        start_ns=int(time[0]),
        end_ns=int(reached[-1]),
    )


def sampling_quality(timeline: Timeline, window: tuple[int, int]) -> SamplingQuality:
    """Sampling metrics of one channel in the window ``[start_ns, end_ns)``.

    Duplicates are counted in the window in which the repeated stretch begins, steps back in the window of
    the mark that made them.  Rate and jitter also look at the nearest mark on either side, because records
    may be longer than windows.
    """
    start, end = window
    first, last = int(timeline.time_ns.searchsorted(start)), int(timeline.time_ns.searchsorted(end))
    backward = timeline.backward_ns.searchsorted(end) - timeline.backward_ns.searchsorted(start)
    jitter, rate = _jitter_and_rate(timeline, max(first - 1, 0), last + 1)
    return SamplingQuality(
        gap_ratio=Measured(quantise_score(_gap_ns(timeline, start, end) / (end - start))),
        duplicate_count=Measured(float(timeline.overlap_samples[first:last].sum(dtype=np.int64))),
        out_of_order_count=Measured(float(backward)),
        jitter_p99_ratio=jitter,
        rate_error_ppm=rate,
        step_seconds=_step(timeline, max(first, 1), last),
    )


def timing_quality(timeline: Timeline, window: tuple[int, int]) -> Measured:
    """The lowest timing quality, per cent, that any record reaching into the window states.

    Missing when one of them is silent: what is not known is not good.
    """
    start, end = window
    first = int(timeline.time_ns.searchsorted(start, "right")) - 1
    last = int(timeline.time_ns.searchsorted(end))
    stated = timeline.timing_quality_percent[max(first, 0) : last]
    if stated.size == 0 or bool(np.isnan(stated).any()):
        return missing(Reason.CLOCK_QUALITY_UNKNOWN)
    return Measured(quantise_score(float(stated.min())))


def _has_marks_of(timeline: Timeline, channel: Channel) -> bool:
    """Whether a channel was recorded at the times of a timeline in which nothing is reordered."""
    other = timeline.channel
    return (
        timeline.samples is other.samples
        and channel.samples.size == other.samples.size
        and channel.sample_rate_hz == other.sample_rate_hz
        and np.array_equal(channel.marks, other.marks)
    )


def _backward(time: NDArray[np.int64], count: NDArray[np.int64], interval: float) -> NDArray[np.int64]:
    """Times of marks that lie more than half an interval before the sample recorded just before them,
    sorted."""
    since_last = time[1:] - time[:-1] - (count[:-1] - 1) * interval
    return np.sort(time[1:][since_last < -interval / 2])


def _reordered(samples: NDArray[Any], index: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[Any]:
    begin = np.cumsum(count) - count
    return samples[np.repeat(index - begin, count) + np.arange(samples.size)]


def _gap_ns(timeline: Timeline, start: int, end: int) -> float:
    """Time in the window that no sample covers; a missing half interval at either end is the grid's own
    phase."""
    inside = 0
    if timeline.gap_count:
        first = int(timeline.gaps_ns[:, 1].searchsorted(start, "right"))
        last = int(timeline.gaps_ns[:, 0].searchsorted(end))
        gaps = timeline.gaps_ns[first:last]
        inside = int((np.minimum(gaps[:, 1], end) - np.maximum(gaps[:, 0], start)).sum(dtype=np.int64))
    edges = max(0, timeline.start_ns - start), max(0, end - timeline.end_ns)
    return float(inside + sum(edge for edge in edges if edge > timeline.interval_ns / 2))


def _jitter_and_rate(timeline: Timeline, first: int, last: int) -> tuple[Measured, Measured]:
    """p99 of the distance of marks from an even grid, in intervals, and how far that grid's rate is off, in
    ppm.

    The slope is the median over pairs of marks half the window apart (a cheap relative of Theil-Sen that
    stands a quarter of the pairs being wrong), the offset the median of what is left.
    """
    slot, phase = timeline.slot[first:last], timeline.phase_ns[first:last]
    half = slot.size // 2
    run = slot[half:] - slot[: slot.size - half]
    is_forward = run > 0
    if slot.size < RATE_MARKS_MIN or not bool(is_forward.any()):
        return missing(Reason.NOT_MEASURED), missing(Reason.NOT_MEASURED)
    rise = phase[half:] - phase[: phase.size - half]
    slope = median(rise[is_forward] / run[is_forward])
    rate = Measured(quantise_score(abs(slope / (timeline.interval_ns + slope)) * 1e6))
    if slot.size < JITTER_MARKS_MIN:
        return missing(Reason.NOT_MEASURED), rate
    residual = phase - slope * (slot - slot[0])
    spread = np.abs(residual - median(residual))
    return Measured(quantise_score(nearest_rank(spread, 0.99) / timeline.interval_ns)), rate


def _step(timeline: Timeline, first: int, last: int) -> Measured:
    """The largest step of the clock between marks, seconds; 0 where every mark is where jitter may put it.

    A gap is no step, nor is one sample that was sent twice.
    """
    deviation, interval = timeline.deviation_ns[first:last], timeline.interval_ns
    distance = np.abs(deviation)
    if distance.max(initial=0.0) <= STEP_SECONDS_MIN * 1e9:
        return Measured(0.0)  # Whatever the scatter, the limit is not below this.
    within = deviation[distance <= interval / 2]
    scatter = median(np.abs(within - median(within))) if within.size else 0.0
    limit = max(STEP_SCATTERS_MIN * scatter, STEP_SECONDS_MIN * 1e9)
    is_step = (distance > limit) & ((deviation < -1.5 * interval) | (distance <= interval / 2))
    return Measured(quantise_seconds(float(distance[is_step].max(initial=0.0)) / 1e9))
