"""The report as one HTML file: everything inline, nothing fetched, no script, readable without colour and on
paper.

It is also well-formed XML, which makes a slip in escaping easy to find.  The page forbids itself everything
but its own style sheet (Content-Security-Policy by digest), so that even a mistake in escaping could not run
or fetch anything.  All text goes through ``escaped``.
"""

from __future__ import annotations

import base64
import hashlib

from domain.contract import Gate
from domain.events import GateTrack
from domain.outcomes import Outcome
from domain.report.html_table import html_table
from domain.report.model import PLOTS_MAX, SERIES_MAX, Plot, ReportInput
from domain.report.origin import artifact_table, environment_line, origin_table, short_facts
from domain.report.statements import headline, reasons_of_verdict, tolerance, verdict_word
from domain.report.style import STYLE
from domain.report.svg import (
    FULL_STRIP_WINDOWS_MIN,
    gate_strip,
    legend_mark,
    plot_field,
    score_histogram,
    score_strip,
)
from domain.report.tables import (
    concern_table,
    crosswalk_table,
    gate_title,
    metric_table,
    outcome_counts,
    plot_table,
    score_table,
)
from domain.report.wording import (
    bracketed,
    clock_time,
    counted,
    escaped,
    limits,
    number,
    quantity,
    span,
    unit_name,
    window_name,
)

_TONES = {Outcome.PASS: "p", Outcome.BORDERLINE: "b", Outcome.FAIL: "f", Outcome.ABSTAIN: "a"}
_SIGNS = {
    "p": '<path d="M5 12.5l4.5 4.5L19 7.5"/>',
    "b": '<path d="M4 13.5c3-5 5-5 8-1.5s5 3.5 8-1.5"/>',
    "f": '<path d="M6.5 6.5l11 11M17.5 6.5l-11 11"/>',
    "a": '<path d="M8.6 9.2c0-5 7-4.6 6.8-.2-.1 2.6-3.4 2.6-3.4 5.4M12 18.2v.3"/>',
}
_BRAND = (
    '<svg aria-hidden="true" class="mark" width="26" height="18" viewBox="0 0 26 18"><path fill="none" '
    'stroke="currentColor" stroke-width="2" stroke-linecap="round" d="M3 3v12M8 3v12M13 3v12M18 3v12M1 '
    '13L22 4"/></svg>'
)


def html_page(report: ReportInput) -> str:
    """The whole file."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    run = escaped(f"{report.run.procedure} {report.run.procedure_version}")
    source = escaped(report.run.source_id)
    title = escaped(report.run.procedure.replace("-", " ").replace(".", " ").capitalize())
    word = verdict_word(report)
    state = " withheld" if report.is_withheld else ""
    ribbon = '<div class="ribbon">Withheld – not to be presented as true</div>' if report.is_withheld else ""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="{policy}"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/><meta name="referrer" content="no-referrer"/>
<title>{word}: {run} of {source}</title>
<style>{STYLE}</style></head>
<body class="t-{_TONES[report.decision.verdict]}{state}">{ribbon}
<header class="top"><span class="brand">{_BRAND}Tallystick</span>
<span class="soft">Run <code>{escaped(report.run.run_id)}</code></span></header>
<main>
<h1>{title} of {source}</h1>
<p class="lede">{_lede(report)}</p>
{_verdict(report)}
{_facts(report)}
{_gates(report)}
{_validity(report)}
{_results(report)}
{_measured(report)}
{_origin(report)}
{_check(report)}
</main>
<footer>Tallystick report, format 1. Times are UTC. [1] marks a number whose unit is one: a ratio or a count.
Tenant <code>{escaped(report.tenant)}</code>.</footer>
</body></html>
"""


def _lede(report: ReportInput) -> str:
    windows = report.windows
    starts = [window.start_ns for window in windows if window.start_ns is not None]
    ends = [window.end_ns for window in windows if window.end_ns is not None]
    when = span(min(starts, default=None), max(ends, default=None))
    title = escaped(report.contract.title or report.contract.contract_id)
    return f"{counted(len(windows), report.window_word)}, {when}. Judged by the contract <q>{title}</q>."


def _verdict(report: ReportInput) -> str:
    tone = _TONES[report.decision.verdict]
    reasons = "".join(f"<li>{escaped(reason, 600)}</li>" for reason in reasons_of_verdict(report))
    also = f'<ul class="why">{reasons}</ul>' if reasons else ""
    return (
        f'<section aria-label="Verdict"><div class="verdict t-{tone}">{_sign(tone, "sign")}'
        f'<div class="word">{verdict_word(report)}</div><p>{escaped(headline(report), 600)}</p>'
        f"{also}</div></section>"
    )


