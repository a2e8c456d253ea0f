"""Proofs in one file: written as read, refused when changed, worth nothing without leaf and policy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import TallystickError
from ledger.checkpoint import InvalidCheckpointError
from ledger.merkle import InvalidInclusionProofError, leaf_hash
from ledger.notes import InvalidNoteError
from ledger.policy import InvalidQuorumError, parse_policy, policy_of_log
from ledger.tlog_proof import (
    EXTRA_BYTES_MAX,
    PROOF_BYTES_MAX,
    MalformedTlogProofError,
    TlogProof,
    format_tlog_proof,
    parse_tlog_proof,
    verify_tlog_proof,
)
from tests.ledger.signing_key import SigningKey
from tests.ledger.vectors import vector, vectors

LOG = SigningKey("log.example/tiles")
POLICY = parse_policy(vector("policies/good/two-levels.policy"))
GOOD = vector("proofs/good/leaf-4-of-9.tlog-proof")
LEAF = leaf_hash(b"leaf 4")


@pytest.mark.parametrize("data", vectors("proofs/good"))
def test_good_proofs_are_written_as_they_were_read_and_verify(data: bytes) -> None:
    proof = parse_tlog_proof(data)
    assert format_tlog_proof(proof) == data
    assert verify_tlog_proof(proof, LEAF, policy_of_log(LOG.verifier_key)).checkpoint.origin == LOG.name


def test_a_proof_says_what_it_says() -> None:
    witnessed = verify_tlog_proof(parse_tlog_proof(GOOD), LEAF, POLICY)
    assert witnessed.checkpoint.size == 9
    assert [(found.key.name, found.time_s) for found in witnessed.cosignatures] == [
        ("witness.example/a", 1_700_000_000),
        ("witness.example/b", 1_700_000_001),
        ("witness.example/d", 1_700_000_002),
    ]


@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=5),
    st.binary(max_size=40),
)
def test_a_proof_is_read_as_it_was_written(index: int, path: list[bytes], extra: bytes) -> None:
    proof = TlogProof(
        index=index, path=tuple(path), checkpoint=parse_tlog_proof(GOOD).checkpoint, extra=extra
    )
    assert parse_tlog_proof(format_tlog_proof(proof)) == proof


@given(st.integers(0, len(GOOD) - 1), st.sampled_from([b"", b"\n", b"0", b" ", b"=", b"extra \n", b"\xff"]))
def test_whatever_parses_as_a_proof_has_no_other_spelling(position: int, new: bytes) -> None:
    data = GOOD[:position] + new + GOOD[position + 1 :]
    try:
        proof = parse_tlog_proof(data)
    except MalformedTlogProofError:
        return
    assert format_tlog_proof(proof) == data


@pytest.mark.parametrize("data", vectors("proofs/malformed"))
def test_what_is_no_proof_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedTlogProofError):
        parse_tlog_proof(data)


@pytest.mark.parametrize("data", vectors("proofs/refused"))
def test_a_proof_that_cannot_be_trusted_is_refused(data: bytes) -> None:
    with pytest.raises(
        (InvalidNoteError, InvalidCheckpointError, InvalidQuorumError, InvalidInclusionProofError)
    ):
        verify_tlog_proof(parse_tlog_proof(data), LEAF, POLICY)


def test_every_single_bit_of_a_proof_matters() -> None:
    for position in range(len(GOOD)):
        for bit in range(8):
            changed = bytearray(GOOD)
            changed[position] ^= 1 << bit
            with pytest.raises(TallystickError):
                verify_tlog_proof(parse_tlog_proof(bytes(changed)), LEAF, POLICY)


def test_step_1_the_proof_of_one_leaf_is_none_of_another() -> None:
    with pytest.raises(InvalidInclusionProofError):
        verify_tlog_proof(parse_tlog_proof(GOOD), leaf_hash(b"leaf 5"), POLICY)


def test_step_2_the_checkpoint_is_of_a_log_that_the_policy_knows() -> None:
    with pytest.raises(InvalidNoteError):
        verify_tlog_proof(
            parse_tlog_proof(GOOD), LEAF, policy_of_log(SigningKey("other.example").verifier_key)
        )


def test_step_3_the_witnesses_satisfy_the_quorum() -> None:
    with pytest.raises(InvalidQuorumError):
        verify_tlog_proof(
            parse_tlog_proof(vector("proofs/refused/one-witness-too-few.tlog-proof")), LEAF, POLICY
        )


def test_step_4_the_path_leads_to_the_checkpoints_root() -> None:
    with pytest.raises(InvalidInclusionProofError):
        verify_tlog_proof(
            parse_tlog_proof(vector("proofs/refused/path-in-another-order.tlog-proof")), LEAF, POLICY
        )


def test_extra_data_changes_nothing_and_nothing_vouches_for_it() -> None:
    """'Applications MUST NOT implicitly trust the extra data, as it is not authenticated.'"""
    proof = parse_tlog_proof(GOOD)
    with_extra = TlogProof(index=proof.index, path=proof.path, checkpoint=proof.checkpoint, extra=b"whatever")
    assert verify_tlog_proof(with_extra, LEAF, POLICY) == verify_tlog_proof(proof, LEAF, POLICY)


def test_proofs_have_limits() -> None:
    proof = parse_tlog_proof(GOOD)
    with pytest.raises(MalformedTlogProofError):
        parse_tlog_proof(bytes(PROOF_BYTES_MAX + 1))
    for wrong in (
        TlogProof(index=0, path=(), checkpoint=proof.checkpoint, extra=bytes(EXTRA_BYTES_MAX + 1)),
        TlogProof(index=0, path=(bytes(31),), checkpoint=proof.checkpoint),
        TlogProof(index=0, path=(), checkpoint=b"no note"),
    ):
        with pytest.raises(MalformedTlogProofError):
            format_tlog_proof(wrong)
