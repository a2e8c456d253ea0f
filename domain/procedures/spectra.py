"""The procedure ``spectra``: power spectral density of every channel by Welch's method, window by window.

Metrics, beside the common ones: ``spectra.segment_count``; ``spectra.band_level_min_db`` and
``spectra.band_level_max_db``, the lowest and highest channel's mean density in the band, in decibels re 1
unit^2/Hz, with guard bands from the chi-squared spread of the estimate (missing when the channels differ in
unit); ``spectra.snr_db``, the lowest channel's mean density in the band over its noise floor, which is the
tenth percentile of the density over all frequencies but zero and Nyquist.

Artifact ``spectra.columns``, per channel: table ``spectrum`` (``frequency_hz``; ``psd_median``,
``psd_p10``, ``psd_p90`` over the windows) and table ``window`` (``start_s``; ``level_<low>_<high>_hz``:
mean density of each band; by default the octaves below the upper end of ``band_hz``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from domain.columns import Column
from domain.dataset import Channel
from domain.errors import InvalidError
from domain.outcomes import Reason
from domain.procedures.options import BANDS_MAX, BandHz, SignalOptions, band_bins, check_band, parse_options
from domain.procedures.procedure import Procedure, ProcedureInput, ProcedureResult
from domain.procedures.recording import recording_of
from domain.procedures.tables import columns_artifact, facts_of, window_starts
from domain.quantise import SCORE_GUARD_MIN, quantise_score, quantise_significant
from domain.signal.amplitude import sequential_sum
from domain.signal.coherence import CONFIDENCE_SIGMAS
from domain.signal.measured import Measured, missing, track_of, worst_of
from domain.signal.quantiles import quantile
from domain.signal.welch import Segments, power_density, transforms_of
from domain.windows import WindowSlice

VERSION = "1.0.0"
NOISE_FLOOR_QUANTILE = 0.1
OCTAVES_MAX = 12


class SpectraOptions(SignalOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``bands_hz``: bands of the per-window table; default the octaves below the upper end of ``band_hz``."""

    bands_hz: tuple[BandHz, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.bands_hz) > BANDS_MAX or len(set(self.bands_hz)) != len(self.bands_hz):
            raise InvalidError(
                "not an option's value",
                field="options.bands_hz",
                expected=f"at most {BANDS_MAX} different bands",
                actual=str(len(self.bands_hz)),
            )
        for at, band_hz in enumerate(self.bands_hz):
            check_band(band_hz, f"bands_hz[{at}]")

    def bands_for(self, sample_rate_hz: float) -> tuple[BandHz, ...]:
        """The bands of the per-window table at this rate, ascending."""
        if self.bands_hz:
            return self.bands_hz
        low, high = self.band_for(sample_rate_hz)
        # An octave of at least two Welch bins holds one of them wherever it lies.
        narrowest = 4.0 * sample_rate_hz / self.segment_samples
        octaves: list[BandHz] = [(max(low, high / 2), high)]
        while octaves[-1][0] > max(low, narrowest) and len(octaves) < OCTAVES_MAX:
            high = octaves[-1][0]
            octaves.append((max(low, high / 2), high))
        return tuple(reversed(octaves))


def run(given: ProcedureInput) -> ProcedureResult:
    """Spectra of every channel.  Raises: InvalidError for options, MalformedError for recordings,
    LimitError."""
    options = parse_options(SpectraOptions, given.options)
    recording = recording_of(given, options)
    segments = options.segments
    starts = window_starts(recording.windows)
    columns: list[Column] = []
    counts: list[list[Measured]] = []
    levels: list[list[Measured]] = []
    ratios: list[list[Measured]] = []
    for at, channel in enumerate(recording.channels):
        rate_hz = channel.sample_rate_hz
        slices = [window[at] for window in recording.slices]
        densities = [_density(one, segments, rate_hz) for one in slices]
        band = band_bins(options.band_for(rate_hz), segments, rate_hz)
        counts.append([_segment_count(one, segments) for one in slices])
        levels.append(
            [
                _band_level(one, density, band, segments)
                for one, density in zip(slices, densities, strict=True)
            ]
        )
        ratios.append([_signal_to_noise(density, band) for density in densities])
        columns += _columns(channel, densities, segments, options.bands_for(rate_hz), starts)

    if len({channel.unit for channel in recording.channels}) > 1:
        levels = [[missing(Reason.NOT_MEASURED)] * len(recording.windows)]
    return ProcedureResult(
        windows=recording.windows,
        metrics=(
            *recording.quality,
            track_of("spectra.segment_count", "1", [worst_of(min, row) for row in zip(*counts, strict=True)]),
            track_of(
                "spectra.band_level_min_db", "dB", [worst_of(min, row) for row in zip(*levels, strict=True)]
            ),
            track_of(
                "spectra.band_level_max_db", "dB", [worst_of(max, row) for row in zip(*levels, strict=True)]
            ),
            track_of("spectra.snr_db", "dB", [worst_of(min, row) for row in zip(*ratios, strict=True)]),
        ),
        artifacts=(columns_artifact("spectra.columns", columns, facts_of(recording, options)),),
    )


