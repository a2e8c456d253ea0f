"""Steim-1 and Steim-2 decompression (SEED 2.4 manual, appendix B), many records at once.

Data come in frames of 64 bytes: 16 big- or little-endian words, of which word 0 holds sixteen 2-bit codes,
one per word.  A code, for Steim-2 together with the top two bits of the word it describes, says how the word
is divided into signed differences:

    code   Steim-1       Steim-2, top bits 00      01           10           11
    00     no samples    no samples
    01     4 × 8 bits    4 × 8 bits (no top bits)
    10     2 × 16 bits   refused                   1 × 30 bits  2 × 15 bits  3 × 10 bits
    11     1 × 32 bits   5 × 6 bits                6 × 5 bits   7 × 4 bits   refused

The first difference is the topmost.  In little-endian data that is so within words of 30 and 28 used bits,
while differences of whole bytes and halves stand in the order in which they are stored, each in itself
little-endian: the manual is silent, and this is how libmseed, and with it nearly every file there is, reads
them.

In the first frame word 1 is the first sample and word 2 the last.  Samples are the running sum of the
differences, in 32-bit arithmetic that wraps; the first difference leads from the record before, so the first
sample stands in for it. The sum has to arrive at the last sample: that is the format's own proof that nothing
was lost, and it is checked.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from domain.errors import MalformedError

FRAME_BYTES = 64
WORDS_PER_FRAME = 16
# Seven 4-bit differences in each of fifteen words: no frame can hold more.
DIFFERENCES_PER_FRAME_MAX = 7 * 15

# (differences, bits of each) by 4 × code + top bits; `None` has no meaning.
_Layouts: TypeAlias = list[tuple[int, int] | None]
_STEIM1: _Layouts = [*[(0, 0)] * 4, *[(4, 8)] * 4, *[(2, 16)] * 4, *[(1, 32)] * 4]
_STEIM2: _Layouts = [
    *[(0, 0)] * 4,
    *[(4, 8)] * 4,
    *[None, (1, 30), (2, 15), (3, 10)],
    *[(5, 6), (6, 5), (7, 4), None],
]
_LAYOUTS = {1: _STEIM1, 2: _STEIM2}


class SteimError(MalformedError):
    """A record that does not decompress; ``record`` is its position among those given."""

    def __init__(self, what: str, record: int, *, expected: str, actual: str) -> None:
        super().__init__(what, field=f"records[{record}]", expected=expected, actual=actual)
        self.record = record


def decode_steim(
    frames: NDArray[np.uint32],
    sample_counts: NDArray[np.int64],
    *,
    version: int,
    is_little_endian: bool = False,
) -> NDArray[np.int32]:
    """Samples of all records, one after the other.

    ``frames``: shape (records, frames, 16), machine byte order.  In little-endian data they
    have been swapped to it, which ``is_little_endian`` tells.  ``sample_counts``: shape (records,), each at
    least 1, as the headers claim.  ``version``: 1 or 2.
    Raises: SteimError naming the first bad record.
    """
    layouts = _LAYOUTS[version]
    record_count, frame_count, _ = frames.shape
    words = frames.reshape(record_count, frame_count * WORDS_PER_FRAME)
    keys = _keys(frames, version).reshape(record_count, -1)

    table = np.array([0 if layout is None else layout[0] for layout in layouts], dtype=np.int64)
    counts = table[keys]
    ends = np.cumsum(counts, axis=1)
    available = ends[:, -1]
    if version == 2:
        meaningless = np.isin(keys, [key for key, layout in enumerate(layouts) if layout is None])
        reached: NDArray[np.bool_] = np.any(meaningless & (ends < sample_counts[:, None]), axis=1)
        _refuse(reached, "a word is divided in no way that Steim-2 knows")
    _refuse(available < sample_counts, "fewer samples than the header claims", sample_counts, available)

    divided = words.reshape(-1)
    if is_little_endian:
        divided = _in_stored_order(divided, keys.reshape(-1), layouts)
    differences = _differences(divided, keys.reshape(-1), counts.reshape(-1), layouts)
    if not np.array_equal(available, sample_counts):
        # Padding after the last sample decodes to differences too; they mean nothing.
        position = np.arange(differences.size) - np.repeat(np.cumsum(available) - available, available)
        differences = differences[position < np.repeat(sample_counts, available)]

    stops = np.cumsum(sample_counts)
    starts = stops - sample_counts
    first, last = words[:, 1].view(np.int32), words[:, 2].view(np.int32)
    # Wrapping sums commute, so one running sum over everything can be shifted record by record.
    differences[starts] = first
    sums = np.cumsum(differences, dtype=np.int32)
    before = np.zeros(record_count, dtype=np.int32)
    before[1:] = sums[starts[1:] - 1]
    samples = sums - np.repeat(before, sample_counts)
    _refuse(
        samples[stops - 1] != last, "differences do not add up to the last sample", last, samples[stops - 1]
    )
    return samples


def _keys(frames: NDArray[np.uint32], version: int) -> NDArray[np.uint8]:
    """4 × code + top bits of every word; 0 for those that hold no differences."""
    shifts = np.arange(30, -2, -2, dtype=np.uint32)
    codes = ((frames[:, :, :1] >> shifts) & 3).astype(np.uint8)
    codes[:, :, 0] = 0
    codes[:, :1, 1:3] = 0
    keys: NDArray[np.uint8] = np.left_shift(codes, 2, dtype=np.uint8)
    if version == 2:
        # Only codes 10 and 11 have top bits; the others' bits belong to a difference.
        top = (frames >> 30).astype(np.uint8)
        keys |= np.where(codes >= 2, top, 0).astype(np.uint8)
    return keys


def _in_stored_order(
    words: NDArray[np.uint32], keys: NDArray[np.uint8], layouts: _Layouts
) -> NDArray[np.uint32]:
    """Little-endian words with their whole bytes and halves moved to where a big-endian word has them."""
    words = words.copy()
    bytes_key, halves_key = layouts.index((4, 8)), layouts.index((2, 16)) if (2, 16) in layouts else -1
    of_bytes = keys >> 2 == bytes_key >> 2
    words[of_bytes] = words[of_bytes].byteswap()
    if halves_key >= 0:
        of_halves = keys >> 2 == halves_key >> 2
        words[of_halves] = (words[of_halves] << np.uint32(16)) | (words[of_halves] >> np.uint32(16))
    return words


def _differences(
    words: NDArray[np.uint32],
    keys: NDArray[np.uint8],
    counts: NDArray[np.int64],
    layouts: _Layouts,
) -> NDArray[np.int32]:
    offsets = np.cumsum(counts) - counts
    differences = np.empty(int(counts.sum()), dtype=np.int32)
    kinds: dict[tuple[int, int], list[int]] = {}
    for key, layout in enumerate(layouts):
        if layout is not None and layout[0]:
            kinds.setdefault(layout, []).append(key)
    for (count, bits), of_kind in kinds.items():
        where = np.flatnonzero((keys >= of_kind[0]) & (keys <= of_kind[-1]))
        chosen, target = words[where], offsets[where]
        for position in range(count):
            # To the top of the word, and back with the sign.
            raised = chosen << np.uint32(32 - bits * (count - position))
            differences[target + position] = raised.view(np.int32) >> np.int32(32 - bits)
    return differences


def _refuse(
    bad: NDArray[np.bool_],
    what: str,
    expected: NDArray[Any] | None = None,
    actual: NDArray[Any] | None = None,
) -> None:
    if bad.any():
        record = int(np.argmax(bad))
        raise SteimError(
            what,
            record,
            expected="" if expected is None else str(int(expected[record])),
            actual="" if actual is None else str(int(actual[record])),
        )
