"""The report: the same bytes every time, no claim that must not be made, no way in for hostile text."""

import base64
import hashlib
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.contract import Gate
from domain.digests import digest_of
from domain.events import NumericEnvironment
from domain.gates import decide
from domain.metrics import WINDOWS_MAX, MetricTrack, Window
from domain.outcomes import Outcome, Reason
from domain.report.model import Axis, Plot, ReportInput, Series
from domain.report.rendering import render_report
from tests.domain.report.examples import GAPS, a_contract, a_health_report, a_plot, a_report, parsed, text_of

HTML_BYTES_MAX = 4 * 2**20
HOSTILE = (
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "' autofocus onfocus='alert(1)",
    "--><svg onload=alert(1)>",
    "]]>&lt;script&gt;&#60;b&#62;",
    "\x00\x07\u202e\ufeff\uffff",
    "javascript:alert(1)",
    "{{7*7}}${7*7}<%= 7*7 %>",
)


def page_of(report: ReportInput) -> bytes:
    return render_report(report)[0].data


def document_of(report: ReportInput) -> dict[str, object]:
    document: dict[str, object] = json.loads(render_report(report)[1].data)
    return document


def elements(page: bytes) -> list[ElementTree.Element]:
    return list(parsed(page).iter())


def test_the_same_input_gives_the_same_bytes() -> None:
    first, second = render_report(a_report()), render_report(a_report())
    assert first == second
    assert [artifact.name for artifact in first] == ["report.html", "report.json"]


def test_another_numeric_environment_gives_another_report_and_the_same_rounded_one() -> None:
    here = a_report()
    elsewhere = replace(
        here,
        environment=NumericEnvironment(class_digest=digest_of(b"elsewhere"), facts={"numpy": "2.3.5"}),
        artifacts=(replace(here.artifacts[0], digest=digest_of(b"other last bits"), byte_count=4_097),),
    )
    for one, other in zip(render_report(here), render_report(elsewhere), strict=True):
        assert one.data != other.data
        assert one.quantised == other.quantised


@pytest.mark.parametrize("text", ["", *HOSTILE])
def test_the_page_is_well_formed_and_can_do_nothing(text: str) -> None:
    page = page_of(a_report(text=text, gaps=(0.0, 0.5, None), plots=(a_plot(text, is_result=False),)))
    names = {element.tag.rpartition("}")[2] for element in elements(page)}
    assert not names & {
        "script",
        "img",
        "iframe",
        "object",
        "embed",
        "form",
        "input",
        "link",
        "base",
        "a",
        "image",
        "use",
    }
    for element in elements(page):
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            assert name not in {"style", "href", "src", "action", "srcdoc"}, (element.tag, name)
            assert "javascript:" not in value
    assert len(parsed(page).findall(".//style")) == 1


