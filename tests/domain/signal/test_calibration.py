"""Calibration age, and whose calibration it is."""

from typing import Any

import pytest

from domain.outcomes import Reason
from domain.procedures.procedure import CalibrationInForce, ChannelCalibration
from domain.signal.calibration import age_ratio, full_scale_counts

YEAR_NS = 365 * 86_400 * 10**9


def constants(channel: str, serial: str | None = "s1", full_scale: float | None = None) -> ChannelCalibration:
    return ChannelCalibration(
        channel=channel,
        sensor_serial=serial,
        sensitivity=1.0,
        sensitivity_unit="counts/(m/s)",
        uncertainty_relative=0.01,
        full_scale_counts=full_scale,
    )


def calibration(*channels: ChannelCalibration, **more: Any) -> CalibrationInForce:
    given = {"issued_at_ns": 0, "valid_from_ns": 0, "valid_until_ns": YEAR_NS} | more
    return CalibrationInForce(calibration_id="c", certificate_id="k", channels=channels, **given)


def test_the_age_is_a_share_of_the_validity() -> None:
    known = calibration(constants("x"), constants("y"))
    assert [age_ratio(known, ["x", "y"], at).value for at in (0, YEAR_NS // 2, YEAR_NS, 3 * YEAR_NS)] == [
        0.0,
        0.5,
        1.0,
        3.0,
    ]


@pytest.mark.parametrize(
    ("given", "at_ns"),
    [
        (None, 1),
        (calibration(constants("x")), 1),
        (calibration(constants("x"), constants("y", serial=None)), 1),
        (calibration(constants("x"), constants("y", serial="")), 1),
        (calibration(constants("x"), constants("y")), -1),
        (calibration(constants("x"), constants("y"), valid_from_ns=10), 9),
        (calibration(constants("x"), constants("y"), valid_until_ns=0), 1),
    ],
    ids=[
        "none",
        "channel absent",
        "serial unknown",
        "serial empty",
        "issued later",
        "not yet valid",
        "never valid",
    ],
)
def test_what_is_not_known_is_missing(given: CalibrationInForce | None, at_ns: int) -> None:
    measured = age_ratio(given, ["x", "y"], at_ns)
    assert (measured.value, measured.reason) == (None, Reason.CALIBRATION_UNKNOWN)


def test_an_unknown_sensor_on_a_channel_that_is_not_used_does_not_matter() -> None:
    assert (
        age_ratio(calibration(constants("x"), constants("y", serial=None)), ["x"], YEAR_NS // 4).value == 0.25
    )


def test_a_full_scale_is_used_where_it_can_be_one() -> None:
    assert full_scale_counts(calibration(constants("x", full_scale=8_388_608.0)), "x") == 8_388_608.0
    for impossible in (None, 0.0, -5.0, float("nan"), float("inf")):
        assert full_scale_counts(calibration(constants("x", full_scale=impossible)), "x") is None
    assert full_scale_counts(None, "x") is None
    assert full_scale_counts(calibration(), "x") is None
