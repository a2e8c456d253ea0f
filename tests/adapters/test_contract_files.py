"""Contract files: what is accepted means what it says, and what is refused says where and why."""

import contextlib
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract_files import parse_contract
from domain.contract import Contract
from domain.errors import InvalidError, LimitError, MalformedError, TallystickError
from domain.outcomes import Outcome, Reason

GATE = """\
  - gate_id: gaps
    metric: sampling.gap_ratio
    unit: "1"
    rule: at_most
    pass_limit: 1e-3
    fail_limit: 0.01
    rule_id: own
"""
HEAD = "contract_id: spectra\nversion: 1\ntitle: Spectra\n"
GOOD = HEAD + "gates:\n" + GATE


def refused(text: str | bytes, name: str = "c.yaml") -> TallystickError:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(TallystickError) as error:
        parse_contract(data, name)
    assert error.value.field.startswith(name)
    assert len(str(error.value)) < 1_000
    return error.value


def test_a_contract_file_becomes_the_contract_it_says() -> None:
    contract = parse_contract((GOOD + "presentable: [pass]\n").encode(), "c.yaml")
    assert (contract.contract_id, contract.version, contract.presentable) == ("spectra", 1, (Outcome.PASS,))
    gate = contract.gates[0]
    assert (gate.pass_limit, gate.fail_limit, gate.unit) == (0.001, 0.01, "1")
    assert (gate.required, gate.reason, gate.window_pass_fraction_min) == (True, Reason.LIMIT_EXCEEDED, 1.0)


def test_json_and_yaml_of_the_same_contract_have_one_digest() -> None:
    contract = parse_contract(GOOD.encode(), "c.yaml")
    as_json = msgspec.json.encode(contract)
    assert parse_contract(as_json, "c.json").digest == contract.digest
    assert parse_contract(b"\xef\xbb\xbf" + GOOD.encode(), "c.yml").digest == contract.digest


