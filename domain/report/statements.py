"""Statements: what the report says of a run in sentences."""

from __future__ import annotations

from domain.contract import Gate
from domain.events import GateTrack
from domain.outcomes import Outcome
from domain.report.model import ReportInput
from domain.report.tables import gate_title
from domain.report.wording import counted, limits, number, plain, quantity, share, window_name

REASONS_MAX = 6
_VERBS = {
    Outcome.FAIL: "failed",
    Outcome.ABSTAIN: "could not judge",
    Outcome.BORDERLINE: "was borderline",
    Outcome.PASS: "passed",
}
_ORDER = (Outcome.FAIL, Outcome.ABSTAIN, Outcome.BORDERLINE, Outcome.PASS)


def verdict_word(report: ReportInput) -> str:
    """The one word on top: a run that must not be presented is withheld, whatever its verdict is called."""
    return "Withheld" if report.is_withheld else str(report.decision.verdict).capitalize()


def headline(report: ReportInput) -> str:
    """What the verdict means for the reader."""
    verdict, count = report.decision.verdict, len(report.windows)
    required = sum(gate.required for gate in report.decision.gates)
    if report.failure:
        return (
            f"The procedure produced nothing: {plain(report.failure)} There is no result, and this "
            "report is the record of "
            "that."
        )
    if not count:
        return "There is nothing that could be judged: the run has no windows."
    match verdict:
        case Outcome.PASS:
            return (
                f"{_all(required)} passed over {counted(count, report.window_word)}. "
                "The results below may be presented as measured."
            )
        case Outcome.BORDERLINE if not report.is_withheld:
            return (
                "Nothing failed, and at least one gate was borderline. The results may be presented "
                "together with "
                "this verdict."
            )
        case Outcome.BORDERLINE:
            return "At least one gate is borderline, and the contract lets only a pass be presented."
        case Outcome.FAIL:
            return (
                "At least one gate failed. What was measured about quality is shown; the results are "
                "not, because "
                "they must not be taken as true."
            )
        case Outcome.ABSTAIN:
            return (
                "At least one required gate could not judge. What was measured about quality is shown; "
                "the results "
                "are not, because nobody knows whether they are true."
            )


def reasons_of_verdict(report: ReportInput) -> tuple[str, ...]:
    """The gates that kept the run from passing, the worst first, each in one sentence; at most
    ``REASONS_MAX``.
    """
    rules = {gate.gate_id: gate for gate in report.contract.gates}
    blamed = [
        gate
        for gate in report.decision.gates
        if gate.outcome is not Outcome.PASS and (gate.required or gate.outcome is not Outcome.ABSTAIN)
    ]
    blamed.sort(key=lambda gate: (_ORDER.index(gate.outcome), not gate.required))
    said = [_reason(report, gate, rules.get(gate.gate_id)) for gate in blamed[:REASONS_MAX]]
    if len(blamed) > REASONS_MAX:
        said.append(f"And {counted(len(blamed) - REASONS_MAX, 'more gate')}, listed below.")
    return tuple(said)


def tolerance(gate: Gate) -> str:
    """What the contract forgives, if anything."""
    if gate.window_pass_fraction_min == 1.0:
        return "the worst window decides"
    return f"{number(100 * gate.window_pass_fraction_min)} % of the windows must hold"


def _all(required: int) -> str:
    return "The required gate" if required == 1 else f"All {counted(required, 'required gate')}"


def _reason(report: ReportInput, gate: GateTrack, rule: Gate | None) -> str:
    affected = share(gate.outcomes.count(str(gate.outcome)[0]), len(gate.outcomes))
    said = f"{_VERBS[gate.outcome]} ({gate.reason.replace('_', ' ')}) in {affected} {report.window_word}s"
    title = gate_title(report, gate)
    if gate.value is None or gate.window is None or rule is None:
        return f"{title}: {said}."
    where = window_name(report.windows, gate.window)
    return f"{title}: {quantity(gate.value, gate.unit)} in {where}; {limits(rule)}. It {said}."