def _density(one: WindowSlice, segments: Segments, rate_hz: float) -> NDArray[np.float64] | Reason:
    """Density of one window, or why it has none."""
    if one.whole is None:
        return one.reason
    if segments.count(one.whole.size) < 1:
        return Reason.INSUFFICIENT_SEGMENTS
    transforms = transforms_of(one.whole, segments)
    density = power_density(transforms, segments, rate_hz)
    if not bool(np.isfinite(density).all()):
        return Reason.NON_FINITE
    if float(transforms.power.max()) <= transforms.power_floor:
        return Reason.STUCK_VALUE
    return density


def _segment_count(one: WindowSlice, segments: Segments) -> Measured:
    return missing(one.reason) if one.whole is None else Measured(float(segments.count(one.whole.size)))


def _band_level(
    one: WindowSlice, density: NDArray[np.float64] | Reason, band: slice, segments: Segments
) -> Measured:
    if isinstance(density, Reason) or one.whole is None:
        return missing(density if isinstance(density, Reason) else one.reason)
    level = _mean(density[band])
    if level <= 0.0:
        return missing(Reason.STUCK_VALUE)
    # A mean of n independent squared spectra spreads by 1/sqrt(n); neighbouring Hann bins count for about
    # half.
    independent = segments.effective_count(one.whole.size) * max(density[band].size / 1.94, 1.0)
    spread_db = 10.0 / math.log(10.0) / math.sqrt(independent)
    guard = max(quantise_score(CONFIDENCE_SIGMAS * spread_db), SCORE_GUARD_MIN)
    return Measured(quantise_score(10.0 * math.log10(level)), guard_band=guard)


def _signal_to_noise(density: NDArray[np.float64] | Reason, band: slice) -> Measured:
    if isinstance(density, Reason):
        return missing(density)
    level, floor = _mean(density[band]), float(quantile(density[1:-1], NOISE_FLOOR_QUANTILE))
    if level <= 0.0 or floor <= 0.0:
        return missing(Reason.STUCK_VALUE)
    return Measured(quantise_score(10.0 * math.log10(level / floor)), guard_band=SCORE_GUARD_MIN)


def _mean(values: NDArray[np.float64]) -> float:
    return sequential_sum(values) / values.size


def _columns(
    channel: Channel,
    densities: Sequence[NDArray[np.float64] | Reason],
    segments: Segments,
    bands_hz: Sequence[BandHz],
    starts: NDArray[np.float64],
) -> list[Column]:
    rate_hz = channel.sample_rate_hz
    frequencies = segments.frequencies_hz(rate_hz)
    measured = [density for density in densities if not isinstance(density, Reason)]
    rows = np.array(measured) if measured else np.full((1, frequencies.size), np.nan)
    unit = f"({channel.unit})2/Hz"

    def level(table: str, name: str, values: NDArray[np.float64]) -> Column:
        return Column(
            table=table,
            name=name,
            unit=unit,
            values=values,
            channel=channel.name,
            quantise=quantise_significant,
        )

    columns = [
        Column(table="spectrum", name="frequency_hz", unit="Hz", values=frequencies, channel=channel.name),
        level("spectrum", "psd_median", quantile(rows, 0.5)),
        level("spectrum", "psd_p10", quantile(rows, 0.1)),
        level("spectrum", "psd_p90", quantile(rows, 0.9)),
        Column(table="window", name="start_s", unit="s", values=starts, channel=channel.name),
    ]
    for at, band_hz in enumerate(bands_hz):
        bins = band_bins(band_hz, segments, rate_hz, f"bands_hz[{at}]")
        values = [np.nan if isinstance(density, Reason) else _mean(density[bins]) for density in densities]
        columns.append(level("window", f"level_{band_hz[0]:g}_{band_hz[1]:g}_hz", np.array(values)))
    return columns


SPECTRA = Procedure(name="spectra", version=VERSION, consumes="samples", numeric=True, run=run)
