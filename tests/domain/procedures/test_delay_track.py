"""The delay procedure: known delays and slopes, and abstention where there is nothing to resolve."""

import numpy as np
import pytest
from numpy.typing import NDArray

from domain.columns import parse_columns
from domain.outcomes import Reason
from domain.procedures.delay_track import DELAY_TRACK
from tests.domain.procedures.runs import run, tracks
from tests.domain.recordings import START_NS, channel, marks_at, marks_per_record, noise


def stretched(samples: NDArray[np.int32], ppm: float) -> NDArray[np.int32]:
    """``samples`` taken at times ``1 + ppm`` as far apart, by a windowed sinc of 64 samples."""
    at = np.arange(samples.size - 100) * (1.0 + ppm * 1e-6)
    whole = np.floor(at).astype(int)
    around = np.arange(-31, 33)
    distance = around[np.newaxis, :] - (at - whole)[:, np.newaxis]
    weights = np.sinc(distance) * np.cos(np.pi * distance / 66.0) ** 2
    picked = samples[np.clip(whole[:, np.newaxis] + around, 0, samples.size - 1)]
    return np.rint((picked * weights).sum(axis=1)).astype(np.int32)


def test_a_shift_by_thirty_seven_samples_is_185_ms_in_every_window() -> None:
    x = noise(36_100)
    measured = tracks(run(DELAY_TRACK, channel(x[37:36_037]), channel(x[:36_000], name="y")))
    assert measured["delay.seconds"].values == pytest.approx((0.185,) * 3, abs=1e-6)
    assert measured["delay.seconds"].unit == "s"
    assert measured["delay.polarity"].values == pytest.approx((1.0,) * 3, abs=0.05)
    assert min(value or 0.0 for value in measured["delay.psr"].values) > 6.0
    assert min(value or 0.0 for value in measured["delay.band_coherence_excess"].values) > 0.5
    assert all(band >= 1e-8 for band in measured["delay.seconds"].guard_bands)


def test_naming_the_channels_the_other_way_round_turns_the_sign() -> None:
    x = noise(12_100)
    pair = channel(x[37:12_037]), channel(x[:12_000], name="y")
    measured = tracks(run(DELAY_TRACK, *pair, channels=["y", "x"]))
    assert measured["delay.seconds"].values == pytest.approx((-0.185,), abs=1e-6)


def test_a_clock_that_runs_50_ppm_off_shows_as_a_slope_of_50_ppm() -> None:
    x = np.convolve(noise(120_200), np.ones(3), "same").astype(np.int32)
    y = stretched(x, 50.0)
    result = run(DELAY_TRACK, channel(x[: y.size]), channel(y, name="y"), band_hz=[0.5, 40.0])
    track = tracks(result)["delay.seconds"].values
    delays = np.array(track, dtype=np.float64)
    assert len(track) == 10
    middles = 30.0 + 60.0 * np.arange(10)
    slope = ((middles - middles.mean()) * (delays - delays.mean())).sum() / (
        (middles - middles.mean()) ** 2
    ).sum()
    assert slope * 1e6 == pytest.approx(-50.0, abs=0.1)


def test_the_time_marks_count_as_well_as_the_samples() -> None:
    """The same samples, said to have been taken 2.2 ms later, came 2.2 ms later."""
    x = noise(12_200)
    late = START_NS + 2_200_000
    measured = tracks(run(DELAY_TRACK, channel(x[:12_100]), channel(x[:12_100], name="y", start_ns=late)))
    assert measured["delay.seconds"].values[0] == pytest.approx(0.0022, abs=1e-6)


def test_a_skew_that_grows_within_the_window_counts_by_its_middle() -> None:
    x = noise(12_100)
    times = START_NS + np.rint(np.arange(12_100) * 5_000_000 * (1.0 + 30e-6)).astype(np.int64)
    measured = tracks(run(DELAY_TRACK, channel(x), channel(x, name="y", marks=marks_at(times))))
    assert measured["delay.seconds"].values[0] == pytest.approx(30e-6 * 30.0, abs=2e-6)


def test_independent_noise_has_no_delay_in_any_window() -> None:
    x, y = channel(noise(240_000)), channel(noise(240_000, seed=2), name="y")
    measured = tracks(run(DELAY_TRACK, x, y, band_hz=[0.5, 10.0]))
    assert measured["delay.seconds"].values == (None,) * 20
    assert set(measured["delay.seconds"].reasons) <= {Reason.COHERENCE_LOST, Reason.DELAY_UNRESOLVED}
    assert all(value is not None and value < 0.0 for value in measured["delay.band_coherence_excess"].values)


def test_a_pair_that_is_coherent_beyond_the_longest_lag_is_unresolved() -> None:
    x = noise(12_300)
    measured = tracks(
        run(DELAY_TRACK, channel(x[200:12_200]), channel(x[:12_000], name="y"), lag_seconds_max=0.5)
    )
    assert measured["delay.seconds"].reasons == (Reason.DELAY_UNRESOLVED,)
    assert (measured["delay.psr"].values[0] or 0.0) < 4.5


def test_a_gap_abstains_in_every_delay_metric() -> None:
    x = noise(12_000)
    gappy = channel(x[:9_000], name="y", marks=[(0, START_NS), (6_000, START_NS + 45 * 10**9)])
    measured = tracks(run(DELAY_TRACK, channel(x), gappy))
    own = [track for name, track in measured.items() if name.startswith("delay.")]
    assert len(own) == 5
    assert {track.reasons for track in own} == {(Reason.GAP,)}


def test_the_columns_are_the_tracks_with_nan_for_what_is_missing() -> None:
    x = noise(24_000)
    y = x.copy()
    y[12_000:] = noise(12_000, seed=9)
    result = run(DELAY_TRACK, channel(x, marks=marks_per_record(24_000, 512)), channel(y, name="y"))
    measured = tracks(result)
    columns = parse_columns(result.artifacts[0].data)
    for name, metric in (("delay_s", "delay.seconds"), ("psr", "delay.psr"), ("polarity", "delay.polarity")):
        expected = [np.nan if value is None else value for value in measured[metric].values]
        assert np.array_equal(columns.column("window", name), expected, equal_nan=True)
    assert np.isnan(columns.column("window", "delay_s")).tolist() == [False, True]
    # Tracks are rounded before they are published, so both forms are the same numbers.
    assert result.artifacts[0].quantised == result.artifacts[0].data
