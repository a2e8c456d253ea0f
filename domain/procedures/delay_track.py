"""The procedure ``delay-track``: how much later the second channel is than the first, window by window.

Metrics, beside the common ones: ``delay.seconds`` (to 1 ns, guard band twice its standard deviation);
``delay.psr`` (peak to RMS of the correlation); ``delay.uncertainty_seconds`` (Knapp-Carter bound);
``delay.polarity`` (height of the peak, -1..1, negative when one channel is upside down);
``delay.band_coherence_excess`` (band median of the coherence minus what independent noise exceeds once in a
hundred).

A delay is given only where it is resolved: coherence above that of noise, and a peak of at least 4.5 times
the RMS.

Artifact ``delay-track.columns``: table ``window`` (``start_s``, ``delay_s``, ``uncertainty_s``, ``psr``,
``polarity``, ``band_coherence_excess``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from domain.columns import Column
from domain.errors import InvalidError
from domain.metrics import MetricTrack
from domain.outcomes import Reason
from domain.procedures.coherence import effective_segments, pair_coherence
from domain.procedures.options import LAG_SECONDS_MAX, SignalOptions, band_bins, parse_options
from domain.procedures.procedure import Procedure, ProcedureInput, ProcedureResult
from domain.procedures.recording import pair_of, recording_of
from domain.procedures.tables import columns_artifact, facts_of, values_of, window_starts
from domain.quantise import SECONDS_GUARD_MIN, quantise_score, quantise_seconds
from domain.signal.coherence import CONFIDENCE_SIGMAS, Coherence, null_threshold
from domain.signal.delay import PSR_MIN, Band, delay_of
from domain.signal.measured import Measured, missing, track_of
from domain.signal.quantiles import median
from domain.signal.welch import Segments
from domain.windows import AlignedPair, align_pair

VERSION = "1.0.0"


class DelayOptions(SignalOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``lag_seconds_max``: how far apart the channels may be, either way; wider finds more and resolves
    less."""

    lag_seconds_max: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.lag_seconds_max <= LAG_SECONDS_MAX:
            raise InvalidError(
                "not an option's value",
                field="options.lag_seconds_max",
                expected=f"above 0 to {LAG_SECONDS_MAX:g}",
                actual=f"{self.lag_seconds_max:g}",
            )


class WindowDelay(Struct, frozen=True, kw_only=True):
    """What is said of one window."""

    seconds: Measured
    uncertainty_seconds: Measured
    psr: Measured
    polarity: Measured
    excess: Measured


def run(given: ProcedureInput) -> ProcedureResult:
    """Delays of a pair.  Raises: InvalidError for options, MalformedError for recordings, LimitError."""
    options = parse_options(DelayOptions, given.options)
    recording = recording_of(given, options)
    x, _ = pair_of(recording)
    rate_hz = x.sample_rate_hz
    band = band_bins(options.band_for(rate_hz), options.segments, rate_hz)
    pairs = (align_pair(slices[0], slices[1], x.interval_ns) for slices in recording.slices)
    delays = [
        delay_in_window(pair, pair_coherence(pair, options.segments, band), options, band, rate_hz)
        for pair in pairs
    ]
    columns = (
        Column(table="window", name="start_s", unit="s", values=window_starts(recording.windows)),
        _column("delay_s", "s", [each.seconds for each in delays]),
        _column("uncertainty_s", "s", [each.uncertainty_seconds for each in delays]),
        _column("psr", "1", [each.psr for each in delays]),
        _column("polarity", "1", [each.polarity for each in delays]),
        _column("band_coherence_excess", "1", [each.excess for each in delays]),
    )
    return ProcedureResult(
        windows=recording.windows,
        metrics=(*recording.quality, *delay_tracks(delays)),
        artifacts=(columns_artifact("delay-track.columns", columns, facts_of(recording, options)),),
    )


def delay_tracks(delays: Sequence[WindowDelay]) -> tuple[MetricTrack, ...]:
    """The procedure's own metrics."""
    return (
        track_of("delay.seconds", "s", [each.seconds for each in delays]),
        track_of("delay.uncertainty_seconds", "s", [each.uncertainty_seconds for each in delays]),
        track_of("delay.psr", "1", [each.psr for each in delays]),
        track_of("delay.polarity", "1", [each.polarity for each in delays]),
        track_of("delay.band_coherence_excess", "1", [each.excess for each in delays]),
    )


def delay_in_window(
    pair: AlignedPair, coherence: Coherence | Reason, options: DelayOptions, band: slice, rate_hz: float
) -> WindowDelay:
    """Delay of a pair whose coherence (``pair_coherence`` of the same band) is known."""
    segments = options.segments
    effective = effective_segments(pair, segments).value
    if isinstance(coherence, Reason) or pair.x is None or pair.y is None or effective is None:
        reason = coherence if isinstance(coherence, Reason) else pair.reason
        return _without_delay(missing(reason), missing(reason), reason)
    threshold = null_threshold(effective, 0.01)
    excess = Measured(quantise_score(median(coherence.msc[band]) - threshold))
    part = _coherent_band(coherence.msc, threshold, band, segments, rate_hz)
    delay = delay_of(pair.x, pair.y, rate_hz, part, options.lag_seconds_max)
    if isinstance(delay, Reason):
        return _without_delay(missing(delay), excess, delay)
    psr = Measured(quantise_score(delay.psr))
    # Both are judged as they are published, so that the reader of a receipt comes to the same end.
    if excess.value is not None and excess.value <= 0.0:
        return _without_delay(psr, excess, Reason.COHERENCE_LOST)
    if psr.value is not None and psr.value < PSR_MIN:
        return _without_delay(psr, excess, Reason.DELAY_UNRESOLVED)
    uncertainty = delay.uncertainty_seconds
    if not math.isfinite(uncertainty):
        return _without_delay(psr, excess, Reason.DELAY_UNRESOLVED)
    guard = max(quantise_seconds(CONFIDENCE_SIGMAS * uncertainty), SECONDS_GUARD_MIN)
    return WindowDelay(
        seconds=Measured(quantise_seconds(delay.seconds + pair.skew_seconds), guard_band=guard),
        uncertainty_seconds=Measured(quantise_seconds(uncertainty)),
        psr=psr,
        polarity=Measured(quantise_score(delay.polarity)),
        excess=excess,
    )


def _without_delay(psr: Measured, excess: Measured, reason: Reason) -> WindowDelay:
    none = missing(reason)
    return WindowDelay(seconds=none, uncertainty_seconds=none, psr=psr, polarity=none, excess=excess)


def _column(name: str, unit: str, items: Sequence[Measured]) -> Column:
    return Column(table="window", name=name, unit=unit, values=values_of(items))


def _coherent_band(
    msc: NDArray[np.float64], threshold: float, band: slice, segments: Segments, rate_hz: float
) -> Band:
    takes_part = np.zeros(msc.size, np.bool_)
    takes_part[band] = msc[band] > threshold
    return Band(msc=msc, takes_part=takes_part, spacing_hz=rate_hz / segments.samples)


DELAY_TRACK = Procedure(name="delay-track", version=VERSION, consumes="samples", numeric=True, run=run)
