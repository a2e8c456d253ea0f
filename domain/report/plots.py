"""Plots of the signal procedures, built from the columns they leave as artifacts.

Plots are built from the quantised form of an artifact where it has one, so that a report shows the same lines
in every numeric environment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np

from domain.columns import MEDIA_TYPE, Columns, parse_columns
from domain.procedures.procedure import Artifact
from domain.report.model import Axis, Level, Numbers, Plot, Series
from domain.report.wording import counted, number
from domain.signal.delay import PSR_MIN

_FREQUENCY = Axis(label="Frequency", unit="Hz", scale="log")
_TIME = Axis(label="Start of window", unit="UTC", scale="time")
# Lines of more channels than this in one drawing cannot be told apart.
CHANNELS_PER_PLOT_MAX = 4


def plots_of(procedure: str, artifacts: Sequence[Artifact]) -> tuple[Plot, ...]:
    """The plots of a run of ``procedure``; none for procedures that have no drawing, such as mappers."""
    build = _BUILDERS.get(procedure)
    if build is None:
        return ()
    plots: list[Plot] = []
    for artifact in artifacts:
        if artifact.media_type == MEDIA_TYPE:
            columns = parse_columns(artifact.data if artifact.quantised is None else artifact.quantised)
            plots += build(columns, artifact.name)
    return tuple(plots)


def _spectra(columns: Columns, source: str) -> list[Plot]:
    channels = columns.channels("spectrum")
    units = {column.channel: column.unit for column in columns.columns if column.name == "psd_median"}
    plots = []
    for unit in sorted(set(units.values())):
        alike = [channel for channel in channels if units[channel] == unit]
        for start in range(0, len(alike), CHANNELS_PER_PLOT_MAX):
            shown = alike[start : start + CHANNELS_PER_PLOT_MAX]
            series = tuple(
                Series(
                    name=channel,
                    x=columns.column("spectrum", "frequency_hz", channel),
                    y=columns.column("spectrum", "psd_median", channel),
                    low=columns.column("spectrum", "psd_p10", channel),
                    high=columns.column("spectrum", "psd_p90", channel),
                )
                for channel in shown
            )
            plots.append(
                Plot(
                    title=f"Power spectral density of {', '.join(shown)}",
                    note="Median over the windows; the shaded band reaches from the 10th to the 90th "
                    f"percentile. {_made(columns)}",
                    source=source,
                    x=_FREQUENCY,
                    y=Axis(label="Power spectral density", unit=_squared(unit), scale="log"),
                    series=series,
                )
            )
    return plots + [_levels(columns, channel, _squared(units[channel]), source) for channel in channels]


def _levels(columns: Columns, channel: str, unit: str, source: str) -> Plot:
    names = [
        column.name for column in columns.columns if column.table == "window" and column.channel == channel
    ]
    bands = sorted((name for name in names if name.startswith("level_")), key=_band_low)
    times = _times(columns, channel)
    return Plot(
        title=f"Level of {channel} over time",
        note="Mean power spectral density of each band, window by window.",
        source=source,
        x=_TIME,
        y=Axis(label="Mean power spectral density", unit=unit, scale="log"),
        series=tuple(
            Series(name=_band_name(name), x=times, y=columns.column("window", name, channel))
            for name in reversed(bands)
        ),
    )


def _coherence(columns: Columns, source: str) -> list[Plot]:
    frequency = columns.column("spectrum", "frequency_hz")
    thresholds = columns.column("window", "null_threshold_99")
    known = thresholds[np.isfinite(thresholds)]
    levels = (Level(name="independent noise, 99 %", value=float(known.max())),) if known.size else ()
    pair = " and ".join(_channels(columns))
    times = _times(columns)
    return [
        Plot(
            title=f"Coherence of {pair} by frequency",
            note=f"Median and 10th percentile over the windows. {_made(columns)}",
            source=source,
            x=_FREQUENCY,
            y=Axis(label="Magnitude-squared coherence", unit="1", low=0.0, high=1.0),
            series=(
                Series(name="median", x=frequency, y=columns.column("spectrum", "msc_median")),
                Series(name="10th percentile", x=frequency, y=columns.column("spectrum", "msc_p10")),
            ),
            levels=levels,
        ),
        Plot(
            title=f"Coherence of {pair} over time",
            note=f"Median and 10th percentile over the band{_band(columns)}, window by window.",
            source=source,
            x=_TIME,
            y=Axis(label="Magnitude-squared coherence in the band", unit="1"),
            series=(
                Series(name="median", x=times, y=columns.column("window", "band_median")),
                Series(name="10th percentile", x=times, y=columns.column("window", "band_p10")),
            ),
        ),
    ]


def _delay(columns: Columns, source: str) -> list[Plot]:
    times = _times(columns)
    delay = 1e3 * columns.column("window", "delay_s")
    spread = 2e3 * columns.column("window", "uncertainty_s")
    names = _channels(columns)
    later = f"{names[1]} behind {names[0]}" if len(names) == 2 else "the second channel"
    return [
        Plot(
            title=f"Delay of {later}",
            note="Whiskers are twice the smallest standard uncertainty that any estimate can have "
            f"(Knapp and Carter 1976). Band{_band(columns)}. "
            f"Resolved in {counted(int(np.isfinite(delay).sum()), 'window')} of {number(delay.size)}.",
            source=source,
            x=_TIME,
            y=Axis(label="Delay", unit="ms"),
            series=(
                Series(
                    name="delay", x=times, y=delay, low=delay - spread, high=delay + spread, style="points"
                ),
            ),
        ),
        Plot(
            title="Peak of the correlation over its RMS",
            note="How far the peak that gives the delay stands out; below the line no delay is given.",
            source=source,
            x=_TIME,
            y=Axis(label="Peak-to-RMS ratio", unit="1", low=0.0),
            series=(
                Series(name="peak over RMS", x=times, y=columns.column("window", "psr"), style="points"),
            ),
            levels=(Level(name="resolved from", value=PSR_MIN),),
            is_result=False,
        ),
    ]


_BUILDERS: dict[str, Callable[[Columns, str], list[Plot]]] = {
    "spectra": _spectra,
    "coherence": _coherence,
    "delay-track": _delay,
}


def _times(columns: Columns, channel: str = "") -> Numbers:
    """Window starts in Unix nanoseconds, near enough for a drawing."""
    start_ns = float(int(columns.facts.get("start_ns", "0")))
    times: Numbers = start_ns + 1e9 * columns.column("window", "start_s", channel)
    return times


def _fact(columns: Columns, name: str) -> object:
    try:
        return json.loads(columns.facts.get(name, "null"))
    except ValueError:
        return None


def _channels(columns: Columns) -> list[str]:
    names = _fact(columns, "channels")
    return [str(name) for name in names] if isinstance(names, list) else []


def _made(columns: Columns) -> str:
    """How the spectra were averaged, in a sentence."""
    options = _fact(columns, "options")
    if not isinstance(options, dict):
        return ""
    samples, overlap = options.get("segment_samples"), options.get("overlap")
    if not isinstance(samples, int) or not isinstance(overlap, int | float):
        return ""
    share = number(100 * overlap)
    return f"Welch's method, Hann segments of {number(samples)} samples overlapping by {share} %."


def _band(columns: Columns) -> str:
    options = _fact(columns, "options")
    band = options.get("band_hz") if isinstance(options, dict) else None
    if not isinstance(band, list) or len(band) != 2 or not all(isinstance(end, int | float) for end in band):
        return ""
    return f" {number(band[0])} to {number(band[1])} Hz"


def _squared(unit: str) -> str:
    """``(counts)2/Hz`` as ``counts²/Hz``; the brackets stay where they hold more than one unit."""
    base, found, rest = unit.rpartition(")2/")
    if not found or not base.startswith("("):
        return unit
    inner = base[1:]
    return f"{inner}²/{rest}" if inner.isalnum() else f"({inner})²/{rest}"


def _band_low(name: str) -> float:
    try:
        return float(name.split("_")[1])
    except (IndexError, ValueError):
        return 0.0


def _band_name(name: str) -> str:
    """``level_1_2_hz`` as ``1 to 2 Hz``."""
    parts = name.split("_")
    return f"{parts[1]} to {parts[2]} Hz" if len(parts) == 4 else name
