"""Recording: what a signal procedure works on, the chosen channels cut into windows."""

from __future__ import annotations

from msgspec import Struct

from domain.dataset import Channel
from domain.errors import MalformedError
from domain.metrics import MetricTrack, Window
from domain.procedures.options import SignalOptions
from domain.procedures.procedure import ProcedureInput
from domain.signal.quality import quality_tracks
from domain.signal.timemarks import Timeline, timelines_of
from domain.windows import WindowSlice, plan_windows, slice_window


class Recording(Struct, frozen=True, kw_only=True, eq=False):
    """``slices[w][c]`` is what ``timelines[c]`` has in ``windows[w]``; ``quality`` are the common metrics."""

    timelines: tuple[Timeline, ...]
    windows: tuple[Window, ...]
    slices: tuple[tuple[WindowSlice, ...], ...]
    quality: tuple[MetricTrack, ...]

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The chosen channels, in the order they were chosen."""
        return tuple(timeline.channel for timeline in self.timelines)


def recording_of(given: ProcedureInput, options: SignalOptions) -> Recording:
    """Choose the channels, plan the windows, cut them and measure their quality.

    Raises: MalformedError when a channel is missing, there twice or empty, or channels share no time;
    LimitError.
    """
    timelines = timelines_of(_chosen(given, options.channels))
    windows = plan_windows(timelines, options.window_seconds)
    slices = tuple(
        tuple(slice_window(timeline, window.start_ns or 0, window.end_ns or 0) for timeline in timelines)
        for window in windows
    )
    quality = quality_tracks(timelines, windows, slices, given.calibration)
    return Recording(timelines=timelines, windows=windows, slices=slices, quality=quality)


def pair_of(recording: Recording) -> tuple[Channel, Channel]:
    """The two channels of a pair procedure.  Raises: MalformedError unless there are two, sampled at one
    rate."""
    if len(recording.channels) != 2:
        raise MalformedError(
            "a pair of channels is needed",
            field="channels",
            expected="2",
            actual=", ".join(channel.name for channel in recording.channels),
            remedy="Name two channels in the deployment, in the order that gives the delay its sign.",
        )
    x, y = recording.channels
    if x.sample_rate_hz != y.sample_rate_hz:
        raise MalformedError(
            "the channels are sampled at different rates",
            field=f"channels[{y.name}].sample_rate_hz",
            expected=f"{x.sample_rate_hz:g} Hz as {x.name}",
            actual=f"{y.sample_rate_hz:g} Hz",
        )
    return x, y


def _chosen(given: ProcedureInput, names: tuple[str, ...]) -> tuple[Channel, ...]:
    there: dict[str, Channel] = {}
    for dataset in given.datasets:
        for channel in dataset.channels:
            if channel.name in there:
                raise MalformedError(
                    "two datasets have a channel of the same name", field=f"channels[{channel.name}]"
                )
            there[channel.name] = channel
    if not there:
        raise MalformedError("there is no dataset to look at", field="datasets", expected="at least 1")
    absent = [name for name in names if name not in there]
    if absent:
        raise MalformedError(
            "the recording lacks a channel",
            field="channels",
            expected=", ".join(names),
            actual=", ".join(sorted(there)),
        )
    return tuple(there[name] for name in names or sorted(there))