@pytest.mark.parametrize(
    "text, kind, place, said",
    [
        ("", MalformedError, "c.yaml", "nothing"),
        ("[]", MalformedError, "c.yaml (line 1)", "a list"),
        ("just words", MalformedError, "c.yaml (line 1)", "text"),
        (HEAD, MalformedError, "c.yaml (line 1)", "gates"),
        (HEAD + "gates: []\n", LimitError, "c.yaml: gates (line 4)", "1 to 64"),
        (HEAD + "gates: {}\n", MalformedError, "c.yaml: gates (line 4)", "a list of gates"),
        (HEAD + "gates:\n" + GATE * 65, LimitError, "c.yaml: gates (line 5)", "65"),
        (HEAD + "gates: [1]\n", MalformedError, "c.yaml: gates[0] (line 4)", "a gate is a mapping"),
        (GOOD + "gate: 1\n", MalformedError, "c.yaml: gate (line 12)", "Did you mean gates?"),
        (
            GOOD.replace("pass_limit", "pas_limit"),
            MalformedError,
            "c.yaml: gates[0].pas_limit",
            "Did you mean pass_limit?",
        ),
        (GOOD.replace('    unit: "1"\n', ""), MalformedError, "c.yaml: gates[0] (line 5)", "expected unit"),
        (
            GOOD.replace('unit: "1"', "unit: 1"),
            MalformedError,
            "c.yaml: gates[0].unit (line 7)",
            'Quote it: "1".',
        ),
        (GOOD.replace('unit: "1"', 'unit: " "'), MalformedError, "c.yaml: gates[0].unit (line 7)", "empty"),
        (
            GOOD.replace("1e-3", "low"),
            MalformedError,
            "c.yaml: gates[0].pass_limit (line 9)",
            "expected a number",
        ),
        (
            GOOD.replace("1e-3", "true"),
            MalformedError,
            "c.yaml: gates[0].pass_limit (line 9)",
            "true or false",
        ),
        (GOOD.replace("1e-3", ""), MalformedError, "c.yaml: gates[0].pass_limit (line 9)", "got nothing"),
        (
            GOOD.replace("1e-3", ".inf"),
            MalformedError,
            "c.yaml: gates[0].pass_limit (line 9)",
            "text: '.inf'",
        ),
        (GOOD.replace("1e-3", "1e999"), InvalidError, "c.yaml: gates[0].pass_limit (line 9)", "finite"),
        (GOOD.replace("1e-3", "0.5"), InvalidError, "c.yaml: gates[0].fail_limit (line 10)", ">= 0.5"),
        (
            GOOD.replace("at_most", "below"),
            MalformedError,
            "c.yaml: gates[0].rule (line 8)",
            "at_most or at_least",
        ),
        (GOOD + "    reason: gaps\n", MalformedError, "c.yaml: gates[0].reason (line 12)", "none, unknown"),
        (GOOD + "    required: no\n", MalformedError, "c.yaml: gates[0].required (line 12)", "true or false"),
        (GOOD + "    guard_band: -1\n", InvalidError, "c.yaml: gates[0].guard_band (line 12)", "negative"),
        (GOOD + "    required: false\n", InvalidError, "c.yaml: gates (line 5)", "at least one gate"),
        (GOOD + GATE, InvalidError, "c.yaml: gates[1].gate_id (line 12)", "once"),
        (GOOD.replace("gaps", "Gaps!"), MalformedError, "c.yaml: gates[0].gate_id (line 5)", "a-z"),
        (
            GOOD.replace("sampling.gap_ratio", "../x"),
            MalformedError,
            "c.yaml: gates[0].metric (line 6)",
            "a-z",
        ),
        (GOOD.replace("version: 1", "version: 0"), InvalidError, "c.yaml: version (line 2)", "count from 1"),
        (
            GOOD.replace("version: 1", 'version: "1"'),
            MalformedError,
            "c.yaml: version (line 2)",
            "a whole number",
        ),
        (
            GOOD.replace("version: 1", "version: " + "9" * 300),
            MalformedError,
            "c.yaml: version (line 2)",
            "whole number",
        ),
        (
            GOOD + "presentable: [pass, fail]\n",
            InvalidError,
            "c.yaml: presentable (line 12)",
            "never presentable",
        ),
        (
            GOOD + "presentable: [pass, best]\n",
            MalformedError,
            "c.yaml: presentable[1] (line 12)",
            "borderline",
        ),
        (GOOD.replace("Spectra", "S" * 401), LimitError, "c.yaml: title (line 3)", "400"),
        (
            GOOD.replace("title: Spectra", 'title: "a\\u202Eb"'),
            MalformedError,
            "c.yaml: title (line 3)",
            "U+202E",
        ),
        (
            GOOD.replace("title: Spectra", 'title: "a\\0b"'),
            MalformedError,
            "c.yaml: title (line 3)",
            "U+0000",
        ),
        (GOOD + "version: 2\n", MalformedError, "c.yaml (line 12)", "twice"),
        (GOOD + "? [a, b]\n: 1\n", MalformedError, "c.yaml (line 12)", "a key is a word"),
        (GOOD + "---\na: 1\n", MalformedError, "c.yaml (line 12)", "more than one"),
        (GOOD.replace("Spectra", "&a Spectra"), MalformedError, "c.yaml (line 3)", "anchors"),
        (GOOD.replace("Spectra", "*a"), MalformedError, "c.yaml (line 3)", "aliases"),
        (GOOD + "<<: *a\n", MalformedError, "c.yaml (line 12)", "aliases"),
        (
            GOOD.replace("Spectra", "!!python/object/apply:os.system [id]"),
            MalformedError,
            "c.yaml (line 3)",
            "tags",
        ),
        (GOOD + "a: [", MalformedError, "c.yaml (line 12)", "not YAML"),
        (GOOD + "\t- a", MalformedError, "c.yaml (line 12)", "not YAML"),
        (GOOD + "a: \x07", MalformedError, "c.yaml", "not YAML"),
        ("%YAML 9.9\n---\n" + GOOD, MalformedError, "c.yaml", "not YAML"),
        ("a: " + "[" * 100_000, TallystickError, "c.yaml", ""),
        ("".join(f"{' ' * depth}a:\n" for depth in range(300)), LimitError, "c.yaml (line 17)", "nested"),
        ("[" + "1," * 20_000 + "1]", LimitError, "c.yaml", "10000"),
        ("#" * 300_000, LimitError, "c.yaml", "262144"),
        (b"\xff\xfea\x00", MalformedError, "c.yaml", "UTF-8"),
        (b"a: \xc3\x28", MalformedError, "c.yaml", "UTF-8"),
    ],
)
def test_a_bad_yaml_file_is_refused_with_place_and_expectation(
    text: str | bytes, kind: type[TallystickError], place: str, said: str
) -> None:
    error = refused(text)
    assert isinstance(error, kind)
    assert error.field.startswith(place)
    assert said in str(error)


