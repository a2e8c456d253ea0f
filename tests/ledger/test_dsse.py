"""DSSE envelopes: the specification's vector, one file for each evil, and a foreign implementation."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import TallystickError
from ledger.dsse import (
    ENVELOPE_BYTES_MAX,
    Envelope,
    EnvelopeSignature,
    InvalidEnvelopeError,
    MalformedEnvelopeError,
    format_envelope,
    key_hint,
    pae,
    parse_envelope,
    parse_foreign_envelope,
    sign_envelope,
    verify_envelope,
)
from ledger.notes import VerifierKey, parse_verifier_key
from ledger.statement import PAYLOAD_TYPE
from tests.ledger.signing_key import SigningKey
from tests.ledger.vectors import vector, vectors

ACME, BOB = SigningKey("tally.example/acme"), SigningKey("bob.example")
PAYLOAD = b'{"hello":"world"}'

envelopes = st.builds(
    lambda payload, payload_type, signatures: Envelope(
        payload=payload,
        payload_type=payload_type,
        signatures=tuple(
            EnvelopeSignature(keyid=keyid, signature=signature) for keyid, signature in signatures
        ),
    ),
    st.binary(max_size=60),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8"), max_size=20), st.binary(max_size=70)),
        min_size=1,
        max_size=4,
    ),
)


def test_the_vector_of_the_specification_is_encoded() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_lengths_count_bytes_not_characters() -> None:
    """'LEN(s): ASCII decimal encoding of the byte length of s, with no leading zeros'"""
    assert pae("é", "日".encode()) == "DSSEv1 2 é 3 日".encode()
    assert pae("a", b"") == b"DSSEv1 1 a 0 "


@given(st.text(max_size=9), st.binary(max_size=9), st.text(max_size=9), st.binary(max_size=9))
def test_no_two_payloads_are_signed_as_the_same_bytes(a: str, b: bytes, c: str, d: bytes) -> None:
    assert (pae(a, b) == pae(c, d)) == ((a, b) == (c, d))


@given(envelopes)
def test_an_envelope_is_read_as_it_was_written(envelope: Envelope) -> None:
    data = format_envelope(envelope)
    assert parse_envelope(data) == parse_foreign_envelope(data) == envelope


@given(st.binary(max_size=80))
def test_whatever_parses_as_an_envelope_has_no_other_spelling(data: bytes) -> None:
    whole = b'{"payload":"' + data + b'","payloadType":"a","signatures":[{"keyid":"","sig":""}]}'
    try:
        envelope = parse_envelope(whole)
    except MalformedEnvelopeError:
        return
    assert format_envelope(envelope) == whole


def test_a_signed_envelope_verifies_and_says_by_whom() -> None:
    envelope = parse_envelope(vector("envelopes/good/one-signature.dsse"))
    key = parse_verifier_key(vector("envelopes/acme.vkey").decode().strip())
    assert envelope.payload == PAYLOAD
    assert envelope.signatures[0].keyid == key_hint(key) == f"tally.example/acme+{key.key_id.hex()}"
    assert verify_envelope(envelope, [BOB.verifier_key, key], payload_type=PAYLOAD_TYPE) == (key,)


@pytest.mark.parametrize("data", vectors("envelopes/malformed"))
def test_what_is_no_envelope_of_ours_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedEnvelopeError):
        parse_envelope(data)


@pytest.mark.parametrize("data", vectors("envelopes/refused"))
def test_an_envelope_that_cannot_be_trusted_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidEnvelopeError):
        verify_envelope(parse_envelope(data), [ACME.verifier_key], payload_type=PAYLOAD_TYPE)


def test_every_single_bit_but_the_hints_matters() -> None:
    data = vector("envelopes/good/one-signature.dsse")
    hint_start = data.index(b'"keyid":"') + len(b'"keyid":"')
    hint = range(hint_start, data.index(b'"', hint_start))
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            try:
                envelope = parse_envelope(bytes(changed))
                verify_envelope(envelope, [ACME.verifier_key], payload_type=PAYLOAD_TYPE)
            except TallystickError:
                continue
            assert position in hint, f"bit {bit} of byte {position} made no difference"


def test_step_1_a_payload_is_not_read_as_another_type() -> None:
    envelope = sign_envelope("text/plain", PAYLOAD, [ACME])
    with pytest.raises(InvalidEnvelopeError) as caught:
        verify_envelope(envelope, [ACME.verifier_key], payload_type=PAYLOAD_TYPE)
    assert caught.value.field == "step 1"


def test_step_2_a_wrong_signature_under_a_known_hint_refuses_the_envelope() -> None:
    envelope = sign_envelope(PAYLOAD_TYPE, PAYLOAD, [ACME, BOB])
    acme, bob = envelope.signatures
    wrong = Envelope(
        payload=PAYLOAD,
        payload_type=PAYLOAD_TYPE,
        signatures=(acme, EnvelopeSignature(keyid=bob.keyid, signature=bytes(64))),
    )
    with pytest.raises(InvalidEnvelopeError) as caught:
        verify_envelope(wrong, [ACME.verifier_key, BOB.verifier_key], payload_type=PAYLOAD_TYPE)
    assert caught.value.field == "step 2"
    assert verify_envelope(wrong, [ACME.verifier_key], payload_type=PAYLOAD_TYPE) == (ACME.verifier_key,)


def test_step_3_a_hint_that_names_no_known_key_is_only_a_hint() -> None:
    """'KEYID: Optional, unauthenticated hint indicating what key and algorithm was used'"""
    (line,) = sign_envelope(PAYLOAD_TYPE, PAYLOAD, [ACME]).signatures
    for keyid in ("", "another", key_hint(BOB.verifier_key)):
        envelope = Envelope(
            payload=PAYLOAD,
            payload_type=PAYLOAD_TYPE,
            signatures=(EnvelopeSignature(keyid=keyid, signature=line.signature),),
        )
        assert verify_envelope(envelope, [ACME.verifier_key], payload_type=PAYLOAD_TYPE) == (
            ACME.verifier_key,
        )


def test_step_4_an_envelope_that_nobody_known_has_signed_is_refused() -> None:
    envelope = sign_envelope(PAYLOAD_TYPE, PAYLOAD, [ACME])
    for keys in ([], [BOB.verifier_key], [ACME.cosigner_key]):
        with pytest.raises(InvalidEnvelopeError) as caught:
            verify_envelope(envelope, keys, payload_type=PAYLOAD_TYPE)
        assert caught.value.field == "step 4"


def test_a_key_that_signs_twice_counts_once() -> None:
    envelope = sign_envelope(PAYLOAD_TYPE, PAYLOAD, [ACME, ACME, BOB])
    keys = [ACME.verifier_key, BOB.verifier_key]
    assert verify_envelope(envelope, keys, payload_type=PAYLOAD_TYPE) == tuple(keys)


def test_what_others_write_is_read_in_either_base64_and_any_json() -> None:
    """'Signers may use either, and verifiers MUST accept either.'"""
    envelope = sign_envelope(PAYLOAD_TYPE, b"\xff\xfe\xfd" * 5, [ACME])
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for hint in ({}, {"keyid": None}, {"keyid": "theirs"}):
            written: dict[str, Any] = {
                "signatures": [
                    {"sig": encode(envelope.signatures[0].signature).decode(), "cert": "-----", **hint}
                ],
                "payloadType": PAYLOAD_TYPE,
                "payload": encode(envelope.payload).decode(),
                "unknown": [1, None],
            }
            read = parse_foreign_envelope(json.dumps(written, indent=2).encode())
            assert read.payload == envelope.payload
            assert read.signatures[0].keyid == (hint.get("keyid") or "")
            assert verify_envelope(read, [ACME.verifier_key], payload_type=PAYLOAD_TYPE) == (
                ACME.verifier_key,
            )


@pytest.mark.parametrize(
    "payload",
    ["fQ", "fR==", "f Q==", "-/8=", "fQ==\n", 7, None],
    ids=["unpadded", "bits", "space", "mixed", "line", "number", "null"],
)
def test_base64_that_nobody_should_write_is_refused_of_others_too(payload: object) -> None:
    written = {"payload": payload, "payloadType": "a", "signatures": [{"sig": ""}]}
    with pytest.raises(MalformedEnvelopeError):
        parse_foreign_envelope(json.dumps(written).encode())


def test_envelopes_have_a_length_limit() -> None:
    with pytest.raises(MalformedEnvelopeError):
        parse_envelope(b" " * (ENVELOPE_BYTES_MAX + 1))
    with pytest.raises(MalformedEnvelopeError):
        format_envelope(sign_envelope("a", bytes(ENVELOPE_BYTES_MAX), [ACME]))


def test_securesystemslib_verifies_what_is_signed_here_and_the_reverse() -> None:
    dsse = pytest.importorskip("securesystemslib.dsse")
    signer = pytest.importorskip("securesystemslib.signer")
    envelope = sign_envelope(PAYLOAD_TYPE, PAYLOAD, [ACME])

    theirs = dsse.Envelope.from_dict(json.loads(format_envelope(envelope)))
    assert theirs.pae() == pae(PAYLOAD_TYPE, PAYLOAD)
    key = signer.SSlibKey(
        key_hint(ACME.verifier_key), "ed25519", "ed25519", {"public": ACME.public_key.hex()}
    )
    assert list(theirs.verify([key], 1)) == [key_hint(ACME.verifier_key)]

    their_signer = signer.CryptoSigner.generate_ed25519()
    theirs = dsse.Envelope(PAYLOAD, PAYLOAD_TYPE, {})
    theirs.sign(their_signer)
    public = bytes.fromhex(their_signer.public_key.keyval["public"])
    known = VerifierKey(name="theirs.example", public_key=public)
    read = parse_foreign_envelope(json.dumps(theirs.to_dict()).encode())
    assert verify_envelope(read, [known], payload_type=PAYLOAD_TYPE) == (known,)
