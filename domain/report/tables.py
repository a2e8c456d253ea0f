"""Tables: the numbers behind the drawings and the gates, for the page and for the JSON report."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from msgspec import Struct

from domain.crosswalk import crosswalk
from domain.events import GateTrack
from domain.metrics import MetricTrack
from domain.outcomes import Outcome, Reason
from domain.report.model import SERIES_MAX, Axis, Numbers, Plot, ReportInput, Series
from domain.report.wording import (
    MINUS,
    bracketed,
    clock_time,
    counted,
    day,
    instant,
    number,
    plain,
    share,
    unit_name,
    whole,
    windows_name,
)

# Enough of a curve to compare it by eye with another; the artifact holds the rest.
PLOT_ROWS_MAX = 10
# Windows that did not pass are listed one by one up to here, then counted.
CONCERNS_MAX = 40
CAUSES_MAX = 4
SCORE_TENTHS = 10

_LETTERS = {"p": Outcome.PASS, "b": Outcome.BORDERLINE, "f": Outcome.FAIL, "a": Outcome.ABSTAIN}


class Table(Struct, frozen=True, kw_only=True):
    """Rows of plain text, the first column naming the row; a line feed in a cell begins a new line there.

    ``more`` says what was left out.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: str = ""


def plot_table(plot: Plot) -> Table:
    """A few rows of a plot: values at chosen places if its series share them, an extent for each series
    otherwise.
    """
    shown = plot.series[:SERIES_MAX]
    hidden = len(plot.series) - len(shown)
    more = f"{counted(hidden, 'more series', 'more series')} in {plot.source}." if hidden else ""
    if shown and all(one.x.size == shown[0].x.size and np.array_equal(one.x, shown[0].x) for one in shown):
        return _table_of_places(plot, shown, more)
    rows = tuple((plain(one.name), *_extent(one.y)) for one in shown)
    return Table(
        caption=f"{plot.y.label}, in {bracketed(plot.y.unit)}",
        head=("Series", "Values", "Lowest", "Median", "Highest"),
        rows=rows,
        more=more,
    )


def metric_table(report: ReportInput) -> Table:
    """Every metric that may be shown, over all windows, with its unit."""
    hidden = len(report.metrics) - len(report.shown_metrics)
    return Table(
        caption=f"What was measured, over all {report.window_word}s",
        head=("Metric", "Unit", "Measured in", "Lowest", "Median", "Highest"),
        rows=tuple(_metric_row(track) for track in report.shown_metrics),
        more=f"{counted(hidden, 'metric')} that no gate looks at is withheld with the results."
        if hidden == 1
        else f"{counted(hidden, 'metric')} that no gate looks at are withheld with the results."
        if hidden
        else "",
    )


def concern_table(report: ReportInput) -> Table:
    """The windows that did not pass, and why; neighbours with the same reasons share a row.

    An optional gate that abstained is no concern: its strip says so, and it does not count.
    """
    rows: list[tuple[str, ...]] = []
    concerned, listed = 0, 0
    for start, end, causes in _stretches_of_concern(report):
        concerned += end - start
        if len(rows) < CONCERNS_MAX:
            listed += end - start
            said = [_cause(report, gate, start, end) for gate in causes[:CAUSES_MAX]]
            if len(causes) > CAUSES_MAX:
                said.append(f"and {counted(len(causes) - CAUSES_MAX, 'more gate')}")
            scores = [score for score in report.decision.window_scores[start:end] if score is not None]
            rows.append((windows_name(report.windows, start, end), _range(scores) or "none", "\n".join(said)))
    if not rows:
        return Table(
            caption=f"Every {report.window_word} passed every gate that could judge it", head=(), rows=()
        )
    left = concerned - listed
    return Table(
        caption=f"{report.window_word.capitalize()}s that did not pass every gate: "
        f"{share(concerned, len(report.windows))}",
        head=(f"{report.window_word.capitalize()}s", "Score", "Gates that did not pass"),
        rows=tuple(rows),
        more=f"{counted(left, f'more {report.window_word}')} in the JSON report." if left else "",
    )


