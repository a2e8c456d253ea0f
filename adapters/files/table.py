"""Tables of samples, one row per instant and one column per channel: Parquet, Arrow IPC, and what CSV is read
into.

A column's unit stands in its field metadata (``unit``), in brackets behind its name (``vel_z [m/s]``), or in
the option
``units``; without any it is refused, because a number without a unit is no measurement.  The time is a
column, or the metadata
``sample_rate_hz`` and ``start_ns`` of the schema, or the options of the same names
(``adapters.files.table_time``).

Whole numbers keep their values and become int32 or int64, floats stay as wide as they are; what a cell may
not be (empty, NaN, infinite) is for the option ``non_finite``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import Struct
from numpy.typing import NDArray

from adapters.files.arrow_dataset import read_dataset
from adapters.files.options import DEFAULTS, SampleFileOptions
from adapters.files.table_time import RowTimes, times_of_instants, times_of_rate, times_of_sample_numbers
from domain.dataset import CHANNELS_MAX, SAMPLES_MAX, Channel, Dataset, dataset_of
from domain.errors import InvalidError, LimitError, MalformedError

# Compressed tables can claim any size; this is what the largest upload of raw samples comes to in doubles.
UNPACKED_BYTES_MAX = 4 * 1024 * 1024 * 1024

_ARROW_FILE_START = b"ARROW1"
_HEADER = re.compile(r"(?P<name>.*\S)\s*(?:\[(?P<square>[^\[\]]*)\]|\((?P<round>[^()]*)\))\s*")
_TIME_NAMES = ("time", "timestamp", "datetime", "date_time", "utc", "t")
_COUNT_NAMES = ("sample", "sample_index", "index")
_NARROW = (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16())
_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_COMMA_NUMBER = re.compile(r"\s*[+-]?\d+,\d+\s*")


class ColumnHeader(Struct, frozen=True):
    """A column's name and unit, and how the file writes both together."""

    name: str
    unit: str
    text: str


def parse_header(text: str) -> ColumnHeader:
    """``vel_z [m/s]`` and ``vel_z (m/s)`` are the channel ``vel_z`` in m/s; other text is a name without
    unit."""
    match = _HEADER.fullmatch(text)
    if match is None:
        return ColumnHeader(text.strip(), "", text)
    return ColumnHeader(match["name"], (match["square"] or match["round"] or "").strip(), text)


def read_parquet(data: bytes, options: SampleFileOptions = DEFAULTS) -> Dataset:
    """Raises: MalformedError, InvalidError, LimitError."""
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            check_shape(file.metadata.num_rows, len(file.schema_arrow))
            _check_text(file.schema_arrow)
            table = file.read()
            table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise MalformedError("not a Parquet file that can be read", actual=str(error)[:200]) from error
    return dataset_of_table(table, options)


def read_arrow(data: bytes, options: SampleFileOptions = DEFAULTS) -> Dataset:
    """An Arrow IPC file or stream, or a dataset file of ours.  Raises: MalformedError, InvalidError,
    LimitError."""
    is_file = data.startswith(_ARROW_FILE_START)
    open_ipc = pa.ipc.open_file if is_file else pa.ipc.open_stream
    try:
        with open_ipc(pa.BufferReader(data)) as reader:
            schema = reader.schema
            _check_text(schema)
            is_dataset = b"tallystick" in (schema.metadata or {})
            if not is_dataset:
                check_shape(0, len(schema))
                table = reader.read_all()
                check_shape(table.num_rows, len(schema))
                table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise MalformedError("not an Arrow file that can be read", actual=str(error)[:200]) from error
    if is_dataset:
        options.check_no_table_options("A dataset file")
        return _renamed(read_dataset(data), options)
    return dataset_of_table(table, options)


def dataset_of_table(table: pa.Table, options: SampleFileOptions) -> Dataset:
    """The channels of a table.  Raises: MalformedError, InvalidError, LimitError."""
    headers = [parse_header(name) for name in table.column_names]
    time_index = time_column(headers, table.schema, options)
    channels = [i for i in range(len(headers)) if i != time_index]
    names = [headers[i].name for i in channels]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InvalidError("two columns have the same name", field="header", actual=", ".join(twice)[:200])
    if not channels:
        raise InvalidError(
            "no channel in this table", field="header", actual=", ".join(table.column_names)[:200]
        )
    if table.num_rows == 0:
        raise InvalidError("no samples in this file", expected="at least one row", actual="0 rows")
    options.check_names(names)
    times = _times(table, headers, time_index, options)
    quality = np.full(times.marks.shape[0], np.nan)
    return dataset_of(
        Channel(
            name=options.renamed(headers[i].name),
            unit=_unit(headers[i], table.schema.field(i), options),
            sample_rate_hz=times.sample_rate_hz,
            samples=_samples(_joined(table.column(i)), headers[i].name, options),
            marks=times.marks,
            timing_quality_percent=quality,
        )
        for i in channels
    )


def check_shape(row_count: int, column_count: int) -> None:
    """Refuse what could not be held, before it is unpacked.  Raises: LimitError."""
    if column_count > CHANNELS_MAX + 1:
        raise LimitError(
            "too many columns",
            field="header",
            expected=f"<= {CHANNELS_MAX} channels",
            actual=str(column_count),
        )
    if row_count > SAMPLES_MAX or row_count * column_count * 8 > UNPACKED_BYTES_MAX:
        raise LimitError(
            "the table is too large",
            expected=f"<= {UNPACKED_BYTES_MAX} bytes unpacked",
            actual=f"{row_count} rows of {column_count} columns",
            remedy="Send the recording as several batches.",
        )


