"""Clock offset and drift of a device from pairs of its own time and the time a server received it.

What a server sees is ``y = t_server - t_device = offset + drift * t + queueing`` with queueing never below
zero.  The line under all points that lies closest to them is therefore the clock, and is an edge of the
lower convex hull (Moon, Skelly and Towsley 1999, doi 10.1109/infcom.1999.749287).  On an hour of pairs with
20 ms of exponential delay and bursts it is two orders better than least squares.  A step of the clock or
one early packet breaks it; so the pairs are first cut at steps, and a slope found another way is given
beside it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from domain.errors import InvalidError, LimitError
from domain.quantise import quantise_score, quantise_seconds
from domain.signal.quantiles import median, nearest_rank

PAIRS_MIN = 8
# A day of one pair per second; the hull is found in one pass.
PAIRS_MAX = 100_000
STEP_SECONDS_MIN = 0.005
STEP_SCATTERS_MIN = 10.0
# Steps are looked for between the least delays of blocks, because one delayed packet is not a step.
BLOCK_PAIRS_MIN = 16
BLOCKS_MAX = 64


class ClockFit(Struct, frozen=True, kw_only=True):
    """The device's clock against the server's, over the longest stretch without a step.

    ``offset_seconds``: server minus device at the stretch's first pair, the least network delay included.
    ``drift_ppm``: positive when the device's clock is slow.  ``check_ppm``: the same by the median of
    slopes between least delays; more than 5 ppm apart means that the hull rests on a stray packet.
    ``residual_p50_seconds``, ``residual_p95_seconds``: delay above the line.
    ``step_count``, ``step_seconds_max``: steps found, absolute size of the largest.
    """

    pair_count: int
    offset_seconds: float
    drift_ppm: float
    check_ppm: float
    residual_p50_seconds: float
    residual_p95_seconds: float
    step_count: int
    step_seconds_max: float


def fit_clock(device_ns: NDArray[np.int64], server_ns: NDArray[np.int64]) -> ClockFit:
    """Fit pairs of Unix nanoseconds, 1-D arrays of equal length, in any order.

    Raises: InvalidError with fewer than ``PAIRS_MIN`` pairs or all at one time; LimitError.
    """
    if device_ns.shape != server_ns.shape or device_ns.ndim != 1 or device_ns.size < PAIRS_MIN:
        raise InvalidError(
            "too few pairs of times", field="pairs", expected=f">= {PAIRS_MIN}", actual=str(device_ns.shape)
        )
    if device_ns.size > PAIRS_MAX:
        raise LimitError(
            "too many pairs of times", field="pairs", expected=f"<= {PAIRS_MAX}", actual=str(device_ns.size)
        )
    # Along the server's time, which does not step.  Relative to the first pair, so that doubles keep
    # nanoseconds.
    order = np.argsort(server_ns, kind="stable")
    base = int(server_ns[order[0]])
    first = base - int(device_ns[order[0]])
    time = (server_ns[order] - base) / 1e9
    delay = (server_ns[order] - device_ns[order] - first) / 1e9
    if time[-1] <= 0.0:
        raise InvalidError("all pairs are at one time", field="pairs", expected="a span of time")
    stretches, before, after = _stretches(time, delay)
    begin, end = max(stretches, key=lambda stretch: stretch[1] - stretch[0])
    slope, level = _hull_line(time[begin:end], delay[begin:end])
    residual = delay[begin:end] - (level + slope * time[begin:end])
    check = _check_slope(time[begin:end], delay[begin:end])
    steps = np.abs(delay[after] - delay[before] - slope * (time[after] - time[before]))
    return ClockFit(
        pair_count=time.size,
        offset_seconds=quantise_seconds(first / 1e9 + level + slope * float(time[begin])),
        # Per second of the device: seen along the other clock, a slope s is s / (1 - s).
        drift_ppm=quantise_score(slope / (1.0 - slope) * 1e6),
        check_ppm=quantise_score(check / (1.0 - check) * 1e6),
        residual_p50_seconds=quantise_seconds(nearest_rank(residual, 0.5)),
        residual_p95_seconds=quantise_seconds(nearest_rank(residual, 0.95)),
        step_count=steps.size,
        step_seconds_max=quantise_seconds(float(steps.max(initial=0.0))),
    )


def _hull_line(time: NDArray[np.float64], delay: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and level of the line below all points with the least sum of distances to them."""
    hull: list[tuple[float, float]] = []
    for t, y in zip(time.tolist(), delay.tolist(), strict=True):
        if hull and hull[-1][0] == t:
            if y >= hull[-1][1]:
                continue
            hull.pop()
        while len(hull) > 1:
            (t0, y0), (t1, y1) = hull[-2], hull[-1]
            if (t1 - t0) * (y - y0) - (y1 - y0) * (t - t0) > 0.0:
                break
            hull.pop()
        hull.append((t, y))
    if len(hull) == 1:
        return 0.0, hull[0][1]
    # The edge over the mean of the times: there, raising one end and lowering the other costs what it gains.
    middle = float(np.cumsum(time)[-1]) / time.size
    edge = next(at for at in range(1, len(hull)) if hull[at][0] >= middle or at == len(hull) - 1)
    (t0, y0), (t1, y1) = hull[edge - 1], hull[edge]
    slope = (y1 - y0) / (t1 - t0)
    return slope, y0 - slope * t0