def score_table(report: ReportInput) -> Table:
    """The histogram of the scores as numbers, without its empty tenths."""
    counts = score_counts(report.decision.window_scores)
    rows = []
    for tenth, count in enumerate(counts):
        if count:
            name = (
                "no score" if tenth == SCORE_TENTHS else f"{number(tenth / 10)} to {number((tenth + 1) / 10)}"
            )
            rows.append((name, whole(count), f"{number(100 * count / len(report.windows), 3)} %"))
    return Table(
        caption=f"Scores of the {report.window_word}s",
        head=("Score", f"{report.window_word.capitalize()}s", "Share"),
        rows=tuple(rows),
    )


def crosswalk_table(report: ReportInput) -> Table:
    """The gates in the words of other systems."""
    rows = []
    for gate in report.decision.gates:
        words = crosswalk(gate.outcome, gate.reason)
        rows.append(
            (
                gate.gate_id,
                str(words.qartod_flag),
                words.ilac_g8 or "–",
                f"{words.lwm2m_quality_indicator}"
                if words.lwm2m_reason_code is None
                else f"{words.lwm2m_quality_indicator}, reason {words.lwm2m_reason_code}",
                "–" if words.sparkplug_quality is None else str(words.sparkplug_quality),
                words.haystack_status,
                " ".join(filter(None, (words.iec_61850_validity, words.iec_61850_detail))) or "–",
            )
        )
    return Table(
        caption="The same outcomes in other systems' words",
        head=("Gate", "QARTOD", "ILAC-G8", "LwM2M 509", "Sparkplug", "Haystack", "IEC 61850"),
        rows=tuple(rows),
    )


def score_counts(scores: tuple[float | None, ...]) -> tuple[int, ...]:
    """Windows per tenth of the score, the last tenth including 1, and at the end those without a score."""
    counts = [0] * (SCORE_TENTHS + 1)
    for score in scores:
        counts[SCORE_TENTHS if score is None else min(int(score * SCORE_TENTHS), SCORE_TENTHS - 1)] += 1
    return tuple(counts)


def outcome_counts(outcomes: str) -> str:
    """``58 pass, 1 borderline, 1 fail``."""
    counts = ((outcomes.count(letter), word) for letter, word in _LETTERS.items())
    return ", ".join(f"{whole(count)} {word}" for count, word in counts if count) or "no windows"


def outcome_word(outcome: Outcome, reason: Reason) -> str:
    """``borderline, near limit``; a pass needs no reason."""
    return str(outcome) if outcome is Outcome.PASS else f"{outcome}, {reason.replace('_', ' ')}"


def gate_title(report: ReportInput, gate: GateTrack) -> str:
    """The title that the contract gives a gate, or its id."""
    found = next((one for one in report.contract.gates if one.gate_id == gate.gate_id), None)
    return plain(found.title if found and found.title else gate.gate_id)


def _stretches_of_concern(report: ReportInput) -> Iterator[tuple[int, int, list[GateTrack]]]:
    """Start, end and blamed gates (worst first) of the stretches of windows with the same reasons."""
    gates = report.decision.gates
    previous: tuple[tuple[str, str, Reason], ...] = ()
    start = 0
    for index in range(len(report.windows) + 1):
        reasons: tuple[tuple[str, str, Reason], ...] = ()
        if index < len(report.windows):
            reasons = tuple(
                (gate.gate_id, gate.outcomes[index], gate.reasons[index])
                for gate in gates
                if gate.outcomes[index] in ("fba" if gate.required else "fb")
            )
        if reasons == previous and index < len(report.windows):
            continue
        if previous:
            blamed = {gate_id: "fab".index(letter) for gate_id, letter, _ in previous}
            causes = sorted(
                (gate for gate in gates if gate.gate_id in blamed), key=lambda gate: blamed[gate.gate_id]
            )
            yield start, index, causes
        start, previous = index, reasons


def _cause(report: ReportInput, gate: GateTrack, start: int, end: int) -> str:
    word = outcome_word(_LETTERS[gate.outcomes[start]], gate.reasons[start])
    track = next((track for track in report.metrics if track.name == gate.metric), None)
    values = [] if track is None else [value for value in track.values[start:end] if value is not None]
    extent = _range(values)
    measured = f" ({extent} {bracketed(gate.unit)})" if extent else ""
    return f"{gate_title(report, gate)}: {word}{measured}"


