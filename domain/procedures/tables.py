"""Tables: how signal procedures write their columns artifacts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from domain.canonical import canonical_json
from domain.columns import MEDIA_TYPE, Column, format_columns
from domain.metrics import Window
from domain.procedures.options import SignalOptions
from domain.procedures.procedure import Artifact
from domain.procedures.recording import Recording
from domain.signal.measured import Measured


def columns_artifact(name: str, columns: Sequence[Column], facts: dict[str, str]) -> Artifact:
    """An artifact with both forms of the columns: as computed, and quantised."""
    return Artifact(
        name=name,
        media_type=MEDIA_TYPE,
        data=format_columns(columns, facts),
        quantised=format_columns(columns, facts, is_quantised=True),
    )


def facts_of(recording: Recording, options: SignalOptions) -> dict[str, str]:
    """What the numbers were made of: channels in order, start of the first window, options in force."""
    rates = {channel.name: channel.sample_rate_hz for channel in recording.channels}
    return {
        "channels": canonical_json([channel.name for channel in recording.channels]).decode(),
        "options": canonical_json(options).decode(),
        "sample_rates_hz": canonical_json(rates).decode(),
        "start_ns": str(recording.windows[0].start_ns),
        "window": "hann periodic",
    }


def window_starts(windows: Sequence[Window]) -> NDArray[np.float64]:
    """Starts of the windows in seconds after the first one."""
    first = windows[0].start_ns or 0
    return np.array([((window.start_ns or 0) - first) / 1e9 for window in windows])


def values_of(items: Sequence[Measured]) -> NDArray[np.float64]:
    """A column of measured values, NaN where there is none."""
    return np.array([np.nan if item.value is None else item.value for item in items])
