"""Signed notes, as C2SP signed-note v1 and golang.org/x/mod/sumdb/note have them.

A note is text signed by one or more keys:

    <text, one or more lines>
    <empty line>
    U+2014 SP <key name> SP <base64(key id || signature)>     one or more such lines

- All of it is UTF-8 without ASCII control characters other than newline, at most 1 MB.
- The text ends with a newline and may hold empty lines; it ends at the *last* empty line of the note.
- A key name is not empty and holds neither a Unicode space nor ``+``.
- The key id has four bytes: SHA-256(key name || 0x0A || algorithm byte || public key)[:4].  It finds a key
  and proves nothing.
- What is signed depends on the algorithm byte of the key:

      0x01  Ed25519       64 bytes      signed bytes = the text, its last newline included
      0x04  cosignature   8 + 64 bytes  u64 big-endian Unix seconds, then Ed25519 over
                                        ``cosignature/v1\\ntime <seconds>\\n`` and the text
      0x06  ML-DSA-44     8 + 2,420     u64 big-endian Unix seconds or 0, then ML-DSA-44 (FIPS 204) over a
                                        struct that names signer, time, origin, size and root (C2SP
                                        tlog-cosignature); the text is a checkpoint, whose extension lines
                                        it leaves out

- A key is shared as a *vkey*: ``<name>+<key id, 8 lower-case hex>+<base64(algorithm byte || key)>``.

Two spellings that Go accepts are refused here, because a changed byte must be a changed note: base64 whose
unused bits are not zero, and upper-case hex in a vkey.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from enum import IntEnum
from typing import assert_never

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
from msgspec import Struct

from domain.errors import InvalidError, MalformedError
from domain.key_history import ED25519, ML_DSA_44
from ledger.ports import Signer
from ledger.spelling import INTEGER_MAX, format_base64, parse_base64, parse_decimal, parse_hash

# Go's limit; far above a checkpoint with a hundred post-quantum cosignatures.
NOTE_BYTES_MAX = 1_000_000
# Go's limit; the specification asks for 16 at least.  Each may cost a signature check.
NOTE_SIGNATURES_MAX = 100
# Names of known keys are host names with a path; ML-DSA cosignatures leave one byte for the length.
KEY_NAME_LENGTH_MAX = 255

SIGNATURE_PREFIX = "\u2014 "
COSIGNATURE_BYTES = 8 + 64
ML_DSA_44_SIGNATURE_BYTES = 2_420

_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")
# Half of a surrogate pair, as Python makes them of undecodable arguments, has no UTF-8.
_NEVER_IN_NAMES = re.compile("[\x00-\x1f+\ud800-\udfff]")
_VKEY = re.compile(r"(?P<name>[^+]+)\+(?P<key_id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/]+=*)")


class MalformedNoteError(MalformedError):
    """These bytes are not a signed note."""


class MalformedVerifierKeyError(MalformedError):
    """This is not a verifier key, or one of a kind that is not supported."""


class InvalidNoteError(InvalidError):
    """The note parsed, but it cannot be trusted."""


class InvalidNoteSignatureError(InvalidNoteError):
    """A known key's signature is wrong, so the whole note is refused."""


class UnverifiedNoteError(InvalidNoteError):
    """No known key has signed the note."""


class Algorithm(IntEnum):
    """Signature type bytes of C2SP signed-note that are supported here."""

    ED25519 = 0x01
    COSIGNATURE = 0x04
    ML_DSA_44 = 0x06


ALGORITHM_OF = {ED25519: Algorithm.ED25519, ML_DSA_44: Algorithm.ML_DSA_44}
"""The type byte of a key that signs for a log, by its algorithm's name in key events."""
_PUBLIC_KEY_BYTES = {Algorithm.ED25519: 32, Algorithm.COSIGNATURE: 32, Algorithm.ML_DSA_44: 1_312}


class NoteSignature(Struct, frozen=True, kw_only=True):
    """One signature line: who says to have signed, and the signature with whatever stands before it."""

    name: str
    key_id: bytes
    signature: bytes


class SignedNote(Struct, frozen=True, kw_only=True):
    """A note as written; nothing in it has been verified."""

    text: str
    signatures: tuple[NoteSignature, ...]