def _facts(report: ReportInput) -> str:
    cells = "".join(
        f"<div><dt>{escaped(fact.label)}</dt><dd>{escaped(fact.value)}"
        f"{f'<small>{escaped(fact.detail)}</small>' if fact.detail else ''}"
        f"{f'<small>{_entry(fact.index)}</small>' if fact.index is not None else ''}</dd></div>"
        for fact in short_facts(report)
    )
    return f'<section aria-label="Facts"><dl class="facts">{cells}</dl></section>'


def _gates(report: ReportInput) -> str:
    rules = {gate.gate_id: gate for gate in report.contract.gates}
    rows = "".join(
        _gate_row(report, gate, rules.get(gate.gate_id), f"g{index}")
        for index, gate in enumerate(report.decision.gates)
    )
    legend = "".join(
        f'<li><svg class="key" aria-hidden="true" width="12" height="22" viewBox="0 0 12 22">'
        f'<path class="o-{letter}" d="{shape}"/></svg>{word}</li>'
        for letter, word, shape in (
            ("p", "pass", "M1 15h10v7h-10z"),
            ("b", "borderline", "M1 8h10v14h-10z"),
            ("f", "fail", "M1 0h10v22h-10z"),
            ("a", "abstain, could not be judged", "M1 9h10v3h-10z"),
        )
    )
    note = (
        f"Each gate is one promise of the contract. A notch is a {report.window_word}, in order from left to "
        "right: the taller, the worse. A value within the guard band of a limit is borderline, never a pass."
    )
    return _section("Gates", note, f'<ul class="legend">{legend}</ul><div class="board">{rows}</div>')


def _gate_row(report: ReportInput, gate: GateTrack, rule: Gate | None, key: str) -> str:
    title = gate_title(report, gate)
    where = window_name(report.windows, gate.window) if gate.window is not None else ""
    margin = f", margin {number(gate.margin)}" if gate.margin is not None else ""
    cause = escaped(gate.reason.replace("_", " "))
    why = "" if gate.outcome is Outcome.PASS else f'<small class="why-not">{cause}</small>'
    kind = "required" if gate.required else "optional, an abstention does not count"
    strip = gate_strip(gate.outcomes, title, key)
    return (
        f'<article class="gate t-{_TONES[gate.outcome]}"><div>{_chip(gate.outcome)}{why}</div>'
        f"<h3>{escaped(title)}<small><code>{escaped(gate.metric)}</code>, {kind}</small></h3>"
        f'<div class="said"><div class="value">{_value(gate)}</div>'
        f"<small>{escaped(where)}{margin}</small></div>"
        f'<div class="run">{strip}{_ends(report, outcome_counts(gate.outcomes))}</div>'
        f"{_rule(rule) if rule else ''}</article>"
    )


def _rule(rule: Gate) -> str:
    """The decision rule (ISO/IEC 17025 §7.8.6) and where it comes from."""
    band = f"guard band {quantity(rule.guard_band, rule.unit)}" if rule.guard_band else ""
    said = "; ".join(part for part in (limits(rule), band, tolerance(rule)) if part)
    return f'<div class="rule">{escaped(said)}. Source: {escaped(rule.rule_id, 400)}</div>'


def _value(gate: GateTrack) -> str:
    if gate.value is None:
        return "not measured"
    return f'{escaped(number(gate.value))} <span class="unit">{escaped(bracketed(gate.unit))}</span>'


def _ends(report: ReportInput, between: str = "") -> str:
    """The times at which a strip begins and ends, and what there is to say between them.

    A strip of a few windows is not as wide as its place, and then the times would stand under nothing.
    """
    if len(report.windows) < FULL_STRIP_WINDOWS_MIN:
        return f'<div class="ends"><span>{between}</span></div>'
    first, last = report.windows[0].start_ns, report.windows[-1].end_ns
    if first is None or last is None:
        names = ("record 1", f"record {len(report.windows)}")
    else:
        names = (clock_time(first), clock_time(last))
    return f'<div class="ends"><span>{names[0]}</span><span>{between}</span><span>{names[1]}</span></div>'


def _validity(report: ReportInput) -> str:
    scores = report.decision.window_scores
    if not scores:
        return ""
    note = (
        f"The score of a {report.window_word} is the smallest margin of its required gates: 1 where all pass "
        "with room, 0 where one fails. What a required gate could not judge has none."
    )
    body = (
        f'<div class="validity"><div>{score_strip(scores, "v1")}{_ends(report)}</div>'
        f"<div>{score_histogram(scores, 'v2')}</div></div>"
        f'<div class="narrow">{html_table(score_table(report))}</div>{html_table(concern_table(report))}'
    )
    return _section(f"Validity of the {report.window_word}s", note, body)


