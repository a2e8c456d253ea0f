"""The story under witnesses: real processes, two of three enough, one down; and a log that lies to them."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.command_line import main
from domain.errors import TallystickError
from domain.events import ReceiptIssued
from ledger.bundle import FORMAT_2, bundle_of, format_bundle, parse_bundle
from ledger.merkle import leaf_hash
from ledger.notes import format_verifier_key
from ledger.policy import InvalidQuorumError, parse_policy, policy_of_log
from ledger.tlog_proof import parse_tlog_proof, verify_tlog_proof
from ledger.verify import verify_bundle
from tests.api.story import open_api
from tests.docs.test_verify import FILE, verify
from tests.ledger.test_witnessing import device
from tests.ledger.witnessed_log import WitnessedLog
from tests.story.told import TENANT, at_desk
from tests.witness_process import WitnessProcess


@pytest.fixture
def witnesses(tmp_path: Path) -> Iterator[list[WitnessProcess]]:
    """Three witnesses that are not listening yet."""
    made = [WitnessProcess(tmp_path / f"w{number}", f"witness.example/w{number}") for number in range(3)]
    yield made
    for one in made:
        one.kill()


def tally(capsys: pytest.CaptureFixture[str], home: Path, *arguments: str, status: int = 0) -> str:
    capsys.readouterr()
    found = main([*arguments, "--home", str(home), "--tenant", TENANT])
    told = capsys.readouterr()
    assert found == status, told.out + told.err
    return told.out


def ask_for(home: Path, witnesses: list[WitnessProcess], *logs: str) -> None:
    """Two of these witnesses are enough for this home's ledgers, or for the named ones."""
    lines = [f"log {vkey}" for vkey in logs]
    lines += [f"witness w{number} {one.vkey} {one.url}" for number, one in enumerate(witnesses)]
    lines += [f"group two 2 {' '.join(f'w{number}' for number in range(len(witnesses)))}", "quorum two"]
    (home / "witnesses.policy").write_text("".join(f"{line}\n" for line in lines))


def logs_in(policy: str) -> list[str]:
    return [line.split(" ")[1] for line in policy.splitlines() if line.startswith("log ")]


async def bundles(home: Path) -> tuple[list[bytes], str]:
    """Every receipt's bundle, and the ledger's public key."""
    async with at_desk(home) as (_, desk):
        records = await desk.ledger.read(0, 10_000)
        indices = [record.index for record in records if record.event_type == ReceiptIssued.TYPE]
        made = [format_bundle(await bundle_of(desk.ledger, index)) for index in indices]
        return made, format_verifier_key(desk.ledger.verifier_key)


