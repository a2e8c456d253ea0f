"""Trust policies: which sets of witnesses are enough, and what is no policy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint, InvalidCheckpointError, format_checkpoint, sign_checkpoint
from ledger.cosignature import add_signatures, cosign
from ledger.notes import (
    InvalidNoteError,
    InvalidNoteSignatureError,
    MalformedNoteError,
    NoteSignature,
    UnverifiedNoteError,
)
from ledger.policy import (
    GROUPS_MAX,
    LOGS_MAX,
    POLICY_BYTES_MAX,
    WITNESSES_MAX,
    InvalidQuorumError,
    MalformedPolicyError,
    Policy,
    PolicyGroup,
    PolicyLog,
    PolicyWitness,
    format_policy,
    open_witnessed_checkpoint,
    parse_policy,
    policy_of_log,
)
from tests.ledger.signing_key import SigningKey
from tests.ledger.vectors import vector, vectors

LOG, OTHER_LOG = SigningKey("log.example/tiles"), SigningKey("other.example")
WITNESSES = {letter: SigningKey(f"witness.example/{letter}") for letter in "abcde"}
CHECKPOINT = Checkpoint(origin=LOG.name, size=7, root=bytes(32))
TEXT = format_checkpoint(CHECKPOINT)

TWO_LEVELS = parse_policy(vector("policies/good/two-levels.policy"))


def cosigned(letters: str) -> bytes:
    """The checkpoint, signed by its log and these witnesses."""
    note = sign_checkpoint(CHECKPOINT, LOG)
    return add_signatures(note, tuple(cosign(TEXT, 1_700_000_000, WITNESSES[letter]) for letter in letters))


def policy_of(count: int, threshold: int) -> Policy:
    """That many of the first ``count`` witnesses."""
    letters = "abcde"[:count]
    return Policy(
        logs=(PolicyLog(key=LOG.verifier_key),),
        witnesses=tuple(PolicyWitness(name=letter, key=WITNESSES[letter].cosigner_key) for letter in letters),
        groups=(PolicyGroup(name="g", threshold=threshold, members=tuple(letters)),),
        quorum="g",
    )


def test_the_shape_of_the_specifications_example_is_read() -> None:
    assert [log.key.name for log in TWO_LEVELS.logs] == [LOG.name]
    assert TWO_LEVELS.logs[0].url == "https://log.example/tiles"
    assert [(witness.name, witness.url) for witness in TWO_LEVELS.witnesses] == [
        ("a", ""),
        ("b", "https://b.example/"),
        ("c", ""),
        ("d", ""),
        ("пять", ""),
    ]
    assert [(group.name, group.threshold, group.members) for group in TWO_LEVELS.groups] == [
        ("here", 2, ("a", "b", "c")),
        ("there", 1, ("d", "пять")),
        ("both", 2, ("here", "there")),
    ]
    assert TWO_LEVELS.quorum == "both"


@pytest.mark.parametrize(
    ("letters", "is_enough"),
    [
        ("", False),
        ("ab", False),
        ("abc", False),
        ("de", False),
        ("ad", False),
        ("abd", True),
        ("bce", True),
        ("abcde", True),
    ],
)
def test_a_group_is_satisfied_by_at_least_k_of_its_members(letters: str, is_enough: bool) -> None:
    """'if and only if at least k of its n members have witnessed that checkpoint'"""
    if is_enough:
        opened = open_witnessed_checkpoint(cosigned(letters), TWO_LEVELS)
        assert opened.checkpoint == CHECKPOINT
        assert [found.key.name[-1] for found in opened.cosignatures] == list(letters)
        return
    with pytest.raises(InvalidQuorumError) as caught:
        open_witnessed_checkpoint(cosigned(letters), TWO_LEVELS)
    assert caught.value.field == "step 3"


@given(st.integers(1, 5), st.data())
def test_any_k_of_n_are_enough_and_fewer_are_not(count: int, data: st.DataObject) -> None:
    threshold = data.draw(st.integers(1, count))
    letters = data.draw(st.sets(st.sampled_from("abcde"[:count])))
    cosigners = [WITNESSES[letter].cosigner_key for letter in letters]
    assert policy_of(count, threshold).is_witnessed_by(cosigners) == (len(letters) >= threshold)


@given(st.integers(1, 5), st.data())
def test_a_policy_is_read_as_it_was_written(count: int, data: st.DataObject) -> None:
    policy = policy_of(count, data.draw(st.integers(1, count)))
    assert parse_policy(format_policy(policy)) == policy


@pytest.mark.parametrize("data", vectors("policies/good"))
def test_good_policies_are_read_and_keep_their_meaning_when_written(data: bytes) -> None:
    policy = parse_policy(data)
    written = format_policy(policy)
    assert parse_policy(written) == policy
    assert format_policy(parse_policy(written)) == written


@pytest.mark.parametrize("data", vectors("policies/malformed"))
def test_what_is_no_policy_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedPolicyError):
        parse_policy(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_policy_or_a_named_error(data: bytes) -> None:
    try:
        policy = parse_policy(vector("policies/good/no-quorum.policy") + data)
    except MalformedPolicyError:
        return
    assert parse_policy(format_policy(policy)) == policy


def test_an_error_names_its_line() -> None:
    with pytest.raises(MalformedPolicyError) as caught:
        parse_policy(b"# comment\n\nlog nonsense\nquorum none\n")
    assert caught.value.field == "line 3"


def test_names_are_opaque_octets() -> None:
    """'the name 0x4B (ASCII "K") is different from the name 0xE2 0x84 0xAA (a Kelvin sign ...)'"""
    key = format_policy(policy_of(1, 1)).decode().split("witness a ")[1].split("\n")[0]
    policy = parse_policy(f"witness K {key}\nquorum K\n".encode())
    assert policy.quorum == "K"
    with pytest.raises(MalformedPolicyError):
        parse_policy(f"witness K {key}\nquorum \u212a\n".encode())


def test_step_1_a_note_that_does_not_open_is_refused() -> None:
    policy = policy_of(2, 1)
    with pytest.raises(MalformedNoteError):
        open_witnessed_checkpoint(b"", policy)
    with pytest.raises(UnverifiedNoteError):
        open_witnessed_checkpoint(cosigned("de"), Policy(logs=(PolicyLog(key=OTHER_LOG.verifier_key),)))
    line = cosign(TEXT, 1, WITNESSES["b"])
    wrong = NoteSignature(name=line.name, key_id=line.key_id, signature=bytes(72))
    with pytest.raises(InvalidNoteSignatureError):
        open_witnessed_checkpoint(add_signatures(cosigned("a"), (wrong,)), policy)


def test_step_2_witnesses_cannot_stand_in_for_the_log() -> None:
    """'a checkpoint is considered valid if it is signed by any one of the listed logs, and it is cosigned'"""
    policy = Policy(
        logs=(PolicyLog(key=OTHER_LOG.verifier_key),),
        witnesses=(PolicyWitness(name="a", key=WITNESSES["a"].cosigner_key),),
        quorum="a",
    )
    with pytest.raises(InvalidCheckpointError) as caught:
        open_witnessed_checkpoint(cosigned("a"), policy)
    assert caught.value.field == "step 4"


def test_any_one_of_the_listed_logs_is_accepted_for_its_own_checkpoints() -> None:
    policy = Policy(logs=(PolicyLog(key=OTHER_LOG.verifier_key), PolicyLog(key=LOG.verifier_key)))
    assert open_witnessed_checkpoint(cosigned(""), policy).checkpoint == CHECKPOINT


def test_a_log_alone_is_a_policy_without_witnesses() -> None:
    opened = open_witnessed_checkpoint(cosigned("ab"), policy_of_log(LOG.verifier_key))
    assert (opened.checkpoint, opened.cosignatures) == (CHECKPOINT, ())
    with pytest.raises(InvalidNoteError):
        open_witnessed_checkpoint(cosigned("ab"), policy_of_log(OTHER_LOG.verifier_key))


def test_the_numbers_the_specification_asks_for_are_supported_and_have_an_end() -> None:
    """'supports at least up to 32 logs, 32 witnesses, and 32 groups'"""
    assert min(LOGS_MAX, WITNESSES_MAX, GROUPS_MAX) >= 32
    logs = tuple(PolicyLog(key=SigningKey(f"log{number}").verifier_key) for number in range(LOGS_MAX + 1))
    assert len(parse_policy(format_policy(Policy(logs=logs[1:]))).logs) == LOGS_MAX
    with pytest.raises(MalformedPolicyError):
        Policy(logs=logs)
    with pytest.raises(MalformedPolicyError):
        parse_policy(b"#" * POLICY_BYTES_MAX + b"\n")
