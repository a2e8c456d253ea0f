"""Plots of real runs of the signal procedures, and the demo's contracts held against their metrics."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.contract_files import parse_contract
from domain.contract import Contract
from domain.dataset import Channel, dataset_of
from domain.errors import MalformedError
from domain.gates import Decision, decide
from domain.outcomes import Outcome, Reason
from domain.procedures.coherence import COHERENCE
from domain.procedures.delay_track import DELAY_TRACK
from domain.procedures.procedure import (
    Artifact,
    CalibrationInForce,
    ChannelCalibration,
    Procedure,
    ProcedureInput,
    ProcedureResult,
)
from domain.procedures.spectra import SPECTRA
from domain.report.plots import plots_of
from tests.domain.recordings import START_NS, channel, marks_per_record, noise

CONTRACTS = Path(__file__).parents[3] / "api" / "demo_data" / "contracts"
RATE_HZ = 200.0
MINUTES = 3
SAMPLES = int(MINUTES * 60 * RATE_HZ)
YEAR_NS = 365 * 86_400 * 10**9
PROCEDURES = [(SPECTRA, "spectra"), (COHERENCE, "coherence-colocated"), (DELAY_TRACK, "delay-colocated")]


def contract_of(name: str) -> Contract:
    return parse_contract((CONTRACTS / f"{name}.yaml").read_bytes(), f"{name}.yaml")


def colocated() -> tuple[Channel, Channel]:
    """Two sensors that feel the same ground, the second two samples later and with some noise of its own."""
    ground = noise(SAMPLES + 2, seed=1)
    own = noise(SAMPLES, seed=2, scale=100.0)
    marks = marks_per_record(SAMPLES, 400)
    return (
        channel(ground[2:], name="a", marks=marks),
        channel((ground[:-2] + own).astype(np.int32), name="b", marks=marks),
    )


def calibrated(*names: str, issued_ns: int = START_NS - YEAR_NS // 10) -> CalibrationInForce:
    return CalibrationInForce(
        calibration_id="cal",
        certificate_id="DEMO",
        issued_at_ns=issued_ns,
        valid_from_ns=issued_ns,
        valid_until_ns=issued_ns + YEAR_NS,
        channels=tuple(
            ChannelCalibration(
                channel=name,
                sensor_serial=f"serial-{name}",
                sensitivity=6e8,
                sensitivity_unit="counts/(m/s)",
                uncertainty_relative=0.01,
            )
            for name in names
        ),
    )


def run(
    procedure: Procedure, *channels: Channel, calibration: CalibrationInForce | None = None, **options: Any
) -> ProcedureResult:
    given = ProcedureInput(
        options=options,
        datasets=(dataset_of(channels),),
        calibration=calibration or calibrated(*(one.name for one in channels)),
    )
    return procedure.run(given)


def judged(contract: str, result: ProcedureResult) -> Decision:
    return decide(contract_of(contract), result.windows, result.metrics)


@pytest.mark.parametrize(("procedure", "contract"), PROCEDURES, ids=[name for _, name in PROCEDURES])
def test_every_gate_of_a_demo_contract_finds_its_metric_in_its_unit(
    procedure: Procedure, contract: str
) -> None:
    result = run(procedure, *colocated(), band_hz=[1.0, 10.0])
    measured = {track.name: track.unit for track in result.metrics}
    for gate in contract_of(contract).gates:
        assert measured.get(gate.metric) == gate.unit, gate.gate_id


@pytest.mark.parametrize(("procedure", "contract"), PROCEDURES, ids=[name for _, name in PROCEDURES])
def test_a_good_recording_of_co_located_sensors_passes_its_contract(
    procedure: Procedure, contract: str
) -> None:
    decision = judged(contract, run(procedure, *colocated(), band_hz=[1.0, 10.0]))
    concerns = [
        (gate.gate_id, gate.outcome, gate.value)
        for gate in decision.gates
        if gate.outcome is not Outcome.PASS
    ]
    assert concerns == [("timing-quality", Outcome.ABSTAIN, None)]
    assert decision.verdict is Outcome.PASS
    assert decision.window_scores == (1.0,) * MINUTES


def test_sensors_that_feel_nothing_in_common_fail_the_coherence_contract() -> None:
    x = channel(noise(SAMPLES, seed=3), name="a", marks=marks_per_record(SAMPLES, 400))
    y = channel(noise(SAMPLES, seed=4), name="b", marks=marks_per_record(SAMPLES, 400))
    decision = judged("coherence-colocated", run(COHERENCE, x, y, band_hz=[1.0, 10.0]))
    assert decision.verdict is Outcome.FAIL
    assert not decision.is_presentable


def test_a_delay_that_is_not_resolved_is_withheld_as_unknown_and_not_as_wrong() -> None:
    x = channel(noise(SAMPLES, seed=3), name="a", marks=marks_per_record(SAMPLES, 400))
    y = channel(noise(SAMPLES, seed=4), name="b", marks=marks_per_record(SAMPLES, 400))
    decision = judged("delay-colocated", run(DELAY_TRACK, x, y, band_hz=[1.0, 10.0]))
    assert (decision.verdict, decision.is_presentable) == (Outcome.ABSTAIN, False)
    assert decision.window_scores == (None,) * MINUTES


def test_an_expired_calibration_fails_and_an_unknown_one_abstains() -> None:
    expired = calibrated("a", "b", issued_ns=START_NS - 2 * YEAR_NS)
    decision = judged("spectra", run(SPECTRA, *colocated(), calibration=expired))
    gate = next(gate for gate in decision.gates if gate.gate_id == "calibration-age")
    assert (gate.outcome, gate.reason) == (Outcome.FAIL, Reason.CALIBRATION_EXPIRED)
    decision = judged("spectra", run(SPECTRA, *colocated(), calibration=calibrated("a")))
    gate = next(gate for gate in decision.gates if gate.gate_id == "calibration-age")
    assert (gate.outcome, gate.reason) == (Outcome.ABSTAIN, Reason.CALIBRATION_UNKNOWN)
    assert decision.verdict is Outcome.ABSTAIN


def test_spectra_are_drawn_with_their_spread_and_their_levels_over_time() -> None:
    result = run(SPECTRA, *colocated())
    plots = plots_of("spectra", result.artifacts)
    assert [plot.title for plot in plots] == [
        "Power spectral density of a, b",
        "Level of a over time",
        "Level of b over time",
    ]
    assert plots[0].y.unit == "counts²/Hz"
    assert [one.name for one in plots[0].series] == ["a", "b"]
    low, high = plots[0].series[0].low, plots[0].series[0].high
    assert low is not None
    assert high is not None
    assert bool(np.all(low <= high))
    assert all(plot.is_result for plot in plots)


def test_coherence_is_drawn_beside_what_noise_would_give() -> None:
    plots = plots_of("coherence", run(COHERENCE, *colocated(), band_hz=[1.0, 10.0]).artifacts)
    assert plots[0].levels[0].value == pytest.approx(0.2067, abs=1e-3)
    assert (plots[0].y.low, plots[0].y.high) == (0.0, 1.0)
    assert "1 to 10 Hz" in plots[1].note


def test_a_delay_is_drawn_in_milliseconds_with_its_uncertainty() -> None:
    plots = plots_of("delay-track", run(DELAY_TRACK, *colocated(), band_hz=[1.0, 10.0]).artifacts)
    delay = plots[0].series[0]
    assert delay.y == pytest.approx(np.full(MINUTES, 10.0), abs=0.1)
    assert delay.low is not None
    assert bool(np.all(delay.low < delay.y))
    assert plots[0].title == "Delay of b behind a"
    assert [plot.is_result for plot in plots] == [True, False]


def test_plots_show_rounded_numbers_so_that_they_are_equal_on_every_machine() -> None:
    artifact = run(SPECTRA, *colocated()).artifacts[0]
    assert artifact.quantised is not None
    elsewhere = Artifact(
        name=artifact.name, media_type=artifact.media_type, data=b"other bits", quantised=artifact.quantised
    )
    assert [plot.title for plot in plots_of("spectra", (elsewhere,))] == [
        plot.title for plot in plots_of("spectra", (artifact,))
    ]


def test_a_procedure_without_drawings_has_no_plots() -> None:
    records = Artifact(name="records.json", media_type="application/json", data=b"[]")
    assert plots_of("oura.sleep", (records,)) == ()
    assert plots_of("spectra", (records,)) == ()


def test_an_artifact_that_is_not_what_it_says_is_refused() -> None:
    broken = Artifact(name="x", media_type="application/vnd.tallystick.columns", data=b"{}\n")
    with pytest.raises(MalformedError):
        plots_of("spectra", (broken,))
