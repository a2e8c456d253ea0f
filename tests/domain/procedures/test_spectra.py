"""The spectra procedure: levels, noise floor, bands, and channels of different rates."""

import math

import numpy as np
import pytest
from scipy import signal

from domain.columns import parse_columns
from domain.outcomes import Reason
from domain.procedures.spectra import SPECTRA
from tests.domain.procedures.runs import run, tracks
from tests.domain.recordings import START_NS, channel, noise


def test_the_median_spectrum_is_that_of_scipys_windows() -> None:
    x = noise(36_000)
    result = run(SPECTRA, channel(x))
    columns = parse_columns(result.artifacts[0].data)
    windows = [signal.welch(x[at : at + 12_000], 200.0, "hann", 1_024, 512)[1] for at in (0, 12_000, 24_000)]
    assert columns.column("spectrum", "psd_median", "x")[3:] == pytest.approx(
        np.median(windows, axis=0)[3:], rel=1e-9
    )
    assert columns.column("spectrum", "psd_p90", "x")[3:] == pytest.approx(
        np.quantile(windows, 0.9, axis=0)[3:], rel=1e-9
    )
    assert columns.columns[0].unit == "Hz"
    assert {column.unit for column in columns.columns if column.name.startswith("psd")} == {"(counts)2/Hz"}


def test_the_level_of_white_noise_is_its_density_and_within_its_guard_band() -> None:
    result = run(SPECTRA, channel(noise(240_000, scale=100.0)))
    measured = tracks(result)
    expected = 10 * math.log10(100.0**2 / 100.0)
    levels, guards = (
        measured["spectra.band_level_min_db"].values,
        measured["spectra.band_level_min_db"].guard_bands,
    )
    inside = [abs((level or 0.0) - expected) <= guard for level, guard in zip(levels, guards, strict=True)]
    assert np.mean(inside) >= 0.85
    assert measured["spectra.segment_count"].values == (22.0,) * 20
    assert measured["spectra.snr_db"].values[0] == pytest.approx(1.4, abs=0.4)


def test_the_quietest_and_the_loudest_channel_are_told_apart() -> None:
    quiet, loud = noise(12_000, scale=100.0), noise(12_000, seed=2, scale=1_000.0)
    measured = tracks(run(SPECTRA, channel(quiet), channel(loud, name="y")))
    low, high = (measured[f"spectra.band_level_{end}_db"].values[0] or 0.0 for end in ("min", "max"))
    assert high - low == pytest.approx(20.0, abs=0.5)


def test_a_tone_stands_above_the_noise_floor() -> None:
    tone = 10_000 * np.sin(2 * np.pi * 5.0 * np.arange(12_000) / 200.0)
    x = np.rint(tone + noise(12_000, scale=10.0)).astype(np.int32)
    measured = tracks(run(SPECTRA, channel(x), band_hz=[4.0, 6.0]))
    assert (measured["spectra.snr_db"].values[0] or 0.0) > 50.0


def test_channels_of_different_rates_and_units_each_have_their_own_spectrum() -> None:
    slow = channel(noise(6_000, seed=3), name="slow", rate_hz=100.0, unit="Pa")
    result = run(SPECTRA, channel(noise(12_000)), slow)
    columns = parse_columns(result.artifacts[0].data)
    assert columns.channels("spectrum") == ("slow", "x")
    assert columns.column("spectrum", "frequency_hz", "slow")[-1] == 50.0
    assert columns.column("spectrum", "frequency_hz", "x")[-1] == 100.0
    measured = tracks(result)
    assert measured["spectra.segment_count"].values == (10.0,)
    assert measured["spectra.band_level_min_db"].reasons == (Reason.NOT_MEASURED,)
    assert measured["spectra.snr_db"].values[0] is not None


def test_the_window_table_has_the_bands_that_were_asked_for() -> None:
    result = run(SPECTRA, channel(noise(24_000, scale=100.0)), bands_hz=[[1, 2], [10, 40.5]])
    columns = parse_columns(result.artifacts[0].data)
    names = [column.name for column in columns.columns if column.table == "window"]
    assert names == ["level_10_40.5_hz", "level_1_2_hz", "start_s"]
    assert columns.column("window", "level_10_40.5_hz", "x") == pytest.approx([100.0, 100.0], rel=0.05)


@pytest.mark.filterwarnings("error")
def test_windows_that_cannot_be_measured_abstain_and_leave_nan() -> None:
    samples = noise(48_000).astype(np.float64)
    samples[12_000:24_000] = 7.0
    samples[30_000] = np.nan
    gappy = channel(samples[:45_000], marks=[(0, START_NS), (40_000, START_NS + 215 * 10**9)])
    result = run(SPECTRA, gappy)
    reasons = (Reason.NONE, Reason.STUCK_VALUE, Reason.NON_FINITE, Reason.GAP)
    measured = tracks(result)
    assert measured["spectra.band_level_min_db"].reasons == reasons
    assert measured["spectra.snr_db"].reasons == reasons
    columns = parse_columns(result.artifacts[0].data)
    levels = next(column for column in columns.columns if column.name.startswith("level_"))
    assert np.isnan(levels.values).tolist() == [False, True, True, True]
    assert np.isfinite(columns.column("spectrum", "psd_median", "x")).all()


def test_a_window_shorter_than_a_segment_has_no_spectrum() -> None:
    measured = tracks(run(SPECTRA, channel(noise(500))))
    assert measured["spectra.segment_count"].values == (0.0,)
    assert measured["spectra.snr_db"].reasons == (Reason.INSUFFICIENT_SEGMENTS,)


def test_levels_in_the_quantised_columns_have_nine_digits() -> None:
    (artifact,) = run(SPECTRA, channel(noise(12_000))).artifacts
    assert artifact.quantised is not None
    exact, rounded = parse_columns(artifact.data), parse_columns(artifact.quantised)
    for one, other in zip(exact.columns, rounded.columns, strict=True):
        expected = one.values if one.unit in {"Hz", "s"} else [float(f"{value:.8e}") for value in one.values]
        assert np.array_equal(other.values, expected)
