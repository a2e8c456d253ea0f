"""CSV: values and instants are exact, and whatever is ambiguous is asked about instead of guessed."""

import contextlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.files import csv
from adapters.files.csv import read_csv
from adapters.files.options import SampleFileOptions
from domain.dataset import Channel, Dataset
from domain.errors import InvalidError, LimitError, MalformedError, TallystickError

START_NS = 1_769_860_800_000_000_000
HEADER = b"time [ns],a [V]\n"


def read(data: bytes, **options: Any) -> Dataset:
    return read_csv(data, SampleFileOptions(**options))


def only(data: bytes, **options: Any) -> Channel:
    (channel,) = read(data, **options).channels
    return channel


def rows(*values: object, step_ns: int = 10_000_000) -> bytes:
    return HEADER + b"".join(
        b"%d,%s\n" % (START_NS + i * step_ns, str(v).encode()) for i, v in enumerate(values)
    )


@given(values=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=30))
def test_whole_numbers_are_exact_and_as_narrow_as_they_can_be(values: list[int]) -> None:
    channel = only(rows(*values))
    assert channel.samples.tolist() == values
    fits = all(-(2**31) <= value < 2**31 for value in values)
    assert channel.samples.dtype.name == ("int32" if fits else "int64")


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=30))
def test_floats_are_the_nearest_double(values: list[float]) -> None:
    channel = only(rows(*values, 0.5))
    assert channel.samples.dtype.name == "float64"
    np.testing.assert_array_equal(channel.samples, [*values, 0.5])


@given(nanoseconds=st.integers(START_NS, START_NS + 10**18))
@pytest.mark.parametrize(("unit", "digits"), [("s", 9), ("ms", 6), ("us", 3), ("µs", 3), ("ns", 0)])
def test_decimal_instants_are_exact_to_the_nanosecond(unit: str, digits: int, nanoseconds: int) -> None:
    def written(ns: int) -> str:
        whole, rest = divmod(ns, 10**digits)
        return f"{whole}.{rest:0{digits}d}" if digits else str(whole)

    data = f"time [{unit}],a [V]\n" + "".join(f"{written(nanoseconds + i * 10**9)},1\n" for i in range(3))
    channel = only(data.encode())
    assert channel.marks.tolist() == [[i, nanoseconds + i * 10**9] for i in range(3)]
    assert channel.sample_rate_hz == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00.123456789Z",
        "2026-01-31 12:00:00.123456789Z",
        "2026-01-31T13:00:00.123456789+01:00",
        " 2026-01-31T06:30:00.123456789-05:30 ",
    ],
)
def test_iso_8601_instants_are_exact_whatever_their_zone(text: str) -> None:
    assert only(f"time,a [V]\n{text},1\n".encode(), sample_rate_hz=1.0).start_ns == START_NS + 123_456_789


def test_a_mark_for_every_row_keeps_jitter_gaps_and_steps_back() -> None:
    offsets = [0, 10, 20, 21, 40, 90, 80, 100]
    data = HEADER + b"".join(b"%d,1\n" % (START_NS + o * 10**6) for o in offsets)
    assert only(data, sample_rate_hz=100.0).marks[:, 1].tolist() == [START_NS + o * 10**6 for o in offsets]


def test_sample_numbers_make_a_mark_where_they_do_not_count_on() -> None:
    data = b"sample,a [V]\n0,1\n1,1\n2,1\n7,1\n8,1\n3,1\n"
    channel = only(data, sample_rate_hz=3.0, start_ns=START_NS)
    assert channel.marks.tolist() == [
        [0, START_NS],
        [3, START_NS + 2_333_333_333],
        [5, START_NS + 1_000_000_000],
    ]


def test_rows_without_a_time_need_a_rate_and_a_start() -> None:
    data = b"a [V]\n1\n2\n3\n"
    channel = only(data, sample_rate_hz=62.5, start_ns=START_NS)
    assert (channel.marks.tolist(), channel.sample_rate_hz) == ([[0, START_NS]], 62.5)
    for options in ({}, {"sample_rate_hz": 62.5}, {"start_ns": START_NS}):
        with pytest.raises(InvalidError):
            read(data, **options)


def test_times_from_the_start_of_the_recording_need_that_start() -> None:
    data = b"t [s],a [V]\n0.00,1\n0.01,2\n0.02,3\n"
    with pytest.raises(InvalidError) as caught:
        read(data)
    assert "start_ns" in caught.value.remedy
    assert only(data, start_ns=START_NS).marks[:, 1].tolist() == [START_NS + i * 10**7 for i in range(3)]