def _range(values: list[float]) -> str:
    """``0.93`` or ``0.93 to 0.96``; empty for nothing."""
    if not values:
        return ""
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def _metric_row(track: MetricTrack) -> tuple[str, ...]:
    known = np.array([value for value in track.values if value is not None], dtype=np.float64)
    measured, lowest, middle, highest = _extent(known)
    return (
        plain(track.name, 80),
        unit_name(track.unit),
        f"{measured} of {whole(len(track.values))}",
        lowest,
        middle,
        highest,
    )


def _extent(values: Numbers) -> tuple[str, str, str, str]:
    """Count, lowest, median and highest of the numbers that are there."""
    known = np.sort(values[np.isfinite(values)])
    if not known.size:
        return "0", "–", "–", "–"
    middle = (known[(known.size - 1) // 2] + known[known.size // 2]) / 2
    return whole(known.size), number(float(known[0])), number(float(middle)), number(float(known[-1]))


def _table_of_places(plot: Plot, shown: tuple[Series, ...], more: str) -> Table:
    x = shown[0].x
    places = _places(x, plot.x)
    head = [f"{plot.x.label} ({unit_name(plot.x.unit)})"]
    head += [plain(one.name, 60) for one in shown]
    columns = [_places_column(x[places], plot.x)]
    columns += [_values_column(one, places) for one in shown]
    rows = list(zip(*columns, strict=True))
    if x.size > len(places):
        more = f"{whole(len(places))} of {whole(x.size)} places; all are in {plot.source}. {more}".strip()
    return Table(
        caption=f"{plot.y.label}, in {bracketed(plot.y.unit)}", head=tuple(head), rows=tuple(rows), more=more
    )


def _places_column(x: Numbers, axis: Axis) -> list[str]:
    if axis.scale != "time":
        return [number(float(value), 4) for value in x]
    times = [int(value) for value in x]
    one_day = len({day(time) for time in times}) == 1
    return [clock_time(time) if one_day else instant(time) for time in times]


def _values_column(one: Series, places: list[int]) -> list[str]:
    """Values to six digits of the largest, with as many decimals each, so that they compare down the column.

    Numbers that differ by more than a factor of a thousand stand each with its own digits.
    """
    if one.low is not None and one.high is not None:
        return [_value_with_range(one, place) for place in places]
    values = [float(one.y[place]) for place in places]
    sizes = [abs(value) for value in values if math.isfinite(value) and value != 0]
    if not sizes or not 1e-4 < max(sizes) < 1e5 or min(sizes) < 1e-3 * max(sizes):
        return [number(value, 4) for value in values]
    decimals = max(5 - math.floor(math.log10(max(sizes))), 0)
    return [
        number(value) if not math.isfinite(value) else f"{value:.{decimals}f}".replace("-", MINUS)
        for value in values
    ]


def _value_with_range(one: Series, place: int) -> str:
    value = float(one.y[place])
    if one.low is None or one.high is None or not math.isfinite(value):
        return number(value, 4)
    return f"{number(value, 4)} ({number(float(one.low[place]), 4)} to {number(float(one.high[place]), 4)})"


def _places(x: Numbers, axis: Axis) -> list[int]:
    """Indices spread evenly over the axis as it is drawn, without repeats."""
    usable = np.flatnonzero(np.isfinite(x) & ((x > 0) | (axis.scale != "log")))
    if usable.size <= PLOT_ROWS_MAX:
        return [int(place) for place in usable]
    if axis.scale != "log":
        steps = np.linspace(0, usable.size - 1, PLOT_ROWS_MAX)
        return [int(usable[round(float(step))]) for step in steps]
    low, high = math.log10(float(x[usable[0]])), math.log10(float(x[usable[-1]]))
    wanted = [10 ** (low + (high - low) * step / (PLOT_ROWS_MAX - 1)) for step in range(PLOT_ROWS_MAX)]
    nearest = {int(usable[int(np.argmin(np.abs(x[usable] - place)))]) for place in wanted}
    return sorted(nearest)
