"""The command line: exit status, one-line errors, JSON for machines, and never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from api.command_line import COMMANDS, main
from ledger.notes import VerifierKey, format_verifier_key, parse_verifier_key
from tests.api.served import ROOT
from tests.ledger.signing_key import SigningKey
from tests.story.told import RATE_HZ, recording

DATA = ROOT / "api/demo_data"
DEVICE = "colocated-seismometers"


class Said(NamedTuple):
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Tally = Callable[..., Said]


@pytest.fixture(scope="module")
def shared_home(told: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the story that tests look at and do not change."""
    return Path(shutil.copytree(told, tmp_path_factory.mktemp("shared") / "home"))


@pytest.fixture
def look(shared_home: Path, capfd: pytest.CaptureFixture[str]) -> Tally:
    """Runs ``tally`` in this process over a story that stays as it is."""
    return runner(shared_home, capfd)


@pytest.fixture
def tally(told: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Tally:
    """Runs ``tally`` in this process over a story of the test's own."""
    return runner(Path(shutil.copytree(told, tmp_path / "home")), capfd)


def runner(home: Path, capfd: pytest.CaptureFixture[str]) -> Tally:
    def run(*words: str | Path, tenant: str = "demo") -> Said:
        capfd.readouterr()
        status = main([*map(str, words), "--home", str(home), "--tenant", tenant])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Said(status, out, err)

    return run


def process(*words: str, given: bytes = b"", **environment: str) -> Said:
    """Runs ``tally`` in a process of its own, with no settings but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    done = subprocess.run(
        [sys.executable, "-m", "api", *words],
        cwd=ROOT,
        input=given,
        env={**kept, **environment},
        capture_output=True,
        timeout=120,
        check=False,
    )
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    said = process("--help")
    assert said.status == 0
    for command in COMMANDS:
        assert f"\n    {command.name}" in said.out


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"tally {command}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--help"], ["verify", "--help"], ["verify", "/nowhere", "--key", "x"]])
def test_verifying_waits_for_no_database_and_no_web_framework(words: list[str]) -> None:
    program = (
        "import sys\nfrom api.command_line import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'duckdb', 'litestar', 'pyarrow', 'granian', 'aiohttp', 'pydantic', 'grpc'}\n"
        "found = heavy & {name.partition('.')[0] for name in sys.modules}\n"
        "sys.exit(f'imported {sorted(found)}' if found else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["runs", "--limit", "0"],
        ["runs", "--limit", "many"],
        ["runs", "--verdict", "good"],
        ["runs", "run-nothing"],
        ["runs", "--no-such-option"],
        ["batches", "--limit", "99999999"],
        ["receipts", "r0"],
        ["receipts", "--bundle", "x"],
        ["receipts", "r0", "--artifact", "x"],
        ["replay", "r0"],
        ["reprocess", "nothing"],
        ["history", "nothing"],
        ["ingest", "/nowhere/file", "--source", DEVICE],
        ["ingest", "/", "--source", DEVICE],
        ["ingest", str(ROOT / "README.md"), "--source", "nobody"],
        ["ingest", str(ROOT / "README.md")],
        ["ingest", str(ROOT / "README.md"), "--source", DEVICE, "--option", "sample_rate_hz=fast"],
        ["ingest", str(ROOT / "README.md"), "--source", DEVICE, "--option", "nonsense=1"],
        ["ingest", str(ROOT / "README.md"), "--source", DEVICE, "--option", "units"],
        ["ingest", str(ROOT / "README.md"), "--source", DEVICE, "--kind", "../x"],
        ["apply", "/nowhere.yaml"],
        ["apply", str(ROOT / "README.md")],
        ["verify", "/nowhere", "--key", "x"],
        ["verify", str(ROOT / "README.md"), "--key", "x+y+z"],
        ["serve", "--port", "0"],
        ["serve", "--port", "http"],
        ["keys", "--scopes", "root", "--create", "x"],
        ["keys", "--revoke", "nothing"],
        ["keys", "--create", "a\nb"],
        ["keys", "--create", "x", "--days", "0"],
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_2(look: Tally, words: list[str]) -> None:
    said = look(*words)
    assert said.status == 2
    assert said.err.startswith("tally: ")
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "tally demo" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["runs", "run-nothing"], ["nonsense"], ["ingest"]])
def test_an_error_is_json_where_json_is_asked_for(look: Tally, words: list[str]) -> None:
    said = look(*words, "--json")
    assert said.status == 2
    assert said.json["error"]["what"]
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("command", ["runs", "batches", "receipts", "sources", "rebuild", "audit", "history"])
def test_a_mistyped_tenant_is_told_and_makes_no_ledger(look: Tally, command: str) -> None:
    words = [command, "x"] if command == "history" else [command]
    said = look(*words, tenant="dmeo")
    assert said.status == 2
    assert "no such ledger" in said.err
    assert json.loads(look("sources", "--json").out)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TALLY_TENANT", "../x"),
        ("TALLY_ORIGIN", "two words"),
        ("TALLY_STORE", "mysql://x"),
        ("TALLY_HOME", "/proc/x"),
    ],
)
def test_settings_that_cannot_be_are_one_line(
    name: str,
    value: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TALLY_HOME", str(tmp_path))
    monkeypatch.setenv(name, value)
    assert main(["runs"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_command_may_stand_behind_its_options(tally: Tally, told: Path) -> None:
    assert main(["--json", "--tenant", "demo", "--home", str(told), "key"]) == 0


def test_lists_and_single_things(look: Tally) -> None:
    assert {row["source_id"] for row in look("sources", "--json").json} == {DEVICE, "wearer-1-oura"}
    runs = look("runs", "--json").json
    assert len(runs) == 10
    assert [row["run_id"] for row in runs[:3]] == [
        row["run_id"] for row in look("runs", "--limit", "3", "--json").json
    ]
    withheld = look("runs", "--withheld", "--source", DEVICE, "--json").json
    assert withheld
    assert not any(row["is_presentable"] for row in withheld)
    shown = look("runs", runs[-1]["run_id"])
    assert "gaps" in shown.out
    assert look("runs", runs[-1]["run_id"], "--json").json["run"] == runs[-1]
    assert "withheld" in look("runs").out
    assert [row["kind"] for row in look("batches", "--quarantined", "--json").json] == ["oura.sleep"]
    assert "reprocess" in look("batches", "--quarantined").out


def test_history_tells_what_led_to_a_thing_and_what_came_of_it(look: Tally) -> None:
    run = next(row for row in look("runs", "--json").json if row["procedure"] == "delay-track")
    types = [entry["event_type"] for entry in look("history", run["run_id"], "--json").json]
    assert types.count("batch.ingested.v1") == 2
    assert types[-1] == "receipt.issued.v1"
    assert "procedure.deployed.v1" in types
    about = look("history", DEVICE, "--json").json
    assert {"device.registered.v1", "calibration.set.v1", "batch.ingested.v1"} <= {
        entry["event_type"] for entry in about
    }
    assert look("history", f"run/{run['run_id']}").status == 0


def test_a_bundle_that_was_written_verifies_without_any_settings(look: Tally, tmp_path: Path) -> None:
    receipt = next(row for row in look("receipts", "--json").json if row["is_presentable"])["receipt_id"]
    bundle, key = tmp_path / "b.tally.json", tmp_path / "k.vkey"
    assert look("receipts", receipt, "--bundle", bundle).status == 0
    key.write_text(look("key").out)
    said = process(
        "verify", str(bundle), "--key", str(key), "--json", TALLY_HOME="/nowhere", TALLY_TENANT="??"
    )
    assert said.status == 0, said.err
    assert said.json["receipt_id"] == receipt
    assert process("verify", "-", "--key", str(key), given=bundle.read_bytes()).status == 0


def test_a_receipt_that_does_not_verify_is_status_1(look: Tally, tmp_path: Path) -> None:
    receipt = look("receipts", "--json").json[0]["receipt_id"]
    bundle = tmp_path / "b.tally.json"
    look("receipts", receipt, "--bundle", bundle)
    own = look("key").out.strip()
    name = parse_verifier_key(own).name
    other = format_verifier_key(VerifierKey(name=name, public_key=SigningKey(name).public_key))
    said = look("verify", bundle, "--key", other)
    assert said.status == 1
    assert said.err.count("\n") == 1
    artifact = tmp_path / "report.html"
    assert look("receipts", receipt, "--artifact", "report.html", "--output", artifact).status == 0
    named = ("verify", bundle, "--key", own, "--artifact", f"report.html={artifact}")
    assert look(*named).status in (0, 1)
    artifact.write_bytes(b"another report")
    assert look(*named).status == 1


def test_a_withheld_artifact_is_written_only_as_evidence(look: Tally, tmp_path: Path) -> None:
    run = next(row for row in look("runs", "--withheld", "--json").json if row["procedure"] == "spectra")
    words = ("receipts", run["receipt_id"], "--artifact", "spectra.columns", "--output", tmp_path / "out")
    said = look(*words)
    assert said.status == 2
    assert "withheld" in said.err
    assert not (tmp_path / "out").exists()
    assert look(*words, "--even-withheld").status == 0
    assert (tmp_path / "out").stat().st_size > 0
    assert look("receipts", run["receipt_id"], "--artifact", "report.html", "--output", "-").out.startswith(
        "<"
    )


def test_a_replay_is_status_0_when_it_is_reproduced(look: Tally) -> None:
    receipt = look("receipts", "--procedure", "oura.sleep", "--json").json[0]["receipt_id"]
    assert look("replay", receipt, "--dry", "--json").json["result"] == "reproduced"


def test_ingesting_the_same_file_again_changes_nothing(tally: Tally, tmp_path: Path) -> None:
    file = tmp_path / "sensor.csv"
    file.write_bytes(recording(0, 60))
    words = (
        "ingest",
        file,
        "--source",
        DEVICE,
        "--option",
        "time_unit=ns",
        "--option",
        f"sample_rate_hz={RATE_HZ}",
    )
    first = tally(*words, "--json")
    assert first.status == 0, first.err
    assert first.json["batches"][0]["is_new"]
    assert {outcome["procedure"].partition(" ")[0] for outcome in first.json["outcomes"]} >= {"spectra"}
    again = tally(*words, "--json").json
    assert not again["batches"][0]["is_new"]
    assert again["outcomes"] == []
    assert "already there" in tally(*words).out


def test_what_is_quarantined_is_status_1_with_the_bytes_kept(tally: Tally, tmp_path: Path) -> None:
    file = tmp_path / "noise.bin"
    file.write_bytes(b"\x00\x01 no recording")
    said = tally("ingest", file, "--source", DEVICE)
    assert said.status == 1
    assert "quarantined" in said.out


def test_a_newer_mapper_takes_up_what_was_quarantined_and_shows_the_difference(tally: Tally) -> None:
    assert tally("reprocess", "oura.sleep", "--json").json == []
    assert tally("apply", DATA / "setup-oura-1.1.yaml").status == 0
    done = tally("reprocess", "oura.sleep", "--json").json
    assert [(one["version_before"], one["version_after"]) for one in done] == [("1.0.0", "1.1.0")] * 2
    assert all(one["receipt_before"] != one["receipt_after"] for one in done)
    changed = next(one for one in done if one["diff"])
    assert changed["diff"]["changes"]
    receipts = {row["receipt_id"]: row for row in tally("receipts", "--json").json}
    assert receipts[done[0]["receipt_before"]]["superseded_by"] == done[0]["receipt_after"]
    assert tally("reprocess", "oura.sleep", "--json").json == []
    assert "Nothing to do" in tally("reprocess", "oura.sleep").out


def test_a_rebuild_proves_the_views_equal(tally: Tally) -> None:
    assert tally("rebuild", "--json").json["live"] == "missing"
    again = tally("rebuild", "--json").json
    assert (again["live"], again["is_equal"]) == ("compared", True)
    assert "equal" in tally("rebuild").out


def test_an_audit_with_findings_is_status_1(tally: Tally, tmp_path: Path) -> None:
    assert tally("audit").status == 0
    victim = next(
        path for path in (tmp_path / "home/vault").rglob("*") if path.is_file() and path.stat().st_size
    )
    victim.chmod(0o600)
    victim.write_bytes(b"another object")
    said = tally("audit", "--json")
    assert said.status == 1
    assert said.json["findings"][0]["check"] == "vault"


def test_keys_are_made_listed_and_revoked(tally: Tally) -> None:
    made = tally("keys", "--create", "gateway", "--scopes", "ingest,read", "--days", "30", "--json").json
    assert made["key"].startswith("tl_")
    assert made["scopes"] == ["ingest", "read"]
    listed = tally("keys", "--json").json
    assert [key["key_id"] for key in listed] == [made["key_id"]]
    assert made["key"].split("_")[2] not in json.dumps(listed)
    assert tally("keys", "--revoke", made["key_id"], "--json").json["is_revoked"]
    assert "revoked" in tally("keys").out


def test_a_reader_that_goes_away_is_no_error(shared_home: Path) -> None:
    command = f"{sys.executable} -m api runs --home {shared_home} | head -c 10; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_fault_of_ours_is_one_line_and_status_70(look: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    import api.commands.sources

    def broken(_: object) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr(api.commands.sources, "run", broken)
    said = look("sources")
    assert said.status == 70
    assert said.err.count("\n") == 1
    assert "TALLY_DEBUG" in said.err
