"""One miniSEED 2 record: what its header says (SEED 2.4 manual, chapter 8; FDSN miniSEED 2).

A record is a fixed header of 48 bytes, a chain of blockettes, and data:

     0  6s  sequence number, ignored           30  u2  number of samples
     6  c   data quality: D, R, Q or M         32  i2  sample rate factor
     7  x   blank                              34  i2  sample rate multiplier
     8  5s  station                            36  u1  activity flags (bit 1: time is corrected already)
    13  2s  location                           38  u1  data quality flags (bit 7: time tag is questionable)
    15  3s  channel                            39  u1  number of blockettes, often wrong, ignored
    18  2s  network                            40  i4  time correction, 0.1 ms
    20  2H3Bx H  year, day of year, h, m, s,   44  u2  offset of data
        0.1 ms                                 46  u2  offset of the first blockette

    blockette 1000  encoding, word order of the data, record length as a power of two; required
    blockette 1001  timing quality in percent, microseconds to add to the time
    blockette  100  sample rate as a 32-bit float, in place of factor and multiplier

Numbers are big-endian, or little-endian where only that gives a possible date; blockette 1000 speaks for the
data alone.
"""

from __future__ import annotations

import datetime
import functools
import math
import re
import struct

from msgspec import Struct

from domain.errors import MalformedError

HEADER_BYTES = 48
# Exponents of the record length; 128 bytes to 1 MiB, the bounds of libmseed and of every recorder that we
# know of.
LENGTH_EXPONENTS = range(7, 21)
# Unix time counts from here.
_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()

_DAY_NS = 86_400_000_000_000

_CODE = re.compile(r"[A-Za-z0-9_-]*")
_SIGNATURE = re.compile(rb"[0-9 \0]{6}[DRQM][ \0]")
_BLANK_RECORD = re.compile(rb"[0-9 \0]{6} {42}")
_CONTROL_RECORD = re.compile(rb"[0-9 ]{6}[VAST][ *]")
_MINISEED_3 = b"MS\x03"
_FIELDS = "xxxxxxxx5s2s3s2sHHBBBxHHhhBBBBiHH"
_HEADERS = (struct.Struct(">" + _FIELDS), struct.Struct("<" + _FIELDS))
_BLOCKETTES = (struct.Struct(">HH"), struct.Struct("<HH"))
_FLOATS = (struct.Struct(">f"), struct.Struct("<f"))

# 10,000 tenths of a millisecond should have been a second; recorders that round up write it all the same.
_FRACTION_MAX = 10_000
_TIME_IS_CORRECTED = 0x02
_TIME_IS_QUESTIONABLE = 0x80


class MiniseedRecord(Struct, frozen=True):
    """What decoding needs of a record.

    ``byte_count``: the whole record.  ``data_offset`` counts from the start of the file.  ``source_id`` is
    ``NET.STA.LOC.CHA`` with blanks removed.  ``timing_quality_percent`` is NaN where the record does not say.
    """

    offset: int
    byte_count: int
    source_id: str
    start_ns: int
    sample_rate_hz: float
    sample_count: int
    encoding: int
    is_little_endian: bool
    data_offset: int
    data_byte_count: int
    timing_quality_percent: float


def is_miniseed(data: bytes) -> bool:
    """Whether the first bytes look like a miniSEED record, of version 2 or 3."""
    return data.startswith(_MINISEED_3) or (_SIGNATURE.match(data) is not None and len(data) >= HEADER_BYTES)


