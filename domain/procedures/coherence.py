"""The procedure ``coherence``: magnitude-squared coherence of two channels, window by window.

Metrics, beside the common ones: ``coherence.band_median`` and ``coherence.band_p10`` over the frequencies
of the band, with guard bands from the confidence interval; ``coherence.effective_segment_count`` (segments,
corrected for overlap); ``coherence.null_threshold_99``, which independent noise exceeds at one frequency in
a hundred.

Artifact ``coherence.columns``: table ``spectrum`` (``frequency_hz``, ``msc_median`` and ``msc_p10`` over
the windows) and table ``window`` (``start_s`` from the fact ``start_ns``, ``band_median``, ``band_p10``,
``null_threshold_99``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domain.columns import Column
from domain.outcomes import Reason
from domain.procedures.options import SignalOptions, band_bins, parse_options
from domain.procedures.procedure import Procedure, ProcedureInput, ProcedureResult
from domain.procedures.recording import pair_of, recording_of
from domain.procedures.tables import columns_artifact, facts_of, values_of, window_starts
from domain.quantise import quantise_score
from domain.signal.coherence import (
    EFFECTIVE_SEGMENTS_MIN,
    Coherence,
    coherence_of,
    guard_band,
    null_threshold,
)
from domain.signal.measured import Measured, missing, track_of
from domain.signal.quantiles import quantile
from domain.signal.welch import Segments
from domain.windows import AlignedPair, align_pair

VERSION = "1.0.0"


def run(given: ProcedureInput) -> ProcedureResult:
    """Coherence of a pair.  Raises: InvalidError for options, MalformedError for recordings, LimitError."""
    options = parse_options(SignalOptions, given.options)
    recording = recording_of(given, options)
    x, _ = pair_of(recording)
    segments = options.segments
    band = band_bins(options.band_for(x.sample_rate_hz), segments, x.sample_rate_hz)

    medians, p10s, counts, thresholds = [], [], [], []
    spectra: list[NDArray[np.float64]] = []
    for slices in recording.slices:
        pair = align_pair(slices[0], slices[1], x.interval_ns)
        effective = effective_segments(pair, segments)
        coherence = pair_coherence(pair, segments, band)
        counts.append(effective)
        if isinstance(coherence, Reason) or effective.value is None:
            reason = coherence if isinstance(coherence, Reason) else effective.reason
            medians.append(missing(reason))
            p10s.append(missing(reason))
            thresholds.append(missing(reason))
            continue
        spectra.append(coherence.msc)
        medians.append(band_quantile(coherence.msc[band], 0.5, effective.value))
        p10s.append(band_quantile(coherence.msc[band], 0.1, effective.value))
        thresholds.append(Measured(quantise_score(null_threshold(effective.value, 0.01))))

    frequencies = segments.frequencies_hz(x.sample_rate_hz)
    unmeasured = np.full((1, frequencies.size), np.nan)
    rows = np.array(spectra) if spectra else unmeasured
    columns = (
        Column(table="spectrum", name="frequency_hz", unit="Hz", values=frequencies),
        _scores("spectrum", "msc_median", quantile(rows, 0.5)),
        _scores("spectrum", "msc_p10", quantile(rows, 0.1)),
        Column(table="window", name="start_s", unit="s", values=window_starts(recording.windows)),
        _scores("window", "band_median", values_of(medians)),
        _scores("window", "band_p10", values_of(p10s)),
        _scores("window", "null_threshold_99", values_of(thresholds)),
    )
    return ProcedureResult(
        windows=recording.windows,
        metrics=(
            *recording.quality,
            track_of("coherence.band_median", "1", medians),
            track_of("coherence.band_p10", "1", p10s),
            track_of("coherence.effective_segment_count", "1", counts),
            track_of("coherence.null_threshold_99", "1", thresholds),
        ),
        artifacts=(columns_artifact("coherence.columns", columns, facts_of(recording, options)),),
    )


def effective_segments(pair: AlignedPair, segments: Segments) -> Measured:
    """Effective number of segments in a pair's window, to 1e-6."""
    if pair.x is None:
        return missing(pair.reason)
    if segments.count(pair.x.size) < 1:
        return missing(Reason.INSUFFICIENT_SEGMENTS)
    return Measured(quantise_score(segments.effective_count(pair.x.size)))


def pair_coherence(pair: AlignedPair, segments: Segments, band: slice) -> Coherence | Reason:
    """Coherence of a pair's window, or why it has none: a gap, too few segments, no finite power."""
    if pair.x is None or pair.y is None:
        return pair.reason
    effective = effective_segments(pair, segments).value
    if effective is None or effective < EFFECTIVE_SEGMENTS_MIN:
        return Reason.INSUFFICIENT_SEGMENTS
    return coherence_of(pair.x, pair.y, segments, band)


def band_quantile(msc: NDArray[np.float64], q: float, effective: float) -> Measured:
    """A quantile of the coherence over a band, with its guard band."""
    score = float(quantile(msc, q))
    return Measured(
        quantise_score(score), guard_band=quantise_score(guard_band(score, effective, msc.size, q))
    )


def _scores(table: str, name: str, values: NDArray[np.float64]) -> Column:
    return Column(table=table, name=name, unit="1", values=values, quantise=quantise_score)


COHERENCE = Procedure(name="coherence", version=VERSION, consumes="samples", numeric=True, run=run)
