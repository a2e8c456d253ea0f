"""Cosignatures: a witness's word, with its time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint, MalformedCheckpointError, format_checkpoint, sign_checkpoint
from ledger.cosignature import (
    Cosignature,
    InvalidCosignatureError,
    add_signatures,
    cosign,
    cosignatures_of,
    verify_cosignature,
)
from ledger.notes import (
    InvalidNoteSignatureError,
    MalformedNoteError,
    NoteSignature,
    cosigned_bytes,
    format_signature_lines,
    open_note,
    parse_note,
    parse_signature_lines,
)
from ledger.spelling import INTEGER_MAX
from tests.ledger.signing_key import SigningKey

LOG = SigningKey("log.example/acme")
ALICE, BOB = SigningKey("alice.example"), SigningKey("bob.example")
CHECKPOINT = Checkpoint(origin=LOG.name, size=7, root=bytes(32), extensions=("an extension",))
TEXT = format_checkpoint(CHECKPOINT)

# The specification's example, whose public key it does not print.
EXAMPLE_TEXT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
EXAMPLE_LINE = (
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqh"
    "f5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)


def test_the_example_of_the_specification_has_its_time_and_its_message() -> None:
    (line,) = parse_signature_lines(EXAMPLE_LINE)
    assert line.key_id.hex() == "8d66cf3f"
    assert int.from_bytes(line.signature[:8], "big") == 1679315147
    assert cosigned_bytes(EXAMPLE_TEXT, 1679315147).decode() == (
        "cosignature/v1\n"
        "time 1679315147\n"
        "example.com/behind-the-sofa\n"
        "20852163\n"
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )
    assert format_signature_lines([line]) == EXAMPLE_LINE


@given(st.integers(0, INTEGER_MAX))
def test_a_cosignature_verifies_at_the_time_it_states(time_s: int) -> None:
    line = cosign(TEXT, time_s, ALICE)
    assert verify_cosignature(TEXT, line, ALICE.cosigner_key) == Cosignature(
        key=ALICE.cosigner_key, time_s=time_s
    )


def test_a_signature_line_has_4_8_and_64_bytes() -> None:
    """'The signature MUST be a `timestamped_signature` structure.'"""
    line = cosign(TEXT, 1, ALICE)
    assert (len(line.key_id), len(line.signature)) == (4, 72)


def test_step_1_a_logs_key_is_no_cosigners_key() -> None:
    with pytest.raises(InvalidCosignatureError) as caught:
        verify_cosignature(TEXT, cosign(TEXT, 1, ALICE), ALICE.verifier_key)
    assert caught.value.field == "step 1"


def test_step_2_another_witnesss_line_is_refused() -> None:
    line = cosign(TEXT, 1, ALICE)
    renamed = NoteSignature(name=BOB.name, key_id=line.key_id, signature=line.signature)
    for wrong, key in [(line, BOB.cosigner_key), (renamed, BOB.cosigner_key), (renamed, ALICE.cosigner_key)]:
        with pytest.raises(InvalidCosignatureError) as caught:
            verify_cosignature(TEXT, wrong, key)
        assert caught.value.field == "step 2"


@pytest.mark.parametrize("evil", ["size", "extension", "time", "flip", "cut", "longer", "time past 2^63 - 1"])
def test_step_3_a_changed_cosignature_is_refused(evil: str) -> None:
    line = cosign(TEXT, 5, ALICE)
    text, signature = TEXT, line.signature
    match evil:
        case "size":
            text = TEXT.replace("\n7\n", "\n8\n")
        case "extension":
            # 'Extension lines ... if present MUST be included in the cosigned message.'
            text = TEXT.replace("an extension\n", "")
        case "time":
            signature = (6).to_bytes(8, "big") + signature[8:]
        case "flip":
            signature = signature[:-1] + bytes([signature[-1] ^ 1])
        case "cut":
            signature = signature[:-1]
        case "longer":
            signature += b"\0"
        case "time past 2^63 - 1":
            late = 1 << 63
            signature = late.to_bytes(8, "big") + ALICE.sign(cosigned_bytes(TEXT, late))
    with pytest.raises(InvalidCosignatureError) as caught:
        verify_cosignature(
            text, NoteSignature(name=line.name, key_id=line.key_id, signature=signature), ALICE.cosigner_key
        )
    assert caught.value.field == "step 3"


def test_step_4_a_cosignature_from_the_future_can_be_refused() -> None:
    """'verifiers MAY reject cosignatures with timestamps in the future'"""
    line = cosign(TEXT, 100, ALICE)
    verify_cosignature(TEXT, line, ALICE.cosigner_key, time_s_max=100)
    with pytest.raises(InvalidCosignatureError) as caught:
        verify_cosignature(TEXT, line, ALICE.cosigner_key, time_s_max=99)
    assert caught.value.field == "step 4"


def test_only_checkpoints_are_cosigned_and_only_at_times_that_can_be_written() -> None:
    with pytest.raises(MalformedCheckpointError):
        cosign("any text\n", 1, ALICE)
    for time_s in (-1, INTEGER_MAX + 1):
        with pytest.raises(InvalidCosignatureError):
            cosign(TEXT, time_s, ALICE)


def test_cosignatures_are_found_on_an_opened_note_and_the_logs_own_line_is_none() -> None:
    note = sign_checkpoint(CHECKPOINT, LOG)
    note = add_signatures(note, (cosign(TEXT, 10, ALICE), cosign(TEXT, 11, BOB)))
    opened = open_note(note, [LOG.verifier_key, ALICE.cosigner_key, BOB.cosigner_key])
    assert [(found.key.name, found.time_s) for found in cosignatures_of(opened)] == [
        (ALICE.name, 10),
        (BOB.name, 11),
    ]


def test_a_later_cosignature_takes_the_place_of_the_same_keys_older_one() -> None:
    note = add_signatures(sign_checkpoint(CHECKPOINT, LOG), (cosign(TEXT, 10, ALICE),))
    again = add_signatures(note, (cosign(TEXT, 20, ALICE),))
    (found,) = cosignatures_of(open_note(again, [ALICE.cosigner_key]))
    assert (found.time_s, len(parse_note(again).signatures)) == (20, 2)


def test_a_wrong_cosignature_of_a_known_witness_refuses_the_note() -> None:
    line = cosign(TEXT, 10, ALICE)
    wrong = NoteSignature(name=line.name, key_id=line.key_id, signature=bytes(72))
    note = add_signatures(sign_checkpoint(CHECKPOINT, LOG), (wrong,))
    with pytest.raises(InvalidNoteSignatureError):
        open_note(note, [LOG.verifier_key, ALICE.cosigner_key])
    assert open_note(note, [LOG.verifier_key]).text == TEXT


def test_lines_are_added_to_notes_only() -> None:
    with pytest.raises(MalformedNoteError):
        add_signatures(b"not a note", (cosign(TEXT, 1, ALICE),))
