"""A ledger's checkpoint in a meta-log: each step refuses what it is there for."""

from __future__ import annotations

import base64

import pytest

from domain.errors import InvalidError, MalformedError, TallystickError
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.merkle import InvalidInclusionProofError, leaf_hash, root_of
from ledger.meta_proof import InvalidMetaProofError, MetaProof, meta_subject, verify_meta_proof
from ledger.notes import InvalidNoteSignatureError, UnverifiedNoteError
from ledger.policy import InvalidQuorumError, policy_of_log
from tests.ledger.meta_logs import META, WITNESSES, meta_proof, policy_for
from tests.ledger.signing_key import SigningKey

TENANT = SigningKey("tally.example/acme")
NOTE = sign_checkpoint(
    Checkpoint(origin=TENANT.name, size=2, root=root_of([leaf_hash(b"a"), leaf_hash(b"b")])), TENANT
)
POLICY = policy_for(TENANT.verifier_key, META.verifier_key)


def verify(meta: MetaProof, note: bytes = NOTE, policy=POLICY, key: SigningKey = TENANT):  # type: ignore[no-untyped-def]
    return verify_meta_proof(meta, note, origin=key.name, keys=[key.verifier_key], policy=policy)


def test_a_recorded_checkpoint_is_witnessed_by_who_cosigned_the_meta_log() -> None:
    found = verify(meta_proof(NOTE, TENANT.verifier_key))
    assert found.witnessed is not None
    assert [one.key.name for one in found.witnessed.cosignatures] == [key.name for key in WITNESSES[:2]]
    assert (found.entry.origin, found.entry.index, found.size) == (META.name, 1, 3)


def test_a_label_names_a_key_and_no_ledger() -> None:
    subject = meta_subject(TENANT.verifier_key)
    assert "acme" not in subject
    assert subject != meta_subject(SigningKey(TENANT.name, "its second key").verifier_key)
    entry = meta_proof(NOTE, TENANT.verifier_key).entry
    assert b"acme" not in entry


def test_a_policy_that_does_not_name_the_meta_log_is_told_that_nobody_vouches() -> None:
    found = verify(meta_proof(NOTE, TENANT.verifier_key), policy=policy_of_log(TENANT.verifier_key))
    assert found.witnessed is None
    with pytest.raises(InvalidInclusionProofError):
        verify(
            MetaProof(
                entry=meta_proof(NOTE, TENANT.verifier_key, recorded_at_ns=5).entry,
                proof=meta_proof(NOTE, TENANT.verifier_key).proof,
            ),
            policy=policy_of_log(TENANT.verifier_key),
        )


@pytest.mark.parametrize(
    ("step", "meta"),
    [
        (1, meta_proof(NOTE, TENANT.verifier_key, event_type="receipt.issued.v1")),
        (2, meta_proof(NOTE + b"\n", TENANT.verifier_key)),
        (2, meta_proof(NOTE, TENANT.verifier_key, payload_size=1)),
        (3, meta_proof(NOTE, SigningKey("tally.example/other").verifier_key)),
        (3, meta_proof(NOTE, TENANT.verifier_key, origin=TENANT.name)),
        (4, meta_proof(NOTE, TENANT.verifier_key, index=0)),
        (4, meta_proof(NOTE, TENANT.verifier_key, origin="tally.example/third")),
    ],
)
def test_what_does_not_fit_is_refused_at_its_step(step: int, meta: MetaProof) -> None:
    with pytest.raises(InvalidMetaProofError) as refused:
        verify(meta)
    assert refused.value.field == f"meta, step {step}"


def test_step_5_too_few_witnesses_or_a_forged_meta_log_are_refused() -> None:
    with pytest.raises(InvalidQuorumError):
        verify(meta_proof(NOTE, TENANT.verifier_key, witnesses=WITNESSES[:1]))
    forged = meta_proof(NOTE, TENANT.verifier_key, log=SigningKey(META.name, "forger"))
    with pytest.raises(UnverifiedNoteError):
        verify(MetaProof(entry=forged.entry, proof=_without_witnesses(forged.proof)))
    claiming = _claiming(forged.proof, META.verifier_key.key_id)
    with pytest.raises(InvalidNoteSignatureError):
        verify(MetaProof(entry=forged.entry, proof=claiming))


def test_every_changed_byte_is_refused() -> None:
    meta = meta_proof(NOTE, TENANT.verifier_key)
    for part in ("entry", "proof"):
        data = getattr(meta, part)
        for position in range(len(data)):
            changed = bytearray(data)
            changed[position] ^= 1 << position % 7
            parts = {"entry": meta.entry, "proof": meta.proof, part: bytes(changed)}
            with pytest.raises((MalformedError, InvalidError)):
                verify(MetaProof(**parts))


def test_other_sequences_of_bytes_are_malformed_and_nothing_else() -> None:
    meta = meta_proof(NOTE, TENANT.verifier_key)
    for junk in (b"", b"\x00", b"\xff" * 40, meta.entry[:-1], meta.proof[:-1], meta.proof * 2):
        with pytest.raises(TallystickError):
            verify(MetaProof(entry=junk, proof=meta.proof))
        with pytest.raises(TallystickError):
            verify(MetaProof(entry=meta.entry, proof=junk))


_LINE = "\u2014 tally.example/meta ".encode()


def _claiming(proof: bytes, key_id: bytes) -> bytes:
    """The proof with the log's signature line under another key id."""
    before, line = proof.rsplit(_LINE, 1)
    encoded, rest = line.split(b"\n", 1)
    return before + _LINE + base64.b64encode(key_id + base64.b64decode(encoded)[4:]) + b"\n" + rest


def _without_witnesses(proof: bytes) -> bytes:
    before, line = proof.rsplit(_LINE, 1)
    return before + _LINE + line.split(b"\n", 1)[0] + b"\n"
