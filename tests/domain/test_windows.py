"""Which windows are planned, and which samples a channel has in one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.dataset import Channel
from domain.errors import LimitError, MalformedError
from domain.metrics import WINDOWS_MAX, Window
from domain.outcomes import Reason
from domain.signal.timemarks import timeline_of
from domain.windows import AlignedPair, WindowSlice, align_pair, plan_windows, slice_window
from tests.domain.recordings import START_NS, channel, marks_at, marks_per_record

DT_NS = 5_000_000
SECOND_NS = 1_000_000_000


def plan(*channels: Channel, seconds: float = 1.0) -> list[tuple[int, int]]:
    """Windows relative to the start, nanoseconds."""
    windows = plan_windows([timeline_of(one) for one in channels], seconds)
    return [((window.start_ns or 0) - START_NS, (window.end_ns or 0) - START_NS) for window in windows]


def slices(recorded: Channel, seconds: float = 1.0) -> list[WindowSlice]:
    timeline = timeline_of(recorded)
    windows: tuple[Window, ...] = plan_windows([timeline], seconds)
    return [slice_window(timeline, window.start_ns or 0, window.end_ns or 0) for window in windows]


def counting(count: int, *, start_ns: int = START_NS, marks: list[tuple[int, int]] | None = None) -> Channel:
    return channel(np.arange(count, dtype=np.int32), start_ns=start_ns, marks=marks)


def test_windows_follow_each_other_and_a_tail_is_in_none() -> None:
    assert plan(counting(501)) == [(0, SECOND_NS), (SECOND_NS, 2 * SECOND_NS)]


def test_windows_cover_what_all_channels_have_in_common() -> None:
    assert plan(counting(600), counting(500, start_ns=START_NS + SECOND_NS)) == [
        (SECOND_NS, 2 * SECOND_NS),
        (2 * SECOND_NS, 3 * SECOND_NS),
    ]


def test_a_grid_half_an_interval_off_loses_no_window() -> None:
    x, y = counting(200), counting(200, start_ns=START_NS + DT_NS // 2)
    assert plan(x, y) == [(DT_NS // 2, SECOND_NS + DT_NS // 2)]
    for one in (x, y):
        cut = slice_window(timeline_of(one), START_NS + DT_NS // 2, START_NS + SECOND_NS + DT_NS // 2)
        assert cut.whole is not None
        assert cut.whole.tolist() == list(range(200))


def test_a_recording_shorter_than_a_window_is_one_shorter_window() -> None:
    assert plan(counting(50)) == [(0, 50 * DT_NS)]
    assert plan(counting(1)) == [(0, DT_NS)]


def test_channels_without_common_time_are_malformed() -> None:
    with pytest.raises(MalformedError):
        plan(counting(200), counting(200, start_ns=START_NS + 10 * SECOND_NS))


def test_ten_years_of_a_wrong_clock_are_a_limit_and_cost_nothing() -> None:
    decade_ns = 10 * 365 * 86_400 * SECOND_NS
    with pytest.raises(LimitError) as refused:
        plan(counting(400, marks=[(0, START_NS), (200, START_NS + decade_ns)]))
    assert refused.value.expected == f"<= {WINDOWS_MAX} windows"
    assert "clock" in refused.value.remedy


def test_a_window_of_too_many_samples_is_a_limit() -> None:
    with pytest.raises(LimitError):
        plan(channel([1, 2, 3], rate_hz=1e8), seconds=60.0)


@given(st.integers(1, 40), st.integers(1, WINDOWS_MAX))
def test_every_sample_is_in_one_window_or_the_tail(window_samples: int, count: int) -> None:
    whole = slices(counting(count), window_samples / 200.0)
    joined = np.concatenate([one.whole for one in whole if one.whole is not None])
    assert joined.tolist() == list(
        range(max(count // window_samples * window_samples, min(count, window_samples)))
    )
    assert all(
        one.reason is Reason.NONE and one.present.size == one.whole.size
        for one in whole
        if one.whole is not None
    )


def test_a_window_that_crosses_a_gap_is_not_whole_but_keeps_its_samples() -> None:
    cut = slices(counting(500, marks=[(0, START_NS), (300, START_NS + 2 * SECOND_NS)]))
    assert [one.reason for one in cut] == [Reason.NONE, Reason.GAP, Reason.NONE]
    assert [one.present.size for one in cut] == [200, 100, 200]
    assert cut[1].whole is None


def test_a_window_that_begins_in_a_gap_is_not_whole() -> None:
    cut = slices(counting(400, marks=[(0, START_NS), (200, START_NS + SECOND_NS + SECOND_NS // 2)]))
    assert [one.reason for one in cut] == [Reason.NONE, Reason.GAP]


def test_a_window_inside_a_gap_has_no_samples() -> None:
    cut = slices(counting(400, marks=[(0, START_NS), (200, START_NS + 3 * SECOND_NS)]))
    assert [one.present.size for one in cut] == [200, 0, 0, 200]
    assert [one.reason for one in cut] == [Reason.NONE, Reason.GAP, Reason.GAP, Reason.NONE]


def test_windows_that_a_clock_covered_twice_are_not_whole() -> None:
    """200 samples, the clock set back by 0.5 s, 300 more: only the last second is told once."""
    marks = [(0, START_NS), (300, START_NS + SECOND_NS)]
    cut = slices(counting(700, marks=marks))
    assert [one.reason for one in cut] == [Reason.NONE, Reason.DUPLICATE, Reason.NONE]


def test_a_late_stretch_is_put_into_its_place() -> None:
    marks = [
        (0, START_NS),
        (100, START_NS + SECOND_NS),
        (200, START_NS + SECOND_NS // 2),
        (300, START_NS + 3 * SECOND_NS // 2),
    ]
    cut = slices(counting(400, marks=marks))
    assert [one.reason for one in cut] == [Reason.NONE, Reason.NONE]
    assert cut[0].whole is not None
    assert cut[0].whole.tolist() == [*range(100), *range(200, 300)]


@pytest.mark.parametrize("error_ppm", [-200.0, 200.0])
def test_a_clock_that_is_off_by_its_rate_leaves_every_window_whole(error_ppm: float) -> None:
    times = START_NS + np.rint(np.arange(120_000) * (DT_NS / (1.0 + error_ppm / 1e6))).astype(np.int64)
    cut = slices(channel(np.arange(120_000, dtype=np.int32), marks=marks_at(times)), 60.0)
    assert {one.reason for one in cut} == {Reason.NONE}
    assert all(abs(one.first_ns) <= DT_NS / 2 for one in cut)
    assert all(one.whole is not None and 11_988 <= one.whole.size <= 12_000 for one in cut)


def pair(x: Channel, y: Channel, seconds: float = 1.0) -> AlignedPair:
    timelines = [timeline_of(x), timeline_of(y)]
    window = plan_windows(timelines, seconds)[0]
    cut = [slice_window(timeline, window.start_ns or 0, window.end_ns or 0) for timeline in timelines]
    return align_pair(cut[0], cut[1], x.interval_ns)


def test_a_pair_is_aligned_to_the_nearest_sample_and_the_rest_is_skew() -> None:
    aligned = pair(counting(400), counting(400, start_ns=START_NS + 21_000_000))
    assert aligned.x is not None
    assert aligned.y is not None
    assert (aligned.x[0], aligned.y[0]) == (4, 0)
    assert aligned.skew_seconds == pytest.approx(0.001, abs=1e-12)


def test_grids_that_slip_by_more_than_half_a_sample_are_misaligned() -> None:
    def stretched(ppm: float) -> Channel:
        times = START_NS + np.rint(np.arange(12_000) * (DT_NS * (1.0 + ppm / 1e6))).astype(np.int64)
        return channel(np.zeros(12_000, np.int32), marks=marks_at(times))

    even = channel(np.zeros(12_000, np.int32), marks=marks_per_record(12_000, 1_000))
    assert pair(even, stretched(40.0), 60.0).reason is Reason.NONE
    assert pair(even, stretched(40.0), 60.0).skew_seconds == pytest.approx(40e-6 * 30, rel=1e-3)
    assert pair(even, stretched(45.0), 60.0).reason is Reason.MISALIGNED


def test_a_pair_with_a_broken_half_has_its_reason() -> None:
    broken = counting(300, marks=[(0, START_NS), (100, START_NS + SECOND_NS)])
    assert pair(counting(400), broken).reason is Reason.GAP
    assert pair(broken, counting(400)).reason is Reason.GAP