def _check_text(schema: pa.Schema) -> None:
    """Names and zones are decoded when they are looked at; do that where an error is that of the file."""
    for field in schema:
        str(field.name)
        if pa.types.is_timestamp(field.type):
            str(field.type.tz)


def time_column(
    headers: Sequence[ColumnHeader], schema: pa.Schema | None, options: SampleFileOptions
) -> int | None:
    """Position of the column that says when, or ``None``.  Raises: InvalidError for a name that is not
    there."""
    if options.time_column:
        for i, header in enumerate(headers):
            if options.time_column in (header.name, header.text):
                return i
        raise InvalidError(
            "the file has no such column",
            field="options.time_column",
            expected=", ".join(header.name for header in headers)[:200],
            actual=options.time_column[:80],
        )
    names = [header.name.lower() for header in headers]
    for wanted in (*_TIME_NAMES, *_COUNT_NAMES):
        if wanted in names:
            return names.index(wanted)
    instants = [i for i, field in enumerate(schema or ()) if pa.types.is_timestamp(field.type)]
    return instants[0] if len(instants) == 1 else None


def _times(
    table: pa.Table, headers: Sequence[ColumnHeader], time_index: int | None, options: SampleFileOptions
) -> RowTimes:
    rate_hz = _number(table.schema.metadata, "sample_rate_hz", float)
    start_ns = _number(table.schema.metadata, "start_ns", int)
    if time_index is None:
        return times_of_rate(table.num_rows, options, rate_hz, start_ns)
    header, column = headers[time_index], _joined(table.column(time_index))
    unit = options.time_unit or header.unit or _text(table.schema.field(time_index).metadata, "unit")
    if unit in ("samples", "sample") or (not unit and header.name.lower() in _COUNT_NAMES):
        return times_of_sample_numbers(column, options, rate_hz, start_ns)
    return times_of_instants(column, unit, options, rate_hz)


def _samples(column: pa.Array, name: str, options: SampleFileOptions) -> NDArray[Any]:
    kind = column.type
    field = f"channel {name}"
    if pa.types.is_null(kind):
        column, kind = column.cast(pa.float64()), pa.float64()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        raise _not_numbers(column, field)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise InvalidError("a channel that holds no numbers", field=field, actual=str(kind))
    if column.null_count and options.non_finite == "refuse":
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise _non_finite(field, row, "an empty cell")
    if pa.types.is_integer(kind):
        if column.null_count:
            # A gap in whole numbers can only be said with floats; they hold 53 bits exactly.
            return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
        try:
            return np.asarray(column.cast(pa.int32() if kind in _NARROW else pa.int64()).to_numpy())
        except pa.ArrowInvalid as error:
            raise InvalidError("a number above 63 bits", field=field, actual=str(error)[:200]) from error
    width = pa.float64() if kind == pa.float64() else pa.float32()
    samples: NDArray[Any] = column.cast(width).to_numpy(zero_copy_only=False)
    if options.non_finite == "refuse" and not bool(np.isfinite(samples).all()):
        row = int(np.argmin(np.isfinite(samples)))
        raise _non_finite(field, row, str(samples[row]))
    return samples


def _not_numbers(column: pa.Array, field: str) -> InvalidError:
    is_number = pc.fill_null(pc.match_substring_regex(column, _NUMBER), True).to_numpy(zero_copy_only=False)
    row = int(np.argmin(is_number))
    value = str(column[row].as_py())
    if _COMMA_NUMBER.fullmatch(value):
        return InvalidError(
            "a decimal comma",
            field=f"{field}, row {row + 1}",
            expected="a decimal point",
            actual=value[:40],
            remedy="Export with decimal points; a comma could as well separate thousands.",
        )
    return InvalidError("not a number", field=f"{field}, row {row + 1}", actual=repr(value[:40]))


def _non_finite(field: str, row: int, actual: str) -> InvalidError:
    return InvalidError(
        "a sample that is no finite number",
        field=f"{field}, row {row + 1}",
        actual=actual,
        remedy="Leave such rows out, or keep them as NaN: option non_finite=keep.",
    )


def _unit(header: ColumnHeader, field: pa.Field, options: SampleFileOptions) -> str:
    stated = _text(field.metadata, "unit") or header.unit
    asked = options.units.get(header.name, "")
    if stated and asked and stated != asked:
        raise InvalidError(
            "the file says otherwise", field=f"options.units.{header.name}", expected=stated, actual=asked
        )
    if not (stated or asked):
        raise InvalidError(
            "a channel without a unit",
            field=f"channel {header.name}",
            remedy=f"Write it in the header, like `{header.name} [m/s]`, or say it in the option units.",
        )
    return stated or asked


def _joined(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    joined = column.combine_chunks()
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _renamed(dataset: Dataset, options: SampleFileOptions) -> Dataset:
    options.check_names([channel.name for channel in dataset.channels])
    return dataset_of(
        Channel(
            name=options.renamed(channel.name),
            unit=options.units.get(channel.name, channel.unit),
            sample_rate_hz=channel.sample_rate_hz,
            samples=channel.samples,
            marks=channel.marks,
            timing_quality_percent=channel.timing_quality_percent,
        )
        for channel in dataset.channels
    )


def _text(metadata: Mapping[bytes, bytes] | None, key: str) -> str:
    return (metadata or {}).get(key.encode(), b"").decode(errors="replace").strip()


def _number(metadata: Mapping[bytes, bytes] | None, key: str, kind: type[Any]) -> Any:
    text = _text(metadata, key)
    if not text:
        return None
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MalformedError("metadata that is no number", field=key, actual=repr(text[:40]))
    return value
