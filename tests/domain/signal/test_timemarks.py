"""Gaps, duplicates, order, jitter, rate and clock steps, as the marks of a channel tell them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.dataset import Channel
from domain.errors import MalformedError
from domain.outcomes import Reason
from domain.signal.timemarks import (
    SamplingQuality,
    Timeline,
    sampling_quality,
    timeline_of,
    timelines_of,
    timing_quality,
)
from tests.domain.recordings import START_NS, channel, marks_at, marks_per_record

RATE_HZ = 200.0
DT_NS = 5_000_000
MINUTE_NS = 60_000_000_000


def records(*starts_ns: int, record_samples: int = 100, **more: Any) -> Channel:
    """Records of 100 samples that begin at these times after the start, in the order they arrived."""
    marks = [(at * record_samples, START_NS + start) for at, start in enumerate(starts_ns)]
    return channel(np.arange(len(marks) * record_samples, dtype=np.int32), marks=marks, **more)


def quality_of(recorded: Channel, seconds: float = 60.0, start_ns: int = START_NS) -> SamplingQuality:
    return sampling_quality(timeline_of(recorded), (start_ns, start_ns + round(seconds * 1e9)))


def test_an_even_recording_has_no_faults() -> None:
    recorded = channel(np.zeros(12_000, np.int32), marks=marks_per_record(12_000, 3_000))
    quality = quality_of(recorded)
    for metric in (
        "gap_ratio",
        "duplicate_count",
        "out_of_order_count",
        "jitter_p99_ratio",
        "rate_error_ppm",
        "step_seconds",
    ):
        assert getattr(quality, metric).value == 0.0, metric


def test_missing_samples_are_a_gap_of_that_length() -> None:
    recorded = records(0, 500_000_000, 2_000_000_000)
    timeline = timeline_of(recorded)
    assert timeline.gap_count == 1
    assert timeline.gaps_ns.tolist() == [[START_NS + 1_000_000_000, START_NS + 2_000_000_000]]
    quality = quality_of(recorded, 2.5)
    assert quality.gap_ratio.value == 0.4
    assert quality.step_seconds.value == 0.0
    assert quality.duplicate_count.value == 0.0


def told(timeline: Timeline) -> list[object]:
    """Everything that a timeline says."""
    fields = [getattr(timeline, name) for name in timeline.__struct_fields__]
    return [field.tobytes() if isinstance(field, np.ndarray) else field for field in fields]


@pytest.mark.parametrize("starts_ns", [(0, 500_000_000, 2_000_000_000), (0, 2_000_000_000, 500_000_000)])
def test_channels_have_the_timelines_that_each_has_alone(starts_ns: tuple[int, ...]) -> None:
    first = records(*starts_ns)
    channels = [
        first,
        channel(
            -first.samples,
            marks=[(int(at), int(time)) for at, time in first.marks],
            timing_quality_percent=[float(number) for number in range(len(starts_ns))],
        ),
        records(*starts_ns[:2]),
        records(*(start + 1 for start in starts_ns)),
    ]
    for shared, recorded in zip(timelines_of(channels), channels, strict=True):
        assert told(shared) == told(timeline_of(recorded))


@given(st.integers(0, 4 * DT_NS))
def test_a_gap_begins_beyond_one_and_a_half_intervals(late_ns: int) -> None:
    timeline = timeline_of(records(0, 100 * DT_NS + late_ns))
    assert timeline.gap_count == (1 if late_ns > DT_NS / 2 else 0)


def test_a_gap_counts_in_each_window_by_its_share() -> None:
    recorded = records(0, 500_000_000, 1_800_000_000)
    shares = [quality_of(recorded, 0.5, START_NS + at * 500_000_000).gap_ratio.value for at in range(4)]
    assert shares == [0.0, 0.0, 1.0, 0.6]


def test_a_stretch_sent_twice_is_duplicates_and_a_step_back_but_no_gap() -> None:
    quality = quality_of(records(0, 500_000_000, 500_000_000, 1_000_000_000), 1.5)
    assert quality.duplicate_count.value == 100.0
    assert quality.out_of_order_count.value == 1.0
    assert quality.gap_ratio.value == 0.0
    assert quality.step_seconds.value == 0.5


def test_a_stretch_that_arrives_late_into_its_place_is_out_of_order_and_nothing_else() -> None:
    late = records(0, 1_000_000_000, 500_000_000, 1_500_000_000)
    quality = quality_of(late, 2.0)
    assert quality.out_of_order_count.value == 1.0
    for metric in ("gap_ratio", "duplicate_count", "jitter_p99_ratio", "rate_error_ppm", "step_seconds"):
        assert getattr(quality, metric).value == 0.0, metric
    assert timeline_of(late).samples.tolist() == [
        *range(100),
        *range(200, 300),
        *range(100, 200),
        *range(300, 400),
    ]


def test_a_clock_set_back_is_a_step_of_that_size() -> None:
    quality = quality_of(records(0, 500_000_000, 900_000_000, 1_400_000_000), 2.0)
    assert quality.step_seconds.value == 0.1
    assert quality.duplicate_count.value == 20.0
    # The clock never shows a time twice in a row, and the sample after the step is earlier than the one
    # before it.
    assert quality.out_of_order_count.value == 1.0


def test_a_step_within_half_a_slow_interval_is_found_too() -> None:
    starts = [at * 100_000_000_000 + (200_000_000 if at > 2 else 0) for at in range(6)]
    recorded = records(*starts, rate_hz=1.0)
    assert quality_of(recorded, 600.0).step_seconds.value == 0.2


def test_one_row_twice_is_one_duplicate_and_no_step() -> None:
    times = [START_NS + at * DT_NS for at in (0, 1, 2, 2, 3, 4)]
    quality = quality_of(channel(np.zeros(6, np.int32), marks=marks_at(times)), 0.025)
    assert quality.duplicate_count.value == 1.0
    assert quality.out_of_order_count.value == 0.0
    assert quality.step_seconds.value == 0.0


def test_jitter_is_the_p99_distance_from_an_even_grid_in_intervals() -> None:
    random = np.random.default_rng(3)
    late = random.uniform(-0.1, 0.1, 12_000) * DT_NS
    times = START_NS + np.rint(np.arange(12_000) * DT_NS + late).astype(np.int64)
    quality = quality_of(channel(np.zeros(12_000, np.int32), marks=marks_at(times)))
    assert quality.jitter_p99_ratio.value == pytest.approx(0.099, abs=5e-4)
    assert quality.gap_ratio.value == 0.0
    assert quality.rate_error_ppm.value == pytest.approx(0.0, abs=3.0)


@pytest.mark.parametrize("error_ppm", [-14_000.0, -50.0, 0.0, 3.0, 20_000.0])
@pytest.mark.parametrize("rate_hz", [0.1, 3.0, 200.0, 44_100.0])
def test_the_rate_error_of_an_even_clock_is_found_without_jitter(error_ppm: float, rate_hz: float) -> None:
    interval_ns = 1e9 / (rate_hz * (1.0 + error_ppm / 1e6))
    times = START_NS + np.rint(np.arange(3_000) * interval_ns).astype(np.int64)
    recorded = channel(np.zeros(3_000, np.int32), rate_hz=rate_hz, marks=marks_at(times))
    quality = quality_of(recorded, 3_000 / rate_hz)
    rounding_ppm = 4e6 / (3_000 * interval_ns)
    assert quality.rate_error_ppm.value == pytest.approx(abs(error_ppm), abs=1e-5 + rounding_ppm)
    assert quality.jitter_p99_ratio.value == pytest.approx(0.0, abs=1e-6 + 2.0 / interval_ns)


def test_rate_and_jitter_stand_a_fifth_of_the_marks_being_wrong() -> None:
    random = np.random.default_rng(4)
    off = np.where(random.random(2_000) < 0.2, random.uniform(0.0, 0.45, 2_000), 0.0) * DT_NS
    times = START_NS + np.rint(np.arange(2_000) * DT_NS * (1 - 40e-6) + off).astype(np.int64)
    quality = quality_of(channel(np.zeros(2_000, np.int32), marks=marks_at(times)), 10.0)
    assert quality.rate_error_ppm.value == pytest.approx(40.0, abs=0.5)


def test_missing_rows_are_gaps_and_do_not_count_as_jitter() -> None:
    slots = np.flatnonzero(np.random.default_rng(5).random(4_000) > 0.1)
    slots[0] = 0
    recorded = channel(np.zeros(slots.size, np.int32), marks=marks_at(START_NS + slots * DT_NS))
    quality = quality_of(recorded, 20.0)
    assert quality.jitter_p99_ratio.value == 0.0
    assert quality.rate_error_ppm.value == 0.0
    assert quality.gap_ratio.value == pytest.approx(0.1, abs=0.02)


def test_one_mark_says_nothing_of_rate_and_jitter() -> None:
    quality = quality_of(channel(np.zeros(12_000, np.int32)))
    assert quality.rate_error_ppm.value is None
    assert quality.rate_error_ppm.reason is Reason.NOT_MEASURED
    assert quality.jitter_p99_ratio.reason is Reason.NOT_MEASURED
    assert quality.gap_ratio.value == 0.0


def test_two_marks_give_a_rate_and_no_jitter() -> None:
    quality = quality_of(records(0, 500_000_000), 1.0)
    assert quality.rate_error_ppm.value == 0.0
    assert quality.jitter_p99_ratio.value is None


def test_timing_quality_is_the_lowest_of_the_records_that_reach_into_the_window() -> None:
    recorded = records(0, 500_000_000, 1_000_000_000, timing_quality_percent=[90.0, 40.0, 100.0])
    timeline = timeline_of(recorded)
    assert timing_quality(timeline, (START_NS, START_NS + 400_000_000)).value == 90.0
    assert timing_quality(timeline, (START_NS + 700_000_000, START_NS + 1_200_000_000)).value == 40.0
    assert timing_quality(timeline, (START_NS + 1_000_000_000, START_NS + 1_200_000_000)).value == 100.0


def test_timing_quality_is_unknown_where_one_record_is_silent() -> None:
    recorded = records(0, 500_000_000, timing_quality_percent=[90.0, np.nan])
    measured = timing_quality(timeline_of(recorded), (START_NS, START_NS + 1_000_000_000))
    assert (measured.value, measured.reason) == (None, Reason.CLOCK_QUALITY_UNKNOWN)


def test_a_channel_without_samples_is_malformed() -> None:
    with pytest.raises(MalformedError):
        timeline_of(channel(np.zeros(0, np.int32)))


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(-40 * DT_NS, 60 * DT_NS)), min_size=1, max_size=12),
    st.integers(1, 400),
)
def test_whatever_the_marks_are_the_accounts_add_up(
    pieces: list[tuple[int, int]], window_samples: int
) -> None:
    """Expected = received - duplicates + missing, over the whole recording; and nothing is measured out of
    range."""
    index, time, rows = 0, START_NS, []
    for count, jump in pieces:
        # Jumps in whole intervals, so that every sample has a slot.
        time += jump // DT_NS * DT_NS
        rows.append((index, time))
        index += count
        time += count * DT_NS
    recorded = channel(np.arange(index, dtype=np.int32), marks=rows)
    timeline = timeline_of(recorded)
    whole = sampling_quality(timeline, (timeline.start_ns, timeline.end_ns))
    expected = (timeline.end_ns - timeline.start_ns) / DT_NS
    missing = (whole.gap_ratio.value or 0.0) * expected
    assert index - (whole.duplicate_count.value or 0.0) + missing == pytest.approx(expected, abs=1e-3)
    assert sorted(timeline.samples.tolist()) == list(range(index))
    assert (whole.out_of_order_count.value or 0.0) <= len(pieces)
    for start in range(timeline.start_ns, timeline.end_ns, window_samples * DT_NS):
        quality = sampling_quality(timeline, (start, start + window_samples * DT_NS))
        assert 0.0 <= (quality.gap_ratio.value or 0.0) <= 1.0


def test_the_whole_range_of_times_is_no_trouble() -> None:
    recorded = channel([1, 2], marks=[(0, -(2**62) + 1), (1, 2**62 - 10**12)])
    timeline = timeline_of(recorded)
    assert timeline.gap_count == 1
    assert quality_of(recorded, 60.0, 0).gap_ratio.value == 1.0
