"""Checkpoints, as C2SP tlog-checkpoint v1 has them: a log's signed word on its size and root.

A checkpoint is a signed note (``ledger.notes``) whose text is

    <origin>                the log's unique name, the name of its key
    <tree size>             decimal, no leading zeros; 0 for the empty tree
    <base64(root hash)>     32 bytes, RFC 6962
    <extension line>        none or more, not empty; not recommended, and none are written here

each line ended by one newline.  In this system the checkpoint that closes an atomic append is its *seal*.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from domain.errors import InvalidError, MalformedError
from ledger.merkle import EMPTY_ROOT
from ledger.notes import Algorithm, VerifiedNote, VerifierKey, open_note, sign_note
from ledger.ports import Signer
from ledger.spelling import INTEGER_MAX, format_base64, parse_decimal, parse_hash

# More lines than any log is known to write; bounds the text beside the limits of a note.
EXTENSION_LINES_MAX = 16

_LINE = re.compile("[^\x00-\x1f\ud800-\udfff]+")


class MalformedCheckpointError(MalformedError):
    """This text is not a checkpoint."""


class InvalidCheckpointError(InvalidError):
    """The checkpoint's signatures hold, but they are not the log's, or it is another log's checkpoint."""


class Checkpoint(Struct, frozen=True, kw_only=True):
    """A log's tree head.  ``root`` has 32 bytes.  Raises: MalformedCheckpointError."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for line in (self.origin, *self.extensions):
            if not _LINE.fullmatch(line):
                raise MalformedCheckpointError(
                    "a line is not empty and holds no control character", actual=repr(line[:80])
                )
        if len(self.extensions) > EXTENSION_LINES_MAX:
            raise MalformedCheckpointError(
                "too many extension lines",
                expected=f"<= {EXTENSION_LINES_MAX}",
                actual=str(len(self.extensions)),
            )
        if not 0 <= self.size <= INTEGER_MAX:
            raise MalformedCheckpointError(
                "tree size out of range", field="size", expected="0 to 2^63 - 1", actual=str(self.size)
            )
        if len(self.root) != 32:
            raise MalformedCheckpointError(
                "a root has 32 bytes", field="root", expected="32", actual=str(len(self.root))
            )
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise MalformedCheckpointError(
                "the empty tree has another root",
                field="root",
                expected=EMPTY_ROOT.hex(),
                actual=self.root.hex(),
            )


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """Spell a checkpoint's text, without signatures."""
    lines = (checkpoint.origin, str(checkpoint.size), format_base64(checkpoint.root), *checkpoint.extensions)
    return "".join(f"{line}\n" for line in lines)


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint's text, without signatures.  Raises: MalformedCheckpointError."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1]:
        raise MalformedCheckpointError(
            "a checkpoint has at least three lines, each with its newline", actual=repr(text[:80])
        )
    origin, size, root, *extensions = lines[:-1]
    try:
        return Checkpoint(
            origin=origin,
            size=parse_decimal(size, "size"),
            root=parse_hash(root, "root"),
            extensions=tuple(extensions),
        )
    except MalformedCheckpointError:
        raise
    except MalformedError as error:
        raise MalformedCheckpointError(
            error.what, field=error.field, expected=error.expected, actual=error.actual
        ) from error


def sign_checkpoint(checkpoint: Checkpoint, *signers: Signer) -> bytes:
    """The checkpoint as a note signed by its log, by each of ``signers``.

    A signer has the log's name.  A name holds no space and the second line is a number, so what is signed
    here can be mistaken neither for a DSSE payload nor for a cosignature, should the same key sign those.

    Raises: InvalidCheckpointError if a signer has another name.
    """
    for signer in signers:
        if signer.name != checkpoint.origin:
            raise InvalidCheckpointError(
                "a log signs its own checkpoints only", expected=checkpoint.origin, actual=signer.name
            )
    return sign_note(format_checkpoint(checkpoint), signers)


def open_checkpoint(note: bytes, keys: Sequence[VerifierKey], *, origin: str | None = None) -> Checkpoint:
    """Read a checkpoint and verify that its log has signed it.
    ``keys`` may hold the keys of several logs and cosigners.  ``origin`` is the log that is meant; without
    it, any log whose key is known under the origin the checkpoint names.
    any log is whose key is known under the name of the checkpoint's origin.

    1. The note opens with ``keys`` (``ledger.notes.open_note``, steps 1 to 5).
    2. Its text is a checkpoint.
    3. The checkpoint is of the log that is meant.
    4. A key of that log, one that is known under its origin, has signed it; a cosigner's word is not enough.

    Raises: MalformedNoteError and InvalidNoteError (1), MalformedCheckpointError (2),
    InvalidCheckpointError (3 and 4).
    """
    return checkpoint_of(open_note(note, keys), origin=origin)


def checkpoint_of(note: VerifiedNote, *, origin: str | None = None) -> Checkpoint:
    """Steps 2 to 4 of ``open_checkpoint``, for a note that has been opened."""
    checkpoint = parse_checkpoint(note.text)
    if origin is not None and checkpoint.origin != origin:
        raise InvalidCheckpointError(
            "another log's checkpoint", field="step 3", expected=origin, actual=checkpoint.origin
        )
    signers = [line.key for line in note.verified if line.key.algorithm is Algorithm.ED25519]
    if all(key.name != checkpoint.origin for key in signers):
        raise InvalidCheckpointError(
            "the log itself has not signed",
            field="step 4",
            expected=checkpoint.origin,
            actual=", ".join(line.key.name for line in note.verified),
        )
    return checkpoint
