"""CSV: a header line and rows of numbers, separated by commas, semicolons or tabs.

    # lines before the header that start like this are comments
    time,vel_z [m/s],temp [°C]
    2026-01-31T12:00:00.000Z,0.00012,21.4

UTF-8, with or without a byte order mark; quotes as in RFC 4180, but no line breaks inside a cell; every row
has as many cells as the header.  Numbers have a decimal point: a decimal comma is refused, because it could
as well separate thousands.  What columns mean is said in ``adapters.files.table``.
"""

from __future__ import annotations

import csv

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from adapters.files.options import DEFAULTS, SampleFileOptions
from adapters.files.table import check_shape, dataset_of_table, parse_header, time_column
from domain.dataset import Dataset
from domain.errors import MalformedError

# 64 channel names with their units need far less; a longer first line is no header.
HEADER_BYTES_MAX = 65_536
COMMENT_LINES_MAX = 1_000

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_DELIMITERS = (",", ";", "\t")
# What loggers and spreadsheets write where they have nothing.
_MISSING = ["", "NaN", "nan", "NAN", "NA", "N/A", "n/a", "null", "NULL", "None", "-nan"]
_INT32 = (-(2**31), 2**31 - 1)


def read_csv(data: bytes, options: SampleFileOptions = DEFAULTS) -> Dataset:
    """Raises: MalformedError, InvalidError, LimitError."""
    lines_before, names, delimiter = _read_header(data)
    check_shape(0, len(names))
    time_index = time_column([parse_header(name) for name in names], None, options)
    # Columns go by number here, so that a name can stand twice and be refused by name later.
    numbers = [str(i) for i in range(len(names))]
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(data),
            read_options=pa.csv.ReadOptions(
                column_names=numbers,
                skip_rows=lines_before + 1,
                # One block, because types are inferred from the first one only.
                block_size=len(data) + 1,
                use_threads=False,
            ),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter),
            convert_options=pa.csv.ConvertOptions(
                # Times are read as decimals later; as floats they would lose nanoseconds.
                column_types={} if time_index is None else {numbers[time_index]: pa.string()},
                null_values=_MISSING,
                strings_can_be_null=True,
                # No dates and no truth values in channels: such text is refused as what it is.
                timestamp_parsers=[],
            ),
        )
    except (pa.ArrowException, ValueError) as error:
        raise MalformedError(
            "not a CSV table",
            field=f"{lines_before + 1} lines before the first row",
            actual=str(error).partition("CSV parse error: ")[2][:200] or str(error)[:200],
            remedy="Every row needs as many cells as the header; a decimal comma makes two cells of one.",
        ) from error
    return dataset_of_table(_narrowed(table).rename_columns(names), options)


def _read_header(data: bytes) -> tuple[int, list[str], str]:
    """Lines before the header, the names in it, and the delimiter."""
    if data.startswith(_UTF_16_MARKS) or b"\0" in data[:HEADER_BYTES_MAX]:
        raise MalformedError(
            "not UTF-8 text", field="header", actual=repr(data[:8]), remedy="Save it as UTF-8."
        )
    position = len(_BYTE_ORDER_MARK) if data.startswith(_BYTE_ORDER_MARK) else 0
    lines_before = 0
    line, position = _line(data, position)
    while line.startswith(b"#"):
        lines_before += 1
        if lines_before > COMMENT_LINES_MAX:
            raise MalformedError(
                "no header after the comments", field="header", expected=f"<= {COMMENT_LINES_MAX} lines"
            )
        line, position = _line(data, position)
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(
            "not UTF-8 text", field="header", actual=repr(line[:80]), remedy="Save it as UTF-8."
        ) from error
    delimiter = max(_DELIMITERS, key=text.count)
    try:
        names = [name.strip() for name in next(csv.reader([text], delimiter=delimiter, strict=True), [])]
    except csv.Error as error:
        raise MalformedError("not a CSV header", field="header", actual=str(error)) from error
    if not names or not all(names):
        raise MalformedError(
            "a column without a name", field="header", expected="names", actual=repr(text[:80])
        )
    if all(name.replace(".", "", 1).lstrip("+-").isdigit() for name in names):
        raise MalformedError(
            "no header",
            field="header",
            expected="names of columns",
            actual=repr(text[:80]),
            remedy="Put one first.",
        )
    return lines_before, names, delimiter


def _line(data: bytes, start: int) -> tuple[bytes, int]:
    ends = [end for mark in (b"\n", b"\r") if (end := data.find(mark, start, start + HEADER_BYTES_MAX)) >= 0]
    end = min(ends, default=min(len(data), start + HEADER_BYTES_MAX))
    if not ends and len(data) - start > HEADER_BYTES_MAX:
        raise MalformedError("a line without end", field="header", expected=f"<= {HEADER_BYTES_MAX} bytes")
    return data[start:end], end + (2 if data[end : end + 2] == b"\r\n" else 1)


def _narrowed(table: pa.Table) -> pa.Table:
    """Text has no types: whole numbers become int32 where all of them fit, as a digitiser's counts do."""
    for i, column in enumerate(table.columns):
        if pa.types.is_integer(column.type):
            bounds = pc.min_max(column)
            low, high = bounds["min"].as_py(), bounds["max"].as_py()
            if low is not None and low >= _INT32[0] and high <= _INT32[1]:
                table = table.set_column(i, table.field(i).name, column.cast(pa.int32()))
    return table