def parse_miniseed_record(data: bytes, offset: int) -> MiniseedRecord:
    """Read the record at ``offset``.  Raises: MalformedError naming the byte it starts at."""
    where = f"byte {offset}"
    if len(data) - offset < HEADER_BYTES:
        raise MalformedError(
            "bytes left over that are no record",
            field=where,
            expected=f">= {HEADER_BYTES} bytes",
            actual=f"{len(data) - offset} bytes",
            remedy="The file was cut, or something was appended to it; send the whole file.",
        )
    if _SIGNATURE.match(data, offset) is None:
        raise _not_a_record(data, offset, where)

    for order in (0, 1):
        fields = _HEADERS[order].unpack_from(data, offset)
        if 1900 <= fields[4] <= 2100 and 1 <= fields[5] <= 366:
            break
    else:
        raise MalformedError("impossible date", field=where, expected="year 1900 to 2100, day 1 to 366")
    station, location, channel, network, year, day, hour, minute, second, fraction = fields[:10]
    sample_count, factor, multiplier, activity, _, quality_flags, _, correction, data_start, first = fields[
        10:
    ]
    if hour > 23 or minute > 59 or second > 60 or fraction > _FRACTION_MAX:
        raise MalformedError(
            "impossible time of day", field=where, actual=f"{hour}:{minute}:{second}.{fraction}"
        )
    if not activity & _TIME_IS_CORRECTED:
        fraction += correction

    sample_rate_hz = _nominal_rate_hz(factor, multiplier)
    timing_quality_percent, microseconds = math.nan, 0
    layout: tuple[int, int, int] | None = None
    position, next_position = 0, first
    while next_position:
        if not max(HEADER_BYTES, position + 4) <= next_position <= len(data) - offset - 4:
            raise MalformedError(
                "blockette chain leads nowhere", field=where, actual=f"offset {next_position}"
            )
        position = next_position
        kind, next_position = _BLOCKETTES[order].unpack_from(data, offset + position)
        body = data[offset + position + 4 : offset + position + 8]
        if kind in (100, 1000, 1001) and len(body) < 4:
            raise MalformedError(f"blockette {kind} is cut off", field=where)
        if kind == 1000:
            layout = (body[0], body[1], body[2])
        elif kind == 1001:
            # Outside of 0..100 it is no percentage, so it says nothing.
            timing_quality_percent = float(body[0]) if body[0] <= 100 else math.nan
            microseconds = body[1] - 256 if body[1] > 127 else body[1]
        elif kind == 100:
            sample_rate_hz = _FLOATS[order].unpack(body)[0] or sample_rate_hz
    if layout is None:
        raise MalformedError(
            "no blockette 1000, so neither encoding nor length of the record is known",
            field=where,
            remedy="Convert the file with a tool that writes miniSEED (not full SEED).",
        )
    encoding, word_order, exponent = layout
    if word_order > 1 or exponent not in LENGTH_EXPONENTS:
        raise MalformedError(
            "blockette 1000 makes no sense",
            field=where,
            expected="word order 0 or 1, length exponent 7 to 20",
            actual=f"{word_order}, {exponent}",
        )
    byte_count = 1 << exponent
    if offset + byte_count > len(data):
        raise MalformedError(
            "the file ends within a record",
            field=where,
            expected=f"{byte_count} bytes",
            actual=f"{len(data) - offset} bytes",
            remedy="The upload was cut; send the whole file.",
        )
    if sample_count and not HEADER_BYTES <= data_start < byte_count:
        raise MalformedError("data lie outside of the record", field=where, actual=f"offset {data_start}")
    if quality_flags & _TIME_IS_QUESTIONABLE:
        # The recorder itself doubts this time; a percentage beside that would be the kinder reading.
        timing_quality_percent = 0.0
    day_ns = _day_ns(year, day)
    if day_ns is None:
        raise MalformedError(
            "impossible date", field=where, expected="365 days in this year", actual=f"day {day}"
        )
    source_id = _source_id(network, station, location, channel)
    if source_id is None:
        raise MalformedError(
            "a code is not made of letters and digits",
            field=where,
            expected="network, station, location, channel",
            actual=f"{network!r}, {station!r}, {location!r}, {channel!r}",
        )
    return MiniseedRecord(
        offset=offset,
        byte_count=byte_count,
        source_id=source_id,
        start_ns=day_ns
        + (hour * 3_600 + minute * 60 + second) * 1_000_000_000
        + fraction * 100_000
        + microseconds * 1_000,
        sample_rate_hz=sample_rate_hz,
        sample_count=sample_count,
        encoding=encoding,
        is_little_endian=word_order == 0,
        data_offset=offset + data_start,
        data_byte_count=max(0, byte_count - data_start),
        timing_quality_percent=timing_quality_percent,
    )


def _nominal_rate_hz(factor: int, multiplier: int) -> float:
    """SEED 2.4, fixed header fields 10 and 11: negative numbers divide."""
    if factor == 0 or multiplier == 0:
        return 0.0
    rate = float(factor) if factor > 0 else -1.0 / factor
    return rate * multiplier if multiplier > 0 else -rate / multiplier


# Both take few values in a file and cost more than the rest of a header; `None` where there is none.
@functools.lru_cache(maxsize=1_024)
def _day_ns(year: int, day: int) -> int | None:
    days = datetime.date(year, 1, 1).toordinal() + day - 1
    return (days - _EPOCH_DAY) * _DAY_NS if datetime.date.fromordinal(days).year == year else None


@functools.lru_cache(maxsize=1_024)
def _source_id(network: bytes, station: bytes, location: bytes, channel: bytes) -> str | None:
    parts = [part.decode("ascii", "replace").strip(" \0") for part in (network, station, location, channel)]
    return ".".join(parts) if all(_CODE.fullmatch(part) for part in parts) else None


def _not_a_record(data: bytes, offset: int, where: str) -> MalformedError:
    if _CONTROL_RECORD.match(data, offset):
        return MalformedError(
            "full SEED with control headers",
            field=where,
            expected="miniSEED data records only",
            remedy="Extract the data records, for example with rdseed or obspy.",
        )
    if data.startswith(_MINISEED_3, offset):
        return MalformedError(
            "miniSEED 3",
            field=where,
            expected="miniSEED 2",
            remedy="Convert it, for example with mseedconvert -F 2.",
        )
    if _BLANK_RECORD.match(data, offset):
        return MalformedError("blank record", field=where, expected="samples", remedy="Remove blank records.")
    return MalformedError(
        "not a miniSEED record",
        field=where,
        expected="six digits, then D, R, Q or M",
        actual=repr(data[offset : offset + 8]),
    )
