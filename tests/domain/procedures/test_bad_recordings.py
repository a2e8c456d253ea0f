"""Whatever a recording is like, a signal procedure says a result or an error that a person can act on."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.canonical import canonical_json
from domain.dataset import Channel, dataset_of
from domain.errors import InvalidError, LimitError, MalformedError
from domain.procedures.coherence import COHERENCE
from domain.procedures.delay_track import DELAY_TRACK
from domain.procedures.procedure import Procedure, ProcedureInput
from domain.procedures.registry import SIGNAL_PROCEDURES
from domain.procedures.spectra import SPECTRA
from domain.signal.timemarks import timeline_of
from tests.domain.procedures.runs import run
from tests.domain.recordings import START_NS, channel, noise

every_procedure = pytest.mark.parametrize(
    "procedure", SIGNAL_PROCEDURES, ids=lambda procedure: procedure.name
)
pair_procedure = pytest.mark.parametrize(
    "procedure", [COHERENCE, DELAY_TRACK], ids=lambda procedure: procedure.name
)
X, Y, Z = (channel(noise(12_000), name=name) for name in "xyz")


@every_procedure
def test_no_dataset_is_malformed(procedure: Procedure) -> None:
    with pytest.raises(MalformedError):
        procedure.run(ProcedureInput(options={}))


@every_procedure
def test_an_empty_channel_is_malformed_and_named(procedure: Procedure) -> None:
    with pytest.raises(MalformedError) as refused:
        run(procedure, X, channel(np.zeros(0, np.int32), name="y"))
    assert refused.value.field == "channels[y]"


@every_procedure
def test_a_channel_that_is_asked_for_and_not_there_is_malformed(procedure: Procedure) -> None:
    with pytest.raises(MalformedError) as refused:
        run(procedure, X, Y, channels=["x", "w"])
    assert (refused.value.expected, refused.value.actual) == ("x, w", "x, y")


@every_procedure
def test_an_unknown_option_is_refused_by_name(procedure: Procedure) -> None:
    with pytest.raises(InvalidError) as refused:
        run(procedure, X, Y, colour="red")
    assert refused.value.field == "options.colour"


@every_procedure
def test_a_band_beyond_the_recording_is_refused(procedure: Procedure) -> None:
    with pytest.raises(InvalidError) as refused:
        run(procedure, X, Y, band_hz=[200.0, 300.0])
    assert refused.value.field == "options.band_hz"


@every_procedure
def test_ten_years_between_two_samples_are_a_limit(procedure: Procedure) -> None:
    marks = [(0, START_NS), (6_000, START_NS + 10 * 365 * 86_400 * 10**9)]
    broken = [channel(noise(12_000), name=name, marks=marks) for name in "xy"]
    with pytest.raises(LimitError):
        run(procedure, *broken)


@every_procedure
def test_channels_of_two_datasets_are_looked_at_together(procedure: Procedure) -> None:
    given_apart = ProcedureInput(options={}, datasets=(dataset_of([Y]), dataset_of([X])))
    given_together = ProcedureInput(options={}, datasets=(dataset_of([X, Y]),))
    assert procedure.run(given_apart).metrics == procedure.run(given_together).metrics


@every_procedure
def test_two_datasets_with_the_same_channel_are_malformed(procedure: Procedure) -> None:
    with pytest.raises(MalformedError):
        procedure.run(ProcedureInput(options={}, datasets=(dataset_of([X]), dataset_of([X, Y]))))


@pair_procedure
@pytest.mark.parametrize("channels", [(X,), (X, Y, Z)], ids=["one", "three"])
def test_a_pair_is_two_channels(procedure: Procedure, channels: tuple[Channel, ...]) -> None:
    with pytest.raises(MalformedError) as refused:
        run(procedure, *channels)
    assert "Name two channels" in refused.value.remedy


@pair_procedure
def test_two_of_three_channels_are_a_pair(procedure: Procedure) -> None:
    assert run(procedure, X, Y, Z, channels=["z", "x"]).windows


@pair_procedure
def test_different_rates_are_malformed_and_say_both(procedure: Procedure) -> None:
    with pytest.raises(MalformedError) as refused:
        run(procedure, X, channel(noise(6_000), name="y", rate_hz=100.0))
    assert (refused.value.expected, refused.value.actual) == ("200 Hz as x", "100 Hz")


values = st.one_of(
    st.builds(lambda seed: noise(700, seed=seed), st.integers(0, 5)),
    st.just(np.zeros(700, np.int32)),
    st.just(np.full(700, -(2**31), np.int32)),
    st.just(np.full(700, 2**63 - 1, np.int64)),
    st.just(np.full(700, np.nan)),
    st.just(np.where(np.arange(700) % 50 == 0, np.inf, 1e300)),
    st.just(np.full(700, 5e-324)),
    st.just(np.full(700, np.float32(3e38), np.float32)),
    st.just(np.array([1], np.int32)),
    st.just(np.array([-(2**31), 2**31 - 1], np.int32)),
)
jumps = st.lists(st.tuples(st.integers(1, 300), st.integers(-2 * 10**9, 3 * 10**9)), max_size=4)


@st.composite
def recordings(draw: st.DrawFn, name: str) -> Channel:
    """Channels with any samples and marks that jump forth and back."""
    samples = draw(values)
    marks, index, time = [(0, START_NS)], 0, START_NS
    for step, jump in draw(jumps):
        index, time = index + step, time + step * 5_000_000 + jump
        if index < samples.size:
            marks.append((index, time))
    return channel(samples, name=name, marks=marks)


@every_procedure
@pytest.mark.filterwarnings("error")
@given(x=recordings("x"), y=recordings("y"), window_seconds=st.sampled_from([0.5, 1.0, 60.0]))
def test_a_run_is_whole_or_refused(
    procedure: Procedure, x: Channel, y: Channel, window_seconds: float
) -> None:
    """Every track covers every window, every value is finite and every missing one has its reason."""
    options: dict[str, Any] = {"window_seconds": window_seconds, "segment_samples": 32}
    timelines = [timeline_of(one) for one in (x, y)]
    if max(one.start_ns for one in timelines) >= min(one.end_ns for one in timelines):
        with pytest.raises(MalformedError):
            run(procedure, x, y, **options)
        return
    result = run(procedure, x, y, **options)
    assert result.artifacts
    for track in result.metrics:
        assert len(track.values) == len(result.windows)
        for at, value in enumerate(track.values):
            assert math.isfinite(value) if value is not None else track.reasons[at] != "none"
        assert all(math.isfinite(band) and band >= 0.0 for band in track.guard_bands)
    assert canonical_json(result.metrics)


def test_the_largest_run_stays_within_one_append_of_the_ledger() -> None:
    """Half a day of minutes, nothing measurable: metrics take the most room when every one has a reason."""
    rate_hz = 1.0
    dead = [channel(np.full(43_200, np.nan), name=name, rate_hz=rate_hz) for name in "xy"]
    for procedure in (SPECTRA, COHERENCE, DELAY_TRACK):
        result = run(procedure, *dead, segment_samples=16)
        assert len(result.windows) == 720
        assert len(canonical_json(result.metrics)) < 500_000
