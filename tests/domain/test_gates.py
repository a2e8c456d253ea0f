"""The gate engine, as its own docstring promises it."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.canonical import canonical_json
from domain.contract import Contract, Gate
from domain.errors import InvalidError
from domain.events import GateTrack
from domain.gates import Decision, decide
from domain.metrics import MetricTrack, Window
from domain.outcomes import Outcome, Reason

Rule = Literal["at_most", "at_least"]
RANK = {Outcome.PASS: 0, Outcome.BORDERLINE: 1, Outcome.ABSTAIN: 2, Outcome.FAIL: 3}
# An optional gate's abstention must not hide a concern, so there it stands below borderline.
OPTIONAL_RANK = {Outcome.PASS: 0, Outcome.ABSTAIN: 1, Outcome.BORDERLINE: 2, Outcome.FAIL: 3}
LETTER_RANK = {"p": 0, "b": 1, "a": 2, "f": 3}


def a_gate(
    gate_id: str = "gap",
    metric: str = "sampling.gap_ratio",
    rule: Rule = "at_most",
    pass_limit: float = 1.0,
    fail_limit: float = 2.0,
    **rest: object,
) -> Gate:
    facts: dict[str, object] = {
        "gate_id": gate_id,
        "metric": metric,
        "rule": rule,
        "pass_limit": pass_limit,
        "fail_limit": fail_limit,
        "unit": "1",
        "rule_id": "test",
        "reason": Reason.GAP,
    }
    return Gate(**(facts | rest))  # type: ignore[arg-type]


def a_contract(
    *gates: Gate, presentable: tuple[Outcome, ...] = (Outcome.PASS, Outcome.BORDERLINE)
) -> Contract:
    return Contract(contract_id="test", version=1, title="Test", gates=gates, presentable=presentable)


def windows_of(count: int) -> tuple[Window, ...]:
    return tuple(Window(start_ns=60 * index, end_ns=60 * index + 60) for index in range(count))


def a_track(
    values: Sequence[float | None],
    name: str = "sampling.gap_ratio",
    unit: str = "1",
    absence: Reason = Reason.LACK_OF_DATA_SAMPLES,
    guard_bands: tuple[float, ...] = (),
) -> MetricTrack:
    return MetricTrack(
        name=name,
        unit=unit,
        values=tuple(values),
        reasons=tuple(Reason.NONE if value is not None else absence for value in values),
        guard_bands=guard_bands,
    )


def judged(gate: Gate, values: Sequence[float | None], guard_bands: tuple[float, ...] = ()) -> GateTrack:
    track = a_track(values, name=gate.metric, guard_bands=guard_bands)
    return decide(a_contract(gate), windows_of(len(values)), (track,)).gates[0]


@pytest.mark.parametrize(
    "value, outcome, reason, margin",
    [
        (0.0, "p", Reason.NONE, 1.0),
        (0.75, "p", Reason.NONE, 1.0),
        (0.76, "b", Reason.NEAR_LIMIT, 0.992),
        (1.0, "b", Reason.NEAR_LIMIT, 0.8),
        (1.01, "b", Reason.GAP, 0.792),
        (2.0, "b", Reason.GAP, 0.0),
        (2.0000001, "f", Reason.GAP, 0.0),
        (1e300, "f", Reason.GAP, 0.0),
    ],
)
@pytest.mark.parametrize("rule", ["at_most", "at_least"])
def test_a_value_falls_where_the_picture_in_the_docstring_puts_it(
    rule: Rule, value: float, outcome: str, reason: Reason, margin: float
) -> None:
    sign = 1.0 if rule == "at_most" else -1.0
    gate = a_gate(rule=rule, pass_limit=sign * 1.0, fail_limit=sign * 2.0, guard_band=0.25)
    track = judged(gate, [sign * value])
    reasons = () if reason is Reason.NONE else (reason,)
    assert (track.outcomes, track.reasons, track.margins) == (outcome, reasons, (margin,))
    assert (track.value, track.margin, track.window) == (sign * value, margin, 0)


def test_a_calibration_in_its_last_tenth_is_ageing_and_only_then_expired() -> None:
    gate = a_gate(pass_limit=0.9, fail_limit=1.0, reason=Reason.CALIBRATION_EXPIRED)
    track = judged(gate, [0.5, 0.95, 1.01])
    assert track.reasons == (Reason.NONE, Reason.CALIBRATION_AGEING, Reason.CALIBRATION_EXPIRED)


@pytest.mark.parametrize("value, outcome, margin", [(0.0, "p", 1.0), (1e-9, "f", 0.0), (-1.0, "p", 1.0)])
def test_equal_limits_without_a_band_leave_no_borderline(value: float, outcome: str, margin: float) -> None:
    track = judged(a_gate(pass_limit=0.0, fail_limit=0.0), [value])
    assert (track.outcomes, track.margins) == (outcome, (margin,))


def test_equal_limits_with_a_band_are_borderline_up_to_the_limit() -> None:
    track = judged(a_gate(pass_limit=1.0, fail_limit=1.0, guard_band=0.5), [0.5, 0.75, 1.0, 1.001])
    assert (track.outcomes, track.margins) == ("pbbf", (1.0, 0.5, 0.0, 0.0))


def test_the_wider_of_both_guard_bands_counts() -> None:
    gate = a_gate(guard_band=0.2)
    assert judged(gate, [0.7, 0.7, 0.7], guard_bands=(0.1, 0.4, 0.3)).outcomes == "pbp"


def test_an_unknown_uncertainty_may_fail_but_never_pass() -> None:
    assert judged(a_gate(), [0.0, 5.0], guard_bands=(math.nan, math.nan)).outcomes == "bf"


def test_a_missing_metric_abstains_in_every_window_and_for_the_run() -> None:
    decision = decide(a_contract(a_gate()), windows_of(3), ())
    assert decision.gates[0].outcomes == "aaa"
    assert set(decision.gates[0].reasons) == {Reason.NOT_MEASURED}
    assert (decision.verdict, decision.is_presentable) == (Outcome.ABSTAIN, False)
    assert decision.window_scores == (None, None, None)


def test_a_missing_value_abstains_with_the_reason_of_the_metric() -> None:
    track = judged(a_gate(), [0.0, None, 0.0])
    assert (track.outcomes, track.reasons[1]) == ("pap", Reason.LACK_OF_DATA_SAMPLES)
    assert (track.outcome, track.reason, track.window, track.value) == (
        Outcome.ABSTAIN,
        Reason.LACK_OF_DATA_SAMPLES,
        1,
        None,
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_abstains_and_never_reaches_an_event(value: float) -> None:
    track = judged(a_gate(), [0.0, value])
    assert (track.outcomes, track.reason, track.value) == ("pa", Reason.NON_FINITE, None)
    canonical_json(track)


def test_a_metric_in_another_unit_is_refused_with_both_units() -> None:
    with pytest.raises(InvalidError) as refused:
        decide(a_contract(a_gate()), windows_of(1), (a_track([0.0], unit="%"),))
    assert (refused.value.field, refused.value.expected, refused.value.actual) == ("gap.unit", "%", "1")


def test_a_track_that_does_not_cover_the_windows_is_refused() -> None:
    with pytest.raises(InvalidError) as refused:
        decide(a_contract(a_gate()), windows_of(3), (a_track([0.0]),))
    assert (refused.value.field, refused.value.expected, refused.value.actual) == (
        "sampling.gap_ratio",
        "3",
        "1",
    )


def test_a_metric_given_twice_is_refused() -> None:
    with pytest.raises(InvalidError) as refused:
        decide(a_contract(a_gate()), windows_of(1), (a_track([0.0]), a_track([5.0])))
    assert refused.value.actual == "sampling.gap_ratio"


def test_no_windows_abstain() -> None:
    decision = decide(a_contract(a_gate()), (), (a_track([]),))
    assert (decision.verdict, decision.window_scores) == (Outcome.ABSTAIN, ())
    assert (decision.gates[0].outcome, decision.gates[0].window) == (Outcome.ABSTAIN, None)


@pytest.mark.parametrize(
    "values, fraction, outcome, window",
    [
        ("pppppppppp", 1.0, Outcome.PASS, 0),
        ("pppppppppf", 1.0, Outcome.FAIL, 9),
        ("pppppppppf", 0.9, Outcome.PASS, 0),
        ("ppppppppff", 0.9, Outcome.FAIL, 9),
        ("ppppppppfb", 0.9, Outcome.BORDERLINE, 9),
        ("ppppppppfb", 0.8, Outcome.PASS, 0),
        ("pppppppppb", 0.9, Outcome.PASS, 0),
        ("pppppppafb", 0.9, Outcome.ABSTAIN, 7),
        ("pppppppafb", 0.8, Outcome.BORDERLINE, 9),
        ("ffffffffff", 0.1, Outcome.FAIL, 9),
        ("ffffffffff", 1e-9, Outcome.FAIL, 9),
    ],
)
def test_the_worst_windows_are_set_aside_up_to_the_share_that_must_hold(
    values: str, fraction: float, outcome: Outcome, window: int
) -> None:
    number = {"p": 0.0, "b": 1.5, "f": 3.0, "a": None}
    track = judged(a_gate(window_pass_fraction_min=fraction), [number[letter] for letter in values])
    assert track.outcomes == values
    assert track.outcome is outcome
    assert track.outcomes[track.window or 0] == values[window]


@given(count=st.integers(1, 300), tolerated=st.integers(0, 300))
def test_a_share_written_with_two_decimals_means_exactly_that_share(count: int, tolerated: int) -> None:
    for percent in (7, 29, 57, 90, 93, 95, 99):
        failing = min(tolerated, count)
        values = [3.0] * failing + [0.0] * (count - failing)
        track = judged(a_gate(window_pass_fraction_min=percent / 100), values)
        holds = Fraction(count - failing, count) >= Fraction(percent, 100)
        assert (track.outcome is Outcome.PASS) == holds


def test_the_worst_value_is_the_one_shown() -> None:
    assert judged(a_gate(), [0.1, 0.3, 0.2]).window == 1
    assert judged(a_gate(), [2.5, 9.0, 3.0]).window == 1
    assert judged(a_gate(rule="at_least", pass_limit=0.0, fail_limit=-1.0), [0.3, 0.1, 0.2]).window == 1
    assert judged(a_gate(window_pass_fraction_min=0.5), [0.1, 0.4, 0.3, 0.2]).window == 3


def test_a_failed_gate_outranks_an_abstention_which_outranks_a_borderline() -> None:
    windows = windows_of(1)
    by_name = {
        "p": (a_gate("p", "m.p"), a_track([0.0], "m.p")),
        "b": (a_gate("b", "m.b"), a_track([1.5], "m.b")),
        "a": (a_gate("a", "m.a"), a_track([None], "m.a")),
        "f": (a_gate("f", "m.f"), a_track([3.0], "m.f")),
    }
    for held, verdict in (("pbaf", "fail"), ("pba", "abstain"), ("pb", "borderline"), ("p", "pass")):
        gates, tracks = zip(*(by_name[letter] for letter in held), strict=True)
        assert decide(a_contract(*gates), windows, tracks).verdict == verdict


def test_an_optional_abstention_neither_lifts_nor_lowers() -> None:
    kept = a_gate("kept", "m.kept")
    silent = a_gate("silent", "m.silent", required=False)
    for value, verdict in ((0.0, Outcome.PASS), (1.5, Outcome.BORDERLINE), (3.0, Outcome.FAIL)):
        decision = decide(a_contract(kept, silent), windows_of(1), (a_track([value], "m.kept"),))
        assert decision.verdict is verdict
        assert decision.gates[1].outcome is Outcome.ABSTAIN
        assert decision.window_scores[0] is not None


@pytest.mark.parametrize(
    "values, fraction, outcome",
    [
        ([None, 0.0], 1.0, Outcome.ABSTAIN),
        ([None, 1.5], 1.0, Outcome.BORDERLINE),
        ([None, 3.0], 1.0, Outcome.FAIL),
        ([None, None], 1.0, Outcome.ABSTAIN),
        # One failure among two judged windows is half of them, however many could not be judged.
        ([None] * 8 + [0.0, 3.0], 0.9, Outcome.FAIL),
        ([None] + [0.0] * 9, 0.9, Outcome.PASS),
        ([None] * 2 + [0.0] * 8, 0.9, Outcome.ABSTAIN),
    ],
)
def test_an_optional_gate_counts_the_windows_it_could_judge(
    values: list[float | None], fraction: float, outcome: Outcome
) -> None:
    assert judged(a_gate(required=False, window_pass_fraction_min=fraction), values).outcome is outcome


@pytest.mark.parametrize(
    "value, verdict", [(0.0, "abstain"), (1.5, "abstain"), (None, "abstain"), (3.0, "fail")]
)
def test_a_contract_that_requires_nothing_lets_nothing_pass(value: float | None, verdict: str) -> None:
    decision = decide(a_contract(a_gate(required=False)), windows_of(1), (a_track([value]),))
    assert (decision.verdict, decision.is_presentable) == (verdict, False)
    assert decision.window_scores == (None,)


def test_a_score_is_the_lowest_margin_of_the_required_gates() -> None:
    contract = a_contract(
        a_gate("one", "m.one"), a_gate("two", "m.two"), a_gate("three", "m.three", required=False)
    )
    tracks = (a_track([1.25, 0.0], "m.one"), a_track([1.5, None], "m.two"), a_track([3.0, 3.0], "m.three"))
    assert decide(contract, windows_of(2), tracks).window_scores == (0.5, None)


def test_a_contract_may_refuse_to_present_a_borderline_run() -> None:
    strict = a_contract(a_gate(), presentable=(Outcome.PASS,))
    assert not decide(strict, windows_of(1), (a_track([1.5]),)).is_presentable
    assert decide(strict, windows_of(1), (a_track([0.5]),)).is_presentable


# Properties, over contracts of up to four gates and runs of up to eight windows.

numbers = st.one_of(
    st.floats(-10, 10, allow_nan=False),
    st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, -1.0, 1e-300, 1e300, -1e300]),
    st.integers(-3, 3).map(float),
)


@dataclass(frozen=True)
class Case:
    contract: Contract
    windows: tuple[Window, ...]
    tracks: tuple[MetricTrack, ...]

    def decide(self) -> Decision:
        return decide(self.contract, self.windows, self.tracks)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    window_count = draw(st.integers(1, 8))
    gates, tracks = [], []
    for index in range(draw(st.integers(1, 4))):
        rule: Rule = draw(st.sampled_from(["at_most", "at_least"]))
        low, high = sorted((draw(numbers), draw(numbers)))
        gates.append(
            a_gate(
                f"gate{index}",
                f"metric{index}",
                rule,
                low if rule == "at_most" else high,
                high if rule == "at_most" else low,
                guard_band=draw(st.sampled_from([0.0, 0.0, 0.1, 1.0, 1e300])),
                required=draw(st.booleans()),
                window_pass_fraction_min=draw(st.sampled_from([1.0, 1.0, 0.9, 0.75, 0.5, 0.01])),
            )
        )
        if draw(st.integers(0, 9)) == 0:
            continue
        tracks.append(
            a_track(
                draw(st.lists(st.one_of(st.none(), numbers), min_size=window_count, max_size=window_count)),
                f"metric{index}",
                guard_bands=draw(
                    st.one_of(
                        st.just(()),
                        st.lists(st.floats(0, 5), min_size=window_count, max_size=window_count).map(tuple),
                    )
                ),
            )
        )
    return Case(a_contract(*gates), windows_of(window_count), tuple(tracks))


def with_value(case: Case, track: int, window: int, value: float | None) -> Case:
    old = case.tracks[track]
    values = list(old.values)
    values[window] = value
    new = a_track(values, old.name, guard_bands=old.guard_bands)
    return Case(case.contract, case.windows, (*case.tracks[:track], new, *case.tracks[track + 1 :]))


@given(case=cases(), data=st.data())
def test_worsening_any_value_never_improves_anything(case: Case, data: st.DataObject) -> None:
    measured = [
        (index, window)
        for index, track in enumerate(case.tracks)
        for window, value in enumerate(track.values)
        if value is not None
    ]
    if not measured:
        return
    index, window = data.draw(st.sampled_from(measured))
    gate_index = next(
        position
        for position, gate in enumerate(case.contract.gates)
        if gate.metric == case.tracks[index].name
    )
    gate = case.contract.gates[gate_index]
    value = case.tracks[index].values[window]
    assert value is not None
    step = data.draw(st.floats(0, 20) | st.floats(0, 1e300))
    worse = value + step if gate.rule == "at_most" else value - step
    before, after = case.decide(), with_value(case, index, window, worse).decide()
    assert RANK[after.verdict] >= RANK[before.verdict]
    old, new = before.gates[gate_index], after.gates[gate_index]
    rank = RANK if gate.required else OPTIONAL_RANK
    assert rank[new.outcome] >= rank[old.outcome]
    assert LETTER_RANK[new.outcomes[window]] >= LETTER_RANK[old.outcomes[window]]
    old_margin, new_margin = old.margins[window], new.margins[window]
    assert old_margin is not None
    assert new_margin is not None
    assert new_margin <= old_margin
    for old_score, new_score in zip(before.window_scores, after.window_scores, strict=True):
        assert (old_score is None) == (new_score is None)
        assert old_score is None or new_score is None or new_score <= old_score


@given(case=cases(), data=st.data())
def test_losing_a_required_value_never_makes_a_run_presentable(case: Case, data: st.DataObject) -> None:
    if not case.tracks:
        return
    index = data.draw(st.integers(0, len(case.tracks) - 1))
    window = data.draw(st.integers(0, len(case.windows) - 1))
    gate = next(gate for gate in case.contract.gates if gate.metric == case.tracks[index].name)
    before, after = case.decide(), with_value(case, index, window, None).decide()
    if gate.required:
        assert before.is_presentable or not after.is_presentable
        assert after.window_scores[window] is None


@given(case=cases(), seed=st.integers(0, 2**32))
def test_order_of_gates_metrics_and_windows_changes_nothing(case: Case, seed: int) -> None:
    shuffle = random.Random(seed).shuffle
    gates, tracks, order = list(case.contract.gates), list(case.tracks), list(range(len(case.windows)))
    for items in (gates, tracks, order):
        shuffle(items)
    moved = tuple(
        msgspec.structs.replace(
            track,
            values=tuple(track.values[window] for window in order),
            reasons=tuple(track.reasons[window] for window in order),
            guard_bands=tuple(track.guard_bands[window] for window in order) if track.guard_bands else (),
        )
        for track in tracks
    )
    before = case.decide()
    after = decide(a_contract(*gates), tuple(case.windows[window] for window in order), moved)
    assert after.verdict is before.verdict
    assert after.window_scores == tuple(before.window_scores[window] for window in order)
    by_id = {gate.gate_id: gate for gate in after.gates}
    for gate in before.gates:
        other = by_id[gate.gate_id]
        assert (other.outcome, other.value, other.margin) == (gate.outcome, gate.value, gate.margin)
        assert other.outcomes == "".join(gate.outcomes[window] for window in order)


@given(case=cases())
def test_an_abstention_is_never_overwritten(case: Case) -> None:
    decision = case.decide()
    tracks = {track.name: track for track in case.tracks}
    for gate, rule in zip(decision.gates, case.contract.gates, strict=True):
        for window in range(len(case.windows)):
            track = tracks.get(rule.metric)
            missing = track is None or track.values[window] is None
            assert (gate.outcomes[window] == "a") == missing
            assert (gate.margins[window] is None) == missing
        if rule.window_pass_fraction_min == 1.0 and "a" in gate.outcomes:
            assert gate.outcome is not Outcome.PASS
    if any(gate.required and gate.outcome is Outcome.ABSTAIN for gate in decision.gates):
        assert not decision.is_presentable


@given(case=cases(), wider=st.floats(0, 5))
def test_a_wider_guard_band_only_turns_pass_into_borderline(case: Case, wider: float) -> None:
    gates = tuple(
        msgspec.structs.replace(gate, guard_band=gate.guard_band + wider) for gate in case.contract.gates
    )
    before, after = case.decide(), decide(a_contract(*gates), case.windows, case.tracks)
    for old, new in zip(before.gates, after.gates, strict=True):
        changes = {
            change for change in zip(old.outcomes, new.outcomes, strict=True) if change[0] != change[1]
        }
        assert changes <= {("p", "b")}


@given(case=cases())
def test_margins_say_what_the_outcomes_say(case: Case) -> None:
    for gate in case.decide().gates:
        for letter, margin in zip(gate.outcomes, gate.margins, strict=True):
            match letter:
                case "p":
                    assert margin == 1.0
                case "f":
                    assert margin == 0.0
                case "b":
                    assert margin is not None
                    assert 0.0 <= margin <= 1.0
                case _:
                    assert margin is None


@given(case=cases())
def test_a_decision_is_the_same_every_time_and_can_be_recorded(case: Case) -> None:
    decision = case.decide()
    assert decision == case.decide()
    assert canonical_json(decision) == canonical_json(case.decide())