class VerifierKey(Struct, frozen=True, kw_only=True):
    """A public key that is known under a name.  Raises: MalformedVerifierKeyError."""

    name: str
    public_key: bytes
    algorithm: Algorithm = Algorithm.ED25519

    def __post_init__(self) -> None:
        if not is_key_name(self.name) or len(self.name) > KEY_NAME_LENGTH_MAX:
            raise MalformedVerifierKeyError("not a key name", field="name", actual=repr(self.name)[:80])
        if len(self.public_key) != _PUBLIC_KEY_BYTES[self.algorithm]:
            raise MalformedVerifierKeyError(
                "a public key of another length",
                field="public key",
                expected=f"{_PUBLIC_KEY_BYTES[self.algorithm]} bytes",
                actual=str(len(self.public_key)),
            )

    @property
    def key_id(self) -> bytes:
        """Four bytes that find this key."""
        return key_id(self.name, self.algorithm, self.public_key)

    def has_signed(self, text: str, signature: bytes) -> bool:
        """Whether ``signature`` (of a line with this key's name and id) is this key's over the note text."""
        match self.algorithm:
            case Algorithm.ED25519:
                return self.has_signed_bytes(text.encode(), signature)
            case Algorithm.COSIGNATURE:
                if len(signature) != COSIGNATURE_BYTES:
                    return False
                time_s = int.from_bytes(signature[:8], "big")
                return time_s <= INTEGER_MAX and self.has_signed_bytes(
                    cosigned_bytes(text, time_s), signature[8:]
                )
            case Algorithm.ML_DSA_44:
                if len(signature) != 8 + ML_DSA_44_SIGNATURE_BYTES:
                    return False
                time_s = int.from_bytes(signature[:8], "big")
                message = subtree_bytes(self.name, text, time_s) if time_s <= INTEGER_MAX else None
                return message is not None and self.has_signed_bytes(message, signature[8:])
            case _:
                assert_never(self.algorithm)

    def has_signed_bytes(self, message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is this key's plain signature over ``message`` (RFC 8032, or FIPS 204 with an
        empty context)."""
        try:
            if self.algorithm is Algorithm.ML_DSA_44:
                MLDSA44PublicKey.from_public_bytes(self.public_key).verify(signature, message)
            else:
                Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class VerifiedSignature(Struct, frozen=True, kw_only=True):
    """A signature that has been checked, and the key it was checked with."""

    key: VerifierKey
    signature: NoteSignature


class VerifiedNote(Struct, frozen=True, kw_only=True):
    """Text that at least one known key has signed; ``unverified`` are the lines of unknown keys."""

    text: str
    verified: tuple[VerifiedSignature, ...]
    unverified: tuple[NoteSignature, ...]


def is_key_name(name: str) -> bool:
    """Whether a key may have this name."""
    return bool(name) and not _NEVER_IN_NAMES.search(name) and not any(map(str.isspace, name))


def check_key_name(name: str, field: str) -> str:
    """Return ``name`` if a key may have it.  Raises: MalformedError naming ``field``."""
    if not is_key_name(name) or len(name) > KEY_NAME_LENGTH_MAX:
        raise MalformedError(
            "not a key name",
            field=field,
            expected="a C2SP name without white space or +, such as example.org/ledger-acme",
            actual=repr(name)[:80],
        )
    return name


def key_id(name: str, algorithm: Algorithm, public_key: bytes) -> bytes:
    """Four bytes that find a key."""
    return hashlib.sha256(name.encode() + b"\n" + bytes((algorithm,)) + public_key).digest()[:4]


def format_verifier_key(key: VerifierKey) -> str:
    """Spell a key as a vkey."""
    return f"{key.name}+{key.key_id.hex()}+{format_base64(bytes((key.algorithm,)) + key.public_key)}"


def parse_verifier_key(text: str) -> VerifierKey:
    """Read a vkey.  Raises: MalformedVerifierKeyError."""
    parts = _VKEY.fullmatch(text)
    if parts is None:
        raise MalformedVerifierKeyError(
            "not a verifier key", expected="name+8 hex digits+base64", actual=repr(text[:80])
        )
    try:
        key_bytes = parse_base64(parts["key"], "key")
    except MalformedError as error:
        raise MalformedVerifierKeyError(error.what, field="key", actual=error.actual) from error
    if key_bytes[0] not in Algorithm.__members__.values():
        raise MalformedVerifierKeyError(
            "a key of a kind that is not supported",
            field="algorithm",
            expected="0x01 (Ed25519), 0x04 (Ed25519 cosignature) or 0x06 (ML-DSA-44)",
            actual=f"0x{key_bytes[0]:02x}",
        )
    key = VerifierKey(name=parts["name"], algorithm=Algorithm(key_bytes[0]), public_key=key_bytes[1:])
    if key.key_id.hex() != parts["key_id"]:
        raise MalformedVerifierKeyError(
            "the key id is not that of name and key",
            field="key id",
            expected=key.key_id.hex(),
            actual=parts["key_id"],
        )
    return key


def verifier_key_of(signer: Signer) -> VerifierKey:
    """The public key that a signer's signatures verify with."""
    return VerifierKey(
        name=signer.name, public_key=signer.public_key, algorithm=ALGORITHM_OF[signer.algorithm]
    )


