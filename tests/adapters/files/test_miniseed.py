"""miniSEED: what is written is read, times are exact, and every lie is refused with the byte it stands at."""

import contextlib
import math
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.files.miniseed import read_miniseed
from adapters.files.options import SampleFileOptions
from domain.errors import InvalidError, MalformedError, TallystickError
from tests.adapters.files.miniseed_writer import STEIM1, STEIM2, write_miniseed, write_record

START_NS = 1_297_765_260_123_456_000
WALK = np.cumsum(np.random.default_rng(1).integers(-3_000, 3_000, 2_500)).astype(np.int32)

int32s = st.integers(-(2**31), 2**31 - 1)
# Differences of every width that Steim-2 knows, so that every word layout is met.
steps = st.one_of(*(st.integers(-(1 << b - 1), (1 << b - 1) - 1) for b in (4, 5, 6, 8, 10, 15, 28)))


@given(
    samples=st.lists(int32s, min_size=1, max_size=400),
    is_little=st.booleans(),
    record_bytes=st.sampled_from([128, 256, 512, 4096]),
)
def test_steim_1_gives_back_any_samples(samples: list[int], is_little: bool, record_bytes: int) -> None:
    data = write_miniseed(
        samples, encoding=STEIM1, record_bytes=record_bytes, is_little_endian_data=is_little
    )
    assert read_miniseed(data).channels[0].samples.tolist() == samples


@given(
    differences=st.lists(steps, min_size=1, max_size=400),
    is_little=st.booleans(),
    record_bytes=st.sampled_from([128, 256, 512, 4096]),
)
def test_steim_2_gives_back_all_that_it_can_express(
    differences: list[int], is_little: bool, record_bytes: int
) -> None:
    samples = [(s + 2**31) % 2**32 - 2**31 for s in np.cumsum(differences).tolist()]
    data = write_miniseed(
        samples, encoding=STEIM2, record_bytes=record_bytes, is_little_endian_data=is_little
    )
    assert read_miniseed(data).channels[0].samples.tolist() == samples


@pytest.mark.parametrize(
    ("encoding", "dtype", "values"),
    [
        (1, "int32", [-32_768, -1, 0, 1, 32_767]),
        (3, "int32", [-(2**31), -1, 0, 2**31 - 1]),
        (4, "float32", [-1.5, 0.0, 3.4e38, math.inf, math.nan]),
        (5, "float64", [-1.5, 0.0, 1.7e308, -math.inf, math.nan, 5e-324]),
    ],
)
@pytest.mark.parametrize("is_little", [False, True])
@pytest.mark.parametrize("is_little_header", [False, True])
def test_plain_encodings_are_exact(
    encoding: int, dtype: str, values: list[float], is_little: bool, is_little_header: bool
) -> None:
    expected = np.array(values, dtype=dtype)
    data = write_miniseed(
        expected,
        encoding=encoding,
        is_little_endian_data=is_little,
        is_little_endian_header=is_little_header,
    )
    (channel,) = read_miniseed(data).channels
    assert channel.samples.dtype.name == dtype
    np.testing.assert_array_equal(channel.samples, expected)


@given(
    start_us=st.integers(-(10**15), 4 * 10**15),
    quality=st.one_of(st.none(), st.integers(0, 100)),
    rate=st.sampled_from([0.1, 1.0, 62.5, 100.0, 200.0, 5_000.0]),
)
def test_a_mark_per_record_says_when_to_the_microsecond(
    start_us: int, quality: int | None, rate: float
) -> None:
    data = b"".join(
        write_record(
            np.arange(10),
            start_ns=start_us * 1_000 + i * 10**10,
            sample_rate_hz=rate,
            timing_quality_percent=quality,
        )[0]
        for i in range(3)
    )
    (channel,) = read_miniseed(data).channels
    assert channel.marks.tolist() == [[i * 10, start_us * 1_000 + i * 10**10] for i in range(3)]
    assert channel.sample_rate_hz == np.float32(rate)
    expected = math.nan if quality is None else float(quality)
    np.testing.assert_array_equal(channel.timing_quality_percent, [expected] * 3)


