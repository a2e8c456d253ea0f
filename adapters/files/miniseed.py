"""miniSEED files: records of any number of channels, in any order, as a dataset of counts.

Each channel's samples stand one record after the other, as in the file; each record leaves one mark that says
when its first sample was taken.  Nothing is sorted, merged or dropped: gaps, overlaps and records out of
order are for the gates to judge, and show in the marks.  Records without samples (detections, state of
health) leave nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from adapters.files.miniseed_record import MiniseedRecord, parse_miniseed_record
from adapters.files.options import DEFAULTS, SampleFileOptions
from adapters.files.steim import (
    DIFFERENCES_PER_FRAME_MAX,
    FRAME_BYTES,
    WORDS_PER_FRAME,
    SteimError,
    decode_steim,
)
from domain.dataset import SAMPLES_MAX, Channel, Dataset, dataset_of
from domain.errors import InvalidError, LimitError, MalformedError

UNIT = "counts"
# Decoded together: enough that numpy's overhead vanishes, little enough that work arrays stay in the cache.
RUN_BYTES_MAX = 1 << 20

_PLAIN: dict[int, tuple[str, DTypeLike]] = {
    1: ("i2", np.int32),
    3: ("i4", np.int32),
    4: ("f4", np.float32),
    5: ("f8", np.float64),
}
_STEIM_VERSIONS = {10: 1, 11: 2}
_ENCODING_NAMES = {
    0: "text",
    2: "24-bit integers",
    12: "GEOSCOPE 24-bit",
    13: "GEOSCOPE 16/3",
    14: "GEOSCOPE 16/4",
    15: "US National Network",
    16: "CDSN",
    17: "Graefenberg",
    18: "IPG Strasbourg",
    19: "Steim-3",
    30: "SRO",
    31: "HGLP",
    32: "DWWSSN",
    33: "RSTN",
}


def read_miniseed(data: bytes, options: SampleFileOptions = DEFAULTS) -> Dataset:
    """All channels of a file under their source ids or the names that ``options`` give them.

    Samples are int32, float32 or float64, in counts unless ``options`` know better.
    Raises: MalformedError (bytes that are no record, damaged data), InvalidError (no samples, a channel that
    changes its rate or type), LimitError.
    """
    options.check_no_table_options("miniSEED")
    channels: dict[str, list[MiniseedRecord]] = {}
    sample_count = 0
    for record in _records(data):
        if record.sample_count:
            _check_claim(record)
            sample_count += record.sample_count
            channels.setdefault(record.source_id, []).append(record)
    if sample_count > SAMPLES_MAX:
        raise LimitError(
            "too many samples in one file",
            expected=f"<= {SAMPLES_MAX}",
            actual=str(sample_count),
            remedy="Send the recording as several batches.",
        )
    if not channels:
        raise InvalidError(
            "no samples in this file", expected="records with samples", actual=f"{len(data)} bytes"
        )
    options.check_names(channels)
    return dataset_of(_channel(data, name, records, options) for name, records in channels.items())


def _records(data: bytes) -> Iterator[MiniseedRecord]:
    offset = 0
    while offset < len(data):
        record = parse_miniseed_record(data, offset)
        yield record
        offset += record.byte_count


def _check_claim(record: MiniseedRecord) -> None:
    """Refuse more samples than the record's bytes can hold, before anything is allocated for them."""
    where = f"byte {record.offset}"
    if record.encoding in _PLAIN:
        capacity = record.data_byte_count // np.dtype(_PLAIN[record.encoding][0]).itemsize
    elif record.encoding in _STEIM_VERSIONS:
        capacity = record.data_byte_count // FRAME_BYTES * DIFFERENCES_PER_FRAME_MAX
    else:
        name = _ENCODING_NAMES.get(record.encoding)
        raise MalformedError(
            "unsupported encoding",
            field=f"{where}, channel {record.source_id}",
            expected="16- or 32-bit integers, 32- or 64-bit floats, Steim-1 or Steim-2",
            actual=f"{record.encoding} ({name})" if name else str(record.encoding),
            remedy="Send text channels apart; convert other encodings to Steim-2.",
        )
    if not (math.isfinite(record.sample_rate_hz) and record.sample_rate_hz > 0):
        raise InvalidError(
            "samples without a sample rate",
            field=f"{where}, channel {record.source_id}",
            actual=f"{record.sample_rate_hz:g} Hz",
        )
    if record.sample_count > capacity:
        raise MalformedError(
            "more samples claimed than the record can hold",
            field=where,
            expected=f"<= {capacity}",
            actual=str(record.sample_count),
        )