def key_hint(key: VerifierKey) -> str:
    """``<key name>+<key id>``, the beginning of a vkey: how a signature elsewhere says whose it is."""
    return f"{key.name}+{key.key_id.hex()}"


def subtree_bytes(name: str, text: str, time_s: int) -> bytes | None:
    """What an ML-DSA-44 key with this name signs for the checkpoint ``text``; None where the text is none.

    C2SP tlog-cosignature, ``cosigned_message`` from leaf 0 to the tree's size.
    """
    lines = text.split("\n")
    try:
        origin, size, root = lines[0].encode(), parse_decimal(lines[1], "size"), parse_hash(lines[2], "root")
    except (IndexError, MalformedError, UnicodeEncodeError):
        return None
    signer = name.encode()
    if not 0 < len(origin) <= 255 or not 0 < len(signer) <= 255:
        return None
    return b"".join(
        (
            b"subtree/v1\n\0",
            bytes((len(signer),)),
            signer,
            time_s.to_bytes(8, "big"),
            bytes((len(origin),)),
            origin,
            bytes(8),
            size.to_bytes(8, "big"),
            root,
        )
    )


def cosigned_bytes(text: str, time_s: int) -> bytes:
    """What a cosigner signs: that it saw the checkpoint ``text`` at ``time_s`` (Unix seconds)."""
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def format_note(note: SignedNote) -> bytes:
    """Spell a note.  Raises: MalformedNoteError if it could not be read back."""
    data = _utf8(f"{note.text}\n{format_signature_lines(note.signatures)}")
    if parse_note(data) != note:
        raise MalformedNoteError("this text and these signatures do not make a note")
    return data


def parse_note(data: bytes) -> SignedNote:
    """Read a note without verifying anything.  Raises: MalformedNoteError."""
    if len(data) > NOTE_BYTES_MAX:
        raise MalformedNoteError(
            "note too long", expected=f"<= {NOTE_BYTES_MAX} bytes", actual=str(len(data))
        )
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedNoteError("a note is UTF-8", field=f"byte {error.start}") from error
    if control := _CONTROL.search(whole):
        raise MalformedNoteError(
            "a note has no control characters", field=f"character {control.start()}", actual=repr(control[0])
        )
    text, blank, lines = whole.rpartition("\n\n")
    if not blank:
        raise MalformedNoteError("a note has an empty line between text and signatures")
    return SignedNote(text=f"{text}\n", signatures=parse_signature_lines(lines))


def format_signature_lines(signatures: Sequence[NoteSignature]) -> str:
    """Spell signature lines, as they stand in a note and as a witness answers with them."""
    return "".join(
        f"{SIGNATURE_PREFIX}{line.name} {format_base64(line.key_id + line.signature)}\n"
        for line in signatures
    )


