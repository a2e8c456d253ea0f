"""DSSE envelopes v1.0.2 (secure-systems-lab/dsse), signed with Ed25519 and, beside it, ML-DSA-44.

What is signed is the pre-authentication encoding of payload type and payload, with lengths in bytes:

    PAE = "DSSEv1" SP len(type) SP type SP len(payload) SP payload

An envelope is JSON:

    {"payload": base64, "payloadType": string, "signatures": [{"keyid": string, "sig": base64}, ...]}

Written here: canonical JSON (``domain.canonical``) and standard base64, and ``parse_envelope`` refuses every
other spelling, because the envelope's bytes are what a ledger entry commits to.  ``parse_foreign_envelope``
reads what others write: any JSON spelling, more members, standard or URL-safe base64, ``keyid`` absent.

``keyid`` is no part of what is signed and proves nothing.  Ours is ``<key name>+<key id>``, which is how a
vkey begins and what a checkpoint's signature line says: one rule finds the key of a receipt and of its seal.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Struct, UnsetType

from domain.canonical import canonical_json, parse_canonical
from domain.errors import InvalidError, MalformedError
from ledger.notes import Algorithm, VerifierKey, key_hint, verifier_key_of
from ledger.ports import PAYLOAD_BYTES_MAX, Signer
from ledger.spelling import format_base64, parse_base64

# An envelope is the body of a ledger event.
ENVELOPE_BYTES_MAX = PAYLOAD_BYTES_MAX
# Each costs a signature check with every known key.
ENVELOPE_SIGNATURES_MAX = 16
PAYLOAD_TYPE_LENGTH_MAX = 255

_TO_STANDARD = str.maketrans("-_", "+/")


class MalformedEnvelopeError(MalformedError):
    """These bytes are not a DSSE envelope."""


class InvalidEnvelopeError(InvalidError):
    """The envelope parsed, but it cannot be trusted."""


class EnvelopeSignature(Struct, frozen=True, kw_only=True):
    """One signature and a hint to its key; the hint is empty where none was given."""

    keyid: str
    signature: bytes


class Envelope(Struct, frozen=True, kw_only=True):
    """A payload and its signatures; nothing in it has been verified.  Raises: MalformedEnvelopeError."""

    payload: bytes
    payload_type: str
    signatures: tuple[EnvelopeSignature, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.payload_type) <= PAYLOAD_TYPE_LENGTH_MAX:
            raise MalformedEnvelopeError(
                "not a payload type",
                field="payloadType",
                expected=f"1 to {PAYLOAD_TYPE_LENGTH_MAX} characters",
                actual=str(len(self.payload_type)),
            )
        if not 0 < len(self.signatures) <= ENVELOPE_SIGNATURES_MAX:
            raise MalformedEnvelopeError(
                "an envelope has signatures",
                field="signatures",
                expected=f"1 to {ENVELOPE_SIGNATURES_MAX}",
                actual=str(len(self.signatures)),
            )


class _WireSignature(Struct, frozen=True, kw_only=True):
    keyid: str
    sig: str


class _WireEnvelope(Struct, frozen=True, kw_only=True):
    payload: str
    payloadType: str
    signatures: tuple[_WireSignature, ...]


class _ForeignSignature(Struct, frozen=True, kw_only=True):
    sig: str
    keyid: str | UnsetType | None = UNSET


class _ForeignEnvelope(Struct, frozen=True, kw_only=True):
    payload: str
    payloadType: str
    signatures: tuple[_ForeignSignature, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_envelope(payload_type: str, payload: bytes, signers: Sequence[Signer]) -> Envelope:
    """An envelope signed by each of ``signers``."""
    message = pae(payload_type, payload)
    return Envelope(
        payload=payload,
        payload_type=payload_type,
        signatures=tuple(
            EnvelopeSignature(keyid=key_hint(verifier_key_of(signer)), signature=signer.sign(message))
            for signer in signers
        ),
    )


def format_envelope(envelope: Envelope) -> bytes:
    """Spell an envelope.  Raises: MalformedEnvelopeError if it is too long."""
    data = canonical_json(
        _WireEnvelope(
            payload=format_base64(envelope.payload),
            payloadType=envelope.payload_type,
            signatures=tuple(
                _WireSignature(keyid=line.keyid, sig=format_base64(line.signature))
                for line in envelope.signatures
            ),
        )
    )
    _check_length(data)
    return data


def parse_envelope(data: bytes) -> Envelope:
    """Read an envelope in the one spelling that is written here.  Raises: MalformedEnvelopeError."""
    _check_length(data)
    try:
        wire = parse_canonical(data, _WireEnvelope)
        return Envelope(
            payload=parse_base64(wire.payload, "payload"),
            payload_type=wire.payloadType,
            signatures=tuple(
                EnvelopeSignature(
                    keyid=line.keyid, signature=parse_base64(line.sig, f"signatures[{number}].sig")
                )
                for number, line in enumerate(wire.signatures)
            ),
        )
    except MalformedEnvelopeError:
        raise
    except MalformedError as error:
        raise MalformedEnvelopeError(error.what, field=error.field, actual=error.actual[:200]) from error
    except UnicodeDecodeError as error:
        raise MalformedEnvelopeError("an envelope is UTF-8", actual=str(error)[:200]) from error


def parse_foreign_envelope(data: bytes) -> Envelope:
    """Read an envelope as others may spell it.  Raises: MalformedEnvelopeError."""
    _check_length(data)
    try:
        wire = msgspec.json.decode(data, type=_ForeignEnvelope)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedEnvelopeError("not a DSSE envelope", actual=str(error)[:200]) from error
    return Envelope(
        payload=_any_base64(wire.payload, "payload"),
        payload_type=wire.payloadType,
        signatures=tuple(
            EnvelopeSignature(
                keyid=line.keyid if isinstance(line.keyid, str) else "",
                signature=_any_base64(line.sig, f"signatures[{number}].sig"),
            )
            for number, line in enumerate(wire.signatures)
        ),
    )


def verify_envelope(
    envelope: Envelope, keys: Sequence[VerifierKey], *, payload_type: str
) -> tuple[VerifierKey, ...]:
    """Check that known keys have signed this payload as this type, and say which.

    1. The payload has the type that the caller is going to read it as.
    2. A signature whose ``keyid`` names a known key verifies with it; one that does not refuses the envelope.
    3. Any other ``keyid`` is only a hint: its signature counts for whichever known key it verifies with.
    4. At least one known key has signed.  (Whoever wants more counts the answer: no key is in it twice.)

    Only a log's own keys can sign envelopes; Ed25519 cosigners' keys are passed over.

    Raises: InvalidEnvelopeError naming the step.
    """
    if envelope.payload_type != payload_type:
        raise InvalidEnvelopeError(
            "a payload of another type", field="step 1", expected=payload_type, actual=envelope.payload_type
        )
    message = pae(envelope.payload_type, envelope.payload)
    known = {key_hint(key): key for key in keys if key.algorithm is not Algorithm.COSIGNATURE}
    verified: dict[str, VerifierKey] = {}
    for line in envelope.signatures:
        if line.keyid in known:
            if not known[line.keyid].has_signed_bytes(message, line.signature):
                raise InvalidEnvelopeError(
                    "a known key's signature is wrong",
                    field="step 2",
                    actual=line.keyid,
                    remedy="The payload or the signature was changed, or another key used its name.",
                )
            verified[line.keyid] = known[line.keyid]
            continue
        for hint, key in known.items():
            if key.has_signed_bytes(message, line.signature):
                verified[hint] = key
    if not verified:
        raise InvalidEnvelopeError(
            "no known key has signed",
            field="step 4",
            expected=" or ".join(known) or "a known Ed25519 key",
            actual=", ".join(line.keyid or "(no keyid)" for line in envelope.signatures)[:400],
            remedy="Give the public key that signed it, if you trust it.",
        )
    return tuple(verified.values())


def _any_base64(text: str, field: str) -> bytes:
    if {"-", "_"} & set(text) and {"+", "/"} & set(text):
        raise MalformedEnvelopeError("two base64 alphabets in one value", field=field)
    try:
        return parse_base64(text.translate(_TO_STANDARD), field)
    except MalformedError as error:
        raise MalformedEnvelopeError(error.what, field=field, actual=error.actual) from error


def _check_length(data: bytes) -> None:
    if len(data) > ENVELOPE_BYTES_MAX:
        raise MalformedEnvelopeError(
            "envelope too long", expected=f"<= {ENVELOPE_BYTES_MAX} bytes", actual=str(len(data))
        )
