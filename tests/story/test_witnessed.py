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

import msgspec
import pytest

from api.command_line import main
from domain.errors import TallystickError
from domain.events import ReceiptIssued
from ledger.bundle import FORMAT_2, FORMAT_3, bundle_of, format_bundle, parse_bundle
from ledger.checkpoint import open_checkpoint
from ledger.cosignature import cosignatures_of
from ledger.judged_covering import judge_covering
from ledger.merkle import leaf_hash
from ledger.meta_proof import WireMetaProof, read_meta
from ledger.metalog import META_TENANT
from ledger.notes import format_verifier_key, open_note
from ledger.policy import InvalidQuorumError, open_witnessed_checkpoint, parse_policy, policy_of_log
from ledger.tlog_proof import parse_tlog_proof, verify_tlog_proof
from ledger.verify import verify_bundle
from tests.api.story import assert_problem, open_api
from tests.docs.test_verify import FILE, verify
from tests.ledger.test_witnessing import device
from tests.ledger.witnessed_log import WitnessedLog
from tests.story.told import DEVICE, TENANT, at_desk
from tests.witness_process import WitnessProcess


@pytest.fixture
def witnesses(tmp_path: Path) -> Iterator[list[WitnessProcess]]:
    """Three witnesses that are not listening yet."""
    made = [WitnessProcess(tmp_path / f"w{number}", f"witness.example/w{number}") for number in range(3)]
    yield made
    for one in made:
        one.kill()


def tally(
    capsys: pytest.CaptureFixture[str], home: Path, *arguments: str, status: int = 0, tenant: str = TENANT
) -> str:
    capsys.readouterr()
    found = main([*arguments, "--home", str(home), "--tenant", tenant])
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
    tally(capsys, home, "audit", tenant=META_TENANT)

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


def handed_out(
    capsys: pytest.CaptureFixture[str], home: Path, folder: Path, *arguments: str
) -> dict[str, Path]:
    """An audit bundle, a complete list, what a receipt is worth, and the receipt, as commands write them."""
    files = {
        name: folder / name
        for name in ("some.audit.json", "complete.json", "status.json", "receipt.tally.json")
    }
    receipts = json.loads(tally(capsys, home, "receipts", "--json"))
    chosen = [one["receipt_id"] for one in receipts if one["verdict"] in ("pass", "borderline")][:2]
    complete = ("complete", f"receipts/{DEVICE}", *arguments)
    tally(capsys, home, *complete, "--output", str(files["complete.json"]))
    tally(capsys, home, "status", chosen[0], "--proof", str(files["status.json"]))
    tally(capsys, home, "bundle", *chosen, "--output", str(files["some.audit.json"]), *arguments)
    tally(capsys, home, "receipts", chosen[0], "--bundle", str(files["receipt.tally.json"]), *arguments)
    return files


def check(
    capsys: pytest.CaptureFixture[str], home: Path, files: dict[str, Path], *trust: str, status: int = 0
) -> list[list[str]]:
    """Verify each by our commands and by the second verifier; returns who vouches for it."""
    found = []
    for name, file in files.items():
        ours: list[str] = []
        if name == "receipt.tally.json":
            ours = ["verify", str(file), *trust, "--json"]
        else:
            command = "bundle" if name == "some.audit.json" else "complete"
            ours = [command, "--verify", str(file), *trust, "--json"]
        told = tally(capsys, home, *ours, status=status)
        theirs = subprocess.run([sys.executable, "-I", FILE, file, *trust], capture_output=True, check=False)
        assert bool(theirs.returncode) == bool(status), theirs.stderr
        if not status:
            found.append(json.loads(told)["witnesses"])
            assert json.loads(theirs.stdout)["cosigners"] == found[-1]
    return found


