"""Columns: numbers with names and units in a deterministic file, for artifacts of more than a few numbers.

Media type ``application/vnd.tallystick.columns``.  The format, version 1:

1. one line of canonical JSON, ended by a line feed: ``{"columns": [{"channel", "count", "name", "table",
   "unit"}], "facts": {...}, "format": "tallystick.columns.v1"}``; columns are sorted by (table, channel,
   name), code points; ``facts`` are strings that say how the numbers were made,
2. the columns in that order: ``count`` little-endian IEEE 754 doubles each, nothing between or after them.

NaN, of which there is one spelling (``0x7ff8000000000000``), means not measured; there is no negative zero.
Columns of one table and channel have the same count.  Reading one in another language takes a JSON parser
and a cast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from domain.canonical import canonical_json, parse_canonical
from domain.dataset import canonical_floats
from domain.errors import InvalidError, LimitError, MalformedError
from domain.quantise import quantise_each

MEDIA_TYPE = "application/vnd.tallystick.columns"
FORMAT = "tallystick.columns.v1"
# 64 channels with a handful of columns in a few tables.
COLUMNS_MAX = 4_096
# 128 MiB; a spectrum has 32 769 frequencies at most, a track 1 440 windows.
VALUES_MAX = 2**24
HEADER_BYTES_MAX = 2**20


class Column(Struct, frozen=True, kw_only=True, eq=False):
    """``values``: 1-D float64 in ``unit``.  ``quantise`` says how this column is rounded for comparison
    between environments, ``None`` where the numbers are exact anyhow; it is not part of the file."""

    table: str
    name: str
    unit: str
    values: NDArray[np.float64]
    channel: str = ""
    quantise: Callable[[float], float] | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What columns are sorted and found by."""
        return self.table, self.channel, self.name


class Columns(Struct, frozen=True, kw_only=True, eq=False):
    """A parsed file."""

    facts: dict[str, str]
    columns: tuple[Column, ...]

    def column(self, table: str, name: str, channel: str = "") -> NDArray[np.float64]:
        """The values of one column.  Raises: InvalidError when there is none."""
        for column in self.columns:
            if column.key == (table, channel, name):
                return column.values
        there = ", ".join("/".join(column.key) for column in self.columns)
        raise InvalidError("no such column", field=f"{table}/{channel}/{name}", expected=there)

    def channels(self, table: str) -> tuple[str, ...]:
        """Names of the channels that ``table`` has columns of, sorted."""
        return tuple(sorted({column.channel for column in self.columns if column.table == table}))


class _ColumnHeader(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    channel: str
    count: int
    name: str
    table: str
    unit: str


class _Header(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    columns: tuple[_ColumnHeader, ...]
    facts: dict[str, str]
    format: str


def format_columns(columns: Iterable[Column], facts: dict[str, str], *, is_quantised: bool = False) -> bytes:
    """The file of these columns, each rounded by its own rule when ``is_quantised``.

    Raises: InvalidError when two columns share a key or a table is ragged; LimitError.
    """
    ordered = sorted(columns, key=lambda column: column.key)
    headers = tuple(
        _ColumnHeader(
            channel=column.channel,
            count=column.values.size,
            name=column.name,
            table=column.table,
            unit=column.unit,
        )
        for column in ordered
    )
    _check_headers(headers)
    header = canonical_json(_Header(columns=headers, facts=facts, format=FORMAT)) + b"\n"
    if len(header) > HEADER_BYTES_MAX:
        raise LimitError("the header is too long", expected=f"<= {HEADER_BYTES_MAX}", actual=str(len(header)))
    parts = [header]
    for column in ordered:
        values = column.values
        if is_quantised and column.quantise is not None:
            values = quantise_each(column.quantise, values)
        parts.append(canonical_floats(values.astype("<f8")).tobytes())
    return b"".join(parts)


def parse_columns(data: bytes) -> Columns:
    """Read a file, refusing every spelling but the canonical one.  Raises: MalformedError, LimitError."""
    end = data.find(b"\n", 0, HEADER_BYTES_MAX)
    if end < 0:
        raise MalformedError("no header line", field="columns", expected=FORMAT)
    header = parse_canonical(data[:end], _Header)
    if header.format != FORMAT:
        raise MalformedError("another format", field="format", expected=FORMAT, actual=header.format[:80])
    try:
        _check_headers(header.columns)
    except InvalidError as error:
        raise MalformedError(error.what, field=error.field) from error
    keys = [(column.table, column.channel, column.name) for column in header.columns]
    if keys != sorted(keys):
        raise MalformedError("columns are not sorted", field="columns")
    expected = 8 * sum(column.count for column in header.columns)
    if len(data) - end - 1 != expected:
        actual = str(len(data) - end - 1)
        raise MalformedError("the length does not match the header", expected=str(expected), actual=actual)
    values = np.frombuffer(data, dtype="<f8", offset=end + 1)
    if canonical_floats(values).tobytes() != values.tobytes():
        raise MalformedError(
            "a number is not in canonical form", field="columns", expected="one NaN, no negative zero"
        )
    native = values.astype(np.float64, copy=False)
    columns = []
    start = 0
    for column in header.columns:
        columns.append(
            Column(
                table=column.table,
                channel=column.channel,
                name=column.name,
                unit=column.unit,
                values=native[start : start + column.count],
            )
        )
        start += column.count
    return Columns(facts=header.facts, columns=tuple(columns))


def _check_headers(headers: tuple[_ColumnHeader, ...]) -> None:
    if len(headers) > COLUMNS_MAX:
        raise LimitError("too many columns", expected=f"<= {COLUMNS_MAX}", actual=str(len(headers)))
    if any(header.count < 0 for header in headers):
        raise InvalidError("a count is not negative", field="columns")
    if sum(header.count for header in headers) > VALUES_MAX:
        raise LimitError("too many values", field="columns", expected=f"<= {VALUES_MAX}")
    if len({(header.table, header.channel, header.name) for header in headers}) != len(headers):
        raise InvalidError("two columns have the same table, channel and name", field="columns")
    counts: dict[tuple[str, str], int] = {}
    for header in headers:
        if counts.setdefault((header.table, header.channel), header.count) != header.count:
            raise InvalidError(
                "columns of one table differ in length", field=f"{header.table}/{header.channel}"
            )