def _channel(
    data: bytes, name: str, records: Sequence[MiniseedRecord], options: SampleFileOptions
) -> Channel:
    first = records[0]
    dtype = _dtype(first.encoding)
    for record in records:
        if record.sample_rate_hz != first.sample_rate_hz or _dtype(record.encoding) != dtype:
            raise InvalidError(
                "a channel changes its rate or sample type within a file",
                field=f"byte {record.offset}, channel {name}",
                expected=f"{first.sample_rate_hz:g} Hz, {dtype}",
                actual=f"{record.sample_rate_hz:g} Hz, {_dtype(record.encoding)}",
                remedy="Send the parts as separate batches.",
            )
    counts = np.array([record.sample_count for record in records], dtype=np.int64)
    ends = np.cumsum(counts)
    samples = np.empty(int(ends[-1]), dtype=dtype)
    filled = 0
    for run in _runs(records):
        decoded = _decode(data, run)
        samples[filled : filled + decoded.size] = decoded
        filled += decoded.size
    return Channel(
        name=options.renamed(name),
        unit=options.units.get(name, UNIT),
        sample_rate_hz=first.sample_rate_hz,
        samples=samples,
        marks=np.column_stack(
            [ends - counts, np.array([record.start_ns for record in records], dtype=np.int64)]
        ),
        timing_quality_percent=np.array(
            [record.timing_quality_percent for record in records], dtype=np.float64
        ),
    )


def _dtype(encoding: int) -> np.dtype[Any]:
    return np.dtype(_PLAIN[encoding][1] if encoding in _PLAIN else np.int32)


def _runs(records: Iterable[MiniseedRecord]) -> Iterator[list[MiniseedRecord]]:
    """Neighbours that decode in the same way, up to RUN_BYTES_MAX at a time."""
    for _, alike in itertools.groupby(records, key=lambda record: (record.encoding, record.is_little_endian)):
        run: list[MiniseedRecord] = []
        longest = 0
        for record in alike:
            longest = max(longest, record.data_byte_count)
            if run and longest * (len(run) + 1) > RUN_BYTES_MAX:
                yield run
                run, longest = [], record.data_byte_count
            run.append(record)
        yield run


def _decode(data: bytes, run: Sequence[MiniseedRecord]) -> NDArray[Any]:
    encoding = run[0].encoding
    order = "<" if run[0].is_little_endian else ">"
    if encoding in _PLAIN:
        stored, dtype = _PLAIN[encoding]
        width = np.dtype(stored).itemsize
        plain = b"".join(
            data[record.data_offset : record.data_offset + width * record.sample_count] for record in run
        )
        return np.frombuffer(plain, dtype=order + stored).astype(dtype)

    # Records of several lengths are filled up with zeros, which Steim reads as words without samples.
    longest = max(record.data_byte_count for record in run) // FRAME_BYTES * FRAME_BYTES
    frames = b"".join(
        data[
            record.data_offset : record.data_offset + record.data_byte_count // FRAME_BYTES * FRAME_BYTES
        ].ljust(longest, b"\0")
        for record in run
    )
    words = np.frombuffer(frames, dtype=order + "u4").astype(np.uint32)
    sample_counts = np.array([record.sample_count for record in run], dtype=np.int64)
    try:
        return decode_steim(
            words.reshape(len(run), -1, WORDS_PER_FRAME),
            sample_counts,
            version=_STEIM_VERSIONS[encoding],
            is_little_endian=run[0].is_little_endian,
        )
    except SteimError as error:
        record = run[error.record]
        raise MalformedError(
            f"damaged Steim-{_STEIM_VERSIONS[encoding]} data: {error.what}",
            field=f"byte {record.offset}, channel {record.source_id}",
            expected=error.expected,
            actual=error.actual,
        ) from error
