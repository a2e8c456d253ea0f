"""Runs of equal samples: the common ground of the flat-line and the saturation measures."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray


class Runs(Struct, frozen=True, kw_only=True, eq=False):
    """Maximal runs of equal samples, in order: where each starts and how many samples it has (int64)."""

    start: NDArray[np.int64]
    length: NDArray[np.int64]


def runs_of(samples: NDArray[Any]) -> Runs:
    """The runs of a 1-D array of at least one sample.  NaN equals nothing, so each NaN is a run of its
    own."""
    is_new = np.empty(samples.size, np.bool_)
    is_new[0] = True
    np.not_equal(samples[1:], samples[:-1], out=is_new[1:])
    start = is_new.nonzero()[0]
    length = np.empty_like(start)
    np.subtract(start[1:], start[:-1], out=length[:-1])
    length[-1] = samples.size - start[-1]
    return Runs(start=start, length=length)


def longest_true(flags: NDArray[np.bool_]) -> int:
    """Length of the longest run of true values; 0 when there is none."""
    edges = np.flatnonzero(np.diff(flags.view(np.int8), prepend=0, append=0))
    return int((edges[1::2] - edges[::2]).max(initial=0))
