"""Instants as providers write them: local clock text with an offset, ISO 8601 / RFC 3339.

The clock text and the offset are kept apart, since two ends of one night can have different offsets, and a
calendar date is text that is checked and passed on, never moved to UTC.
"""

from __future__ import annotations

import re
from datetime import date, datetime

from msgspec import Struct

from domain.errors import MalformedError

SECOND_NS = 1_000_000_000
DAY_SECONDS = 86_400
# What zone databases have ever held lies within 16 hours of UTC; ISO 8601 itself sets no bound.
OFFSET_SECONDS_MAX = 16 * 3_600
# Nanoseconds since 1970 in a signed 64-bit integer end in the year 2262; wearables did not exist before 1970.
YEAR_MIN, YEAR_MAX = 1970, 2261

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_INSTANT = re.compile(
    r"(\d{4}-\d{2}-\d{2}[Tt ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:[.,](\d{1,9}))?"
    r"(?:([Zz])|([+-]\d{2}):?([0-5]\d))?",
    re.ASCII,
)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class LocalInstant(Struct, frozen=True):
    """``local`` is ``YYYY-MM-DDThh:mm:ss`` with the fraction when it is not zero; ``offset_seconds`` is east
    of UTC.

    ``offset_seconds`` and ``unix_ns`` are ``None`` where the text had no offset: nobody knows which instant
    that was.
    """

    local: str
    offset_seconds: int | None
    unix_ns: int | None


def parse_local_instant(text: str, field: str) -> LocalInstant:
    """Read an ISO 8601 date and time of day.  Leap seconds and 24:00 are refused: no provider sends them.

    Raises: MalformedError naming ``field``; the text itself is a person's and is not repeated.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise _malformed(field, text)
    local, fraction, zulu, offset_hours, offset_minutes = match.groups()
    if local[10] != "T":
        local = f"{local[:10]}T{local[11:]}"
    try:
        clock = datetime.fromisoformat(local)
    except ValueError as error:
        raise _malformed(field, text) from error
    if not YEAR_MIN <= clock.year <= YEAR_MAX:
        raise _malformed(field, text, expected=f"a year from {YEAR_MIN} to {YEAR_MAX}")
    nanosecond = 0
    if fraction is not None and (digits := fraction.rstrip("0")):
        local = f"{local}.{digits}"
        nanosecond = int(fraction.ljust(9, "0"))
    if offset_hours is not None:
        minutes = int(offset_minutes)
        offset = int(offset_hours) * 3_600 + (-minutes if offset_hours[0] == "-" else minutes) * 60
        if abs(offset) > OFFSET_SECONDS_MAX:
            raise _malformed(field, text)
    elif zulu is not None:
        offset = 0
    else:
        return LocalInstant(local, None, None)
    days = clock.toordinal() - _EPOCH_ORDINAL
    seconds = ((days * 24 + clock.hour) * 60 + clock.minute) * 60 + clock.second - offset
    return LocalInstant(local, offset, seconds * SECOND_NS + nanosecond)


def parse_calendar_date(text: str, field: str) -> str:
    """Return ``text`` if it is an existing date ``YYYY-MM-DD``.  Raises: MalformedError naming ``field``."""
    if _DATE.fullmatch(text) is None:
        raise _malformed(field, text, expected="a calendar date YYYY-MM-DD")
    try:
        date.fromisoformat(text)
    except ValueError as error:
        raise _malformed(field, text, expected="a calendar date YYYY-MM-DD") from error
    return text


def same_clock_next_day(local: str) -> str:
    """The same time of day on the next calendar date, as a wall clock shows it; however many hours lie
    between.
    """
    day, _, clock = local.partition("T")
    return f"{date.fromordinal(date.fromisoformat(day).toordinal() + 1).isoformat()}T{clock}"


def elapsed_seconds(start: LocalInstant, end: LocalInstant) -> float | None:
    """Real time between two instants, each with its own offset; ``None`` where either has none."""
    if start.unix_ns is None or end.unix_ns is None:
        return None
    return (end.unix_ns - start.unix_ns) / SECOND_NS


def _malformed(
    field: str, text: str, expected: str = "an ISO 8601 date and time with offset"
) -> MalformedError:
    return MalformedError(
        "not a time", field=field, expected=expected, actual=f"text of {len(text)} characters"
    )
