"""Checkpoints: what a log signs, and whose word counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import TallystickError
from ledger.checkpoint import (
    Checkpoint,
    InvalidCheckpointError,
    MalformedCheckpointError,
    format_checkpoint,
    open_checkpoint,
    parse_checkpoint,
    sign_checkpoint,
)
from ledger.cosignature import add_signatures, cosign
from ledger.merkle import EMPTY_ROOT
from ledger.notes import (
    InvalidNoteSignatureError,
    MalformedNoteError,
    UnverifiedNoteError,
    format_verifier_key,
    parse_note,
    sign_note,
)
from ledger.spelling import INTEGER_MAX
from tests.ledger.go_sumdb import Ask
from tests.ledger.signing_key import SigningKey
from tests.ledger.vectors import vector, vectors

LOG, OTHER = SigningKey("log.example/acme"), SigningKey("other.example")
WITNESS = SigningKey("witness.example")

visible = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=30)
checkpoints = st.builds(
    lambda origin, size, root, extensions: Checkpoint(
        origin=origin, size=size, root=root if size else EMPTY_ROOT, extensions=tuple(extensions)
    ),
    visible,
    st.integers(0, INTEGER_MAX),
    st.binary(min_size=32, max_size=32),
    st.lists(visible, max_size=3),
)


def checkpoint_of_log(size: int = 3) -> Checkpoint:
    return Checkpoint(origin=LOG.name, size=size, root=bytes([size]) * 32)


@given(checkpoints)
def test_a_checkpoint_is_read_as_it_was_written(checkpoint: Checkpoint) -> None:
    assert parse_checkpoint(format_checkpoint(checkpoint)) == checkpoint


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["a", "0", "7", "07", "4" * 43 + "=", ""]), max_size=5).map("\n".join)
)
def test_whatever_parses_as_a_checkpoint_has_no_other_spelling(text: str) -> None:
    try:
        checkpoint = parse_checkpoint(text)
    except MalformedCheckpointError:
        return
    assert format_checkpoint(checkpoint) == text


@pytest.mark.parametrize("data", vectors("checkpoints/good"))
def test_good_checkpoints_are_read(data: bytes) -> None:
    assert format_checkpoint(parse_checkpoint(data.decode())).encode() == data


@pytest.mark.parametrize("data", vectors("checkpoints/malformed"))
def test_what_is_no_checkpoint_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedCheckpointError):
        parse_checkpoint(data.decode())


def test_the_example_of_the_specification_is_read() -> None:
    """'example.com/behind-the-sofa', 20852163 leaves."""
    checkpoint = parse_checkpoint(vector("checkpoints/good/c2sp-example.txt").decode())
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.root.hex().startswith("0ac5186a")


def test_the_empty_tree_has_size_0_and_its_one_root() -> None:
    """'with no leading zeroes (unless the tree is empty, in which case the tree size is `0`)'"""
    assert format_checkpoint(Checkpoint(origin="a", size=0, root=EMPTY_ROOT)).split("\n")[1] == "0"
    with pytest.raises(MalformedCheckpointError):
        Checkpoint(origin="a", size=0, root=bytes(32))


def test_a_signed_checkpoint_opens_with_the_logs_key() -> None:
    note = sign_checkpoint(checkpoint_of_log(), LOG)
    assert open_checkpoint(note, [LOG.verifier_key]) == checkpoint_of_log()
    assert (
        open_checkpoint(note, [OTHER.verifier_key, LOG.verifier_key], origin=LOG.name) == checkpoint_of_log()
    )


def test_a_log_signs_its_own_checkpoints_only() -> None:
    with pytest.raises(InvalidCheckpointError):
        sign_checkpoint(checkpoint_of_log(), OTHER)


def test_every_single_bit_of_a_signed_checkpoint_matters() -> None:
    note = sign_checkpoint(checkpoint_of_log(), LOG)
    for position in range(len(note)):
        for bit in range(8):
            changed = bytearray(note)
            changed[position] ^= 1 << bit
            with pytest.raises(TallystickError):
                open_checkpoint(bytes(changed), [LOG.verifier_key])


def test_step_1_what_the_note_refuses_the_checkpoint_refuses() -> None:
    note = sign_checkpoint(checkpoint_of_log(), LOG)
    with pytest.raises(MalformedNoteError):
        open_checkpoint(note + b"\n", [LOG.verifier_key])
    with pytest.raises(InvalidNoteSignatureError):
        open_checkpoint(note.replace(b"\n3\n", b"\n4\n"), [LOG.verifier_key])
    with pytest.raises(UnverifiedNoteError):
        open_checkpoint(note, [OTHER.verifier_key])


def test_step_2_a_signed_note_that_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(MalformedCheckpointError):
        open_checkpoint(sign_note("just a text\n", [LOG]), [LOG.verifier_key])


def test_step_3_another_logs_checkpoint_is_refused() -> None:
    note = sign_checkpoint(checkpoint_of_log(), LOG)
    with pytest.raises(InvalidCheckpointError) as caught:
        open_checkpoint(note, [LOG.verifier_key], origin=OTHER.name)
    assert (caught.value.field, caught.value.actual) == ("step 3", LOG.name)


def test_step_4_a_known_key_cannot_speak_for_another_log() -> None:
    note = sign_note(format_checkpoint(checkpoint_of_log()), [OTHER])
    with pytest.raises(InvalidCheckpointError) as caught:
        open_checkpoint(note, [LOG.verifier_key, OTHER.verifier_key])
    assert caught.value.field == "step 4"


def test_step_4_a_cosignature_is_no_signature_of_the_log() -> None:
    note = sign_checkpoint(checkpoint_of_log(), LOG)
    named_as_the_log = SigningKey(LOG.name, "cosigner")
    cosigned = add_signatures(
        note,
        (
            cosign(parse_note(note).text, 1, WITNESS),
            cosign(parse_note(note).text, 1, named_as_the_log),
        ),
    )
    with pytest.raises(InvalidCheckpointError) as caught:
        open_checkpoint(cosigned, [WITNESS.cosigner_key, named_as_the_log.cosigner_key])
    assert caught.value.field == "step 4"
    assert open_checkpoint(cosigned, [WITNESS.cosigner_key, LOG.verifier_key]) == checkpoint_of_log()


def test_go_sumdb_opens_our_checkpoints(go_sumdb: Ask) -> None:
    note = sign_checkpoint(checkpoint_of_log(), LOG)
    (theirs,) = go_sumdb(Notes=[{"Note": note.decode(), "Keys": [format_verifier_key(LOG.verifier_key)]}])[
        "Notes"
    ]
    assert theirs == {"Error": "", "Text": format_checkpoint(checkpoint_of_log()), "Names": [LOG.name]}