def test_commands_hand_out_what_witnesses_vouch_for_also_over_a_change_of_the_meta_logs_key(
    home: Path, witnesses: list[WitnessProcess], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ask_for(home, witnesses[:2])
    tally(capsys, home, "key", tenant=META_TENANT, status=2)
    policy_text = tally(capsys, home, "witnesses", "policy")
    (tmp_path / "a.policy").write_text(policy_text)
    trust = ("--policy", str(tmp_path / "a.policy"))
    _, meta = logs_in(policy_text)
    assert tally(capsys, home, "key", tenant=META_TENANT) == f"{meta}\n"
    names = [one.name for one in witnesses[:2]]

    # The commitment to what is complete is there before anybody has seen it.
    (before := tmp_path / "before").mkdir()
    files = handed_out(capsys, home, before)
    check(capsys, home, files, *trust, status=1)
    for one in witnesses[:2]:
        one.know([meta])
        one.start()
    tally(capsys, home, "witnesses")
    files = handed_out(capsys, home, before)
    assert check(capsys, home, files, *trust) == [names] * 4

    # The meta-log gets another key, which witnesses are told, and its first one retires.
    said = ("--reason", "once a year")
    tally(capsys, home, "key", "rotate", *said, tenant=META_TENANT)
    newest = tally(capsys, home, "key", tenant=META_TENANT).strip()
    for one in witnesses[:2]:
        one.kill()
        one.know([meta, newest])
        one.start()
    tally(capsys, home, "key", "revoke", meta.split("+")[1], *said, tenant=META_TENANT)
    asyncio.run(grow(home))
    tally(capsys, home, "witnesses")
    tally(capsys, home, "audit", tenant=META_TENANT)
    (after := tmp_path / "after").mkdir()
    files = handed_out(capsys, home, after)
    assert json.loads(files["receipt.tally.json"].read_bytes())["format"] == FORMAT_3
    assert check(capsys, home, files, *trust) == [names] * 4
    # Who is given the newest key accepts what was made since, and what is asked for plainly has no witness.
    (tmp_path / "b.policy").write_text(tally(capsys, home, "witnesses", "policy"))
    assert check(capsys, home, files, "--policy", str(tmp_path / "b.policy")) == [names] * 4
    (plain := tmp_path / "plain").mkdir()
    files = handed_out(capsys, home, plain, "--newest")
    del files["status.json"]
    check(capsys, home, files, *trust, status=1)


def test_readers_of_tiles_and_proofs_are_shown_what_witnesses_cosigned(
    home: Path, witnesses: list[WitnessProcess], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, vkey = asyncio.run(bundles(home))
    ask_for(home, witnesses[:2], vkey)
    for one in witnesses[:2]:
        one.know([vkey])
        one.start()
    policy_text = tally(capsys, home, "witnesses", "policy")
    policy = parse_policy(policy_text.encode())
    (tmp_path / "a.policy").write_text(policy_text)
    tally(capsys, home, "witnesses")
    for one in witnesses[:2]:
        one.kill()
    # Nobody sees what comes now.
    asyncio.run(grow(home))
    with open_api(home, tmp_path / "served") as api:
        note = api.get("/v1/tlog/checkpoint").content
        witnessed = open_witnessed_checkpoint(note, policy)
        size = witnessed.checkpoint.size
        assert len(witnessed.cosignatures) == 2
        newest = open_checkpoint(api.get("/v1/checkpoint").content, policy.keys)
        assert newest.size == size + 1

        for query, expected in (
            ("index=3", True),
            ("index=3&is_newest=true", False),
            (f"index={size}", False),
        ):
            proof = api.get(f"/v1/proofs/inclusion?{query}").json()
            assert proof["size"] == (size if expected else size + 1)
            assert (proof["is_witnessed"], proof["meta"]) == (expected, None)
            judged = open_note(proof["checkpoint"].encode(), policy.keys)
            assert len(cosignatures_of(judged)) == (2 if expected else 0)
        leaf = api.get(f"/v1/proofs/inclusion?index=3&size={size}").json()
        assert leaf["is_witnessed"]
        found = api.get(f"/v1/proofs/inclusion?leaf_sha256={leaf['leaf_sha256']}").json()
        assert (found["size"], found["is_witnessed"]) == (size, True)
        growth = api.get("/v1/proofs/consistency?size_old=5").json()
        assert (growth["size_new"], growth["is_witnessed"]) == (size, True)
        assert growth["checkpoint_new"].encode() == note
        growth = api.get(f"/v1/proofs/consistency?size_old={size + 1}").json()
        assert (growth["size_new"], growth["is_witnessed"]) == (size + 1, False)
        growth = api.get("/v1/proofs/consistency?size_old=5&is_newest=true").json()
        assert (growth["size_new"], growth["is_witnessed"]) == (size + 1, False)
        for path in (
            "/v1/proofs/inclusion?index=9223372036854775807",
            "/v1/entries/9223372036854775807/proof",
        ):
            assert_problem(api.get(path), 404)

        entry = base64.b64decode(api.get("/v1/entries/3", api.audit).json()["entry_base64"])
        plain = parse_tlog_proof(api.get("/v1/entries/3/proof?is_newest=true").content)
        assert (
            verify_tlog_proof(plain, leaf_hash(entry), policy_of_log(policy.logs[0].key)).cosignatures == ()
        )
        receipt_id = api.items("/v1/receipts")[0]["receipt_id"]
        bundle = api.get(f"/v1/receipts/{receipt_id}/bundle?is_newest=true").content
        with pytest.raises(InvalidQuorumError):
            verify_bundle(bundle, policy)

    # A mirror shows it too, so that whoever reads that needs nobody else.
    told = json.loads(tally(capsys, home, "mirror", str(tmp_path / "mirror"), "--json"))
    assert told["size"] == size
    audit = ("verify-log", str(tmp_path / "mirror"), "--policy", str(tmp_path / "a.policy"), "--json")
    assert json.loads(tally(capsys, home, *audit))["size"] == size


def test_a_mirror_from_before_there_were_witnesses_never_goes_back(
    home: Path, witnesses: list[WitnessProcess], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, vkey = asyncio.run(bundles(home))
    ask_for(home, witnesses[:1], vkey)
    (home / "witnesses.policy").write_text((home / "witnesses.policy").read_text().replace("two 2", "two 1"))
    witnesses[0].know([vkey])
    witnesses[0].start()
    tally(capsys, home, "witnesses")
    witnesses[0].kill()
    asyncio.run(grow(home))
    (home / "witnesses.policy").rename(tmp_path / "set-aside")
    first = json.loads(tally(capsys, home, "mirror", str(tmp_path / "mirror"), "--json"))
    (tmp_path / "set-aside").rename(home / "witnesses.policy")
    asyncio.run(grow(home))
    again = json.loads(tally(capsys, home, "mirror", str(tmp_path / "mirror"), "--json"))
    assert (again["size_before"], again["size"]) == (first["size"], first["size"] + 1)


def test_proofs_of_a_ledger_in_the_meta_log_carry_its_place_there(
    home: Path, witnesses: list[WitnessProcess], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ask_for(home, witnesses[:2])
    policy_text = tally(capsys, home, "witnesses", "policy")
    policy = parse_policy(policy_text.encode())
    for one in witnesses[:2]:
        one.know(logs_in(policy_text)[1:])
        one.start()
    tally(capsys, home, "witnesses")
    for one in witnesses[:2]:
        one.kill()
    asyncio.run(grow(home))
    with open_api(home, tmp_path / "served") as api:
        for path, name in (
            ("/v1/proofs/inclusion?index=3", "checkpoint"),
            ("/v1/proofs/consistency?size_old=3", "checkpoint_new"),
        ):
            proof = api.get(path).json()
            assert proof["is_witnessed"]
            meta = read_meta(msgspec.convert(proof["meta"], WireMetaProof))
            judged = judge_covering(proof[name].encode(), policy, (), meta)
            assert len(judged.witnessed.cosignatures) == 2
        # A checkpoint for readers of tiles has no room for a meta-log: they are shown the newest.
        assert api.get("/v1/tlog/checkpoint").content == api.get("/v1/checkpoint").content


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