def parse_signature_lines(text: str) -> tuple[NoteSignature, ...]:
    """Read one or more signature lines, each with its newline.  Raises: MalformedNoteError."""
    if not text.endswith("\n"):
        raise MalformedNoteError("a signature line ends with a newline", actual=repr(text[-80:]))
    rows = text[:-1].split("\n")
    if len(rows) > NOTE_SIGNATURES_MAX:
        raise MalformedNoteError(
            "too many signatures", expected=f"<= {NOTE_SIGNATURES_MAX}", actual=str(len(rows))
        )
    return tuple(_parse_signature_line(row) for row in rows)


def sign_note(text: str, signers: Sequence[Signer]) -> bytes:
    """A note signed by each signer.  Raises: MalformedNoteError if no note can say this."""
    return format_note(
        SignedNote(text=text, signatures=tuple(_signature_line(text, signer) for signer in signers))
    )


def open_note(data: bytes, keys: Sequence[VerifierKey]) -> VerifiedNote:
    """Read a note and verify it with known keys, by the rules of Go's ``note.Open``.

    1. The note parses.
    2. No two different known keys share name and key id.
    3. Lines of unknown keys (name *and* key id decide) are set aside; of a known key, the first line counts.
    4. Every known key's line verifies; one that does not refuses the whole note.
    5. At least one known key has signed.

    Raises: MalformedNoteError (1), InvalidNoteError (2), InvalidNoteSignatureError (4),
    UnverifiedNoteError (5).
    """
    note = parse_note(data)
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.key_id), key) != key:
            raise InvalidNoteError("two known keys share name and key id", field="step 2", actual=key.name)
    verified: dict[tuple[str, bytes], VerifiedSignature] = {}
    unverified: list[NoteSignature] = []
    for line in note.signatures:
        identity = (line.name, line.key_id)
        if identity not in known:
            unverified.append(line)
        elif identity not in verified:
            if not known[identity].has_signed(note.text, line.signature):
                raise InvalidNoteSignatureError(
                    "a known key's signature is wrong",
                    field="step 4",
                    actual=f"{line.name}+{line.key_id.hex()}",
                    remedy="The text or the signature was changed, or another key was used under this name.",
                )
            verified[identity] = VerifiedSignature(key=known[identity], signature=line)
    if not verified:
        raise UnverifiedNoteError(
            "no known key has signed",
            field="step 5",
            expected=" or ".join(f"{name}+{identifier.hex()}" for name, identifier in known) or "a known key",
            actual=", ".join(f"{line.name}+{line.key_id.hex()}" for line in unverified),
            remedy="Give the public key that signed it, if you trust it.",
        )
    return VerifiedNote(text=note.text, verified=tuple(verified.values()), unverified=tuple(unverified))


def _signature_line(text: str, signer: Signer) -> NoteSignature:
    message, before = _utf8(text), b""
    if signer.algorithm == ML_DSA_44:
        # No time: it says that this tree is consistent with every one before, which is what a seal means.
        subtree = subtree_bytes(signer.name, text, 0)
        if subtree is None:
            raise MalformedNoteError("an ML-DSA-44 key signs checkpoints only", actual=repr(text[:80]))
        message, before = subtree, bytes(8)
    return NoteSignature(
        name=signer.name,
        key_id=key_id(signer.name, ALGORITHM_OF[signer.algorithm], signer.public_key),
        signature=before + signer.sign(message),
    )


def _parse_signature_line(line: str) -> NoteSignature:
    parts = line.removeprefix(SIGNATURE_PREFIX).split(" ")
    if not line.startswith(SIGNATURE_PREFIX) or len(parts) != 2:
        raise MalformedNoteError(
            "not a signature line", expected="an em dash, a name and base64", actual=repr(line[:80])
        )
    name, encoded = parts
    if not is_key_name(name):
        raise MalformedNoteError("not a key name", field="signature line", actual=repr(name[:80]))
    try:
        signature = parse_base64(encoded, "signature line")
    except MalformedError as error:
        raise MalformedNoteError(
            error.what, field=f"signature line of {name}", actual=error.actual
        ) from error
    if len(signature) < 5:
        raise MalformedNoteError(
            "a signature is longer than its key id",
            field=f"signature line of {name}",
            actual=str(len(signature)),
        )
    return NoteSignature(name=name, key_id=signature[:4], signature=signature[4:])


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise MalformedNoteError("a note is UTF-8", field=f"character {error.start}") from error
