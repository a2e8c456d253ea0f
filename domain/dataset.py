"""Datasets: the canonical form of recorded samples, and the bytes that give them a digest.

A channel is one array of samples plus *time marks*: rows ``(sample_index, time_ns)``, ascending in index,
that say when a sample was taken.  From a mark to the next, samples follow at the nominal interval.  A
miniSEED record gives one mark per record, a CSV file one per row; gaps, duplicates and jitter all show as
marks that are not where the nominal rate puts them.  Samples stand in the order they were recorded or
arrived in: nothing is sorted, merged or dropped here.

**Canonical bytes** (``canonical_parts``), version 1, all numbers little-endian, arrays in C order, no
padding:

1. the line ``tallystick dataset v1`` and a line feed,
2. the canonical JSON of ``{"channels": [{"dtype", "mark_count", "name", "sample_count", "sample_rate_hz",
   "unit"}]}`` and a line feed, channels sorted by name (code points),
3. per channel in that order: samples in their dtype, marks (int64 pairs), timing quality (float64).

Floats have one NaN (quiet, sign clear, no payload) and no negative zero; constructing a channel makes it
so, and what is digested is therefore exactly what is computed with.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import force_setattr
from numpy.typing import NDArray

from domain.canonical import canonical_json
from domain.digests import Digest, digest_from_bytes
from domain.errors import InvalidError, LimitError

# A day of six channels at 1 kHz; more than that is several batches.
SAMPLES_MAX = 520_000_000
CHANNELS_MAX = 64
NAME_LENGTH_MAX = 64
UNIT_LENGTH_MAX = 32
# At 100 MHz an interval is 10 ns; above it, times in whole nanoseconds no longer tell samples apart.
SAMPLE_RATE_HZ_MAX = 1e8
# One sample in eleven days; slower series are not signals, and their spans would overflow nanoseconds.
SAMPLE_RATE_HZ_MIN = 1e-6
# Years 1823 to 2116: the difference of any two such times still fits a signed 64-bit integer.
TIME_NS_MAX = 2**62 - 1
DTYPES = ("int32", "int64", "float32", "float64")

_MAGIC = b"tallystick dataset v1\n"


class Channel(Struct, frozen=True, kw_only=True, eq=False):
    """One recorded quantity.

    ``samples``: 1-D, dtype int32, int64, float32 or float64, in ``unit`` (``counts`` for a raw digitiser).
    ``marks``: shape (m, 2), int64, columns (sample_index, time_ns), indices strictly ascending, the first
    one 0; empty only when there are no samples.
    ``timing_quality_percent``: shape (m,), float64, 0..100, NaN where the format does not say (miniSEED
    blockette 1001). ``sample_rate_hz`` is nominal, exactly as the format states it.

    Arrays are kept as read-only, contiguous, in the machine's byte order.
    Raises: InvalidError, LimitError when any of this does not hold.
    """

    name: str
    unit: str
    sample_rate_hz: float
    samples: NDArray[Any]
    marks: NDArray[np.int64]
    timing_quality_percent: NDArray[np.float64]

    def __post_init__(self) -> None:
        _check_text(self.name, "name", NAME_LENGTH_MAX)
        where = f"channels[{self.name}]"
        _check_text(self.unit, f"{where}.unit", UNIT_LENGTH_MAX)
        force_setattr(self, "sample_rate_hz", _checked_rate(self.sample_rate_hz, where))
        force_setattr(self, "samples", _checked_samples(self.samples, where))
        force_setattr(
            self, "marks", _checked_marks(self.marks, self.samples.size, self.sample_rate_hz, where)
        )
        quality = _checked_quality(self.timing_quality_percent, self.marks.shape[0], where)
        force_setattr(self, "timing_quality_percent", quality)

    @property
    def start_ns(self) -> int:
        """Time of the first recorded sample, Unix nanoseconds.  Raises: InvalidError when there is none."""
        if self.marks.shape[0] == 0:
            raise InvalidError("a channel without samples has no start", field=f"channels[{self.name}]")
        return int(self.marks[0, 1])

    @property
    def interval_ns(self) -> float:
        """Nominal time from a sample to the next, nanoseconds; rarely a whole number."""
        return 1e9 / self.sample_rate_hz


class Dataset(Struct, frozen=True, kw_only=True, eq=False):
    """Channels that were recorded together, sorted by name, names unique.

    Raises: InvalidError, LimitError.  ``dataset_of`` sorts for you.
    """

    channels: tuple[Channel, ...]

    def __post_init__(self) -> None:
        names = [channel.name for channel in self.channels]
        if not names:
            raise InvalidError("a dataset has channels", field="channels", expected="at least 1", actual="0")
        if len(names) > CHANNELS_MAX:
            raise LimitError(
                "too many channels", field="channels", expected=f"<= {CHANNELS_MAX}", actual=str(len(names))
            )
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise InvalidError(
                "channel names are unique within a dataset", field="channels", actual=", ".join(twice)
            )
        if names != sorted(names):
            raise InvalidError("channels are sorted by name", field="channels", actual=", ".join(names))
        count = sum(channel.samples.size for channel in self.channels)
        if count > SAMPLES_MAX:
            raise LimitError(
                "too many samples in one dataset",
                field="channels",
                expected=f"<= {SAMPLES_MAX}",
                actual=str(count),
                remedy="Send the recording as several batches.",
            )

    def channel(self, name: str) -> Channel:
        """The channel of this name.  Raises: InvalidError naming those there are."""
        for channel in self.channels:
            if channel.name == name:
                return channel
        there = ", ".join(channel.name for channel in self.channels)
        raise InvalidError("the dataset has no such channel", field="channels", expected=there, actual=name)


def dataset_of(channels: Iterable[Channel]) -> Dataset:
    """A dataset of these channels in any order.  Raises: InvalidError, LimitError."""
    return Dataset(channels=tuple(sorted(channels, key=lambda channel: channel.name)))


def canonical_parts(dataset: Dataset) -> Iterator[bytes | memoryview]:
    """The canonical bytes piece by piece, so that a day of samples is never copied to be digested."""
    header = [
        {
            "dtype": channel.samples.dtype.name,
            "mark_count": channel.marks.shape[0],
            "name": channel.name,
            "sample_count": channel.samples.size,
            "sample_rate_hz": channel.sample_rate_hz,
            "unit": channel.unit,
        }
        for channel in dataset.channels
    ]
    yield _MAGIC
    yield canonical_json({"channels": header}) + b"\n"
    for channel in dataset.channels:
        for array in (channel.samples, channel.marks, channel.timing_quality_percent):
            if array.size:
                # A view on little-endian machines, a copy on the others.
                little = array.astype(array.dtype.newbyteorder("<"), copy=False)
                yield little.reshape(-1).view(np.uint8).data


def canonical_bytes(dataset: Dataset) -> bytes:
    """The canonical bytes in one piece; for tests and small datasets."""
    return b"".join(canonical_parts(dataset))


def dataset_digest(dataset: Dataset) -> Digest:
    """SHA-256 of the canonical bytes: the name of the content, whatever file it came in or is stored as."""
    state = hashlib.sha256()
    for part in canonical_parts(dataset):
        state.update(part)
    return digest_from_bytes(state.digest())


def canonical_floats(array: NDArray[Any]) -> NDArray[Any]:
    """A copy of a float array with one NaN and no negative zero; other values keep their bits."""
    # Adding +0.0 turns -0.0 into +0.0 and changes nothing else (IEEE 754 §6.3).
    with np.errstate(invalid="ignore"):  # A signalling NaN is quieted here, which is what is wanted.
        canonical: NDArray[Any] = np.add(array, array.dtype.type(0.0))
    canonical[np.isnan(canonical)] = np.nan
    return canonical


def _check_text(text: object, field: str, length_max: int) -> None:
    if not isinstance(text, str) or not text or text != text.strip() or not text.isprintable():
        raise InvalidError("not a printable name", field=field, actual=repr(text)[:80])
    if len(text) > length_max:
        raise LimitError(
            "too long", field=field, expected=f"<= {length_max} characters", actual=str(len(text))
        )


def _checked_rate(rate: object, where: str) -> float:
    is_number = isinstance(rate, int | float) and not isinstance(rate, bool) and math.isfinite(rate)
    if not isinstance(rate, int | float) or not is_number:
        raise InvalidError(
            "a sample rate is a finite number", field=f"{where}.sample_rate_hz", actual=repr(rate)[:80]
        )
    if not SAMPLE_RATE_HZ_MIN <= rate <= SAMPLE_RATE_HZ_MAX:
        raise LimitError(
            "the sample rate is out of range",
            field=f"{where}.sample_rate_hz",
            expected=f"{SAMPLE_RATE_HZ_MIN:g} to {SAMPLE_RATE_HZ_MAX:g} Hz",
            actual=f"{rate:g} Hz",
        )
    return float(rate)


def _checked_samples(samples: object, where: str) -> NDArray[Any]:
    field = f"{where}.samples"
    if not isinstance(samples, np.ndarray) or samples.ndim != 1:
        shape = samples.shape if isinstance(samples, np.ndarray) else type(samples).__name__
        raise InvalidError("samples are a one-dimensional array", field=field, actual=str(shape))
    if samples.dtype.name not in DTYPES:
        raise InvalidError(
            "not a sample type", field=field, expected=", ".join(DTYPES), actual=samples.dtype.name
        )
    if samples.size > SAMPLES_MAX:
        raise LimitError(
            "too many samples", field=field, expected=f"<= {SAMPLES_MAX}", actual=str(samples.size)
        )
    native = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    return _frozen(canonical_floats(native) if native.dtype.kind == "f" else native)


def _checked_marks(marks: object, sample_count: int, rate_hz: float, where: str) -> NDArray[np.int64]:
    field = f"{where}.marks"
    if (
        not isinstance(marks, np.ndarray)
        or marks.dtype.name != "int64"
        or marks.ndim != 2
        or marks.shape[1] != 2
    ):
        actual = (
            f"{marks.dtype.name} {marks.shape}" if isinstance(marks, np.ndarray) else type(marks).__name__
        )
        raise InvalidError(
            "marks are int64 rows (sample_index, time_ns)", field=field, expected="(m, 2)", actual=actual
        )
    native = _frozen(marks.astype(np.int64, copy=False))
    if sample_count == 0:
        if native.shape[0]:
            raise InvalidError("marks point at samples, and there are none", field=field)
        return native
    if native.shape[0] == 0 or native[0, 0] != 0:
        raise InvalidError(
            "the first mark says when the first sample was taken", field=field, expected="sample 0"
        )
    if native[-1, 0] >= sample_count or not bool(np.all(native[1:, 0] > native[:-1, 0])):
        raise InvalidError(
            "mark indices ascend and stay within the samples",
            field=field,
            expected=f"0 .. {sample_count - 1}",
        )
    # The stretch after the last mark is the only one that no mark bounds.
    tail_ns = (sample_count - int(native[-1, 0])) * 1e9 / rate_hz
    if (
        int(native[:, 1].min()) < -TIME_NS_MAX
        or max(int(native[:, 1].max()), int(native[-1, 1]) + tail_ns) > TIME_NS_MAX
    ):
        raise InvalidError(
            "a time is out of range", field=field, expected="1823 to 2116", remedy="Check the device's clock."
        )
    return native


def _checked_quality(quality: object, mark_count: int, where: str) -> NDArray[np.float64]:
    field = f"{where}.timing_quality_percent"
    if (
        not isinstance(quality, np.ndarray)
        or quality.dtype.name != "float64"
        or quality.shape != (mark_count,)
    ):
        actual = (
            f"{quality.dtype.name} {quality.shape}"
            if isinstance(quality, np.ndarray)
            else type(quality).__name__
        )
        raise InvalidError(
            "timing quality has one float64 per mark", field=field, expected=f"({mark_count},)", actual=actual
        )
    native = canonical_floats(quality.astype(np.float64, copy=False))
    if not bool(np.all(np.isnan(native) | ((native >= 0.0) & (native <= 100.0)))):
        raise InvalidError(
            "timing quality is a percentage or unknown (NaN)", field=field, expected="0 to 100"
        )
    return _frozen(native)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