def _block_starts(count: int) -> NDArray[np.int64]:
    """Where blocks of about equal size begin, and where the last one ends."""
    blocks = max(min(BLOCKS_MAX, count // BLOCK_PAIRS_MIN), 1)
    return np.arange(blocks + 1, dtype=np.int64) * count // blocks


def _least_delays(delay: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position of the least delay of each block."""
    bounds = starts.tolist()
    return np.array([at + int(np.argmin(delay[at:to])) for at, to in pairwise(bounds)])


def _check_slope(time: NDArray[np.float64], delay: NDArray[np.float64]) -> float:
    """Median slope between the least delays of blocks that lie half the span apart."""
    least = _least_delays(delay, _block_starts(time.size))
    if least.size < 2:
        least = np.array([0, time.size - 1])
    half = least.size // 2
    run = time[least[half:]] - time[least[: least.size - half]]
    rise = delay[least[half:]] - delay[least[: least.size - half]]
    is_forward = run > 0.0
    return median(rise[is_forward] / run[is_forward]) if bool(is_forward.any()) else 0.0


def _stretches(
    time: NDArray[np.float64], delay: NDArray[np.float64]
) -> tuple[list[tuple[int, int]], NDArray[np.int64], NDArray[np.int64]]:
    """Stretches of pairs without a step, begin and end; positions of the least delays before and after each
    step.

    The two blocks that a step lies in or between belong to neither side.
    """
    starts = _block_starts(time.size)
    least = _least_delays(delay, starts)
    whole = [(0, time.size)]
    if least.size < 3:
        return whole, least[:0], least[:0]
    level = delay[least] - _check_slope(time, delay) * time[least]
    # The median of three neighbours: a step stays as sharp as it is, one block of late packets goes.
    level = np.sort(
        np.stack((level[[0, *range(level.size - 1)]], level, level[[*range(1, level.size), -1]])), axis=0
    )[1]
    change = np.diff(level)
    # A step tilts the slope as well, by the same amount in every block.
    change -= median(change)
    limit = max(STEP_SCATTERS_MIN * median(np.abs(change)), STEP_SECONDS_MIN)
    at = np.flatnonzero(np.abs(change) > limit)
    edges = [0, *(int(starts[block + side]) for block in at.tolist() for side in (0, 2)), time.size]
    stretches = [
        (begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=True) if end - begin >= PAIRS_MIN
    ]
    return stretches or whole, least[at], least[at + 1]
