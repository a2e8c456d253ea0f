"""Setup files: what is read from them, and where a person is told to look when something is wrong."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.setup_files import Setup, calibration_of, instant_ns, parse_setup
from domain.errors import LimitError, MalformedError, TallystickError

DEMO = Path(__file__).parents[2] / "api/demo_data/setup.yaml"
GOOD = DEMO.read_bytes()


def test_the_demos_setup_is_read_whole() -> None:
    setup = parse_setup(GOOD, "setup.yaml")
    assert [device.device_id for device in setup.devices] == ["colocated-seismometers"]
    assert [connection.provider for connection in setup.connections] == ["oura"]
    assert calibration_of(setup.calibrations[0]).valid_from_ns == 1_289_174_400_000_000_000
    assert len(setup.contracts) == len(setup.deployments) == 5


def test_the_documentations_first_setup_is_one() -> None:
    text = (Path(__file__).parents[2] / "docs/setup.md").read_text()
    setup = parse_setup(text.split("```yaml\n")[1].split("```")[0].encode(), "setup.yaml")
    assert setup.devices
    assert setup.connections
    assert calibration_of(setup.calibrations[0])
    assert setup.deployments


def test_json_says_the_same_as_yaml() -> None:
    yaml = b"connections:\n  - {connection_id: a, provider: oura}\n"
    json = b'{"connections": [{"connection_id": "a", "provider": "oura"}]}'
    assert parse_setup(yaml, "a.yaml") == parse_setup(json, "a.json")


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (b"model: DL-2", b"modell: DL-2", "devices[0] (line"),
        (b"serial_number: DEMO-0001", b"serial_number: 7", "devices[0].serial_number (line"),
        (
            b"uncertainty_relative: 0.01",
            b"uncertainty_relative: -1",
            "channels[0].uncertainty_relative (line",
        ),
        (b"sensitivity: 6.0e+8", b"sensitivity: 0", "channels[0].sensitivity (line"),
        (b'issued_at: "2010', b'issued_at: "yesterday', "calibrations[0] (line"),
        (b'valid_until: "2011-11-08T00:00:00Z"', b'valid_until: "2011-11-08T00:00:00"', "valid_until"),
        (b'valid_until: "2011', b'valid_until: "2001', "valid_until"),
        (b'valid_until: "2011', b'valid_until: "2999', "valid_until"),
        (
            b"device_id: colocated-seismometers\n    man",
            b"device_id: Big Letters\n    man",
            "device_id (line",
        ),
        (b"contracts/spectra.yaml", b"../../etc/passwd", "contracts[0] (line"),
        (b"contracts/spectra.yaml", b"/etc/passwd", "contracts[0] (line"),
        (b"contract_version: 1}", b"contract_version: 0}", "contract_version"),
        (b"unit: counts,", b'unit: "",', "unit (line"),
        (b"unit: counts,", b'unit: "a\\nb",', "unit (line"),
    ],
)
def test_a_mistake_is_told_with_its_place(old: bytes, new: bytes, place: str) -> None:
    assert old in GOOD
    with pytest.raises(MalformedError) as refused:
        parse_setup(GOOD.replace(old, new), "setup.yaml")
    assert place in refused.value.field


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"7", b"devices: 7", b"\xff", b"devices: &a [*a]", b"!!python/object/apply:os.system [ls]"],
)
def test_what_is_no_setup_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_setup(data, "setup.yaml")


def test_depth_and_size_have_limits() -> None:
    with pytest.raises(LimitError):
        parse_setup(b"[" * 1_000 + b"]" * 1_000, "setup.yaml")
    with pytest.raises(LimitError):
        parse_setup(b"# " + b"x" * 300_000, "setup.yaml")


@given(st.binary(max_size=300))
def test_any_bytes_give_a_setup_or_an_error_of_ours(data: bytes) -> None:
    for name in ("a.yaml", "a.json"):
        with contextlib.suppress(TallystickError):
            assert isinstance(parse_setup(data, name), Setup)


@given(st.datetimes(), st.integers(-14, 14))
def test_an_instant_is_counted_in_nanoseconds_or_refused(moment: object, hours: int) -> None:
    text = f"{moment:%Y-%m-%dT%H:%M:%S}{'+' if hours >= 0 else '-'}{abs(hours):02}:00"
    try:
        time_ns = instant_ns(text, "field")
    except MalformedError:
        return
    assert 0 <= time_ns < 1 << 63
    assert time_ns % 1_000_000_000 == 0
