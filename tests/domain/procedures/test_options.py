"""Options of signal procedures: defaults, and every wrong one refused by name."""

from typing import Any

import pytest

from domain.errors import InvalidError
from domain.procedures.delay_track import DelayOptions
from domain.procedures.options import SignalOptions, band_bins, parse_options
from domain.procedures.spectra import SpectraOptions
from domain.signal.welch import Segments


def test_nothing_said_means_the_defaults() -> None:
    options = parse_options(SignalOptions, {})
    assert options == SignalOptions(
        channels=(), window_seconds=60.0, segment_samples=1_024, overlap=0.5, band_hz=None
    )
    assert options.segments == Segments(samples=1_024, step=512)
    assert options.band_for(200.0) == (2 * 200.0 / 1_024, 80.0)


def test_lists_and_whole_numbers_of_json_are_understood() -> None:
    options = parse_options(DelayOptions, {"channels": ["b", "a"], "band_hz": [1, 10], "window_seconds": 600})
    assert options.channels == ("b", "a")
    assert options.band_hz == (1.0, 10.0)
    assert options.lag_seconds_max == 2.0


@pytest.mark.parametrize(
    ("kind", "options", "field"),
    [
        (SignalOptions, {"windows_seconds": 60}, "options.windows_seconds"),
        (SignalOptions, {"lag_seconds_max": 1.0}, "options.lag_seconds_max"),
        (SignalOptions, {"window_seconds": 0}, "options.window_seconds"),
        (SignalOptions, {"window_seconds": -60}, "options.window_seconds"),
        (SignalOptions, {"window_seconds": 1e-12}, "options.window_seconds"),
        (SignalOptions, {"window_seconds": 1e9}, "options.window_seconds"),
        (SignalOptions, {"window_seconds": float("nan")}, "options.window_seconds"),
        (SignalOptions, {"window_seconds": "60"}, "options.window_seconds"),
        (SignalOptions, {"segment_samples": 1_023}, "options.segment_samples"),
        (SignalOptions, {"segment_samples": 8}, "options.segment_samples"),
        (SignalOptions, {"segment_samples": 2**20}, "options.segment_samples"),
        (SignalOptions, {"segment_samples": 1024.5}, "options.segment_samples"),
        (SignalOptions, {"overlap": 1.0}, "options.overlap"),
        (SignalOptions, {"overlap": -0.1}, "options.overlap"),
        (SignalOptions, {"band_hz": [10, 1]}, "options.band_hz"),
        (SignalOptions, {"band_hz": [-1, 1]}, "options.band_hz"),
        (SignalOptions, {"band_hz": [1, float("inf")]}, "options.band_hz"),
        (SignalOptions, {"band_hz": [1]}, "options.band_hz"),
        (SignalOptions, {"band_hz": [1, "x"]}, "options.band_hz[1]"),
        (SignalOptions, {"channels": ["a", "a"]}, "options.channels"),
        (SignalOptions, {"channels": "a"}, "options.channels"),
        (SignalOptions, {"channels": ["a"] * 65}, "options.channels"),
        (DelayOptions, {"lag_seconds_max": 0}, "options.lag_seconds_max"),
        (DelayOptions, {"lag_seconds_max": 1e9}, "options.lag_seconds_max"),
        (DelayOptions, {"overlap": 2}, "options.overlap"),
        (SpectraOptions, {"bands_hz": [[1, 2], [1, 2]]}, "options.bands_hz"),
        (SpectraOptions, {"bands_hz": [[1, 2], [4, 3]]}, "options.bands_hz[1]"),
    ],
)
def test_a_wrong_option_is_refused_by_name(
    kind: type[SignalOptions], options: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidError) as refused:
        parse_options(kind, options)
    assert refused.value.field == field


def test_an_unknown_option_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidError) as refused:
        parse_options(SignalOptions, {"colour": "red"})
    assert refused.value.expected == "channels, window_seconds, segment_samples, overlap, band_hz"


def test_a_band_holds_the_frequencies_between_its_ends_but_neither_zero_nor_nyquist() -> None:
    segments = Segments(samples=100, step=50)
    assert band_bins((1.0, 3.0), segments, 100.0) == slice(1, 4)
    assert band_bins((0.0, 1e9), segments, 100.0) == slice(1, 50)
    assert band_bins((0.3, 0.7), segments, 10.0) == slice(3, 8)


@pytest.mark.parametrize("band_hz", [(1.2, 1.8), (60.0, 70.0), (0.0, 0.5)])
def test_a_band_without_a_frequency_is_refused(band_hz: tuple[float, float]) -> None:
    with pytest.raises(InvalidError):
        band_bins(band_hz, Segments(samples=100, step=50), 100.0)


@pytest.mark.parametrize("band_hz", [None, (0.1, 10.0), (0.0, 80.0), (5.0, 6.0), (0.001, 0.4)])
def test_default_octaves_each_hold_a_frequency(band_hz: tuple[float, float] | None) -> None:
    options = SpectraOptions(band_hz=band_hz)
    octaves = options.bands_for(200.0)
    low, high = options.band_for(200.0)
    assert octaves[-1][1] == high
    assert octaves[0][0] >= low
    for at, octave in enumerate(octaves):
        assert band_bins(octave, options.segments, 200.0)
        assert at == 0 or octaves[at - 1][1] == octave[0]