def test_two_of_three_witnesses_vouch_for_every_receipt_through_the_meta_log(
    home: Path, witnesses: list[WitnessProcess], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ask_for(home, witnesses)
    policy_text = tally(capsys, home, "witnesses", "policy")
    tenant, meta = logs_in(policy_text)
    # The witnesses learn one name, the meta-log's.
    for one in witnesses[:2]:
        one.know([meta])
        one.start()
    submitted = json.loads(tally(capsys, home, "witnesses", "submit", "--json"))
    assert [one["outcome"]["outcome"] for one in submitted["outcomes"]] == [
        "cosigned",
        "cosigned",
        "unreachable",
    ]
    assert submitted["not_witnessed"] == []

    policy, theirs = parse_policy(policy_text.encode()), verify.parse_policy(policy_text.encode())
    made, vkey = asyncio.run(bundles(home))
    assert vkey == tenant
    for bundle in made:
        assert json.loads(bundle)["format"] == FORMAT_2
        verified = verify_bundle(bundle, policy)
        assert [one.key.name for one in verified.witnessed.cosignatures] == [
            "witness.example/w0",
            "witness.example/w1",
        ]
        assert verified.meta is not None
        found = verify.verify_bundle(bundle, theirs)
        assert (found["receipt"], found["meta"]["is_judged"]) == (verified.receipt_id, True)
        # Who has only the ledger's key can still verify it, and is told what that says.
        bare = verify_bundle(bundle, policy_of_log(policy.logs[0].key))
        assert bare.meta is not None
        assert bare.meta.witnessed is None

    small = min(made, key=len)
    for number in range(300):
        changed = bytearray(small)
        changed[number * len(small) // 300] ^= 1 << number % 8
        with pytest.raises(TallystickError):
            verify_bundle(bytes(changed), policy)
        with pytest.raises((verify.Malformed, verify.Refused)):
            verify.verify_bundle(bytes(changed), theirs)

    # The same on the command line, with ours and with the second verifier.
    (tmp_path / "a.tally.json").write_bytes(small)
    (tmp_path / "a.policy").write_text(policy_text)
    arguments = [str(tmp_path / "a.tally.json"), "--policy", str(tmp_path / "a.policy")]
    summary = json.loads(tally(capsys, home, "verify", *arguments, "--json"))
    assert summary["witnesses"] == ["witness.example/w0", "witness.example/w1"]
    second = subprocess.run([sys.executable, "-I", FILE, *arguments], capture_output=True, check=False)
    assert second.returncode == 0
    assert json.loads(second.stdout)["cosigners"] == summary["witnesses"]

    tally(capsys, home, "witnesses", "check")
    tally(capsys, home, "witnesses", "alarms")
    tally(capsys, home, "audit", "--tenant", "meta")

    # One more entry and one witness less: too few for the newest, enough for what was.
    witnesses[1].kill()
    asyncio.run(grow(home))
    told = json.loads(tally(capsys, home, "witnesses", "submit", "--json", status=1))
    assert told["not_witnessed"] == [policy.logs[0].key.name]
    for bundle in asyncio.run(bundles(home))[0]:
        assert verify_bundle(bundle, policy).checkpoint.size < 10_000


async def grow(home: Path) -> None:
    async with at_desk(home) as (_, desk):
        await desk.ledger.record(device(1))


def test_a_ledger_that_is_named_is_shown_itself(
    home: Path, witnesses: list[WitnessProcess], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made, vkey = asyncio.run(bundles(home))
    ask_for(home, witnesses, vkey)
    policy_text = tally(capsys, home, "witnesses", "policy")
    policy = parse_policy(policy_text.encode())
    assert logs_in(policy_text) == [vkey]
    with pytest.raises(InvalidQuorumError):
        verify_bundle(made[0], policy)
    for one in witnesses[1:]:
        one.know([vkey])
        one.start()
    tally(capsys, home, "witnesses")
    for bundle in asyncio.run(bundles(home))[0]:
        assert parse_bundle(bundle).meta is None
        assert len(verify_bundle(bundle, policy).witnessed.cosignatures) == 2
        assert verify.verify_bundle(bundle, verify.parse_policy(policy_text.encode()))["meta"] is None
    # The API hands out the same.
    with open_api(home, tmp_path / "served") as api:
        answer = api.get("/v1/entries/3/proof")
        entry = base64.b64decode(api.get("/v1/entries/3", api.audit).json()["entry_base64"])
        proof = parse_tlog_proof(answer.content)
        assert len(verify_tlog_proof(proof, leaf_hash(entry), policy).cosignatures) == 2
        receipt_id = verify_bundle(made[0], policy_of_log(policy.logs[0].key)).receipt_id
        bundle = api.get(f"/v1/receipts/{receipt_id}/bundle").content
        assert len(verify_bundle(bundle, policy).witnessed.cosignatures) == 2
    # A policy that asks for one cosignature more than there are.
    one_only = policy_text.replace("group two 2", "group two 3")
    with pytest.raises(InvalidQuorumError):
        verify_bundle(asyncio.run(bundles(home))[0][0], parse_policy(one_only.encode()))


def test_a_ledger_rolled_back_behind_its_witnesses_is_refused_by_them(
    home: Path, witnesses: list[WitnessProcess], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, vkey = asyncio.run(bundles(home))
    ask_for(home, witnesses[:2], vkey)
    for one in witnesses[:2]:
        one.know([vkey])
        one.start()
    shutil.copytree(home / "ledgers", tmp_path / "backup")
    asyncio.run(grow(home))
    tally(capsys, home, "witnesses")
    # Everything on this machine that remembers is lost with the ledger.
    for name in ("ledgers", "index", "seen"):
        shutil.rmtree(home / name)
    shutil.copytree(tmp_path / "backup", home / "ledgers")
    told = json.loads(tally(capsys, home, "witnesses", "submit", "--json", status=1))
    assert [one["outcome"]["outcome"] for one in told["outcomes"]] == ["alarm", "alarm"]
    alarms = json.loads(tally(capsys, home, "witnesses", "alarms", "--json", status=1))
    assert {one["kind"] for one in alarms} == {"larger-tree"}


def test_a_log_that_shows_two_trees_to_two_witnesses_is_found_by_comparing_them(
    tmp_path: Path, witnesses: list[WitnessProcess], capsys: pytest.CaptureFixture[str]
) -> None:
    honest, forked = WitnessedLog(40), WitnessedLog(40, forked_at=10)
    vkey = format_verifier_key(honest.key.verifier_key)
    for one in witnesses[:2]:
        one.know([vkey])
        one.start()
    first, second = witnesses[:2]
    # Each sees a log that only grows, and cosigns it.
    for size_old, size in ((0, 8), (8, 20), (20, 33)):
        assert first.post(honest.request(size_old, size))[0] == 200
        assert second.post(forked.request(size_old, size))[0] == 200
    (tmp_path / "witness").mkdir()
    (tmp_path / "witness" / "logs.policy").write_text(f"log {vkey}\nquorum none\n")
    compare = ("witness", "compare", first.url, second.url, "--json")
    found = json.loads(tally(capsys, tmp_path, *compare, status=1))
    assert [one["size"] for one in found] == [20, 33]
    # The same from files, and later, when the witnesses are gone.
    files = []
    for one in witnesses[:2]:
        one.kill()
        files.append(tmp_path / f"{one.home.name}.json")
        files[-1].write_text(tally(capsys, one.home, "witness", "evidence", "--json"))
    told = tally(capsys, tmp_path, "witness", "compare", *map(str, files), status=1)
    assert "has signed two trees of 20 entries" in told
    assert honest.note(33).decode() in told
    assert forked.note(33).decode() in told
    # Witnesses that saw the same have nothing against it.
    told = tally(capsys, tmp_path, "witness", "compare", str(files[0]), str(files[0]))
    assert told == "No two trees of one size in what was shown of log.example/one.\n"