@pytest.mark.parametrize(
    "text, kind, said",
    [
        ("", MalformedError, "not JSON"),
        ("{", MalformedError, "not JSON"),
        ('{"version": 1, "version": 2}', MalformedError, "version"),
        ('{"version": NaN}', MalformedError, "NaN"),
        ('{"version": -Infinity}', MalformedError, "-Infinity"),
        ("[" * 100_000, LimitError, "nested"),
        ('{"a":' * 40_000, LimitError, "nested"),
        ("[" * 20 + "]" * 20, LimitError, "nested"),
        ("[" + "1," * 20_000 + "1]", LimitError, "10000"),
        ('"' + "a" * 300_000 + '"', LimitError, "262144"),
        ("1" * 100_000, MalformedError, "mapping"),
        ('{"title": "\\ud800"}', MalformedError, "missing key"),
    ],
)
def test_a_bad_json_file_is_refused(text: str, kind: type[TallystickError], said: str) -> None:
    error = refused(text, "c.json")
    assert isinstance(error, kind)
    assert said in str(error)


def test_a_lone_surrogate_in_json_is_refused_before_it_reaches_an_event() -> None:
    tree = msgspec.to_builtins(parse_contract(GOOD.encode(), "c.yaml"))
    tree["title"] = "\ud800"
    assert "U+D800" in str(refused(json.dumps(tree), "c.json"))


@given(text=st.text(max_size=300))
def test_no_text_whatever_leaves_anything_but_a_contract_or_a_clear_error(text: str) -> None:
    for name in ("c.yaml", "c.json"):
        with contextlib.suppress(TallystickError):
            assert isinstance(parse_contract(text.encode("utf-8", "surrogatepass"), name), Contract)


@given(data=st.data())
def test_no_mutation_of_a_good_file_leaves_anything_but_a_contract_or_a_clear_error(
    data: st.DataObject,
) -> None:
    position = data.draw(st.integers(0, len(GOOD) - 1))
    length = data.draw(st.integers(0, 20))
    piece = data.draw(
        st.sampled_from(["", "\n", ": ", "- ", "[", "{", "&a ", "*a", "!!x ", "'", '"', "|", "\t", "1", "~"])
    )
    with contextlib.suppress(TallystickError):
        mutated = GOOD[:position] + piece + GOOD[position + length :]
        assert isinstance(parse_contract(mutated.encode(), "c.yaml"), Contract)


@pytest.mark.parametrize(
    "path",
    sorted((Path(__file__).parents[2] / "api" / "demo_data" / "contracts").glob("*.yaml")),
    ids=lambda path: path.name,
)
def test_every_contract_of_the_demo_parses_and_quotes_its_sources(path: Path) -> None:
    contract = parse_contract(path.read_bytes(), path.name)
    assert contract.contract_id == path.stem
    for gate in contract.gates:
        assert gate.title
        assert len(gate.rule_id) > 3