def test_the_page_allows_itself_its_own_style_sheet_and_nothing_else() -> None:
    tree = parsed(page_of(a_report()))
    policy = next(
        meta.attrib["content"]
        for meta in tree.iter("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    )
    style = tree.find(".//style")
    assert style is not None
    assert style.text is not None
    digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert not re.search(r"url\(|@import|https?:|//", style.text)


@pytest.mark.parametrize("text", HOSTILE[:4])
def test_hostile_text_is_shown_as_the_text_it_is(text: str) -> None:
    assert f"Maker{text}" in text_of(page_of(a_report(text=text)))


def test_what_cannot_be_printed_is_replaced_and_what_is_too_long_is_cut() -> None:
    shown = text_of(page_of(a_report(text="\u202e\x00" + "long " * 1_000)))
    assert "Maker\ufffd\ufffdlong" in shown
    assert "…" in shown
    assert "\u202e" not in shown
    assert len(shown) < 40_000


@given(text=st.text(max_size=60))
def test_no_text_breaks_the_page_or_the_document(text: str) -> None:
    report = a_report(text=text.encode("utf-8", "replace").decode(), plots=())
    parsed(page_of(report))
    document_of(report)


def test_every_reference_of_a_drawing_leads_to_its_title_and_ids_are_unique() -> None:
    found = elements(page_of(a_report()))
    ids = [element.attrib["id"] for element in found if "id" in element.attrib]
    assert len(set(ids)) == len(ids)
    drawings = [element for element in found if element.get("role") == "img"]
    assert drawings
    for drawing in drawings:
        assert set(drawing.attrib["aria-labelledby"].split()) <= set(ids)
    for element in found:
        if element.tag == "svg" and element.get("role") != "img":
            assert element.get("aria-hidden") == "true" or "preserveAspectRatio" in element.attrib


def test_every_figure_has_its_numbers_in_a_table() -> None:
    figures = parsed(page_of(a_report())).findall(".//figure")
    assert len(figures) == 2
    for figure in figures:
        assert figure.findall(".//table//td")


def test_a_run_that_passed_shows_its_results() -> None:
    shown = text_of(page_of(a_report()))
    assert "Withheld" not in shown
    assert "Coherence by frequency" in shown
    assert "delay.seconds" in shown
    assert [table["title"] for table in document_of(a_report())["results"]] == [  # type: ignore[attr-defined]
        "Coherence by frequency",
        "Segments per window",
    ]


@pytest.mark.parametrize("gaps", [(0.0, 0.5, 0.0), (0.0, None, 0.0)], ids=["failed", "abstained"])
def test_a_withheld_run_says_so_and_shows_no_result(gaps: tuple[float | None, ...]) -> None:
    report = a_report(gaps=gaps)
    page = page_of(report)
    tree, shown = parsed(page), text_of(page)
    assert "Withheld – not to be presented as true" in shown
    title = tree.find(".//title")
    assert title is not None
    assert title.text is not None
    assert title.text.startswith("Withheld")
    figures = [heading.text for heading in tree.findall(".//figure//h3")]
    assert figures == ["Segments per window"]
    named = [item.text for item in tree.findall(".//*[@class='held']//li")]
    assert named == ["Coherence by frequency"]
    # A metric that no gate looks at may be a result itself; its values stay out as well.
    assert "delay.seconds" not in shown
    assert "0.009876" not in shown
    assert "sampling.gap_ratio" in shown

    document = document_of(report)
    assert (document["is_withheld"], document["is_presentable"]) == (True, False)
    assert document["withheld_results"] == ["Coherence by frequency"]
    assert "0.009876" not in json.dumps(document)
    assert len(document["results"]) == 1  # type: ignore[arg-type]


def test_the_headline_names_value_unit_window_and_limit_of_what_failed() -> None:
    shown = text_of(page_of(a_report(stuck=(0.01, 1.5, 0.01))))
    assert (
        "Longest time without change: 1.5\u00a0s in window 2 (10:22:00–10:23:00)".replace("\u00a0", " ")
        in shown
    )
    assert "pass ≤ 0.25 s, fail > 1 s" in shown
    assert "failed (stuck value) in 1 of 3 windows" in shown


def test_a_procedure_that_produced_nothing_is_reported_as_that() -> None:
    empty = replace(
        a_report(plots=()),
        windows=(),
        metrics=(),
        decision=decide(a_contract(), (), ()),
        failure="The recording has no sample rate.",
        artifacts=(),
    )
    shown = text_of(page_of(empty))
    assert "The procedure produced nothing: The recording has no sample rate." in shown
    assert "Withheld" in shown
    assert document_of(empty)["failure"] == "The recording has no sample rate."


def test_records_of_a_person_are_known_by_position_only() -> None:
    report = a_health_report()
    shown = text_of(page_of(report))
    assert "record 2" in shown
    assert "times are personal and not shown" in shown
    assert "the person is not named here" in shown
    assert "Calibration" not in shown
    assert re.search(r"2 records", shown)


def test_everything_the_run_rests_on_is_named_with_its_ledger_entry() -> None:
    report = a_report()
    rows = [
        "".join(cell.itertext()) + " #" + "".join(row[-1].itertext())
        for row in parsed(page_of(report)).iter("tr")
        for cell in row[1:2]
    ]
    for digest, entry in (
        (report.datasets[0].digest, 14),
        (report.batches[0].digest, 12),
        (report.deployment.source_digest, 9),
        (report.contract.digest, 7),
    ):
        assert any(digest in row and row.endswith(f"#{entry}") for row in rows), digest


def test_unknown_identities_are_called_unknown() -> None:
    shown = text_of(page_of(replace(a_report(), calibration=None, configuration=None)))
    assert "none in force" in shown
    assert "sensor serial number unknown" in shown


def test_every_gate_stands_with_its_rule_its_source_and_its_counts() -> None:
    shown = text_of(page_of(a_report(gaps=(0.0, 0.005, 0.5))))
    for gate in a_contract().gates:
        assert gate.title in shown
        assert gate.rule_id in shown
    assert "1 pass, 1 borderline, 1 fail" in shown
    assert "3 abstain" in shown


def test_the_document_holds_every_window_and_what_the_gates_said_of_it() -> None:
    report = a_report(gaps=(0.0, 0.005, 0.5))
    document = document_of(report)
    assert document["format"] == "tallystick.report.v1"
    assert document["window_scores"] == list(report.decision.window_scores)
    gates = document["gates"]
    assert isinstance(gates, list)
    assert [gate["outcomes"] for gate in gates] == ["pbf", "ppp", "aaa"]
    words = document["crosswalk"]
    assert isinstance(words, dict)
    assert words["gaps"]["qartod_flag"] == 4
    assert words["timing-quality"]["qartod_flag"] == 2
    assert document["contract_digest"] == report.contract.digest


def test_the_largest_run_still_makes_a_page_of_bounded_size() -> None:
    """64 gates, as many windows as a run may have, each unlike the last, plots beyond what is drawn."""
    gates = tuple(
        Gate(
            gate_id=f"gate-{at}",
            metric=f"metric.{at}",
            rule="at_most",
            pass_limit=1.0,
            fail_limit=2.0,
            unit="1",
            rule_id="r" * 400,
            title="t" * 400,
        )
        for at in range(64)
    )
    windows = tuple(Window(start_ns=START + at, end_ns=START + at + 1) for at in range(WINDOWS_MAX))
    values: tuple[float | None, ...] = (0.5, 1.5, 2.5, None) * (WINDOWS_MAX // 4)
    reasons = (Reason.NOT_MEASURED,) * WINDOWS_MAX
    metrics = tuple(
        MetricTrack(
            name=f"metric.{at}", unit="1", values=values[at % 4 :] + values[: at % 4], reasons=reasons
        )
        for at in range(64)
    )
    contract = a_contract(*gates)
    noise = np.random.default_rng(1).normal(size=30_000)
    series = tuple(
        Series(name=f"s{at}", x=np.arange(30_000.0), y=noise, low=noise - 1, high=noise + 1)
        for at in range(12)
    )
    plot = replace(
        a_plot(is_result=False), x=Axis(label="x", unit="s"), y=Axis(label="y", unit="m"), series=series
    )
    report = replace(
        a_report(),
        contract=contract,
        windows=windows,
        metrics=metrics,
        decision=decide(contract, windows, metrics),
        plots=(plot,) * 30,
    )
    page, document = (artifact.data for artifact in render_report(report))
    assert len(page) < HTML_BYTES_MAX
    assert len(document) < HTML_BYTES_MAX
    parsed(page)
    assert "4 more series" in text_of(page)


START = 1_297_765_260_000_000_000


@pytest.mark.parametrize(
    "values",
    [
        [],
        [np.nan, np.nan],
        [1.0],
        [0.0, 0.0, 0.0],
        [-1.0, -2.0],
        [1e308, -1e308, np.inf],
        [5e-324, 1e-300],
        [1.0, np.nan, 2.0, np.nan, 3.0],
    ],
)
@pytest.mark.parametrize("scale", ["linear", "log", "time"])
@pytest.mark.parametrize("style", ["line", "points"])
def test_any_numbers_can_be_drawn(values: list[float], scale: str, style: str) -> None:
    numbers = np.array(values, dtype=np.float64)
    plot = Plot(
        title="Odd numbers",
        note="",
        source="x",
        x=Axis(label="x", unit="s", scale=scale),  # type: ignore[arg-type]
        y=Axis(label="y", unit="m", scale="log" if scale == "log" else "linear"),
        series=(
            Series(name="odd", x=numbers, y=numbers[::-1], low=numbers, high=numbers, style=style),  # type: ignore[arg-type]
        ),
    )
    page = page_of(a_report(plots=(plot,)))
    for element in elements(page):
        for name in ("d", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "viewBox"):
            assert not re.search("nan|inf", element.attrib.get(name, ""))


def test_a_peak_of_one_sample_survives_the_reduction_to_pixels() -> None:
    y = np.zeros(200_000)
    y[123_456] = 1.0
    plot = Plot(
        title="Peak",
        note="",
        source="x",
        x=Axis(label="x", unit="s"),
        y=Axis(label="y", unit="m", low=0.0, high=1.0),
        series=(Series(name="peak", x=np.arange(200_000.0), y=y),),
    )
    path = next(
        element.attrib["d"]
        for element in elements(page_of(a_report(plots=(plot,))))
        if element.get("class") == "line s0"
    )
    rows = [float(point.split(" ")[1]) for point in path.removeprefix("M").split("L")]
    assert min(rows) == 0.0
    assert len(rows) < 2_000


def test_a_borderline_run_is_presented_with_its_concern() -> None:
    shown = text_of(page_of(a_report(gaps=(0.0, 0.005, 0.0))))
    assert "Borderline" in shown
    assert "was borderline (gap) in 1 of 3 windows" in shown
    assert "Coherence by frequency" in shown


def test_a_contract_that_presents_only_passes_withholds_a_borderline_run() -> None:
    strict = replace(a_contract(), presentable=(Outcome.PASS,))
    shown = text_of(page_of(a_report(gaps=(0.0, 0.005, 0.0), contract=strict)))
    assert "Withheld" in shown
    assert "the contract lets only a pass be presented" in shown


def test_a_gate_without_a_title_goes_by_its_id() -> None:
    assert "gaps" in text_of(page_of(a_report(contract=a_contract(replace(GAPS, title="")))))
