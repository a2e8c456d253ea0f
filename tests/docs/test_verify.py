"""The second verifier: it accepts what the specification's examples are, and refuses every changed byte."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.canonical import canonical_json
from domain.digests import digest_of
from ledger.bundle import Bundle, format_bundle
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.dsse import format_envelope, sign_envelope
from ledger.entry import Entry, format_entry
from ledger.merkle import inclusion_path, leaf_hash, perfect_root, root_of
from ledger.notes import format_verifier_key
from ledger.statement import PAYLOAD_TYPE, format_statement, statement_about, subject_of
from ledger.tlog_proof import TlogProof, format_tlog_proof
from tests.ledger.signing_key import SigningKey
from tests.ledger.vectors import vector, vectors

FILE = Path(__file__).parent.parent.parent / "docs" / "verify.py"
LOG = SigningKey("tally.example/demo")
VKEY = format_verifier_key(LOG.verifier_key)
REPORT = b"<html>report</html>"
PREDICATE: dict[str, Any] = {
    "ledger": LOG.name,
    "run": {"started_index": 2, "decided_index": 4},
    "source": {"index": 0},
    "contract": {"index": 1},
    "procedure": {"index": 1},
    "configuration": None,
    "calibration": {"index": 1},
    "batches": [{"index": 2}],
    "datasets": [{"index": 3}],
    "gates": [
        {"outcome": "pass", "required": True},
        {"outcome": "abstain", "required": False},
        {"outcome": "borderline", "required": False},
    ],
    "verdict": "borderline",
    "is_presentable": True,
}


def load() -> ModuleType:
    """The file, as the one who downloads it has it."""
    specification = importlib.util.spec_from_file_location("second_verifier", FILE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


verify = load()
POLICY = verify.Policy([verify.parse_key(VKEY)])


def bundle_of(
    *, signer: SigningKey = LOG, entry_changes: dict[str, Any] | None = None, **changes: Any
) -> bytes:
    """A bundle of entry 5 of 9, signed and sealed as it should be, around a predicate with changes."""
    predicate = {**PREDICATE, **changes}
    statement = format_statement(
        statement_about(
            (subject_of("report.html", digest_of(REPORT)),), "urn:tallystick:receipt:v1", predicate
        )
    )
    envelope = format_envelope(sign_envelope(PAYLOAD_TYPE, statement, [signer]))
    fields: dict[str, Any] = {
        "origin": LOG.name,
        "index": 5,
        "event_type": "receipt.issued.v1",
        "recorded_at_ns": 1_780_000_000_000_000_000,
        "actor": "worker",
        "subject": f"receipt/r{hashlib.sha256(statement).hexdigest()[:24]}",
        "causation": (2, 4),
        "payload_size": len(envelope),
        "payload_sha256": hashlib.sha256(envelope).hexdigest(),
        "previous": "ab" * 32,
    }
    entry = format_entry(Entry(**{**fields, **(entry_changes or {})}))
    leaves = [leaf_hash(b"%d" % number) for number in range(9)]
    leaves[5] = leaf_hash(entry)
    checkpoint = sign_checkpoint(Checkpoint(origin=LOG.name, size=9, root=root_of(leaves)), LOG)
    path = inclusion_path(
        5, 9, lambda level, place: perfect_root(leaves[place << level : (place + 1) << level])
    )
    proof = format_tlog_proof(TlogProof(index=5, path=tuple(path), checkpoint=checkpoint))
    return format_bundle(Bundle(entry=entry, envelope=envelope, proof=proof))


def parts_of(bundle: bytes) -> dict[str, str]:
    parts: dict[str, str] = json.loads(bundle)
    return parts


def test_it_imports_the_standard_library_and_cryptography_only() -> None:
    source = FILE.read_text()
    imported = {
        line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))
    }
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def test_a_good_bundle_holds_and_says_what_it_is() -> None:
    found = verify.verify_bundle(bundle_of(), POLICY, {"report.html": REPORT})
    assert (found["verdict"], found["log"], found["index"], found["size"]) == ("borderline", LOG.name, 5, 9)
    assert found["checked_artifacts"] == ["report.html"]
    assert verify.verify_bundle(bundle_of() + b"\n", POLICY)["receipt"] == found["receipt"]


def test_every_single_byte_of_a_bundle_matters() -> None:
    bundle = bundle_of()
    for position in range(len(bundle)):
        changed = bytearray(bundle)
        changed[position] ^= 1 << position % 8
        with pytest.raises((verify.Malformed, verify.Refused)):
            verify.verify_bundle(bytes(changed), POLICY)


def test_every_single_byte_inside_the_parts_of_a_bundle_matters() -> None:
    parts = parts_of(bundle_of())
    for name in ("entry", "envelope", "proof"):
        data = base64.b64decode(parts[name])
        for position in range(len(data)):
            changed = bytearray(data)
            changed[position] ^= 1 << position % 8
            spelled = canonical_json({**parts, name: base64.b64encode(changed).decode()})
            with pytest.raises((verify.Malformed, verify.Refused)):
                verify.verify_bundle(spelled, POLICY)


def test_no_part_of_a_bundle_can_be_cut_or_lengthened() -> None:
    bundle = bundle_of()
    for changed in (
        b"",
        bundle[:-1],
        bundle + b" ",
        bundle + b"\n\n",
        b" " + bundle,
        bundle + bundle,
        b"[]",
        b"1",
    ):
        with pytest.raises(verify.Malformed):
            verify.verify_bundle(changed, POLICY)
    parts = parts_of(bundle)
    for name in ("entry", "envelope", "proof"):
        data = base64.b64decode(parts[name])
        for changed in (b"", data[:-1], data + b"\n", data + b"\0", data * 2):
            with pytest.raises((verify.Malformed, verify.Refused)):
                verify.verify_bundle(
                    canonical_json({**parts, name: base64.b64encode(changed).decode()}), POLICY
                )


THIEF = SigningKey(LOG.name, "thief")


@pytest.mark.parametrize(
    ("step", "bundle"),
    [
        ("step 2", bundle_of(entry_changes={"event_type": "run.started.v1"})),
        ("step 2", bundle_of(entry_changes={"origin": "tally.example/other"})),
        ("step 3", bundle_of(entry_changes={"payload_sha256": "00" * 32})),
        ("step 3", bundle_of(entry_changes={"payload_size": 1})),
        ("step 5", bundle_of(entry_changes={"index": 6})),
        ("step 6", bundle_of(signer=THIEF)),
        ("step 7", bundle_of(entry_changes={"subject": "receipt/r" + "0" * 24})),
        ("step 7", bundle_of(ledger="tally.example/other")),
        ("step 8", bundle_of(source={"index": 5})),
        ("step 8", bundle_of(batches=[{"index": 0}, {"index": 7}])),
        ("step 8", bundle_of(run={"started_index": 2, "decided_index": -1})),
        ("step 9", bundle_of(verdict="pass")),
        ("step 9", bundle_of(gates=[])),
        ("step 9", bundle_of(gates=[{"outcome": "fail", "required": False}])),
        ("step 9", bundle_of(gates=[{"outcome": "fail", "required": True}], verdict="fail")),
    ],
)
def test_a_bundle_that_is_wrong_is_refused_at_its_step(step: str, bundle: bytes) -> None:
    with pytest.raises(verify.Refused, match=f"^{step}: "):
        verify.verify_bundle(bundle, POLICY)


def test_step_4_a_checkpoint_that_is_not_the_ledgers_is_refused() -> None:
    parts = parts_of(bundle_of())
    proof = base64.b64decode(parts["proof"])
    head, _, _ = proof.partition(b"\n\n")
    forged = sign_checkpoint(Checkpoint(origin=LOG.name, size=9, root=bytes(32)), THIEF)
    spelled = canonical_json({**parts, "proof": base64.b64encode(head + b"\n\n" + forged).decode()})
    with pytest.raises(verify.Refused, match=r"^step 4: "):
        verify.verify_bundle(spelled, POLICY)


def test_step_10_an_artifact_that_is_not_the_receipts_is_refused() -> None:
    for name, content in (("report.html", REPORT + b"\n"), ("another.html", REPORT)):
        with pytest.raises(verify.Refused, match=r"^step 10: "):
            verify.verify_bundle(bundle_of(), POLICY, {name: content})


def test_a_withheld_run_has_a_receipt_too() -> None:
    withheld = bundle_of(gates=[{"outcome": "fail", "required": True}], verdict="fail", is_presentable=False)
    assert verify.verify_bundle(withheld, POLICY)["presented"] is False


@pytest.mark.parametrize("missing", sorted(PREDICATE))
def test_a_receipt_without_a_member_is_refused(missing: str) -> None:
    with pytest.raises((verify.Malformed, verify.Refused)):
        verify.verify_bundle(bundle_of(**{missing: "of another kind"}), POLICY)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**80), 2**80)
        | st.floats(allow_nan=False)
        | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    )
)
def test_it_spells_canonical_json_as_the_product_does(value: Any) -> None:
    if isinstance(value, float) and math.isinf(value):
        with pytest.raises(verify.Malformed):
            verify.canonical(value)
        return
    try:
        theirs = verify.canonical(value)
    except verify.Malformed:
        assert "inf" in repr(value)
        return
    assert theirs.encode() == canonical_json(value)


@pytest.mark.parametrize("data", vectors("notes/malformed"))
def test_what_is_no_note_is_malformed(data: bytes) -> None:
    with pytest.raises(verify.Malformed):
        verify.parse_note(data)


@pytest.mark.parametrize("data", vectors("notes/refused"))
def test_a_note_that_cannot_be_trusted_is_refused(data: bytes) -> None:
    key = verify.parse_key(vector("notes/example.vkey").decode().strip())
    with pytest.raises(verify.Refused):
        verify.open_note(data, [key], "step")


@pytest.mark.parametrize("data", vectors("vkeys/malformed"))
def test_what_is_no_key_is_malformed(data: bytes) -> None:
    with pytest.raises(verify.Malformed):
        verify.parse_key(data.decode())


@pytest.mark.parametrize("data", vectors("checkpoints/malformed"))
def test_what_is_no_checkpoint_is_malformed(data: bytes) -> None:
    note = data + "\n— a AAAAAAA=\n".encode()
    with pytest.raises(verify.Malformed):
        verify.parse_checkpoint(verify.parse_note(note)[0])


@pytest.mark.parametrize("data", vectors("checkpoints/good"))
def test_good_checkpoints_are_read(data: bytes) -> None:
    assert verify.parse_checkpoint(data.decode())[0].startswith("example.com/")


@pytest.mark.parametrize("data", vectors("policies/malformed"))
def test_what_is_no_policy_is_malformed(data: bytes) -> None:
    with pytest.raises(verify.Malformed):
        verify.parse_policy(data)


@pytest.mark.parametrize("data", vectors("policies/good"))
def test_good_policies_are_read(data: bytes) -> None:
    assert verify.parse_policy(data).quorum


@pytest.mark.parametrize("data", vectors("proofs/malformed"))
def test_what_is_no_proof_is_malformed(data: bytes) -> None:
    with pytest.raises(verify.Malformed):
        verify.parse_proof(data)


@pytest.mark.parametrize("data", vectors("proofs/refused"))
def test_a_proof_that_cannot_be_trusted_is_refused(data: bytes) -> None:
    policy = verify.parse_policy(vector("policies/good/two-levels.policy"))
    with pytest.raises(verify.Refused):
        verify.verify_proof(data, b"leaf 4", policy)


def test_a_good_proof_holds_and_names_its_witnesses() -> None:
    policy = verify.parse_policy(vector("policies/good/two-levels.policy"))
    found = verify.verify_proof(vector("proofs/good/leaf-4-of-9.tlog-proof"), b"leaf 4", policy)
    assert found["cosigners"] == ["witness.example/a", "witness.example/b", "witness.example/d"]
    with pytest.raises(verify.Refused, match=r"^step 4: "):
        verify.verify_proof(vector("proofs/good/leaf-4-of-9.tlog-proof"), b"leaf 5", policy)


@pytest.mark.parametrize("data", vectors("envelopes/malformed"))
def test_what_is_no_envelope_is_malformed(data: bytes) -> None:
    with pytest.raises(verify.Malformed):
        verify.parse_envelope(data)


@pytest.mark.parametrize("data", vectors("envelopes/refused"))
def test_an_envelope_that_cannot_be_trusted_is_refused(data: bytes) -> None:
    key = verify.parse_key(vector("envelopes/acme.vkey").decode().strip())
    with pytest.raises(verify.Refused):
        verify.verify_envelope(data, key, PAYLOAD_TYPE, "step 6")


@pytest.mark.parametrize(("value", "kind"), [(True, int), (1.0, int), (1, bool), ("1", int), (1, str)])
def test_a_member_of_another_kind_is_malformed_also_where_python_takes_it_as_equal(
    value: object, kind: type
) -> None:
    with pytest.raises(verify.Malformed, match="of another kind"):
        verify.members({"n": value}, "it", n=kind)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(FILE), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_says_by_its_exit_status_what_it_found(tmp_path: Path) -> None:
    bundle, report, policy = tmp_path / "a.tally.json", tmp_path / "report.html", tmp_path / "policy"
    bundle.write_bytes(bundle_of())
    report.write_bytes(REPORT)
    policy.write_text(f"log {VKEY}\nquorum none\n")

    good = run(bundle, "--key", VKEY, "--artifact", f"report.html={report}")
    assert (good.returncode, json.loads(good.stdout)["checked_artifacts"]) == (0, ["report.html"])
    assert run(bundle, "--policy", policy).returncode == 0

    report.write_bytes(b"another")
    refused = run(bundle, "--key", VKEY, "--artifact", f"report.html={report}")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("REFUSED")

    bundle.write_bytes(b"nonsense")
    for arguments in (
        [bundle, "--key", VKEY],
        [tmp_path / "missing", "--key", VKEY],
        [bundle, "--key", "no key"],
    ):
        unreadable = run(*arguments)
        assert unreadable.returncode == 2
        assert "Traceback" not in unreadable.stderr
        assert len(unreadable.stderr.splitlines()) == 1


def test_the_command_verifies_proofs_with_their_leaf(tmp_path: Path) -> None:
    proof, leaf = tmp_path / "a.tlog-proof", tmp_path / "leaf"
    proof.write_bytes(vector("proofs/good/leaf-4-of-9.tlog-proof"))
    leaf.write_bytes(b"leaf 4")
    key = format_verifier_key(SigningKey("log.example/tiles").verifier_key)
    assert run(proof, "--key", key, "--leaf", leaf).returncode == 0
    assert run(proof, "--key", key).returncode == 2
    assert run(proof, "--key", key, "--statement", leaf).returncode == 2


def statement_proof(**changes: Any) -> bytes:
    """The proof of a statement at entry 5 of 9, with changes to its entry."""
    fields: dict[str, Any] = {
        "origin": LOG.name,
        "index": 5,
        "event_type": "statement.added.v1",
        "recorded_at_ns": 1_780_000_000_000_000_000,
        "actor": "api",
        "subject": "statement/text/plain",
        "causation": (),
        "payload_size": len(REPORT),
        "payload_sha256": hashlib.sha256(REPORT).hexdigest(),
        "previous": "ab" * 32,
    }
    entry = format_entry(Entry(**{**fields, **changes}))
    leaves = [leaf_hash(b"%d" % number) for number in range(9)]
    leaves[5] = leaf_hash(entry)
    checkpoint = sign_checkpoint(Checkpoint(origin=LOG.name, size=9, root=root_of(leaves)), LOG)
    path = inclusion_path(
        5, 9, lambda level, place: perfect_root(leaves[place << level : (place + 1) << level])
    )
    return format_tlog_proof(TlogProof(index=5, path=tuple(path), checkpoint=checkpoint, extra=entry))


def test_a_statement_on_record_is_verified_by_its_proof_alone(tmp_path: Path) -> None:
    proof, statement = tmp_path / "a.tlog-proof", tmp_path / "statement"
    proof.write_bytes(statement_proof())
    statement.write_bytes(REPORT)
    found = run(proof, "--key", VKEY, "--statement", statement)
    assert json.loads(found.stdout)["subject"] == "statement/text/plain"
    statement.write_bytes(b"another")
    assert run(proof, "--key", VKEY, "--statement", statement).returncode == 1


@pytest.mark.parametrize(
    ("step", "changes"),
    [
        ("5", {"event_type": "receipt.issued.v1"}),
        ("5", {"index": 6}),
        ("5", {"origin": "tally.example/other"}),
        ("6", {"payload_size": 1}),
        ("6", {"payload_sha256": "00" * 32}),
    ],
)
def test_the_proof_of_another_entry_is_refused_at_its_step(step: str, changes: dict[str, Any]) -> None:
    with pytest.raises(verify.Refused, match=f"^step {step}: "):
        verify.verify_statement(statement_proof(**changes), REPORT, POLICY)


def test_every_single_byte_of_a_statements_proof_matters() -> None:
    proof = statement_proof()
    for position in range(len(proof)):
        changed = bytearray(proof)
        changed[position] ^= 1 << position % 8
        with pytest.raises((verify.Malformed, verify.Refused)):
            verify.verify_statement(bytes(changed), REPORT, POLICY)
