"""A recorder that writes miniSEED 2, for tests: it can do all that the reader reads, and be told to lie."""

from __future__ import annotations

import datetime
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEIM1, STEIM2 = 10, 11
# What a word can hold, most samples first: (differences, bits, code, top bits or None).
_STEIM1_WORDS = [(4, 8, 1, None), (2, 16, 2, None), (1, 32, 3, None)]
_STEIM2_WORDS = [
    (7, 4, 3, 2),
    (6, 5, 3, 1),
    (5, 6, 3, 0),
    (4, 8, 1, None),
    (3, 10, 2, 3),
    (2, 15, 2, 2),
    (1, 30, 2, 1),
]
_PLAIN = {1: "i2", 3: "i4", 4: "f4", 5: "f8"}


def write_miniseed(
    samples: NDArray[Any] | Sequence[int],
    *,
    start_ns: int = 0,
    sample_rate_hz: float = 100.0,
    source: tuple[str, str, str, str] = ("XX", "STA", "", "HHZ"),
    encoding: int = STEIM2,
    record_bytes: int = 512,
    record_samples_max: int = 65_535,
    **header: Any,
) -> bytes:
    """A file of as many records as it takes, each filled to the brim or to ``record_samples_max``."""
    samples = np.asarray(samples)
    data, done, previous = b"", 0, None
    while done < samples.size:
        rest = samples[done : done + record_samples_max]
        at = start_ns + (round(done * 1e9 / sample_rate_hz) if done else 0)
        record, count = write_record(
            rest,
            previous=previous,
            start_ns=at,
            sample_rate_hz=sample_rate_hz,
            source=source,
            encoding=encoding,
            record_bytes=record_bytes,
            **header,
        )
        data, done, previous = data + record, done + count, rest[count - 1]
    return data


def write_record(
    samples: NDArray[Any],
    *,
    previous: Any = None,
    start_ns: int = 0,
    sample_rate_hz: float = 100.0,
    source: tuple[str, str, str, str] = ("XX", "STA", "", "HHZ"),
    encoding: int = STEIM2,
    record_bytes: int = 512,
    is_little_endian_header: bool = False,
    is_little_endian_data: bool = False,
    timing_quality_percent: int | None = None,
    time_correction: int = 0,
    activity_flags: int = 0,
    quality_flags: int = 0,
    rate_factor: tuple[int, int] | None = None,
    claimed_sample_count: int | None = None,
    last_sample_is_wrong: bool = False,
) -> tuple[bytes, int]:
    """One record and the number of samples it took; times are kept to the microsecond."""
    order = "<" if is_little_endian_header else ">"
    data_order = "<" if is_little_endian_data else ">"
    blockettes = [
        (1000, struct.pack("BBBB", encoding, 0 if is_little_endian_data else 1, _log2(record_bytes), 0))
    ]
    microseconds = start_ns // 1_000
    tenths, residue = divmod(microseconds, 100)
    if timing_quality_percent is not None or residue:
        quality = 255 if timing_quality_percent is None else timing_quality_percent
        blockettes.append((1001, struct.pack("BbBB", quality, residue, 0, 0)))
    if rate_factor is None:
        rate_factor = (int(sample_rate_hz), 1) if sample_rate_hz % 1 == 0 else (0, 0)
        if rate_factor == (0, 0):
            blockettes.append((100, struct.pack(order + "fBBBB", sample_rate_hz, 0, 0, 0, 0)))
    head, position = b"", 48
    for i, (kind, body) in enumerate(blockettes):
        end = position + 4 + len(body)
        head += struct.pack(order + "HH", kind, end if i + 1 < len(blockettes) else 0) + body
        position = end
    data_offset = 64 if position <= 64 else 128

    if encoding in (STEIM1, STEIM2):
        frame_count = (record_bytes - data_offset) // 64
        payload, count = encode_steim(
            [int(s) for s in samples],
            0 if previous is None else int(previous),
            version=1 if encoding == STEIM1 else 2,
            frame_count=frame_count,
            is_little_endian=is_little_endian_data,
            last_sample_is_wrong=last_sample_is_wrong,
        )
    else:
        width = np.dtype(_PLAIN.get(encoding, "u1")).itemsize
        count = min(len(samples), (record_bytes - data_offset) // width)
        payload = np.asarray(samples[:count]).astype(data_order + _PLAIN.get(encoding, "u1")).tobytes()

    seconds, fraction = divmod(tenths, 10_000)
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    network, station, location, channel = source
    fixed = struct.pack(
        order + "6scc5s2s3s2sHHBBBxHHhhBBBBiHH",
        b"000001",
        b"D",
        b" ",
        station.encode().ljust(5),
        location.encode().ljust(2),
        channel.encode().ljust(3),
        network.encode().ljust(2),
        moment.year,
        moment.timetuple().tm_yday,
        moment.hour,
        moment.minute,
        moment.second,
        fraction,
        count if claimed_sample_count is None else claimed_sample_count,
        *rate_factor,
        activity_flags,
        0,
        quality_flags,
        len(blockettes),
        time_correction,
        data_offset,
        48,
    )
    return (fixed + head).ljust(data_offset, b"\0") + payload.ljust(record_bytes - data_offset, b"\0"), count


def encode_steim(
    samples: Sequence[int],
    previous: int,
    *,
    version: int,
    frame_count: int,
    is_little_endian: bool = False,
    last_sample_is_wrong: bool = False,
) -> tuple[bytes, int]:
    """Frames, and how many samples went into them.  Raises: ValueError for what Steim-2 cannot express."""
    ways = _STEIM1_WORDS if version == 1 else _STEIM2_WORDS
    differences = [_wrapped(b - a) for a, b in zip([previous, *samples], samples, strict=False)]
    frames = [[0] * 16 for _ in range(frame_count)]
    codes = [[0] * 16 for _ in range(frame_count)]
    places = [(f, w) for f in range(frame_count) for w in range(1, 16) if f or w > 2]
    done = 0
    for frame, word in places:
        if done == len(differences):
            break
        for way in ways:
            count, bits, code, top = way
            chosen = differences[done : done + count]
            if len(chosen) == count and all(-(1 << bits - 1) <= d < 1 << bits - 1 for d in chosen):
                break
        else:
            raise ValueError("a difference of more than 30 bits")
        mask = (1 << bits) - 1
        value = 0 if top is None else top << 30
        for i, difference in enumerate(chosen):
            # In little-endian data whole bytes and halves stand in stored order, not from the top.
            place = i if is_little_endian and bits in (8, 16) else count - 1 - i
            value |= (difference & mask) << bits * place
        frames[frame][word], codes[frame][word] = value, code
        done += count
    frames[0][1] = samples[0] & 0xFFFFFFFF
    frames[0][2] = (samples[done - 1] + last_sample_is_wrong) & 0xFFFFFFFF
    for words, code_row in zip(frames, codes, strict=True):
        words[0] = sum(code << 30 - 2 * word for word, code in enumerate(code_row))
    order = "<" if is_little_endian else ">"
    return b"".join(struct.pack(order + "16I", *words) for words in frames), done


def _wrapped(difference: int) -> int:
    return (difference + (1 << 31)) % (1 << 32) - (1 << 31)


def _log2(record_bytes: int) -> int:
    return int(math.log2(record_bytes))
