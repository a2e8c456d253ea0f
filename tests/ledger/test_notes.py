"""Signed notes: the specification's example, its sentences as properties, one file for each evil, and Go."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import MalformedError, TallystickError
from ledger.notes import (
    NOTE_BYTES_MAX,
    NOTE_SIGNATURES_MAX,
    Algorithm,
    InvalidNoteError,
    InvalidNoteSignatureError,
    MalformedNoteError,
    MalformedVerifierKeyError,
    NoteSignature,
    SignedNote,
    UnverifiedNoteError,
    VerifierKey,
    format_note,
    format_verifier_key,
    is_key_name,
    key_id,
    open_note,
    parse_note,
    parse_signature_lines,
    parse_verifier_key,
    sign_note,
)
from tests.ledger.go_sumdb import Ask
from tests.ledger.signing_key import SigningKey
from tests.ledger.vectors import vector, vectors

EXAMPLE = vector("notes/good/c2sp-signed-note-example.note")
EXAMPLE_KEY = vector("notes/example.vkey").decode().strip()

ALICE, BOB, CAROL = SigningKey("alice.example"), SigningKey("bob.example/log"), SigningKey("carol.example")

characters = st.characters(codec="utf-8").filter(lambda c: c == "\n" or c >= " ")
texts = st.text(characters, max_size=60).map(lambda text: f"{text}\n")
names = st.text(characters, min_size=1, max_size=12).filter(is_key_name)
lines = st.builds(
    lambda name, raw: NoteSignature(name=name, key_id=raw[:4], signature=raw[4:]),
    names,
    st.binary(min_size=5, max_size=90),
)


def test_the_example_of_the_specification_opens_with_its_key() -> None:
    opened = open_note(EXAMPLE, [parse_verifier_key(EXAMPLE_KEY)])
    assert opened.text == "This is an example message.\n"
    assert [line.key.name for line in opened.verified] == ["example.com/foo"]
    assert opened.unverified == ()


def test_the_example_key_is_spelled_as_it_was_read() -> None:
    key = parse_verifier_key(EXAMPLE_KEY)
    assert (key.name, key.algorithm, key.key_id.hex()) == ("example.com/foo", Algorithm.ED25519, "530d903a")
    assert format_verifier_key(key) == EXAMPLE_KEY


def test_key_ids_are_computed_as_the_specification_recommends() -> None:
    """'key ID = SHA-256(key name || 0x0A || signature type || public key)[:4]'"""
    public = ALICE.public_key
    expected = hashlib.sha256(b"alice.example\n\x04" + public).digest()[:4]
    assert key_id("alice.example", Algorithm.COSIGNATURE, public) == expected == ALICE.cosigner_key.key_id
    assert ALICE.verifier_key.key_id != ALICE.cosigner_key.key_id


@given(texts, st.lists(lines, min_size=1, max_size=4))
def test_a_note_is_read_as_it_was_written(text: str, signatures: list[NoteSignature]) -> None:
    """'the text is separated from the signatures by the last empty line in the note'"""
    note = SignedNote(text=text, signatures=tuple(signatures))
    assert parse_note(format_note(note)) == note


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"{text}\n\n— a {text}\n".encode()))
def test_whatever_parses_as_a_note_has_no_other_spelling(data: bytes) -> None:
    try:
        note = parse_note(data)
    except MalformedNoteError:
        return
    assert format_note(note) == data


@given(names, st.binary(min_size=32, max_size=32), st.sampled_from(Algorithm))
def test_a_verifier_key_is_read_as_it_was_written(name: str, public_key: bytes, algorithm: Algorithm) -> None:
    if algorithm is Algorithm.ML_DSA_44:
        public_key *= 41  # 1,312 bytes
    key = VerifierKey(name=name, public_key=public_key, algorithm=algorithm)
    assert parse_verifier_key(format_verifier_key(key)) == key


@given(st.text(max_size=80))
def test_whatever_parses_as_a_verifier_key_has_no_other_spelling(text: str) -> None:
    try:
        key = parse_verifier_key(text)
    except MalformedVerifierKeyError:
        return
    assert format_verifier_key(key) == text


@given(texts, st.permutations([ALICE, BOB, CAROL]))
def test_a_signed_note_opens_with_any_one_of_its_keys(text: str, signers: list[SigningKey]) -> None:
    note = sign_note(text, signers[:2])
    for signer in signers[:2]:
        opened = open_note(note, [signer.verifier_key, signers[2].verifier_key])
        assert opened.text == text
        assert [line.key for line in opened.verified] == [signer.verifier_key]
        assert len(opened.unverified) == 1


@pytest.mark.parametrize("data", vectors("notes/malformed"))
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedNoteError):
        open_note(data, [parse_verifier_key(EXAMPLE_KEY)])


@pytest.mark.parametrize("data", vectors("notes/refused"))
def test_a_note_that_cannot_be_trusted_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidNoteError):
        open_note(data, [parse_verifier_key(EXAMPLE_KEY)])


@pytest.mark.parametrize("data", vectors("vkeys/malformed"))
def test_what_is_no_verifier_key_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedVerifierKeyError):
        parse_verifier_key(data.decode())


def test_every_single_bit_of_a_signed_note_matters() -> None:
    keys = [parse_verifier_key(EXAMPLE_KEY)]
    for position in range(len(EXAMPLE)):
        for bit in range(8):
            changed = bytearray(EXAMPLE)
            changed[position] ^= 1 << bit
            with pytest.raises(TallystickError):
                open_note(bytes(changed), keys)


def test_step_2_two_keys_under_one_identity_are_ambiguous() -> None:
    """'An attacker can easily compute a public key that will collide a target key hash'"""
    key = ALICE.verifier_key

    class Collision(VerifierKey, frozen=True):
        @property
        def key_id(self) -> bytes:
            return key.key_id

    other = Collision(name=key.name, public_key=BOB.public_key)
    with pytest.raises(InvalidNoteError) as caught:
        open_note(sign_note("text\n", [ALICE]), [key, other])
    assert caught.value.field == "step 2"
    assert open_note(sign_note("text\n", [ALICE]), [key, key]).text == "text\n"


def test_step_3_lines_of_unknown_keys_are_set_aside() -> None:
    """'Verifiers MUST ignore signatures from unknown keys, even if they share a name or ID (but not both)'"""
    note = parse_note(sign_note("text\n", [ALICE]))
    (line,) = note.signatures
    same_name = NoteSignature(name=line.name, key_id=b"\0\0\0\0", signature=b"nonsense")
    same_id = NoteSignature(name="other.example", key_id=line.key_id, signature=b"nonsense")
    mixed = format_note(SignedNote(text=note.text, signatures=(same_name, line, same_id)))
    opened = open_note(mixed, [ALICE.verifier_key])
    assert opened.unverified == (same_name, same_id)
    assert [verified.signature for verified in opened.verified] == [line]


def test_step_3_of_a_known_key_the_first_line_counts() -> None:
    note = parse_note(sign_note("text\n", [ALICE]))
    (line,) = note.signatures
    wrong = NoteSignature(name=line.name, key_id=line.key_id, signature=bytes(64))
    keys = [ALICE.verifier_key]
    first_right = format_note(SignedNote(text=note.text, signatures=(line, line, wrong)))
    assert len(open_note(first_right, keys).verified) == 1
    with pytest.raises(InvalidNoteSignatureError):
        open_note(format_note(SignedNote(text=note.text, signatures=(wrong, line))), keys)


def test_step_4_one_wrong_signature_of_a_known_key_refuses_the_whole_note() -> None:
    """'If a signature from a known key fails to verify, clients SHOULD reject the whole note.'"""
    note = parse_note(sign_note("text\n", [ALICE, BOB]))
    alice, bob = note.signatures
    wrong = NoteSignature(name=bob.name, key_id=bob.key_id, signature=bytes(64))
    data = format_note(SignedNote(text=note.text, signatures=(alice, wrong)))
    with pytest.raises(InvalidNoteSignatureError) as caught:
        open_note(data, [ALICE.verifier_key, BOB.verifier_key])
    assert (caught.value.field, caught.value.actual) == ("step 4", f"bob.example/log+{bob.key_id.hex()}")
    assert open_note(data, [ALICE.verifier_key]).text == "text\n"


def test_step_5_a_note_that_nobody_known_has_signed_is_refused() -> None:
    """'If no signature from a known key verifies successfully, clients MUST reject the note.'"""
    for keys in ([], [BOB.verifier_key]):
        with pytest.raises(UnverifiedNoteError) as caught:
            open_note(sign_note("text\n", [ALICE]), keys)
        assert caught.value.field == "step 5"


def test_a_plain_key_does_not_verify_a_cosignature_line_and_the_reverse() -> None:
    note = parse_note(sign_note("text\n", [ALICE]))
    (line,) = note.signatures
    assert not ALICE.cosigner_key.has_signed(note.text, line.signature)
    assert not ALICE.verifier_key.has_signed(note.text, bytes(8) + line.signature)


def test_a_note_with_the_most_signatures_is_read_and_one_more_is_not() -> None:
    """'Verifiers SHOULD apply a maximum limit ..., but MUST accept at least up to 16 signatures.'"""
    assert NOTE_SIGNATURES_MAX >= 16
    line = NoteSignature(name="a", key_id=b"\0\0\0\0", signature=b"\0")
    full = SignedNote(text="text\n", signatures=(line,) * NOTE_SIGNATURES_MAX)
    assert parse_note(format_note(full)) == full
    with pytest.raises(MalformedNoteError):
        format_note(SignedNote(text="text\n", signatures=(line,) * (NOTE_SIGNATURES_MAX + 1)))


def test_a_note_that_is_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(MalformedNoteError):
        parse_note(b"\xff" * (NOTE_BYTES_MAX + 1))


@pytest.mark.parametrize("text", ["", "no newline", "tab\there\n", "nul\0\n", "half a pair \ud800\n"])
def test_text_that_no_note_can_hold_is_not_signed(text: str) -> None:
    with pytest.raises(MalformedNoteError):
        sign_note(text, [ALICE])


def test_a_note_without_signers_is_not_made() -> None:
    with pytest.raises(MalformedNoteError):
        sign_note("text\n", [])


@pytest.mark.parametrize(
    "name", ["", "a b", "a+b", "a\u2003b", "a\u3000", "a\nb", "a\x1fb", "\x00", "\udcff"]
)
def test_names_that_no_key_may_have(name: str) -> None:
    """'Key names MUST be non-empty and MUST NOT contain any Unicode spaces or plus (U+002B) characters.'"""
    assert not is_key_name(name)
    with pytest.raises(MalformedVerifierKeyError):
        VerifierKey(name=name, public_key=bytes(32))


@pytest.mark.parametrize("text", ["", "\n", "— a AAAAAAA=", "— a AAAAAAA=\n\n", "text\n"])
def test_what_are_no_signature_lines_is_refused(text: str) -> None:
    with pytest.raises(MalformedNoteError):
        parse_signature_lines(text)


def test_go_sumdb_opens_what_is_signed_here_and_refuses_the_same(go_sumdb: Ask) -> None:
    vkeys = [format_verifier_key(signer.verifier_key) for signer in (ALICE, BOB)]
    asked: list[tuple[str, list[str]]] = [
        (sign_note(text, signers).decode(), vkeys)
        for text in ("one line\n", "\n", "empty\n\nlines\n\n", "Größe, 大きさ\n", "— not a signature\n")
        for signers in ([ALICE], [BOB, ALICE], [CAROL, BOB], [CAROL])
    ]
    asked += [(parameter.values[0].decode(), [EXAMPLE_KEY]) for parameter in vectors("notes/refused")]
    answers = go_sumdb(Notes=[{"Note": note, "Keys": keys} for note, keys in asked])["Notes"]
    for (note, keys), theirs in zip(asked, answers, strict=True):
        try:
            ours = open_note(note.encode(), [parse_verifier_key(key) for key in keys])
        except InvalidNoteError:
            assert theirs["Error"], note
        else:
            assert theirs["Text"] == ours.text
            assert theirs["Names"] == [line.key.name for line in ours.verified]


def test_go_sumdb_accepts_no_malformed_note_but_the_spelling_we_name(go_sumdb: Ask) -> None:
    """Base64 whose unused bits are set is the one malformed note here that Go opens."""
    parameters = [p for p in vectors("notes/malformed") if _is_utf8(p.values[0])]
    asked = [{"Note": parameter.values[0].decode(), "Keys": [EXAMPLE_KEY]} for parameter in parameters]
    answers = go_sumdb(Notes=asked)["Notes"]
    opened = {str(p.id) for p, theirs in zip(parameters, answers, strict=True) if not theirs["Error"]}
    assert opened == {"base64-padding-bits-set"}


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(st.data())
def test_go_sumdb_and_this_code_agree_on_changed_notes(go_sumdb: Ask, data: st.DataObject) -> None:
    """Where they differ, this code is the stricter one."""
    whole = EXAMPLE.decode()
    asked: list[str] = []
    for _ in range(20):
        position = data.draw(st.integers(0, len(whole) - 1))
        new = data.draw(
            st.sampled_from(["", "\n", "\n\n", " ", "+", "A", "=", "— ", "é", "\t", whole[position] * 2])
        )
        asked.append(whole[:position] + new + whole[position + 1 :])
    answers = go_sumdb(Notes=[{"Note": note, "Keys": [EXAMPLE_KEY]} for note in asked])["Notes"]
    for note, theirs in zip(asked, answers, strict=True):
        try:
            open_note(note.encode(), [parse_verifier_key(EXAMPLE_KEY)])
        except (MalformedError, InvalidNoteError):
            continue
        assert not theirs["Error"], note
