"""Bad input, from the file a person gives to what he is told: a quarantine with the bytes kept, or a run that
is withheld; never a traceback, a lost byte or a half-written run."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.command_line import main
from tests.adapters.files.miniseed_writer import write_miniseed
from tests.api.served import ROOT
from tests.story.told import START_S

DEVICE, WEARER = "colocated-seismometers", "wearer-1-oura"
NIGHT = (ROOT / "api/demo_data/oura/sleep_2026-03-28.json").read_bytes()
START_NS = START_S * 1_000_000_000
STEP_NS = 5_000_000

QUARANTINED, WITHHELD = "quarantined", "withheld"


def csv(times_ns: np.ndarray, values: np.ndarray | list[str], unit: str = " [counts]") -> bytes:
    rows = "\n".join(f"{time},{value}" for time, value in zip(times_ns, values, strict=True))
    return f"time,CA.STS2..EHZ{unit}\n{rows}\n".encode()


def ground_motion(count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.rint(np.convolve(rng.normal(size=count + 40), np.hanning(41), "valid")[:count] * 3_000).astype(
        int
    )


def times(count: int, start_ns: int = START_NS) -> np.ndarray:
    return start_ns + np.arange(count) * STEP_NS


def recorded() -> bytes:
    return write_miniseed(
        ground_motion(24_000), start_ns=START_NS, sample_rate_hz=200.0, source=("CA", "STS2", "", "EHZ")
    )


def table(rate: float | None) -> bytes:
    """A Parquet file of a column without a time."""
    field = pa.field("a", pa.int32(), metadata={"unit": "counts"})
    metadata = {} if rate is None else {"sample_rate_hz": str(rate), "start_ns": str(START_NS)}
    made = pa.table({"a": pa.array([1, 2, 3], pa.int32())}, schema=pa.schema([field], metadata=metadata))
    sink = io.BytesIO()
    pq.write_table(made, sink)
    return sink.getvalue()


def with_claimed_size(data: bytes) -> bytes:
    """A Parquet file whose footer says that its own length is ten gigabytes."""
    return data[:-8] + (0xFFFFFFF0).to_bytes(4, "little") + data[-4:]


def backwards() -> bytes:
    when = times(24_000)
    when[12_000:] -= 20_000_000_000
    return csv(when, ground_motion(24_000))


def twice() -> bytes:
    when = times(24_000)
    when[5_000:5_400] = when[4_600:5_000]
    return csv(when, ground_motion(24_000))


RECORDINGS: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "truncated": (lambda: recorded()[:-100], "a.mseed", QUARANTINED),
    "corrupt": (lambda: recorded()[:700] + b"\xff" * 300 + recorded()[1_000:], "a.mseed", QUARANTINED),
    "no recording": (lambda: b"\x00\x01\x02 nothing", "a.bin", QUARANTINED),
    "an HTML page": (lambda: b"<!doctype html><p>Login", "a.csv", QUARANTINED),
    "not a number": (lambda: csv(times(3), ["1", "NaN", "3"]), "a.csv", QUARANTINED),
    "infinity": (lambda: csv(times(3), ["1", "inf", "3"]), "a.csv", QUARANTINED),
    "an empty cell": (lambda: csv(times(3), ["1", "", "3"]), "a.csv", QUARANTINED),
    "no unit": (lambda: csv(times(3), ["1", "2", "3"], unit=""), "a.csv", QUARANTINED),
    "no samples": (lambda: b"time,CA.STS2..EHZ [counts]\n", "a.csv", QUARANTINED),
    "no rate": (lambda: table(None), "a.parquet", QUARANTINED),
    "a rate of zero": (lambda: table(0.0), "a.parquet", QUARANTINED),
    "ten gigabytes claimed": (lambda: with_claimed_size(table(200.0)), "a.parquet", QUARANTINED),
    "a clock that goes backwards": (backwards, "a.csv", WITHHELD),
    "samples twice": (twice, "a.csv", WITHHELD),
    "a dead sensor": (lambda: csv(times(24_000), np.full(24_000, 7)), "a.csv", WITHHELD),
    "long after the calibration ended": (
        lambda: csv(times(24_000, START_NS + 400 * 86_400_000_000_000), ground_motion(24_000)),
        "a.csv",
        WITHHELD,
    ),
}
PAYLOADS: dict[str, bytes] = {
    "empty object": b"{}",
    "not JSON": b"sleep well",
    "no UTF-8": b'{"data": ["\xff"]}',
    "hostile depth": b'{"data":' + b"[" * 100_000,
    "hostile depth, closed": b'{"data":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "a number of a million digits": b'{"data": [' + b"9" * 1_000_000 + b"]}",
    "a string for a list": b'{"data": "none"}',
    "cut in the middle": NIGHT[: len(NIGHT) // 2],
    "a time that is none": NIGHT.replace(b"2026-03-2", b"2026-13-4"),
}


class Taken(NamedTuple):
    """What became of one file."""

    batch_id: str
    outcomes: list[dict[str, Any]]


@pytest.fixture(scope="module")
def home(told: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(told, tmp_path_factory.mktemp("bad") / "home"))


@pytest.fixture(scope="module")
def taken(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Taken]:
    """Everything bad, ingested in three calls as a person would; by name."""
    folder = tmp_path_factory.mktemp("files")
    files: dict[str, Path] = {}
    for number, (name, (make, file_name, _)) in enumerate(RECORDINGS.items()):
        files[name] = folder / f"{number}-{file_name}"
        files[name].write_bytes(make())
    for number, (name, payload) in enumerate(PAYLOADS.items()):
        files[name] = folder / f"payload-{number}.json"
        files[name].write_bytes(payload)
    tables = [name for name in RECORDINGS if files[name].suffix == ".csv"]
    others = [name for name in RECORDINGS if name not in tables]
    csv_options = ["--option", "time_unit=ns", "--option", "sample_rate_hz=200"]
    found: dict[str, Taken] = {}
    for names, words in (
        (tables, ["--source", DEVICE, *csv_options]),
        (others, ["--source", DEVICE]),
        (list(PAYLOADS), ["--source", WEARER, "--kind", "oura.sleep"]),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "api", "ingest", *(str(files[name]) for name in names), *words, "--json"],
            cwd=ROOT,
            env={**os.environ, "TALLY_HOME": str(home)},
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 1, done.stderr.decode()
        assert done.stderr == b""
        told_of = json.loads(done.stdout)
        assert told_of["stuck"] == []
        for name, batch in zip(names, told_of["batches"], strict=True):
            outcomes = [line for line in told_of["outcomes"] if batch["batch_id"] in line["batch_ids"]]
            found[name] = Taken(batch["batch_id"], outcomes)
    return found


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_bad_recording_is_not_presented(taken: dict[str, Taken], name: str) -> None:
    _, _, expected = RECORDINGS[name]
    outcomes = taken[name].outcomes
    assert not any(outcome["is_presentable"] for outcome in outcomes)
    if expected == QUARANTINED:
        assert [outcome["verdict"] for outcome in outcomes] == ["quarantined"]
        assert outcomes[0]["detail"]
    else:
        assert any(outcome["procedure"].startswith("spectra") for outcome in outcomes)
        assert all(outcome["receipt_id"] and outcome["detail"] for outcome in outcomes)


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_bad_payload_gets_a_receipt_and_is_not_presented(taken: dict[str, Taken], name: str) -> None:
    outcomes = taken[name].outcomes
    assert not any(outcome["is_presentable"] for outcome in outcomes)
    assert any(outcome["receipt_id"] for outcome in outcomes)
    assert all(outcome["detail"] for outcome in outcomes)


def test_every_byte_is_kept(home: Path, taken: dict[str, Taken], capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert main(["batches", "--home", str(home), "--json", "--limit", "100"]) == 0
    batches = {batch["batch_id"]: batch for batch in json.loads(capfd.readouterr().out)}
    held = {path.name: path for path in (home / "vault").rglob("*") if path.is_file()}
    for name, (make, _, _) in RECORDINGS.items():
        digest = batches[taken[name].batch_id]["digest"].removeprefix("sha256:")
        kept = next(path for file_name, path in held.items() if digest[-60:] in file_name)
        assert kept.read_bytes() == make(), name
    for name, payload in PAYLOADS.items():
        assert batches[taken[name].batch_id]["byte_count"] == len(payload), name


def test_the_ledger_is_whole_after_all_of_it(
    home: Path, taken: dict[str, Taken], capfd: pytest.CaptureFixture[str]
) -> None:
    assert taken
    capfd.readouterr()
    assert main(["audit", "--home", str(home), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["findings"] == []
    assert main(["rebuild", "--home", str(home)]) == 0
