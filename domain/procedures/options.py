"""Options of the signal procedures: validated, unknown ones refused, every default written down here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from domain.dataset import CHANNELS_MAX
from domain.errors import InvalidError
from domain.signal.hann import LENGTH_MAX
from domain.signal.welch import Segments

SEGMENT_SAMPLES_MIN = 16
OVERLAP_MAX = 0.75
WINDOW_SECONDS_MAX = 86_400.0
LAG_SECONDS_MAX = 3_600.0
BANDS_MAX = 32
# The lowest two frequencies of a mean-free Hann segment hold what is left of the mean, and the top fifth
# what is left of the anti-alias filter's edge.
DEFAULT_LOW_BINS = 2
DEFAULT_HIGH_RATIO = 0.4

BandHz = tuple[float, float]
Options = TypeVar("Options", bound="SignalOptions")


class SignalOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every signal procedure can be told.

    ``channels``: names, in the order that gives a delay its sign; empty means every channel, sorted by name.
    ``window_seconds``: length of a window.  ``segment_samples``: length of a Welch segment, an even number.
    ``overlap``: share of a segment that the next one repeats.
    ``band_hz``: lowest and highest frequency looked at; default from two Welch bins to 0.4 of the sample
    rate.
    """

    channels: tuple[str, ...] = ()
    window_seconds: float = 60.0
    segment_samples: int = 1_024
    overlap: float = 0.5
    band_hz: BandHz | None = None

    def __post_init__(self) -> None:
        _check(len(self.channels) <= CHANNELS_MAX, "channels", f"at most {CHANNELS_MAX}", len(self.channels))
        _check(len(set(self.channels)) == len(self.channels), "channels", "each once", self.channels)
        seconds = self.window_seconds
        _check(
            1e-9 <= seconds <= WINDOW_SECONDS_MAX, "window_seconds", f"up to {WINDOW_SECONDS_MAX:g}", seconds
        )
        is_length = (
            SEGMENT_SAMPLES_MIN <= self.segment_samples <= LENGTH_MAX and self.segment_samples % 2 == 0
        )
        expected = f"an even number from {SEGMENT_SAMPLES_MIN} to {LENGTH_MAX}"
        _check(is_length, "segment_samples", expected, self.segment_samples)
        _check(0.0 <= self.overlap <= OVERLAP_MAX, "overlap", f"0 to {OVERLAP_MAX}", self.overlap)
        if self.band_hz is not None:
            check_band(self.band_hz, "band_hz")

    @property
    def segments(self) -> Segments:
        """How windows are cut."""
        step = max(1, round(self.segment_samples * (1.0 - self.overlap)))
        return Segments(samples=self.segment_samples, step=step)

    def band_for(self, sample_rate_hz: float) -> BandHz:
        """The band at this rate."""
        if self.band_hz is not None:
            return self.band_hz
        spacing = sample_rate_hz / self.segment_samples
        return DEFAULT_LOW_BINS * spacing, DEFAULT_HIGH_RATIO * sample_rate_hz


def parse_options(kind: type[Options], options: Mapping[str, Any]) -> Options:
    """Options as a struct of ``kind``.  Raises: InvalidError naming the option that is unknown or wrong."""
    known = kind.__struct_fields__
    unknown = sorted(str(name) for name in options if name not in known)
    if unknown:
        raise InvalidError("unknown option", field=f"options.{unknown[0]}"[:80], expected=", ".join(known))
    try:
        return msgspec.convert(dict(options), kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        field = f"options.{where.rstrip('`')}"
        raise InvalidError("not an option's value", field=field, actual=what) from error


def check_band(band_hz: BandHz, option: str) -> None:
    """Raises: InvalidError unless the band is two ascending, finite frequencies from 0 on."""
    low, high = band_hz
    _check(0.0 <= low < high < math.inf, option, "[low, high] in Hz", band_hz)


def band_bins(band_hz: BandHz, segments: Segments, sample_rate_hz: float, option: str = "band_hz") -> slice:
    """The Welch frequencies that lie in a band, neither 0 nor the Nyquist frequency.  Raises: InvalidError
    when none."""
    low, high = band_hz
    spacing = sample_rate_hz / segments.samples
    # A millionth of a bin forgives a decimal that no double meets.
    first = max(1, math.ceil(low / spacing - 1e-6))
    last = min(segments.samples // 2 - 1, math.floor(min(high / spacing, segments.samples) + 1e-6))
    if last < first:
        raise InvalidError(
            "the band holds no frequency",
            field=f"options.{option}",
            expected=f"{spacing:g} to {sample_rate_hz / 2 - spacing:g} Hz in steps of {spacing:g} Hz",
            actual=f"{low:g} to {high:g} Hz",
            remedy="Widen the band or use longer segments.",
        )
    return slice(first, last + 1)


def _check(is_right: bool, option: str, expected: str, actual: object) -> None:
    if not is_right:
        raise InvalidError(
            "not an option's value", field=f"options.{option}", expected=expected, actual=str(actual)[:80]
        )