def test_a_time_correction_is_applied_unless_it_has_been() -> None:
    def start(correction: int, flags: int) -> int:
        data, _ = write_record(
            np.arange(5), start_ns=START_NS, time_correction=correction, activity_flags=flags
        )
        return read_miniseed(data).channels[0].start_ns

    assert start(0, 0) == START_NS
    assert start(17, 0) == START_NS + 1_700_000
    assert start(-20_000, 0) == START_NS - 2_000_000_000
    assert start(17, 0x02) == START_NS


def test_a_time_that_the_recorder_doubts_has_no_quality() -> None:
    """Data quality flag 7: time tag is questionable."""
    data, _ = write_record(np.arange(5), timing_quality_percent=100, quality_flags=0x80)
    assert read_miniseed(data).channels[0].timing_quality_percent.tolist() == [0.0]


@pytest.mark.parametrize(
    ("factor", "multiplier", "expected"),
    [
        (20, 5, 100.0),
        (-10, 1, 0.1),
        (-10, -10, 0.01),
        (100, -4, 25.0),
        (200, 1, 200.0),
        (32_767, 100, 3_276_700.0),
    ],
)
def test_factor_and_multiplier_divide_when_negative(factor: int, multiplier: int, expected: float) -> None:
    data, _ = write_record(np.arange(5), rate_factor=(factor, multiplier))
    assert read_miniseed(data).channels[0].sample_rate_hz == pytest.approx(expected, rel=1e-15)


