"""The common metrics of every signal run: the worst of the channels, and unknown where one is unknown."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from domain.dataset import Channel, dataset_of
from domain.metrics import MetricTrack
from domain.outcomes import Reason
from domain.procedures.options import SignalOptions
from domain.procedures.procedure import CalibrationInForce, ChannelCalibration, ProcedureInput
from domain.procedures.recording import recording_of
from domain.signal.measured import Measured, missing, track_of, worst_of
from domain.signal.quality import QUALITY_METRICS
from tests.domain.recordings import START_NS, channel, marks_per_record, noise

MINUTE_NS = 60 * 10**9


def tracks(
    *channels: Channel, calibration: CalibrationInForce | None = None, **options: Any
) -> dict[str, MetricTrack]:
    given = ProcedureInput(options={}, datasets=(dataset_of(channels),), calibration=calibration)
    recording = recording_of(given, SignalOptions(**options))
    assert all(len(track.values) == len(recording.windows) for track in recording.quality)
    return {track.name: track for track in recording.quality}


def even(samples: NDArray[Any], **more: Any) -> Channel:
    return channel(samples, marks=marks_per_record(samples.size, 3_000), **more)


def test_a_healthy_pair_has_every_metric() -> None:
    calibration = CalibrationInForce(
        calibration_id="c",
        certificate_id="k",
        issued_at_ns=START_NS - 100 * MINUTE_NS,
        valid_from_ns=START_NS - 100 * MINUTE_NS,
        valid_until_ns=START_NS + 100 * MINUTE_NS,
        channels=tuple(
            ChannelCalibration(
                channel=name,
                sensor_serial="s",
                sensitivity=1.0,
                sensitivity_unit="counts/(m/s)",
                uncertainty_relative=0.01,
                full_scale_counts=8_388_608.0,
            )
            for name in "xy"
        ),
    )
    quiet, loud = noise(24_000, scale=100.0), noise(24_000, seed=2, scale=1_000.0) + 500
    measured = tracks(
        even(quiet, timing_quality_percent=[100.0] * 8),
        even(loud, name="y", timing_quality_percent=[80.0] * 8),
        calibration=calibration,
    )
    assert list(measured) == [name for name, _, _ in QUALITY_METRICS]
    assert all(None not in track.values for track in measured.values())
    assert {name: track.unit for name, track in measured.items() if track.unit != "1"} == {
        "sampling.rate_error_ppm": "ppm",
        "flatline.run_seconds_max": "s",
        "clock.timing_quality_percent": "%",
        "clock.step_seconds_max": "s",
        "signal.rms": "counts",
        "signal.dc_offset": "counts",
    }
    assert measured["signal.rms"].values[0] == pytest.approx(quiet[:12_000].std(), rel=1e-8)
    assert measured["signal.dc_offset"].values[1] == pytest.approx(loud[12_000:].mean(), rel=1e-8)
    assert measured["clock.timing_quality_percent"].values == (80.0, 80.0)
    assert measured["calibration.age_ratio"].values == (0.505, 0.51)
    assert measured["sampling.availability"].values == (1.0, 1.0)


def test_what_the_format_does_not_say_is_unknown_and_not_good() -> None:
    measured = tracks(even(noise(12_000), timing_quality_percent=[100.0] * 4), even(noise(12_000), name="y"))
    assert measured["clock.timing_quality_percent"].values == (None,)
    assert measured["clock.timing_quality_percent"].reasons == (Reason.CLOCK_QUALITY_UNKNOWN,)
    assert measured["calibration.age_ratio"].reasons == (Reason.CALIBRATION_UNKNOWN,)


def test_one_channel_with_a_gap_is_a_gap_of_the_run() -> None:
    gappy = channel(noise(9_000), name="y", marks=[(0, START_NS), (6_000, START_NS + 45 * 10**9)])
    measured = tracks(even(noise(12_000)), gappy)
    assert measured["sampling.gap_ratio"].values == (0.25,)
    assert measured["sampling.availability"].values == (0.75,)
    # The samples that are there are still looked at.
    assert measured["signal.rms"].values[0] is not None


@pytest.mark.filterwarnings("error")
def test_samples_that_are_not_finite_are_counted_and_the_rest_is_not_measured() -> None:
    broken = noise(12_000).astype(np.float64)
    broken[[3, 4]] = np.nan, np.inf
    measured = tracks(even(broken), even(noise(12_000).astype(np.float64), name="y"))
    assert measured["signal.non_finite_count"].values == (2.0,)
    for name in (
        "signal.rms",
        "signal.dc_offset",
        "signal.crest_factor",
        "saturation.clip_ratio",
        "saturation.clip_run_max",
    ):
        assert measured[name].reasons == (Reason.NON_FINITE,), name
    assert measured["flatline.unique_count"].values[0] is not None


@pytest.mark.filterwarnings("error")
def test_a_window_without_samples_has_no_sample_metrics() -> None:
    gappy = channel(noise(24_000), marks=[(0, START_NS), (12_000, START_NS + 2 * MINUTE_NS)])
    measured = tracks(gappy)
    assert measured["signal.rms"].values[1] is None
    assert measured["signal.rms"].reasons == (Reason.NONE, Reason.LACK_OF_DATA_SAMPLES, Reason.NONE)
    assert measured["sampling.gap_ratio"].values == (0.0, 1.0, 0.0)


@pytest.mark.filterwarnings("error")
def test_a_dead_channel_is_flat_and_has_no_crest() -> None:
    measured = tracks(even(np.zeros(12_000, np.int32)), even(noise(12_000), name="y"))
    assert measured["flatline.run_seconds_max"].values == (59.995,)
    assert measured["flatline.unique_count"].values == (1.0,)
    assert measured["signal.rms"].values == (0.0,)
    assert measured["signal.crest_factor"].reasons == (Reason.STUCK_VALUE,)


def test_levels_of_channels_in_different_units_are_not_compared() -> None:
    measured = tracks(even(noise(12_000)), even(noise(12_000), name="y", unit="m/s2"))
    for name in ("signal.rms", "signal.dc_offset"):
        assert measured[name].values == (None,)
        assert measured[name].unit == "counts"
    assert measured["signal.crest_factor"].values[0] is not None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("samples", [[5], [-(2**31)], [2**31 - 1, -(2**31)]])
def test_one_or_two_samples_are_measured_as_far_as_they_go(samples: list[int]) -> None:
    measured = tracks(channel(np.array(samples, dtype=np.int32)))
    assert measured["flatline.unique_count"].values == (float(len(samples)),)
    assert measured["sampling.jitter_p99_ratio"].values == (None,)
    assert measured["sampling.gap_ratio"].values == (0.0,)


def test_the_worst_of_several_is_the_missing_one_or_else_the_extreme() -> None:
    one, two = Measured(1.0, guard_band=0.5), Measured(2.0)
    assert worst_of(min, [one, two]) is one
    assert worst_of(max, [one, two]) is two
    assert worst_of(max, [one, missing(Reason.GAP), missing(Reason.NON_FINITE)]).reason is Reason.GAP
    assert worst_of(max, []).reason is Reason.NOT_MEASURED


def test_a_track_leaves_out_what_says_nothing() -> None:
    plain = track_of("m", "1", [Measured(1.0), Measured(2.0)])
    assert (plain.reasons, plain.guard_bands) == ((), ())
    full = track_of("m", "1", [Measured(1.0, guard_band=0.1), missing(Reason.GAP)])
    assert full.values == (1.0, None)
    assert full.reasons == (Reason.NONE, Reason.GAP)
    assert full.guard_bands == (0.1, 0.0)