def _results(report: ReportInput) -> str:
    figures = "".join(_figure(plot, f"p{index}") for index, plot in enumerate(report.results))
    if report.is_withheld:
        return _section("Results", "", _held(report) + figures)
    undrawn = len(report.plots) - len(report.results)
    if undrawn:
        figures += f'<p class="note">{counted(undrawn, "more plot")} can be drawn from the artifacts.</p>'
    return _section("Results", "", figures) if figures else ""


def _held(report: ReportInput) -> str:
    names = "".join(f"<li>{escaped(plot.title)}</li>" for plot in report.withheld_results[:PLOTS_MAX])
    note = (
        "They stay in the vault as evidence, named by digest below, and are neither drawn nor printed here."
        if report.artifacts
        else "There is nothing to show."
    )
    return (
        f'<div class="held"><h3>The results of this run are withheld</h3><p class="note">{note}</p>'
        f"{f'<ul>{names}</ul>' if names else ''}</div>"
    )


def _figure(plot: Plot, key: str) -> str:
    shown = plot.series[:SERIES_MAX]
    legend = "".join(
        f"<li>{legend_mark(index, one.style)}{escaped(one.name)}</li>" for index, one in enumerate(shown)
    )
    keys = f'<ul class="legend">{legend}</ul>' if len(shown) > 1 else ""
    table = plot_table(plot)
    # A table of a few columns fits beside the drawing; a wider one stands below it.
    is_slim = len(table.head) <= 3 and all(len("".join(row)) <= 34 for row in table.rows)
    layout = "beside" if is_slim else "below"
    return (
        f'<figure><figcaption><h3>{escaped(plot.title)}</h3><p class="note">{escaped(plot.note, 600)} From '
        f"<code>{escaped(plot.source)}</code>.</p></figcaption>{keys}"
        f'<div class="{layout}"><div><p class="y-label">{_axis(plot.y.label, plot.y.unit)}</p>'
        f'{plot_field(plot, key)}<p class="x-label">{_axis(plot.x.label, plot.x.unit)}</p></div>'
        f"<div>{html_table(table)}</div></div></figure>"
    )


def _axis(label: str, unit: str) -> str:
    return f"{escaped(label)} ({escaped(unit_name(unit))})"


def _measured(report: ReportInput) -> str:
    if not report.metrics:
        return ""
    note = "Quality of what was recorded or sent, which stands whatever the verdict."
    return _section("Measurements", note, html_table(metric_table(report)))


def _origin(report: ReportInput) -> str:
    note = (
        "Everything the run rests on, by digest and by its entry in the ledger of the tenant. The same "
        "inputs give "
        "the same report, byte for byte."
    )
    environment = escaped(environment_line(report), 2_000)
    body = (
        html_table(origin_table(report))
        + html_table(artifact_table(report))
        + (f'<p class="note">{environment}</p>' if environment else "")
        + html_table(crosswalk_table(report))
    )
    return _section("Where this comes from", note, body)


def _check(report: ReportInput) -> str:
    if any(artifact.is_encrypted for artifact in report.artifacts):
        named = (
            "It concerns a person and is kept encrypted; the receipt names it by the digest of those bytes"
        )
    else:
        named = "The receipt names it by its SHA-256 digest, which <code>sha256sum</code> shows"
    note = (
        f"This file is an artifact of the run. {named}, together with everything above, and proves its "
        "place in the "
        "ledger. <code>tally verify</code> checks the receipt offline with nothing but the public key of the "
        "ledger, and <code>tally replay</code> makes all of it again from the raw bytes."
    )
    return _section("How to check it", note, "")


def _section(title: str, note: str, body: str) -> str:
    """A part of the page; ``note`` and ``body`` are markup."""
    said = f'<p class="note">{note}</p>' if note else ""
    return f"<section><h2>{title}</h2>{said}{body}</section>"


def _entry(index: int) -> str:
    return f"ledger entry {number(index)}"


def _chip(outcome: Outcome) -> str:
    tone = _TONES[outcome]
    return f'<span class="chip t-{tone}">{_sign(tone, "")}{outcome}</span>'


def _sign(tone: str, kind: str) -> str:
    name = f' class="{kind}"' if kind else ""
    return (
        f'<svg aria-hidden="true"{name} viewBox="0 0 24 24" fill="none" stroke="currentColor" '
        'stroke-width="2.4" '
        f'stroke-linecap="round" stroke-linejoin="round">{_SIGNS[tone]}</svg>'
    )
