"""The time of a table's rows: from a column of instants, a column of sample numbers, or a rate and a start.

Instants are exact to the nanosecond: text is read as decimals, never as floats.  A column of instants gives
one mark per row, so that jitter, gaps and steps stay visible.  Sample numbers give a mark where they do not
count on.

The nominal rate is what the person or the file says.  Where neither does, it is the whole number of samples a
second (or of seconds a sample) that the instants agree with to 0.1 %: more than any working clock drifts,
less than lies between two such numbers up to 1 kHz.  Where they agree with none, the person is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct
from numpy.typing import NDArray

from adapters.files.options import SampleFileOptions
from domain.dataset import TIME_NS_MAX
from domain.errors import InvalidError, MalformedError

NS_PER_UNIT = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "µs": 1_000, "μs": 1_000, "ns": 1}
RATE_TOLERANCE = 1e-3
# Over this many intervals, coarse time stamps (whole milliseconds) average out, and gaps stay few.
RATE_SPAN_MAX = 1_000
# 1980: an earlier Unix time is a clock that was never set, or seconds since the start of the recording.
UNIX_TIME_NS_MIN = 315_532_800_000_000_000


class RowTimes(Struct, frozen=True, kw_only=True, eq=False):
    """``marks`` as in ``domain.dataset.Channel``, and the nominal rate."""

    marks: NDArray[np.int64]
    sample_rate_hz: float


def times_of_instants(
    column: pa.Array, unit: str, options: SampleFileOptions, stated_rate_hz: float | None
) -> RowTimes:
    """Marks of a column of instants: Arrow timestamps, numbers counting ``unit`` or decimal or ISO 8601 text.

    Raises: MalformedError, InvalidError.
    """
    time_ns = _instants_ns(column, options.time_unit or unit)
    if options.start_ns is not None:
        if pa.types.is_timestamp(column.type) or (options.time_unit or unit) == "iso8601":
            raise InvalidError(
                "these instants are absolute",
                field="options.start_ns",
                actual=str(options.start_ns),
                remedy="Leave start_ns out.",
            )
        time_ns = time_ns + options.start_ns
    elif int(time_ns.min()) < UNIX_TIME_NS_MIN:
        first = int(np.argmin(time_ns))
        raise InvalidError(
            "a time before 1980",
            field=f"time, row {first + 1}",
            actual=f"{int(time_ns[first]) / 1e9:g} s of Unix time",
            remedy="If times count from the start of the recording, say when that was: option start_ns.",
        )
    marks = np.column_stack([np.arange(time_ns.size, dtype=np.int64), time_ns])
    rate = _agreed(options.sample_rate_hz, stated_rate_hz, "sample_rate_hz")
    return RowTimes(marks=marks, sample_rate_hz=rate if rate is not None else _whole_rate_hz(time_ns))


def times_of_sample_numbers(
    column: pa.Array,
    options: SampleFileOptions,
    stated_rate_hz: float | None,
    stated_start_ns: int | None,
) -> RowTimes:
    """Marks of a column that counts samples from ``start_ns`` on.  Raises: MalformedError, InvalidError."""
    try:
        column = _without_nulls(column, "sample numbers")
        text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        number = (pc.utf8_trim_whitespace(column) if text else column).cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise MalformedError(
            "sample numbers are whole numbers", field="time", actual=str(error)[:200]
        ) from error
    jumps = np.flatnonzero(np.diff(number) != 1) + 1
    return _counted([0, *jumps.tolist()], number, options, stated_rate_hz, stated_start_ns)


def times_of_rate(
    row_count: int, options: SampleFileOptions, stated_rate_hz: float | None, stated_start_ns: int | None
) -> RowTimes:
    """The one mark of a table whose rows follow each other at a known rate.  Raises: InvalidError."""
    return _counted(
        [0], np.zeros(min(row_count, 1), dtype=np.int64), options, stated_rate_hz, stated_start_ns
    )


def _counted(
    rows: Sequence[int],
    number: NDArray[np.int64],
    options: SampleFileOptions,
    stated_rate_hz: float | None,
    stated_start_ns: int | None,
) -> RowTimes:
    rate = _agreed(options.sample_rate_hz, stated_rate_hz, "sample_rate_hz")
    start_ns = _agreed(options.start_ns, stated_start_ns, "start_ns")
    for field, value in (("sample_rate_hz", rate), ("start_ns", start_ns)):
        if value is None:
            raise InvalidError(
                "samples without a time",
                field=f"options.{field}",
                remedy=f"Add a column called time, or say the option {field}.",
            )
    assert rate is not None
    assert start_ns is not None
    if not 0 < rate < float("inf"):
        raise InvalidError("a rate is a positive number", field="sample_rate_hz", actual=f"{rate:g} Hz")
    # In whole numbers, because a product of doubles would lose nanoseconds.
    samples, seconds = float(rate).as_integer_ratio()
    marks = [
        (row, start_ns + (2 * int(number[row]) * seconds * 10**9 + samples) // (2 * samples)) for row in rows
    ]
    if any(abs(time) > TIME_NS_MAX for _, time in marks):
        raise InvalidError("a time is out of range", field="time", expected="1823 to 2116")
    return RowTimes(marks=np.array(marks, dtype=np.int64).reshape(-1, 2), sample_rate_hz=float(rate))


def _agreed(asked: Any, stated: Any, field: str) -> Any:
    """What is said by the person or the file; both may say the same."""
    if asked is not None and stated is not None and asked != stated:
        raise InvalidError(
            "the file says otherwise", field=f"options.{field}", expected=str(stated), actual=str(asked)
        )
    return asked if asked is not None else stated


def _instants_ns(column: pa.Array, unit: str) -> NDArray[np.int64]:
    column = _without_nulls(column, "times")
    kind = column.type
    try:
        if pa.types.is_timestamp(kind):
            if kind.tz is None and unit not in NS_PER_UNIT:
                raise InvalidError(
                    "times without a zone",
                    field="time",
                    expected="UTC",
                    actual=str(kind),
                    remedy="Store them with a zone; or, if they are UTC, say so: option time_unit=ns.",
                )
            return _checked_range(column.cast(pa.timestamp("ns", kind.tz)).cast(pa.int64()).to_numpy())
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            column = pc.utf8_trim_whitespace(column)
            if unit == "iso8601" or (not unit and "-" in column[0].as_py()[1:]):
                return _checked_range(_iso_ns(column))
        if unit not in NS_PER_UNIT:
            raise InvalidError(
                "the unit of the time column is unknown",
                field="time",
                expected=", ".join(NS_PER_UNIT),
                actual=unit or "no unit",
                remedy="Write it in the header, like `time [s]`, or say the option time_unit.",
            )
        return _checked_range(_counts_ns(column, unit))
    except pa.ArrowInvalid as error:
        raise MalformedError("a time cannot be read", field="time", actual=str(error)[:200]) from error


def _iso_ns(column: pa.Array) -> NDArray[np.int64]:
    try:
        time_ns: NDArray[np.int64] = column.cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid as error:
        said = str(error)
        if "expected a zone offset" in said:
            raise InvalidError(
                "a time without a zone",
                field="time",
                expected="2026-01-31T12:00:00.000Z or +01:00 at the end",
                actual=said.partition("'")[2].partition("'")[0],
                remedy="Append Z if these times are UTC.",
            ) from error
        raise
    return time_ns


def _counts_ns(column: pa.Array, unit: str) -> NDArray[np.int64]:
    factor = NS_PER_UNIT[unit]
    if pa.types.is_integer(column.type):
        counts = column.cast(pa.int64()).to_numpy()
        if counts.size and max(abs(int(counts.min())), abs(int(counts.max()))) > TIME_NS_MAX // factor:
            raise InvalidError("a time is out of range", field="time", expected="1823 to 2116")
        return np.asarray(counts * factor, dtype=np.int64)
    if pa.types.is_floating(column.type):
        values = column.cast(pa.float64()).to_numpy()
        if not bool(np.all(np.abs(values) <= TIME_NS_MAX / factor)):
            raise InvalidError("a time is out of range or not finite", field="time", expected="1823 to 2116")
        whole = np.floor(values)
        return np.asarray(
            whole.astype(np.int64) * factor + np.rint((values - whole) * factor).astype(np.int64)
        )
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise InvalidError("not a column of times", field="time", actual=str(column.type))
    # With as many decimals as leave nanoseconds: s has nine, ns none.  More digits than that are refused, not
    # rounded.
    decimals = column.cast(pa.decimal128(38, len(str(factor)) - 1))
    halves = np.frombuffer(decimals.buffers()[1], dtype="<i8").reshape(-1, 2)
    time_ns, high = halves[decimals.offset : decimals.offset + len(decimals)].T
    if not bool(np.all(high == time_ns >> 63)):
        raise InvalidError("a time is out of range", field="time", expected="1823 to 2116")
    return np.asarray(time_ns, dtype=np.int64)


def _checked_range(time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    if time_ns.size == 0:
        raise InvalidError("no samples in this file", expected="at least one row", actual="0 rows")
    if int(time_ns.min()) < -TIME_NS_MAX or int(time_ns.max()) > TIME_NS_MAX:
        raise InvalidError("a time is out of range", field="time", expected="1823 to 2116")
    return time_ns


def _without_nulls(column: pa.Array, what: str) -> pa.Array:
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise InvalidError(f"{what} are missing", field=f"time, row {row + 1}", actual="an empty cell")
    return column


def _whole_rate_hz(time_ns: NDArray[np.int64]) -> float:
    span = min(time_ns.size - 1, max(1, time_ns.size // 10), RATE_SPAN_MAX)
    interval_ns = float(np.median(time_ns[span:] - time_ns[:-span])) / span if span else 0.0
    estimate_hz = 1e9 / interval_ns if interval_ns > 0 else 0.0
    for whole in (round(estimate_hz), 1 / round(1 / estimate_hz) if 0 < estimate_hz < 1 else 0):
        if whole and abs(estimate_hz / whole - 1) <= RATE_TOLERANCE:
            return float(whole)
    raise InvalidError(
        "the nominal sample rate is not clear from the times",
        field="options.sample_rate_hz",
        expected="a whole number of samples a second, or of seconds a sample, to 0.1 %",
        actual=f"about {estimate_hz:.6g} Hz" if estimate_hz else "no advance",
        remedy="Say the nominal rate: option sample_rate_hz.",
    )