def test_channels_may_alternate_record_by_record() -> None:
    parts = {
        name: write_miniseed(WALK + i, source=("XX", "STA", "00", name))
        for i, name in enumerate(("HHE", "HHN", "HHZ"))
    }
    count = {name: len(part) // 512 for name, part in parts.items()}
    data = b"".join(
        part[512 * i : 512 * i + 512] for i in range(max(count.values())) for part in parts.values()
    )
    channels = read_miniseed(data).channels
    assert [channel.name for channel in channels] == ["XX.STA.00.HHE", "XX.STA.00.HHN", "XX.STA.00.HHZ"]
    for i, channel in enumerate(channels):
        np.testing.assert_array_equal(channel.samples, WALK + i)


def test_records_out_of_order_and_twice_stay_as_they_are() -> None:
    records = [
        write_record(np.arange(10) + 100 * i, start_ns=i * 10**9, sample_rate_hz=10)[0] for i in range(3)
    ]
    (channel,) = read_miniseed(records[2] + records[0] + records[0] + records[1]).channels
    assert channel.marks.tolist() == [[0, 2 * 10**9], [10, 0], [20, 0], [30, 10**9]]
    assert channel.samples[::10].tolist() == [200, 0, 0, 100]


def test_records_of_several_lengths_and_encodings_make_one_channel() -> None:
    parts = [
        write_miniseed(WALK[:700], record_bytes=256),
        write_miniseed(WALK[700:1_400], record_bytes=4_096),
        write_miniseed(WALK[1_400:2_000], record_bytes=512, encoding=STEIM1),
        write_miniseed(WALK[2_000:], record_bytes=1_024, encoding=3, is_little_endian_data=True),
    ]
    (channel,) = read_miniseed(b"".join(parts)).channels
    np.testing.assert_array_equal(channel.samples, WALK)


def test_records_without_samples_leave_nothing() -> None:
    empty, _ = write_record(np.arange(5), claimed_sample_count=0, source=("XX", "STA", "", "DET"))
    data = write_miniseed(WALK)
    (channel,) = read_miniseed(empty + data + empty).channels
    np.testing.assert_array_equal(channel.samples, WALK)


def test_two_sensors_under_one_name_can_be_told_apart_and_given_a_unit() -> None:
    options = SampleFileOptions(channel_names={"XX.STA..HHZ": "north-wall"}, units={"XX.STA..HHZ": "m/s"})
    (channel,) = read_miniseed(write_miniseed([1, 2, 3]), options).channels
    assert (channel.name, channel.unit) == ("north-wall", "m/s")


@pytest.mark.parametrize(
    "options",
    [
        SampleFileOptions(channel_names={"XX.STA..HHX": "typing-mistake"}),
        SampleFileOptions(units={"north-wall": "m/s"}),
        SampleFileOptions(sample_rate_hz=100.0),
        SampleFileOptions(start_ns=0),
        SampleFileOptions(time_unit="s"),
    ],
)
def test_options_that_fit_nothing_in_the_file_are_refused(options: SampleFileOptions) -> None:
    with pytest.raises(InvalidError):
        read_miniseed(write_miniseed([1, 2, 3]), options)


def test_the_same_channel_at_two_rates_is_refused() -> None:
    data = write_miniseed([1, 2, 3]) + write_miniseed([1, 2, 3], sample_rate_hz=50.0)
    with pytest.raises(InvalidError) as caught:
        read_miniseed(data)
    assert caught.value.field == "byte 512, channel XX.STA..HHZ"
    assert "50" in caught.value.actual


def test_the_same_channel_as_counts_and_as_floats_is_refused() -> None:
    data = write_miniseed([1, 2, 3]) + write_miniseed([1.0, 2.0], encoding=4)  # type: ignore[list-item]
    with pytest.raises(InvalidError):
        read_miniseed(data)


GOOD = write_miniseed(WALK[:300], timing_quality_percent=90)


def patched(offset: int, *values: int) -> bytes:
    """The second record of GOOD with some bytes changed."""
    data = bytearray(GOOD)
    data[512 + offset : 512 + offset + len(values)] = bytes(values)
    return bytes(data)


# Name of the evil: what is said of it, and a file that has it.
EVIL: dict[str, tuple[str, Callable[[], bytes]]] = {
    "cut_within_the_last_record": ("the file ends within a record", lambda: GOOD[:-100]),
    "cut_within_a_header": ("bytes left over that are no record", lambda: GOOD[: 512 + 30]),
    "one_byte_too_many": ("bytes left over that are no record", lambda: GOOD + b"\0"),
    "zeros_appended": ("not a miniSEED record", lambda: GOOD + bytes(512)),
    "a_byte_lost_in_the_middle": ("not a miniSEED record", lambda: GOOD[:300] + GOOD[301:]),
    "text": ("not a miniSEED record", lambda: b"time,velocity\n1,2\n" * 60),
    "control_header_of_full_seed": ("full SEED with control headers", lambda: b"000001V 0100" + bytes(500)),
    "miniseed_3": ("miniSEED 3", lambda: b"MS\x03" + bytes(60)),
    "blank_record": ("blank record", lambda: GOOD + b"000003 " + b" " * 505),
    "year_0": ("impossible date", lambda: patched(20, 0, 0)),
    "day_0": ("impossible date", lambda: patched(22, 0, 0)),
    "day_367": ("impossible date", lambda: patched(22, 1, 111)),
    "day_366_of_a_common_year": ("impossible date", lambda: patched(22, 1, 110)),
    "hour_24": ("impossible time of day", lambda: patched(24, 24)),
    "minute_60": ("impossible time of day", lambda: patched(25, 60)),
    "second_61": ("impossible time of day", lambda: patched(26, 61)),
    "fraction_beyond_a_second": ("impossible time of day", lambda: patched(28, 0xFF, 0xFF)),
    "rate_zero": ("samples without a sample rate", lambda: patched(32, 0, 0)),
    "rate_infinite": ("samples without a sample rate", lambda: write_miniseed([1], sample_rate_hz=math.inf)),
    "rate_not_a_number": (
        "samples without a sample rate",
        lambda: write_miniseed([1], sample_rate_hz=math.nan),
    ),
    "rate_negative": ("samples without a sample rate", lambda: write_miniseed([1], sample_rate_hz=-0.5)),
    "blockette_points_to_itself": ("blockette chain leads nowhere", lambda: patched(50, 0, 48)),
    "blockette_points_back": ("blockette chain leads nowhere", lambda: patched(50, 0, 47)),
    "blockette_beyond_the_file": ("blockette chain leads nowhere", lambda: patched(50, 0xFF, 0xFC)),
    "blockette_cut_by_the_end": ("blockette 1001 is cut off", lambda: GOOD[: 512 + 60]),
    "no_blockette_1000": ("no blockette 1000", lambda: patched(48, 0, 201)),
    "first_blockette_in_the_header": ("blockette chain leads nowhere", lambda: patched(46, 0, 4)),
    "word_order_95": ("blockette 1000 makes no sense", lambda: patched(53, 95)),
    "record_length_of_2_to_the_255": ("blockette 1000 makes no sense", lambda: patched(54, 255)),
    "record_length_of_64": ("blockette 1000 makes no sense", lambda: patched(54, 6)),
    "record_length_of_1_mebibyte": ("the file ends within a record", lambda: patched(54, 20)),
    "data_offset_in_the_header": ("data lie outside of the record", lambda: patched(44, 0, 10)),
    "data_offset_beyond_the_record": ("data lie outside of the record", lambda: patched(44, 2, 0)),
    "station_not_ascii": ("a code is not made of letters", lambda: patched(8, 0xF0)),
    "station_with_a_dot": ("a code is not made of letters", lambda: patched(8, ord("."))),
    "encoding_text": ("unsupported encoding", lambda: patched(52, 0)),
    "encoding_cdsn": ("unsupported encoding", lambda: patched(52, 16)),
    "encoding_200": ("unsupported encoding", lambda: patched(52, 200)),
    "65535_samples_of_steim": ("more samples claimed than", lambda: patched(30, 0xFF, 0xFF)),
    "65535_samples_of_integers": (
        "more samples claimed than",
        lambda: write_record(np.arange(9), encoding=3, claimed_sample_count=65_535)[0],
    ),
    "one_sample_more_than_there_is": (
        "fewer samples than the header claims",
        lambda: write_record(np.arange(2), claimed_sample_count=3)[0],
    ),
    "one_sample_less_than_there_is": (
        "differences do not add up",
        lambda: write_record(np.arange(8), claimed_sample_count=7)[0],
    ),
    "last_sample_is_wrong": (
        "differences do not add up",
        lambda: write_record(WALK[:50], last_sample_is_wrong=True)[0],
    ),
    "a_difference_was_changed": ("differences do not add up", lambda: patched(64 + 14, GOOD[512 + 78] ^ 1)),
    "a_code_was_changed": ("damaged Steim-2 data", lambda: patched(64 + 3, GOOD[512 + 67] ^ 0b11)),
    "word_divided_in_no_way": ("a word is divided in no way", lambda: _with_word(0b10, 0b00)),
    "word_divided_in_no_other_way": ("a word is divided in no way", lambda: _with_word(0b11, 0b11)),
    "no_room_for_a_single_frame": ("more samples claimed than", lambda: patched(44, 1, 0xF0)),
    "nothing": ("no samples in this file", lambda: b""),
    "only_records_without_samples": (
        "no samples in this file",
        lambda: write_record(np.arange(5), claimed_sample_count=0)[0],
    ),
}


def _with_word(code: int, top: int) -> bytes:
    data = bytearray(write_record(np.arange(5))[0])
    struct.pack_into(">II", data, 64, code << 24, 0)
    struct.pack_into(">I", data, 64 + 12, top << 30)
    return bytes(data)


@pytest.mark.parametrize("name", EVIL)
def test_evil_is_refused_by_its_name(name: str) -> None:
    what, build = EVIL[name]
    with pytest.raises((MalformedError, InvalidError)) as caught:
        read_miniseed(build())
    assert what in caught.value.what


@pytest.mark.parametrize("name", ["a_difference_was_changed", "hour_24", "65535_samples_of_steim"])
def test_the_bad_record_is_named_by_its_byte(name: str) -> None:
    with pytest.raises(MalformedError) as caught:
        read_miniseed(EVIL[name][1]())
    assert caught.value.field.startswith("byte 512")


@given(position=st.integers(0, len(GOOD) - 1), value=st.integers(0, 255))
def test_a_changed_byte_never_ends_in_a_traceback(position: int, value: int) -> None:
    data = bytearray(GOOD)
    data[position] = value
    with contextlib.suppress(TallystickError):
        read_miniseed(bytes(data))


@given(data=st.binary(max_size=700))
def test_noise_never_ends_in_a_traceback(data: bytes) -> None:
    for candidate in (data, b"000001D " + data, GOOD[:48] + data):
        with contextlib.suppress(TallystickError):
            read_miniseed(candidate)
