"""The coherence procedure, from a recording to tracks and columns."""

import numpy as np
import pytest
from scipy import signal

from domain.columns import MEDIA_TYPE, parse_columns
from domain.outcomes import Reason
from domain.procedures.coherence import COHERENCE
from tests.domain.procedures.runs import run, tracks
from tests.domain.recordings import START_NS, channel, marks_per_record, noise

OWN = (
    "coherence.band_median",
    "coherence.band_p10",
    "coherence.effective_segment_count",
    "coherence.null_threshold_99",
)


def test_each_window_has_the_coherence_that_scipy_finds() -> None:
    x, own = noise(36_000, seed=1), noise(36_000, seed=2)
    y = (x + 0.3 * own).astype(np.int32)
    measured = tracks(run(COHERENCE, channel(x), channel(y, name="y"), band_hz=[1.0, 40.0]))
    for window in range(3):
        cut = slice(window * 12_000, (window + 1) * 12_000)
        frequencies, msc = signal.coherence(x[cut], y[cut], 200.0, "hann", 1_024, 512)
        band = msc[(frequencies >= 1.0) & (frequencies <= 40.0)]
        assert measured["coherence.band_median"].values[window] == pytest.approx(np.median(band), abs=1e-6)
        assert measured["coherence.band_p10"].values[window] == pytest.approx(
            np.quantile(band, 0.1), abs=1e-6
        )
    assert measured["coherence.effective_segment_count"].values[0] == pytest.approx(20.892, abs=1e-3)
    assert measured["coherence.null_threshold_99"].values == (0.206663,) * 3
    assert all(1e-5 <= band <= 0.05 for band in measured["coherence.band_median"].guard_bands)


def test_the_columns_hold_the_spectrum_and_the_windows() -> None:
    x = noise(24_000)
    result = run(
        COHERENCE, channel(x), channel(x + noise(24_000, seed=2, scale=100.0), name="y"), band_hz=[1.0, 40.0]
    )
    (artifact,) = result.artifacts
    assert (artifact.name, artifact.media_type) == ("coherence.columns", MEDIA_TYPE)
    columns = parse_columns(artifact.data)
    assert columns.column("spectrum", "frequency_hz")[[0, -1]].tolist() == [0.0, 100.0]
    assert columns.column("spectrum", "msc_median")[5:500] == pytest.approx(1.0, abs=1e-3)
    assert columns.column("window", "start_s").tolist() == [0.0, 60.0]
    assert columns.column("window", "band_median").tolist() == list(
        tracks(result)["coherence.band_median"].values
    )
    assert columns.facts["start_ns"] == str(START_NS)
    assert columns.facts["channels"] == '["x","y"]'
    assert artifact.quantised is not None
    rounded = parse_columns(artifact.quantised)
    assert rounded.column("spectrum", "msc_p10") == pytest.approx(
        columns.column("spectrum", "msc_p10"), abs=5e-7
    )
    assert rounded.column("spectrum", "msc_p10")[7] == round(
        float(columns.column("spectrum", "msc_p10")[7]), 6
    )


def test_a_window_with_a_gap_abstains_and_the_others_do_not() -> None:
    x, y = noise(36_000), noise(36_000)
    gappy = channel(y[:30_000], name="y", marks=[(0, START_NS), (15_000, START_NS + 105 * 10**9)])
    measured = tracks(run(COHERENCE, channel(x), gappy))
    assert measured["coherence.band_median"].values[0] is not None
    assert measured["coherence.band_median"].values[1] is None
    for name in OWN:
        assert measured[name].reasons == (Reason.NONE, Reason.GAP, Reason.NONE)[: len(measured[name].values)]
    assert measured["sampling.gap_ratio"].values[1] == 0.5


def test_too_few_segments_abstain_and_say_how_few() -> None:
    x = noise(1_500)
    measured = tracks(run(COHERENCE, channel(x), channel(x, name="y")))
    assert measured["coherence.band_median"].reasons == (Reason.INSUFFICIENT_SEGMENTS,)
    assert measured["coherence.effective_segment_count"].values == (1.0,)
    shorter = tracks(run(COHERENCE, channel(x[:100]), channel(x[:100], name="y")))
    assert {shorter[name].reasons for name in OWN} == {(Reason.INSUFFICIENT_SEGMENTS,)}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (np.zeros(12_000, np.int32), Reason.STUCK_VALUE),
        (np.full(12_000, -(2**31), np.int32), Reason.STUCK_VALUE),
        (np.full(12_000, np.nan), Reason.NON_FINITE),
        (np.where(np.arange(12_000) == 77, np.inf, 1.0), Reason.NON_FINITE),
    ],
    ids=["zeros", "rail", "nan", "inf"],
)
def test_a_broken_channel_abstains_with_its_reason(broken: np.ndarray, reason: Reason) -> None:  # type: ignore[type-arg]
    measured = tracks(run(COHERENCE, channel(noise(12_000)), channel(broken, name="y")))
    assert measured["coherence.band_median"].reasons == (reason,)
    columns = parse_columns(
        run(COHERENCE, channel(noise(12_000)), channel(broken, name="y")).artifacts[0].data
    )
    assert np.isnan(columns.column("spectrum", "msc_median")).all()


def test_the_order_of_the_channels_does_not_matter() -> None:
    x, y = channel(noise(12_000)), channel(noise(12_000) + noise(12_000, seed=2), name="y")
    here, there = (tracks(run(COHERENCE, x, y, channels=order)) for order in (["x", "y"], ["y", "x"]))
    assert here["coherence.band_median"].values == there["coherence.band_median"].values


def test_two_runs_give_the_same_bytes() -> None:
    x = channel(noise(24_000), marks=marks_per_record(24_000, 1_000))
    y = channel(noise(24_000, seed=2), name="y", marks=marks_per_record(24_000, 900))
    assert run(COHERENCE, x, y).artifacts == run(COHERENCE, x, y).artifacts
    assert run(COHERENCE, x, y).metrics == run(COHERENCE, x, y).metrics
