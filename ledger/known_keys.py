"""Which unique keys a ledger may have: a Bloom filter in memory.

Nearly every event is new, and its key need not be looked up: a key that the filter has not seen is not in the
ledger.  One that it has seen may be there, and is looked up.  Keys are hashed as Python hashes strings, with
a secret of this process, so nobody outside can choose keys that collide; the filter is filled again whenever
the ledger is opened.

Bloom, "Space/time trade-offs in hash coding with allowable errors" (1970); two hashes make all probes
(Kirsch and Mitzenmacher 2006).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# 32 bits and 4 probes a key: one unknown key of about 5,000 is looked up in vain when a filter is full.
BITS_PER_KEY = 32
PROBES = 4
FIRST_CAPACITY = 1 << 14
# A full filter is joined by one that is so many times as large.
GROWTH = 4
# So many keys are looked for one by one: arrays cost more.
FEW = 8
_HASH_MASK = (1 << 64) - 1

_Positions = npt.NDArray[np.uint64]


class _Filter:
    """One filter of a fixed size."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.count = 0
        self._bits = np.zeros(capacity * BITS_PER_KEY // 8, np.uint8)
        self._last = capacity * BITS_PER_KEY - 1
        self._mask = np.uint64(self._last)

    def add(self, probes: _Positions) -> None:
        self.count += len(probes)
        at = probes & self._mask
        np.bitwise_or.at(self._bits, at >> np.uint64(3), _bit(at))

    def holds_bit(self, probe: int) -> bool:
        at = probe & self._last
        return bool(self._bits[at >> 3] >> (at & 7) & 1)

    def may_hold(self, probes: _Positions) -> npt.NDArray[np.bool_]:
        at = probes & self._mask
        held: npt.NDArray[np.bool_] = (self._bits[at >> np.uint64(3)] & _bit(at)).all(axis=1)
        return held


class KnownKeys:
    """A set of keys that may claim too much, and never too little."""

    def __init__(self) -> None:
        self._filters = [_Filter(FIRST_CAPACITY)]

    def add(self, keys: Sequence[str]) -> None:
        """Take these keys in."""
        if not keys:
            return
        probes = _probes(keys)
        start = 0
        while start < len(keys):
            newest = self._filters[-1]
            if newest.count >= newest.capacity:
                newest = _Filter(newest.capacity * GROWTH)
                self._filters.append(newest)
            stop = start + newest.capacity - newest.count
            newest.add(probes[start:stop])
            start = stop

    def may_hold(self, keys: Sequence[str]) -> list[str]:
        """Those of ``keys`` that may have been taken in; the others were not."""
        if len(keys) <= FEW:
            return [key for key in keys if self._may_hold(key)]
        probes = _probes(keys)
        found = self._filters[0].may_hold(probes)
        for larger in self._filters[1:]:
            found |= larger.may_hold(probes)
        return [keys[at] for at in np.flatnonzero(found).tolist()]

    def _may_hold(self, key: str) -> bool:
        hashed = hash(key) & _HASH_MASK
        step = hashed >> 32 | 1
        return any(
            all(filter_.holds_bit(hashed + number * step) for number in range(PROBES))
            for filter_ in self._filters
        )


def _probes(keys: Sequence[str]) -> _Positions:
    """A row of probes for each key, before they are cut to a filter's size."""
    hashes = np.fromiter(map(hash, keys), np.int64, len(keys)).view(np.uint64)
    step = (hashes >> np.uint64(32)) | np.uint64(1)
    return np.add(hashes[:, None], step[:, None] * np.arange(PROBES, dtype=np.uint64), dtype=np.uint64)


def _bit(at: _Positions) -> npt.NDArray[np.uint8]:
    return np.left_shift(np.uint8(1), (at & np.uint64(7)).astype(np.uint8))
