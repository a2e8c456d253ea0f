"""Numbers, units and times as a person reads them."""

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.metrics import Window
from domain.report.wording import (
    duration,
    escaped,
    instant,
    number,
    plain,
    quantity,
    span,
    windows_name,
)

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-3.0, "−3"),
        (9999.0, "9999"),
        (10_000.0, "10\u202f000"),
        (720_001.0, "720\u202f001"),
        (0.1 + 0.2, "0.3"),
        (0.999585, "0.999585"),
        (1e-4, "0.0001"),
        (1.2345678e-5, "0.0000123457"),
        (1.5e-7, "1.5 × 10⁻⁷"),
        (1e-9, "10⁻⁹"),
        (-1e-9, "−10⁻⁹"),
        (1e15, "10¹⁵"),
        (123_456_789.5, "1.23457 × 10⁸"),
    ],
)
def test_a_number_is_short_and_plain(value: float | None, text: str) -> None:
    assert number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_as_read_is_the_number_to_six_digits(value: float) -> None:
    text = number(value).replace("\u202f", "").replace("−", "-")
    digits = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
    mantissa, found, power = text.partition("10") if "×" not in text and _is_power(text) else (text, "", "")
    if found:
        read = float(f"{mantissa or ''}1e{power.translate(digits)}")
    elif "×" in text:
        head, _, tail = text.partition(" × 10")
        read = float(f"{head}e{tail.translate(digits)}")
    else:
        read = float(text)
    assert read == pytest.approx(value, rel=1e-5, abs=0.0)


def _is_power(text: str) -> bool:
    return text.lstrip("-").startswith("10") and any(mark in text for mark in "⁰¹²³⁴⁵⁶⁷⁸⁹")


def test_a_bare_number_says_that_its_unit_is_one() -> None:
    assert quantity(0.5, "1") == "0.5\u00a0[1]"
    assert quantity(0.5, "ppm") == "0.5\u00a0ppm"
    assert quantity(None, "ppm") == "–"


@pytest.mark.parametrize(
    "time_ns, text",
    [
        (0, "1970-01-01 00:00:00"),
        (1_297_765_260 * SECOND + 5_000_000, "2011-02-15 10:21:00.005"),
        (-SECOND, "1969-12-31 23:59:59"),
        (2**63 - 1, "2262-04-11 23:47:16.854"),
        (10**30, f"{10**30} ns since 1970"),
        (-(10**30), f"{-(10**30)} ns since 1970"),
        (None, "–"),
    ],
)
def test_any_time_can_be_said(time_ns: int | None, text: str) -> None:
    assert instant(time_ns) == text


def test_a_span_says_its_date_again_only_where_it_changes() -> None:
    assert span(0, 60 * SECOND) == "1970-01-01 00:00:00 to 00:01:00 UTC"
    assert span(0, 86_400 * SECOND) == "1970-01-01 00:00:00 to 1970-01-02 00:00:00 UTC"
    assert span(None, None) == "times are personal and not shown"


def test_a_duration_stands_in_the_unit_that_suits_it() -> None:
    assert duration(90 * SECOND) == "90\u00a0s"
    assert duration(600 * SECOND) == "10\u00a0min"
    assert duration(86_400 * SECOND) == "24\u00a0h"


def test_neighbouring_windows_are_named_together() -> None:
    windows = tuple(Window(start_ns=at * 60 * SECOND, end_ns=(at + 1) * 60 * SECOND) for at in range(3))
    assert windows_name(windows, 0, 1) == "window 1 (00:00:00–00:01:00)"
    assert windows_name(windows, 1, 3) == "windows 2 to 3 (00:01:00–00:03:00)"
    assert windows_name((Window(start_ns=None, end_ns=None),) * 3, 0, 2) == "records 1 to 2"


@given(st.text())
def test_no_text_leaves_its_element_or_hides_what_it_says(text: str) -> None:
    safe = escaped(text)
    assert not set(safe) & set("<>\"'")
    marks = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert not any(
        unicodedata.category(character) in ("Cc", "Cs") or unicodedata.bidirectional(character) in marks
        for character in safe
    )
    assert len(plain(text)) <= 240
    safe.encode()