@pytest.mark.parametrize(
    ("step_ns", "expected"),
    [(5_000_000, 200.0), (10**9, 1.0), (10 * 10**9, 0.1), (5_000_400, 200.0), (1_000_000, 1_000.0)],
)
def test_a_whole_nominal_rate_is_found_from_the_times(step_ns: int, expected: float) -> None:
    assert only(rows(*range(50), step_ns=step_ns)).sample_rate_hz == expected


def test_coarse_time_stamps_average_out() -> None:
    """Whole milliseconds at 300 Hz: single steps are 3 or 4 ms."""
    data = HEADER + b"".join(b"%d,1\n" % (START_NS + i * 10**9 // 300 // 10**6 * 10**6) for i in range(5_000))
    assert only(data).sample_rate_hz == 300.0


@pytest.mark.parametrize("step_ns", [16_000_000, 5_020_000, 0, -10_000_000, 17 * 10**8])
def test_a_rate_that_is_not_clear_is_asked_for(step_ns: int) -> None:
    data = rows(*range(50), step_ns=step_ns)
    with pytest.raises(InvalidError) as caught:
        read(data)
    assert caught.value.field == "options.sample_rate_hz"
    assert only(data, sample_rate_hz=62.5).sample_rate_hz == 62.5


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_delimiters_line_ends_marks_quotes_and_comments_are_read(
    delimiter: str, line_end: str, mark: str
) -> None:
    lines = [
        "# a logger says hello",
        "# serial,12;3",
        f'time [ns]{delimiter}"vel, z [m/s]"{delimiter} temp (°C) ',
        f"{START_NS}{delimiter} 1.5{delimiter}20",
        f'{START_NS + 10**9}{delimiter}"2.5"{delimiter}21',
    ]
    dataset = read((mark + line_end.join(lines) + line_end).encode())
    assert [(c.name, c.unit, c.samples.tolist()) for c in dataset.channels] == [
        ("temp", "°C", [20, 21]),
        ("vel, z", "m/s", [1.5, 2.5]),
    ]


def test_the_time_column_can_be_named_and_channels_renamed() -> None:
    data = b"when,a,b [V]\n%d,1,2\n%d,1,2\n" % (START_NS, START_NS + 10**9)
    dataset = read(
        data, time_column="when", time_unit="ns", units={"a": "m/s"}, channel_names={"b": "b-renamed"}
    )
    assert [(c.name, c.unit) for c in dataset.channels] == [("a", "m/s"), ("b-renamed", "V")]


@pytest.mark.parametrize("missing", ["", "NaN", "nan", "NA", "null"])
def test_what_is_missing_is_refused_or_kept_as_nan(missing: str) -> None:
    data = rows("1", missing, "3")
    with pytest.raises(InvalidError) as caught:
        read(data)
    assert caught.value.field == "channel a, row 2"
    np.testing.assert_array_equal(only(data, non_finite="keep").samples, [1.0, math.nan, 3.0])


def test_a_channel_that_is_missing_throughout_can_be_kept() -> None:
    assert np.isnan(only(rows("", ""), sample_rate_hz=1.0, non_finite="keep").samples).all()


@pytest.mark.parametrize("infinite", ["inf", "-inf", "1e400"])
def test_infinity_is_refused_or_kept(infinite: str) -> None:
    with pytest.raises(InvalidError):
        read(rows("1", infinite, "2.5"))
    assert np.isinf(only(rows("1", infinite, "2.5"), non_finite="keep").samples[1])


def later(text: str) -> bytes:
    return f"time [ns],a [V]\n{START_NS},{text}\n{START_NS + 10**9},{text}\n".encode()


# Name of the evil: what is said of it, and a file that has it.
EVIL: dict[str, tuple[str, bytes]] = {
    "utf_16": ("not UTF-8 text", "time [s],a [V]\n".encode("utf-16")),
    "latin_1_header": ("not UTF-8 text", "time [s],temp [°C]\n".encode("latin-1")),
    "bytes_that_are_no_text": ("not UTF-8 text", b"time\0,a\n"),
    "latin_1_cell": ("not a number", later("1") + b"%d,\xb0\n" % (START_NS + 2 * 10**9)),
    "no_header": ("no header", b"1797765260,1.5\n1797765261,2.5\n"),
    "column_without_a_name": ("a column without a name", b"time [s],,a [V]\n1,2,3\n"),
    "delimiter_at_the_end": ("a column without a name", b"time [s],a [V],\n1,2,\n"),
    "quote_without_end": ("not a CSV header", b'time [s],"a [V]\n1,2\n'),
    "row_too_short": ("not a CSV table", later("1") + b"%d\n" % START_NS),
    "row_too_long": ("not a CSV table", later("1") + b"%d,1,2\n" % START_NS),
    "decimal_comma_in_quotes": ("a decimal comma", later('"1,5"')),
    "decimal_comma_between_semicolons": (
        "a decimal comma",
        later("1,5").replace(b"],a", b"];a").replace(b",1", b";1"),
    ),
    "decimal_comma_between_commas": ("not a CSV table", later("1,5")),
    "text_in_a_channel": ("not a number", later("on")),
    "text_in_one_row": ("not a number", rows("1", "2", "error")),
    "truth_values": ("a channel that holds no numbers", later("true")),
    "dates_in_a_channel": ("a channel that holds no numbers", later("2026-01-31")),
    "no_unit": ("a channel without a unit", later("1").replace(b" [V]", b"")),
    "empty_unit": ("a channel without a unit", later("1").replace(b"[V]", b"[]")),
    "same_name_twice": ("two columns have the same name", b"time [ns],a [V],a [m]\n%d,1,2\n" % START_NS),
    "no_channel": ("no channel in this table", b"time [ns]\n%d\n" % START_NS),
    "no_rows": ("no samples in this file", HEADER),
    "time_without_unit": ("the unit of the time column is unknown", b"time,a [V]\n1797765260,1\n"),
    "time_in_an_odd_unit": ("the unit of the time column is unknown", b"time [h],a [V]\n1797765260,1\n"),
    "time_without_zone": ("a time without a zone", b"time,a [V]\n2026-01-31T12:00:00,1\n"),
    "time_with_a_leap_second": ("a time cannot be read", b"time,a [V]\n2026-06-30T23:59:60Z,1\n"),
    "time_with_ten_decimals": ("a time cannot be read", b"time [s],a [V]\n1797765260.0000000001,1\n"),
    "time_of_30_digits": ("a time cannot be read", b"time [s],a [V]\n" + b"9" * 30 + b",1\n"),
    "time_in_the_year_9999": ("a time is out of range", b"time [s],a [V]\n253402300799,1\n"),
    "time_missing": ("times are missing", b"time [s],a [V]\n1797765260,1\n,1\n"),
    "time_that_is_text": ("a time cannot be read", b"time [s],a [V]\nnoon,1\n"),
    "clock_never_set": ("a time before 1980", b"time,a [V]\n1970-01-01T00:00:01Z,1\n"),
    "sample_numbers_with_fractions": ("sample numbers are whole numbers", b"sample,a [V]\n0.5,1\n"),
}


@pytest.mark.parametrize("name", EVIL)
def test_evil_is_refused_by_its_name(name: str) -> None:
    what, data = EVIL[name]
    with pytest.raises((MalformedError, InvalidError)) as caught:
        read(data)
    assert what in caught.value.what


@pytest.mark.parametrize(
    "options",
    [
        {"time_column": "when"},
        {"units": {"b": "V"}},
        {"units": {"a": "mV"}},
        {"channel_names": {"b": "c"}},
        {"time_unit": "iso8601", "start_ns": 0},
    ],
)
def test_options_that_contradict_the_file_are_refused(options: dict[str, Any]) -> None:
    data = b"time,a [V]\n2026-01-31T12:00:00Z,1\n2026-01-31T12:00:01Z,1\n"
    assert only(data).unit == "V"
    with pytest.raises(InvalidError) as caught:
        read(data, **options)
    assert caught.value.field.startswith("options.")


def test_more_columns_than_channels_are_refused_before_they_are_read() -> None:
    header = ",".join(f"c{i} [V]" for i in range(70))
    with pytest.raises(LimitError):
        read((header + "\n" + "x" * 100).encode())


@pytest.mark.parametrize("start", [b"", b"#"])
def test_a_first_line_without_end_is_refused(start: bytes) -> None:
    with pytest.raises(MalformedError):
        read(start + b"a" * (csv.HEADER_BYTES_MAX + 10))


def test_comments_without_end_are_refused() -> None:
    with pytest.raises(MalformedError):
        read(b"#\n" * (csv.COMMENT_LINES_MAX + 1) + HEADER)


GOOD = rows(*range(20))


@given(position=st.integers(0, len(GOOD) - 1), value=st.integers(0, 255))
def test_a_changed_byte_never_ends_in_a_traceback(position: int, value: int) -> None:
    data = bytearray(GOOD)
    data[position] = value
    with contextlib.suppress(TallystickError):
        read(bytes(data))


@given(data=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode())))
def test_noise_never_ends_in_a_traceback(data: bytes) -> None:
    for candidate in (data, HEADER + data):
        with contextlib.suppress(TallystickError):
            read(candidate, sample_rate_hz=1.0, start_ns=0, units={"a": "V"})
        with contextlib.suppress(TallystickError):
            read(candidate)
