"""Quality: what every run of a signal procedure measures in every window, on one shared path.

A metric stands for all channels of the run by the worst of them; one that could not be measured on some
channel is missing with that channel's reason, because what is not known is not good.

================================  =====  =====  ==========================================================
metric                            unit   worst  what it is
================================  =====  =====  ==========================================================
``sampling.gap_ratio``            1      max    share of the window that no sample covers
``sampling.availability``         1      min    1 - gap_ratio
``sampling.duplicate_count``      1      max    samples at times that were covered already
``sampling.out_of_order_count``   1      max    marks earlier than the sample recorded before them
``sampling.jitter_p99_ratio``     1      max    p99 of the distance from an even grid, in intervals
``sampling.rate_error_ppm``       ppm    max    absolute value of effective / nominal rate - 1
``saturation.clip_ratio``         1      max    share of samples at a rail or on a plateau
``saturation.clip_run_max``       1      max    most such samples in a row
``flatline.run_seconds_max``      s      max    from first to last of the longest run of equal samples
``flatline.unique_count``         1      min    different values
``clock.timing_quality_percent``  %      min    lowest timing quality that the format states
``clock.step_seconds_max``        s      max    largest step of the clock between marks
``calibration.age_ratio``         1      max    age of the calibration / its validity, at the window's end
``signal.rms``                    (own)  min    root mean square about the mean
``signal.dc_offset``              (own)  max    absolute value of the mean
``signal.crest_factor``           1      max    largest distance from the mean / rms
``signal.non_finite_count``       1      max    NaN and infinite samples
================================  =====  =====  ==========================================================

``signal.rms`` and ``signal.dc_offset`` are in the unit of the channels, and missing when channels differ in
it.  Saturation, flat line and amplitude look at the samples that are there, whatever is missing between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from domain.metrics import MetricTrack, Window
from domain.outcomes import Reason
from domain.procedures.procedure import CalibrationInForce
from domain.quantise import quantise_score, quantise_seconds, quantise_significant
from domain.signal.amplitude import amplitude_of
from domain.signal.calibration import age_ratio, full_scale_counts
from domain.signal.flatline import longest_run_seconds, unique_count
from domain.signal.measured import Measured, missing, track_of, worst_of
from domain.signal.runs import runs_of
from domain.signal.saturation import saturation_of
from domain.signal.timemarks import Timeline, sampling_quality, timing_quality
from domain.windows import WindowSlice

OWN_UNIT = ""
"""Stands in ``QUALITY_METRICS`` for the unit of the channels."""

QUALITY_METRICS: tuple[tuple[str, str, Callable[[Sequence[float]], float]], ...] = (
    ("sampling.gap_ratio", "1", max),
    ("sampling.availability", "1", min),
    ("sampling.duplicate_count", "1", max),
    ("sampling.out_of_order_count", "1", max),
    ("sampling.jitter_p99_ratio", "1", max),
    ("sampling.rate_error_ppm", "ppm", max),
    ("saturation.clip_ratio", "1", max),
    ("saturation.clip_run_max", "1", max),
    ("flatline.run_seconds_max", "s", max),
    ("flatline.unique_count", "1", min),
    ("clock.timing_quality_percent", "%", min),
    ("clock.step_seconds_max", "s", max),
    ("calibration.age_ratio", "1", max),
    ("signal.rms", OWN_UNIT, min),
    ("signal.dc_offset", OWN_UNIT, max),
    ("signal.crest_factor", "1", max),
    ("signal.non_finite_count", "1", max),
)
_ON_SAMPLES = tuple(
    name for name, _, _ in QUALITY_METRICS if name.split(".")[0] in {"saturation", "flatline", "signal"}
)


def quality_tracks(
    timelines: Sequence[Timeline],
    windows: Sequence[Window],
    slices: Sequence[Sequence[WindowSlice]],
    calibration: CalibrationInForce | None,
) -> tuple[MetricTrack, ...]:
    """The common metrics; ``slices[w][c]`` is what channel ``c`` has in window ``w``.  All windows have
    instants."""
    names = tuple(timeline.channel.name for timeline in timelines)
    units = {timeline.channel.unit for timeline in timelines}
    full_scales = [full_scale_counts(calibration, name) for name in names]
    rows: dict[str, list[Measured]] = {name: [] for name, _, _ in QUALITY_METRICS}
    for window, present in zip(windows, slices, strict=True):
        start, end = window.start_ns or 0, window.end_ns or 0
        per_channel = []
        marks: dict[str, Measured] = {}
        for at, (timeline, one, full_scale) in enumerate(zip(timelines, present, full_scales, strict=True)):
            if not at or timeline.time_ns is not timelines[at - 1].time_ns:
                marks = _of_marks(timeline, start, end)
            clock = {"clock.timing_quality_percent": timing_quality(timeline, (start, end))}
            per_channel.append(marks | clock | _of_samples(timeline, one, full_scale))
        # The last instant of the window is the oldest the calibration gets in it.
        age = age_ratio(calibration, names, end - 1)
        for name, unit, pick in QUALITY_METRICS:
            if name == "calibration.age_ratio":
                rows[name].append(age)
            elif unit == OWN_UNIT and len(units) > 1:
                rows[name].append(missing(Reason.NOT_MEASURED))
            else:
                rows[name].append(worst_of(pick, [measured[name] for measured in per_channel]))
    own_unit = timelines[0].channel.unit
    return tuple(track_of(name, unit or own_unit, rows[name]) for name, unit, _ in QUALITY_METRICS)


def _of_marks(timeline: Timeline, start: int, end: int) -> dict[str, Measured]:
    sampling = sampling_quality(timeline, (start, end))
    gap = sampling.gap_ratio.value
    return {
        "sampling.gap_ratio": sampling.gap_ratio,
        "sampling.availability": sampling.gap_ratio if gap is None else Measured(quantise_score(1.0 - gap)),
        "sampling.duplicate_count": sampling.duplicate_count,
        "sampling.out_of_order_count": sampling.out_of_order_count,
        "sampling.jitter_p99_ratio": sampling.jitter_p99_ratio,
        "sampling.rate_error_ppm": sampling.rate_error_ppm,
        "clock.step_seconds_max": sampling.step_seconds,
    }


def _of_samples(timeline: Timeline, one: WindowSlice, full_scale: float | None) -> dict[str, Measured]:
    samples = one.present
    if samples.size == 0:
        return dict.fromkeys(_ON_SAMPLES, missing(Reason.LACK_OF_DATA_SAMPLES))
    broken = 0 if samples.dtype.kind == "i" else int(np.count_nonzero(~np.isfinite(samples)))
    runs = runs_of(samples)
    measured = {
        "signal.non_finite_count": Measured(float(broken)),
        "flatline.run_seconds_max": Measured(
            quantise_seconds(longest_run_seconds(runs, timeline.channel.sample_rate_hz))
        ),
        "flatline.unique_count": Measured(float(unique_count(samples))),
    }
    if broken:
        return dict.fromkeys(_ON_SAMPLES, missing(Reason.NON_FINITE)) | measured
    saturation = saturation_of(samples, runs, full_scale)
    amplitude = amplitude_of(samples)
    return measured | {
        "saturation.clip_ratio": Measured(quantise_score(saturation.clip_ratio)),
        "saturation.clip_run_max": Measured(float(saturation.run_max)),
        "signal.rms": _level(amplitude.rms),
        "signal.dc_offset": _level(abs(amplitude.mean)),
        "signal.crest_factor": _level(amplitude.peak / amplitude.rms)
        if amplitude.rms > 0.0
        else missing(Reason.STUCK_VALUE),
    }


def _level(value: float) -> Measured:
    return Measured(quantise_significant(value)) if math.isfinite(value) else missing(Reason.NON_FINITE)
