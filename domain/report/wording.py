"""Wording: numbers, units, times and other people's text as a report shows them.

Text that came from outside (device names, file names, serial numbers) is hostile until it went through
``plain`` and ``escaped``.
"""

from __future__ import annotations

import html
import math
import re
from datetime import UTC, datetime, timedelta

from domain.contract import Gate
from domain.metrics import Window

TEXT_LENGTH_MAX = 240
# A narrow space groups digits: no locale reads it as a decimal sign.
GROUP = "\u202f"
MINUS = "\u2212"
# What cannot be printed, and the marks that make text display other than it reads (Unicode TR 9).
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\uffff]"
)
SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def plain(text: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    """``text`` with what cannot be printed replaced, cut to ``length_max`` with an ellipsis."""
    visible = _UNPRINTABLE.sub("\ufffd", text[: length_max + 1])
    return visible if len(visible) <= length_max else visible[: length_max - 1] + "…"


def escaped(text: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    """``text`` safe inside an element or a quoted attribute."""
    return html.escape(plain(text, length_max), quote=True)


def number(value: float | None, digits: int = 6) -> str:
    """``value`` to ``digits`` significant digits, ``1.5 × 10⁻⁷`` where plain decimals would be long; a dash
    when missing.
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if value == int(value) and abs(value) < 1e12:
        return whole(int(value))
    text = f"{value:.{digits}g}"
    mantissa, _, exponent = text.partition("e")
    if exponent and -5 <= int(exponent) < 0:
        text = f"{value:.{digits - 1 - int(exponent)}f}".rstrip("0")
        mantissa, exponent = text, ""
    if exponent:
        power = str(int(exponent)).translate(SUPERSCRIPTS)
        text = f"{mantissa} × 10{power}" if mantissa not in ("1", "-1") else f"{mantissa[:-1]}10{power}"
    return text.replace("-", MINUS)


def whole(value: int) -> str:
    """A whole number, its digits grouped in threes from five digits on."""
    text = f"{value:,}".replace(",", GROUP) if abs(value) >= 10_000 else str(value)
    return text.replace("-", MINUS)


def unit_name(unit: str) -> str:
    """A unit as it is read; the unit of a ratio or a count is 1 (ISO 80000-1)."""
    return "1" if unit in ("", "1") else plain(unit, 40)


def bracketed(unit: str) -> str:
    """A unit as it stands behind a number; a bare ratio or count says that its unit is 1."""
    name = unit_name(unit)
    return "[1]" if name == "1" else name


def quantity(value: float | None, unit: str) -> str:
    """A number with its unit."""
    return "–" if value is None else f"{number(value)}\u00a0{bracketed(unit)}"


def share(count: int, of: int) -> str:
    """``57 of 60``."""
    return f"{whole(count)} of {whole(of)}"


def counted(count: int, singular: str, plural: str = "") -> str:
    """``1 window``, ``2 windows``."""
    return f"{whole(count)} {singular if count == 1 else plural or singular + 's'}"


def instant(time_ns: int | None) -> str:
    """A time in UTC to the millisecond, ``2009-08-24 00:20:03.000``; the bare number where no calendar has
    it.
    """
    if time_ns is None:
        return "–"
    moment = _moment(time_ns)
    if moment is None:
        return f"{time_ns} ns since 1970"
    milliseconds = time_ns // 1_000_000 % 1_000
    clock = moment.isoformat(sep=" ")[:19]
    return f"{clock}.{milliseconds:03d}" if milliseconds else clock


def clock_time(time_ns: int) -> str:
    """The time of day in UTC, ``00:20:03``."""
    moment = _moment(time_ns)
    return str(time_ns) if moment is None else moment.isoformat()[11:19]


def day(time_ns: int) -> str:
    """The date in UTC."""
    moment = _moment(time_ns)
    return str(time_ns) if moment is None else moment.isoformat()[:10]


def span(start_ns: int | None, end_ns: int | None) -> str:
    """``2009-08-24 00:20:03 to 01:20:03 UTC``; the date stands again only where it changes."""
    if start_ns is None or end_ns is None:
        return "times are personal and not shown"
    end = clock_time(end_ns) if day(start_ns) == day(end_ns) else instant(end_ns)
    return f"{instant(start_ns)} to {end} UTC"


def duration(nanoseconds: int) -> str:
    """A length of time in the unit that suits it."""
    seconds = nanoseconds / 1e9
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{number(seconds / size, 4)}\u00a0{name}"
    return f"{number(seconds, 4)}\u00a0s"


def window_name(windows: tuple[Window, ...], index: int) -> str:
    """``window 12 (00:32:03–00:33:03)``; counted from 1, and a record when its times are personal."""
    window = windows[index]
    if window.start_ns is None or window.end_ns is None:
        return f"record {whole(index + 1)}"
    return f"window {whole(index + 1)} ({clock_time(window.start_ns)}–{clock_time(window.end_ns)})"


def windows_name(windows: tuple[Window, ...], start: int, end: int) -> str:
    """``windows 12 to 15 (00:32:03–00:36:03)``; ``end`` is the index after the last."""
    if end - start == 1:
        return window_name(windows, start)
    first, last = windows[start].start_ns, windows[end - 1].end_ns
    if first is None or last is None:
        return f"records {whole(start + 1)} to {whole(end)}"
    return f"windows {whole(start + 1)} to {whole(end)} ({clock_time(first)}–{clock_time(last)})"


def limits(gate: Gate) -> str:
    """The decision rule of a gate: ``pass ≤ 0.25 s, fail > 1 s``."""
    keep, lose = ("≤", ">") if gate.rule == "at_most" else ("≥", "<")
    fail_limit = quantity(gate.fail_limit, gate.unit)
    # A ratio says once that its unit is one.
    is_bare = unit_name(gate.unit) == "1"
    pass_limit = number(gate.pass_limit) if is_bare else quantity(gate.pass_limit, gate.unit)
    return f"pass {keep} {pass_limit}, fail {lose} {fail_limit}"


def _moment(time_ns: int) -> datetime | None:
    try:
        return _EPOCH + timedelta(microseconds=time_ns // 1_000)
    except OverflowError:
        return None
