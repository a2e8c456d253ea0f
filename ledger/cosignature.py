"""Cosignatures, as C2SP tlog-cosignature v1 has them for Ed25519: a witness saw a checkpoint.

A cosignature is a signature line on a checkpoint's note, of a key with algorithm byte 0x04.  After its key
id come

    <time>         u64 big-endian, Unix seconds, at most 2^63 - 1
    <signature>    64 bytes, Ed25519

and the signed bytes are

    cosignature/v1
    time <time, decimal>
    <the checkpoint's whole text, extension lines included>

each line ended by one newline.  It says: at this time this was the largest tree, consistent with all before,
that the witness had seen of this log.  The message does not hold the witness's name, so a witness has a key
for nothing else.
"""

from __future__ import annotations

from msgspec import Struct

from domain.errors import InvalidError
from ledger.checkpoint import parse_checkpoint
from ledger.notes import (
    Algorithm,
    NoteSignature,
    SignedNote,
    VerifiedNote,
    VerifierKey,
    cosigned_bytes,
    format_note,
    key_id,
    parse_note,
)
from ledger.ports import Signer
from ledger.spelling import INTEGER_MAX


class InvalidCosignatureError(InvalidError):
    """The cosignature is not by this witness over this checkpoint, or not of an acceptable time."""


class Cosignature(Struct, frozen=True, kw_only=True):
    """A verified cosignature: which witness's key, and when by its clock (Unix seconds)."""

    key: VerifierKey
    time_s: int


def cosign(text: str, time_s: int, signer: Signer) -> NoteSignature:
    """The signature line of a witness under a checkpoint with this text.

    Checking that the checkpoint is consistent with all that the witness has seen, and keeping it, comes
    before. Raises: MalformedCheckpointError if the text is no checkpoint, InvalidCosignatureError for a time
    that no cosignature can have.
    """
    parse_checkpoint(text)
    if not 0 <= time_s <= INTEGER_MAX:
        raise InvalidCosignatureError("time out of range", expected="0 to 2^63 - 1", actual=str(time_s))
    return NoteSignature(
        name=signer.name,
        key_id=key_id(signer.name, Algorithm.COSIGNATURE, signer.public_key),
        signature=time_s.to_bytes(8, "big") + signer.sign(cosigned_bytes(text, time_s)),
    )


def verify_cosignature(
    text: str, line: NoteSignature, key: VerifierKey, *, time_s_max: int | None = None
) -> Cosignature:
    """Check one cosignature under a checkpoint's text.

    1. The key is a cosigner's (0x04).
    2. The line names this key, by name and key id.
    3. The signature is the key's over this text at the time it states.
    4. That time is not after ``time_s_max`` (Unix seconds), if one is given.

    Raises: InvalidCosignatureError naming the step.
    """
    if key.algorithm is not Algorithm.COSIGNATURE:
        raise InvalidCosignatureError("not a cosigner's key", field="step 1", actual=key.name)
    if (line.name, line.key_id) != (key.name, key.key_id):
        raise InvalidCosignatureError(
            "another key's signature",
            field="step 2",
            expected=f"{key.name}+{key.key_id.hex()}",
            actual=f"{line.name}+{line.key_id.hex()}",
        )
    if not key.has_signed(text, line.signature):
        raise InvalidCosignatureError("the signature is wrong", field="step 3", actual=key.name)
    cosignature = Cosignature(key=key, time_s=int.from_bytes(line.signature[:8], "big"))
    if time_s_max is not None and cosignature.time_s > time_s_max:
        raise InvalidCosignatureError(
            "a cosignature from the future",
            field="step 4",
            expected=f"<= {time_s_max}",
            actual=str(cosignature.time_s),
        )
    return cosignature


def cosignatures_of(note: VerifiedNote) -> tuple[Cosignature, ...]:
    """The cosignatures among the verified lines of an opened note."""
    return tuple(
        Cosignature(key=line.key, time_s=int.from_bytes(line.signature.signature[:8], "big"))
        for line in note.verified
        if line.key.algorithm is Algorithm.COSIGNATURE
    )


def add_signatures(note: bytes, lines: tuple[NoteSignature, ...]) -> bytes:
    """The note with more signature lines; a line replaces an older one of the same name and key id.

    Raises: MalformedNoteError if ``note`` is none, or has too many lines then.
    """
    parsed = parse_note(note)
    merged = {(line.name, line.key_id): line for line in (*parsed.signatures, *lines)}
    return format_note(SignedNote(text=parsed.text, signatures=tuple(merged.values())))
