"""The gate engine: one decision rule for devices and for health, from metrics to a verdict.

Per window, for an ``at_most`` gate with guard band w (the larger of the gate's and the metric's own;
``at_least`` mirrors it)::

    value:        ... pass_limit - w ........ pass_limit ........ fail_limit ...
    outcome:      pass       |  borderline       |   borderline       |  fail
    reason:       none       |  near_limit       |  gate.reason (*)   |  gate.reason
    margin:       1          |  falls linearly from 1 to 0            |  0

Both limits belong to their better side: exactly ``pass_limit - w`` passes, exactly ``fail_limit`` is
borderline. ILAC-G8:09/2019 §4.2.3 calls the two borderline parts conditional pass and conditional fail.
What was not measured abstains, with its reason.  (*) A reason that only a failure can have gives way to its
milder form: a calibration in its last tenth is ageing, not expired.

Per run, from n windows and the gate's ``window_pass_fraction_min`` f:

1. k is the largest number of windows that may be set aside with ``(n - k) / n >= f``; f = 1 gives k = 0.
2. The k worst windows are set aside and the worst of the rest decides.  "Worst" is fail, then abstain, then
   borderline, then pass.  A borderline window uses up the tolerance just as a failed one does; were it
   otherwise, a window that got worse could improve the run.
3. An optional gate counts only the windows it could judge, so an abstention neither hides a concern nor
   makes room for one.  It passes only if the share it could judge reaches f, and abstains otherwise: a pass
   never overwrites an abstention.

The verdict is the worst outcome of the required gates and of the optional gates that did not abstain.  A
run with no windows abstains, and so does one whose contract requires no gate: a pass of nothing would be a
claim.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import cast

from msgspec import Struct

from domain.contract import Contract, Gate
from domain.errors import InvalidError
from domain.events import GateTrack
from domain.metrics import MetricTrack, Window
from domain.outcomes import Outcome, Reason, worst

# Scores are quantised like every number in [0, 1]: equal in every numeric environment, and short in a
# receipt.
MARGIN_DECIMALS = 6

_MILDER = {Reason.CALIBRATION_EXPIRED: Reason.CALIBRATION_AGEING}

PASS, BORDERLINE, FAIL, ABSTAIN = "pbfa"
_OUTCOME = {PASS: Outcome.PASS, BORDERLINE: Outcome.BORDERLINE, FAIL: Outcome.FAIL, ABSTAIN: Outcome.ABSTAIN}


class Decision(Struct, frozen=True, kw_only=True):
    """What the gates made of a run.

    ``window_scores``: validity of each window in 0..1, the minimum of the margins of the required gates
    (not the mean, so that no check can be bought off by another); ``None`` where a required gate abstained
    or the contract requires none.  ``gates`` stand in the order of the contract.
    """

    window_scores: tuple[float | None, ...]
    gates: tuple[GateTrack, ...]
    verdict: Outcome
    is_presentable: bool


def decide(contract: Contract, windows: tuple[Window, ...], metrics: tuple[MetricTrack, ...]) -> Decision:
    """Judge ``metrics`` over ``windows`` by every gate of ``contract``.

    Raises: InvalidError when the contract and the metrics do not fit: a gate's unit is not the metric's, a
    track does not cover the windows, or a metric is there twice.
    """
    tracks = _tracks_by_name(metrics, len(windows))
    gates = tuple(_judge(gate, tracks.get(gate.metric), len(windows)) for gate in contract.gates)
    required = worst(gate.outcome for gate in gates if gate.required)
    optional = (gate.outcome for gate in gates if not gate.required and gate.outcome is not Outcome.ABSTAIN)
    verdict = worst((required, *optional))
    return Decision(
        window_scores=_window_scores(gates, len(windows)),
        gates=gates,
        verdict=verdict,
        is_presentable=verdict in contract.presentable,
    )


def _tracks_by_name(metrics: tuple[MetricTrack, ...], window_count: int) -> dict[str, MetricTrack]:
    tracks = {track.name: track for track in metrics}
    if len(tracks) != len(metrics):
        names = [track.name for track in metrics]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InvalidError("a metric is there once", field="metrics", actual=", ".join(twice)[:200])
    for track in metrics:
        if len(track.values) != window_count:
            raise InvalidError(
                "a metric has one value per window",
                field=track.name,
                expected=str(window_count),
                actual=str(len(track.values)),
            )
    return tracks


def _judge(gate: Gate, track: MetricTrack | None, window_count: int) -> GateTrack:
    """One gate over all windows and for the run."""
    if track is not None and track.unit != gate.unit:
        raise InvalidError(
            "a gate and its metric have the same unit",
            field=f"{gate.gate_id}.unit",
            expected=track.unit,
            actual=gate.unit,
            remedy=f"State the limits of {gate.metric} in {track.unit}.",
        )
    if track is not None and _all_pass(gate, track):
        return _passed(gate, cast(tuple[float, ...], track.values))
    values: Sequence[float | None] = (None,) * window_count if track is None else track.values
    outcomes, margins, reasons = _judge_windows(gate, track, values)
    letter, window = _judge_run(gate, outcomes, margins, values)
    if window is None:
        reason = Reason.LACK_OF_DATA_SAMPLES if track is not None else Reason.NOT_MEASURED
        value, margin = None, None
    else:
        reason, value, margin = reasons[window], values[window], margins[window]
        value = value if outcomes[window] != ABSTAIN else None
    return GateTrack(
        gate_id=gate.gate_id,
        metric=gate.metric,
        unit=gate.unit,
        outcomes=outcomes,
        margins=margins,
        reasons=reasons if any(reason is not Reason.NONE for reason in reasons) else (),
        outcome=_OUTCOME[letter],
        reason=reason,
        value=value,
        margin=margin,
        window=window,
        required=gate.required,
    )


def _passed(gate: Gate, values: tuple[float, ...]) -> GateTrack:
    """A gate that every window passes: all margins are 1, so the value alone says which is the worst."""
    count = len(values)
    position = _set_aside_max(count, gate.window_pass_fraction_min)
    outcomes, margins = PASS * count, (1.0,) * count
    window = _nth_worst(gate, PASS, position, outcomes, margins, values)
    return GateTrack(
        gate_id=gate.gate_id,
        metric=gate.metric,
        unit=gate.unit,
        outcomes=outcomes,
        margins=margins,
        reasons=(),
        outcome=Outcome.PASS,
        reason=Reason.NONE,
        value=values[window],
        margin=1.0,
        window=window,
        required=gate.required,
    )


def _judge_windows(
    gate: Gate, track: MetricTrack | None, values: Sequence[float | None]
) -> tuple[str, tuple[float | None, ...], tuple[Reason, ...]]:
    """Outcome letter, margin and reason of every window."""
    count = len(values)
    if track is None:
        return ABSTAIN * count, (None,) * count, (Reason.NOT_MEASURED,) * count
    # ``at_least`` is ``at_most`` seen in a mirror; negating a float is exact.
    sign = 1.0 if gate.rule == "at_most" else -1.0
    pass_limit, fail_limit = sign * gate.pass_limit, sign * gate.fail_limit
    band = gate.guard_band
    good = pass_limit - band
    bands = track.guard_bands
    milder = _MILDER.get(gate.reason, gate.reason)
    outcomes: list[str] = []
    margins: list[float | None] = []
    reasons: list[Reason] = []
    for index, value in enumerate(values):
        if value is None or not math.isfinite(value):
            outcomes.append(ABSTAIN)
            margins.append(None)
            reasons.append(_reason_of_absence(track, index) if value is None else Reason.NON_FINITE)
            continue
        mirrored = sign * value
        if bands:
            own = bands[index]
            # Written so that an unknown (NaN) uncertainty counts as infinite: such a value can fail, never
            # pass.
            good = pass_limit - (band if own <= band else own if own > band else math.inf)
        if mirrored <= good:
            outcomes.append(PASS)
            margins.append(1.0)
            reasons.append(Reason.NONE)
        elif mirrored > fail_limit:
            outcomes.append(FAIL)
            margins.append(0.0)
            reasons.append(gate.reason)
        else:
            outcomes.append(BORDERLINE)
            margins.append(_margin(mirrored, good, fail_limit))
            reasons.append(Reason.NEAR_LIMIT if mirrored <= pass_limit else milder)
    return "".join(outcomes), tuple(margins), tuple(reasons)


def _all_pass(gate: Gate, track: MetricTrack) -> bool:
    """A quick look at the whole track: true only if every window passes.  Most gates of most runs end
    here."""
    if not track.values or None in track.values:
        return False
    values = cast(tuple[float, ...], track.values)
    # A sum is finite only if no term is NaN or infinite, and only then do max and min mean anything.
    if not math.isfinite(sum(values)) or not math.isfinite(sum(track.guard_bands)):
        return False
    band = max(gate.guard_band, max(track.guard_bands, default=0.0))
    if gate.rule == "at_most":
        return max(values) <= gate.pass_limit - band
    return min(values) >= gate.pass_limit + band


def _reason_of_absence(track: MetricTrack, index: int) -> Reason:
    reason = track.reasons[index]
    return Reason.NOT_MEASURED if reason is Reason.NONE else reason


def _margin(value: float, good: float, fail_limit: float) -> float:
    """Where ``value`` stands between ``good`` (1) and ``fail_limit`` (0), for good < value <= fail_limit.

    Each step (subtraction, division, rounding) is monotone in ``value``, so the margin is too.
    """
    if math.isinf(good):
        return 0.0
    span = fail_limit - good
    if math.isinf(span):
        # Limits at opposite ends of the float range: halve first, which is exact.
        return round((fail_limit / 2 - value / 2) / (fail_limit / 2 - good / 2), MARGIN_DECIMALS)
    return round((fail_limit - value) / span, MARGIN_DECIMALS)


def _judge_run(
    gate: Gate, outcomes: str, margins: tuple[float | None, ...], values: Sequence[float | None]
) -> tuple[str, int | None]:
    """Outcome letter of the run, and the window that decided it (rules 1 to 3 of the module)."""
    window_count = len(outcomes)
    if not window_count:
        return ABSTAIN, None
    counts = {letter: outcomes.count(letter) for letter in (FAIL, ABSTAIN, BORDERLINE, PASS)}
    if not gate.required:
        judged = window_count - counts[ABSTAIN]
        counts = {FAIL: counts[FAIL], BORDERLINE: counts[BORDERLINE], PASS: counts[PASS]}
        passes = counts[FAIL] + counts[BORDERLINE] <= _set_aside_max(judged, gate.window_pass_fraction_min)
        if not judged or (passes and judged / window_count < gate.window_pass_fraction_min):
            return ABSTAIN, outcomes.index(ABSTAIN)
        window_count = judged
    position = _set_aside_max(window_count, gate.window_pass_fraction_min)
    for letter, count in counts.items():
        if position < count:
            return letter, _nth_worst(gate, letter, position, outcomes, margins, values)
        position -= count
    raise AssertionError("some window decides")


def _set_aside_max(window_count: int, fraction_min: float) -> int:
    """The largest k with ``(n - k) / n >= fraction_min``.

    Shares are compared as quotients: 93/100 and the 0.93 of a contract round to the same float, while 0.93
    * 100 need not be 93.
    """
    if fraction_min == 1.0 or not window_count:
        return 0
    kept = min(window_count, max(1, int(fraction_min * window_count) - 1))
    while kept / window_count < fraction_min:
        kept += 1
    return window_count - kept


def _nth_worst(
    gate: Gate,
    letter: str,
    position: int,
    outcomes: str,
    margins: tuple[float | None, ...],
    values: Sequence[float | None],
) -> int:
    """The window at ``position`` (0 is worst) among those with outcome ``letter``.

    Worst is the lowest margin, then the worst value, then the earliest window.
    """
    if position == 0 and outcomes == PASS * len(outcomes):
        # The common case again: every margin is 1, so the value alone decides.
        return values.index((max if gate.rule == "at_most" else min)(cast(Sequence[float], values)))
    sign = -1.0 if gate.rule == "at_most" else 1.0
    indices = [index for index, outcome in enumerate(outcomes) if outcome == letter]
    if letter == ABSTAIN:
        return indices[position]
    # Every judged window has a value and a margin; zeros only satisfy the type.
    ranked = [(margins[index] or 0.0, sign * (values[index] or 0.0), index) for index in indices]
    return min(ranked)[2] if position == 0 else heapq.nsmallest(position + 1, ranked)[position][2]


def _window_scores(gates: tuple[GateTrack, ...], window_count: int) -> tuple[float | None, ...]:
    required = [gate.margins for gate in gates if gate.required]
    if not required:
        return (None,) * window_count
    return tuple(None if None in margins else min(margins) for margins in zip(*required, strict=True))
