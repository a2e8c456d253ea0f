"""Saturation: samples at the end of the range of a digitiser, or held by something before it.

Two signs are counted, and a sample that shows either is clipped:

- *rails*: at the ends of the sample type, or at the full scale of the calibration (one count inside it
  counts, as many digitisers stop there: |x| >= FS - 1 for counts, (1 - 2^-23) FS for floats);
- *plateaus*, because the amplifier may give out before the digitiser: equal samples at the highest or lowest
  value of the window, three or more of them with a steep edge, and either five or more or not the only such
  plateau at that value.

Nature makes plateaus too, and these three conditions tell them apart.  A slow smooth wave has dozens of
equal counts at its crest, but leaves them by less than three quanta in one sample (a parabola that is flat
for three samples cannot fall faster), so an edge of at least four quanta is no slow crest.  A fast crest
may be flat for three or four samples by chance; a day of three seismometers at 100 Hz did so in nine of their
minutes, never for longer and never twice at the same value.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from domain.signal.runs import Runs, longest_true

PLATEAU_SAMPLES_MIN = 3
LONE_PLATEAU_SAMPLES_MIN = 5
EDGE_QUANTA_MIN = 4
# A float full scale counts as reached one step of a 24-bit converter below it.
FLOAT_FULL_SCALE_RATIO = 1.0 - 2.0**-23
FLOAT_NOISE_RATIO = 2.0**-40


class Saturation(Struct, frozen=True, kw_only=True):
    """``clip_ratio``: share of clipped samples; ``run_max``: most clipped samples in a row."""

    clip_ratio: float
    run_max: int


def saturation_of(samples: NDArray[Any], runs: Runs, full_scale: float | None) -> Saturation:
    """Clipping of a 1-D array of at least one finite sample; ``full_scale`` is in the unit of the samples."""
    low, high = _rails(samples.dtype, full_scale)
    least, most = samples.min(), samples.max()
    # Compared as Python numbers: a count does not overflow, and a limit is not rounded to the sample type.
    is_at_rail = most.item() >= high or least.item() <= low
    clipped = (samples >= high) | (samples <= low) if is_at_rail else None
    plateaus = _plateaus(samples, runs, least, most)
    if plateaus.size:
        clipped = np.zeros(samples.size, np.bool_) if clipped is None else clipped
        for run in plateaus.tolist():
            begin = int(runs.start[run])
            clipped[begin : begin + int(runs.length[run])] = True
    if clipped is None:
        return Saturation(clip_ratio=0.0, run_max=0)
    count = int(np.count_nonzero(clipped))
    return Saturation(clip_ratio=count / samples.size, run_max=longest_true(clipped))


def _rails(dtype: np.dtype[Any], full_scale: float | None) -> tuple[float, float]:
    if dtype.kind == "i":
        # Whole numbers, because a double cannot hold the ends of int64.
        ends = np.iinfo(dtype)
        reach = int(ends.max) if full_scale is None else math.ceil(full_scale - 1.0)
        return max(int(ends.min), -reach), min(int(ends.max), reach)
    limit = float(np.finfo(dtype).max) if full_scale is None else full_scale * FLOAT_FULL_SCALE_RATIO
    return -limit, limit


def _plateaus(samples: NDArray[Any], runs: Runs, least: Any, most: Any) -> NDArray[np.int64]:
    """Positions in ``runs`` of the flat tops and bottoms that are too steep at an edge to be crests."""
    none = np.zeros(0, np.int64)
    if least == most:
        return none  # A flat line is another gate's business.
    flat = np.flatnonzero(runs.length >= PLATEAU_SAMPLES_MIN)
    level = samples[runs.start[flat]]
    candidates = flat[(level == least) | (level == most)]
    if candidates.size == 0:
        return none
    value = samples[runs.start]
    step = np.abs(np.diff(value.astype(np.float64)))
    quantum = _quantum(value)
    # Step r leads from run r into run r + 1; the first and the last run have one edge only.
    padded = np.concatenate((np.zeros(1), step, np.zeros(1)))
    edge = np.maximum(padded[candidates], padded[candidates + 1])
    steep = candidates[edge >= EDGE_QUANTA_MIN * quantum]
    is_low = value[steep] == least
    alone = np.where(is_low, np.count_nonzero(is_low), np.count_nonzero(~is_low)) == 1
    plateaus: NDArray[np.int64] = steep[~alone | (runs.length[steep] >= LONE_PLATEAU_SAMPLES_MIN)]
    return plateaus


def _quantum(values: NDArray[Any]) -> float:
    """The step of the digitiser, as far as ``values``, not all equal, tell it."""
    ordered = np.sort(values)
    if values.dtype.kind == "i":
        return float(np.gcd.reduce(ordered[1:].astype(np.int64) - ordered[0]))
    gaps = np.diff(ordered.astype(np.float64))
    # Equal counts times a factor are equal floats; what is closer than that is arithmetic.
    return float(gaps[gaps > FLOAT_NOISE_RATIO * np.abs(ordered[[0, -1]]).max()].min(initial=np.inf))
