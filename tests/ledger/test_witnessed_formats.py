"""Witnessed files that earlier versions wrote are read by this one: every folder of tests/vectors/witnessed.

Each holds the receipt of tests/vectors/formats/1 as witnesses of a meta-log, and of its own ledger, vouch for
it; and one exchange with a witness.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from ledger.bundle import FORMAT, FORMAT_2, format_bundle, parse_bundle
from ledger.checkpoint import parse_checkpoint
from ledger.cosignature import add_signatures, cosign
from ledger.notes import format_signature_lines, parse_note, parse_verifier_key
from ledger.policy import InvalidQuorumError, Policy, format_policy, parse_policy
from ledger.tlog_proof import format_tlog_proof, parse_tlog_proof
from ledger.verify import verify_bundle
from ledger.witness import Decision, admit, decide, parse_add_checkpoint
from ledger.witness_exchange import cosignature_in
from tests.docs.test_verify import verify
from tests.ledger.meta_logs import COSIGNED_AT_S, META, WITNESSES, meta_proof, policy_for
from tests.ledger.witnessed_log import WitnessedLog

VECTORS = Path(__file__).parents[1] / "vectors"
VERSIONS = sorted(path for path in (VECTORS / "witnessed").iterdir() if path.is_dir())
PLAIN = VECTORS / "formats" / "1"
LOG = WitnessedLog(60)

every_version = pytest.mark.parametrize("folder", VERSIONS, ids=lambda folder: folder.name)


def fixtures() -> dict[str, bytes]:
    """The files as this version writes them."""
    bundle = parse_bundle((PLAIN / "bundle-v1.tally.json").read_bytes())
    key = parse_verifier_key((PLAIN / "keys").read_text().splitlines()[0])
    proof = parse_tlog_proof(bundle.proof)
    text = parse_note(proof.checkpoint).text
    lines = tuple(cosign(text, COSIGNED_AT_S, witness) for witness in WITNESSES[1:])
    cosigned = format_tlog_proof(replace(proof, checkpoint=add_signatures(proof.checkpoint, lines)))
    answer = format_signature_lines((cosign(parse_note(LOG.note(60)).text, COSIGNED_AT_S, WITNESSES[0]),))
    return {
        "policy": format_policy(policy_for(key, META.verifier_key)),
        "bundle-v1-cosigned.tally.json": format_bundle(replace(bundle, proof=cosigned)),
        "bundle-v2-meta.tally.json": format_bundle(replace(bundle, meta=meta_proof(proof.checkpoint, key))),
        "add-checkpoint": LOG.request(20, 60),
        "add-checkpoint-answer": answer.encode(),
    }


@every_version
@pytest.mark.parametrize(
    ("name", "version", "cosigners"),
    [("bundle-v1-cosigned", FORMAT, WITNESSES[1:]), ("bundle-v2-meta", FORMAT_2, WITNESSES[:2])],
)
def test_a_witnessed_bundle_is_read_and_both_verifiers_say_who_vouches(
    folder: Path, name: str, version: str, cosigners: tuple[object, ...]
) -> None:
    data, policy = (folder / f"{name}.tally.json").read_bytes(), (folder / "policy").read_bytes()
    assert parse_bundle(data).format == version
    ours = verify_bundle(data, parse_policy(policy))
    theirs = verify.verify_bundle(data, verify.parse_policy(policy))
    names = [one.key.name for one in ours.witnessed.cosignatures]
    assert names == theirs["cosigners"] == [key.name for key in cosigners]  # type: ignore[attr-defined]
    three = policy.replace(b"group most 2", b"group most 3")
    with pytest.raises(InvalidQuorumError):
        verify_bundle(data, parse_policy(three))
    with pytest.raises(verify.Refused):
        verify.verify_bundle(data, verify.parse_policy(three))


@every_version
def test_an_exchange_with_a_witness_is_read(folder: Path) -> None:
    request, answer = ((folder / name).read_bytes() for name in ("add-checkpoint", "add-checkpoint-answer"))
    submission = admit(request, Policy(logs=policy_for(LOG.key.verifier_key).logs))
    assert decide(LOG.checkpoint(20), submission) is Decision.COSIGNED
    text = parse_note(parse_add_checkpoint(request).note).text
    assert parse_checkpoint(text).size == 60
    assert cosignature_in(answer, text, WITNESSES[0].cosigner_key, COSIGNED_AT_S)


def test_this_version_writes_what_the_newest_folder_holds() -> None:
    """When this fails a format has changed: keep the old folder, and make a new one beside it."""
    made, newest = fixtures(), VERSIONS[-1]
    assert {path.name for path in newest.iterdir()} == set(made)
    for name, data in made.items():
        assert data == (newest / name).read_bytes(), name
