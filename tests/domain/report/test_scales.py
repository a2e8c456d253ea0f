"""Scales and ticks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.report.model import Axis
from domain.report.scales import TICKS_MAX, scale_of


def labels(axis: Axis, *values: float) -> list[str]:
    return [tick.label for tick in scale_of(axis, [np.array(values)], has_room=False).ticks()]


def test_ticks_are_round_numbers() -> None:
    assert labels(Axis(label="", unit="s"), 0.0, 1.0) == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert labels(Axis(label="", unit="s"), -7.0, 7.0) == ["−5", "0", "5"]
    assert labels(Axis(label="", unit="s"), 0.99801, 0.99972) == ["0.9985", "0.999", "0.9995"]


def test_ticks_of_a_logarithmic_axis_are_powers_of_ten() -> None:
    assert labels(Axis(label="", unit="Hz", scale="log"), 0.1, 1_000.0) == ["0.1", "1", "10", "100", "1000"]
    assert labels(Axis(label="", unit="Hz", scale="log"), 1e4, 1e6) == ["10⁴", "10⁵", "10⁶"]
    assert labels(Axis(label="", unit="Hz", scale="log"), 1.0, 4.0) == ["1", "2"]


def test_ticks_of_a_time_axis_are_times_of_day_or_dates() -> None:
    time = Axis(label="", unit="UTC", scale="time")
    hour = 3_600e9
    assert labels(time, 0.0, hour) == ["00:00", "00:10", "00:20", "00:30", "00:40", "00:50", "01:00"]
    assert labels(time, 0.0, 12e9) == [
        "00:00:00",
        "00:00:02",
        "00:00:04",
        "00:00:06",
        "00:00:08",
        "00:00:10",
        "00:00:12",
    ]
    assert labels(time, 0.0, 96 * hour)[:2] == ["1970-01-01", "1970-01-02"]


@given(
    values=st.lists(st.floats(width=64), max_size=8),
    kind=st.sampled_from(["linear", "log", "time"]),
    has_room=st.booleans(),
)
def test_any_values_have_a_scale_with_few_ticks_inside_it(
    values: list[float], kind: str, has_room: bool
) -> None:
    axis = Axis(label="", unit="", scale=kind)  # type: ignore[arg-type]
    scale = scale_of(axis, [np.array(values)], has_room=has_room)
    assert scale.low < scale.high
    ticks = scale.ticks()
    assert len(ticks) <= 2 * TICKS_MAX
    assert all(-1e-6 <= tick.share <= 1 + 1e-6 for tick in ticks)
    assert [tick.share for tick in ticks] == sorted(tick.share for tick in ticks)


@pytest.mark.parametrize("kind", ["linear", "log"])
def test_shares_run_from_the_low_end_to_the_high_end(kind: str) -> None:
    axis = Axis(label="", unit="", scale=kind)  # type: ignore[arg-type]
    values = np.array([1.0, 10.0, 100.0])
    shares = scale_of(axis, [values], has_room=False).shares(values)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert 0 < shares[1] < 1
