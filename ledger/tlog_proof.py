"""Proofs in one file, as C2SP tlog-proof v1 has them: a leaf is in a log, and witnesses have seen it.

    c2sp.org/tlog-proof@v1
    extra <base64>             none or one line; opaque, and nothing vouches for it
    index <index>              decimal, 0-based, no leading zeros
    <base64(hash)>             none or more lines: the inclusion path, leaf sibling first
    <empty line>
    <checkpoint>               the signed note, byte for byte, with its cosignatures

Each line is ended by one newline.  The name of such a file ends in ``.tlog-proof``.  The leaf itself is not
in it: whoever verifies has it, or derives it, and computes its hash.
"""

from __future__ import annotations

from msgspec import Struct

from domain.errors import MalformedError
from ledger.merkle import PATH_HASHES_MAX, verify_inclusion
from ledger.notes import NOTE_BYTES_MAX, parse_note
from ledger.policy import Policy, WitnessedCheckpoint, open_witnessed_checkpoint
from ledger.spelling import format_base64, format_decimal, parse_base64, parse_decimal, parse_hash

HEADER = "c2sp.org/tlog-proof@v1"
FILE_SUFFIX = ".tlog-proof"
MEDIA_TYPE = "text/plain; charset=utf-8"
# Far above the proof of a membership in another tree.
EXTRA_BYTES_MAX = 65_536
# The note, the extra data in base64, and a path of 64 lines of 45 bytes with the header's lines.
PROOF_BYTES_MAX = NOTE_BYTES_MAX + EXTRA_BYTES_MAX * 4 // 3 + 4_096


class MalformedTlogProofError(MalformedError):
    """These bytes are not a tlog-proof."""


class TlogProof(Struct, frozen=True, kw_only=True):
    """A proof as written; nothing in it has been verified.  ``extra`` is empty where there is none."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""


def format_tlog_proof(proof: TlogProof) -> bytes:
    """Spell a proof.  Raises: MalformedTlogProofError if it could not be read back."""
    extra = f"extra {format_base64(proof.extra)}\n" if proof.extra else ""
    path = "".join(f"{format_base64(sibling)}\n" for sibling in proof.path)
    data = f"{HEADER}\n{extra}index {format_decimal(proof.index)}\n{path}\n".encode() + proof.checkpoint
    if parse_tlog_proof(data) != proof:
        raise MalformedTlogProofError("this proof cannot be read back")
    return data


def parse_tlog_proof(data: bytes) -> TlogProof:
    """Read a proof without verifying anything.  Raises: MalformedTlogProofError."""
    if len(data) > PROOF_BYTES_MAX:
        raise MalformedTlogProofError(
            "proof too long", expected=f"<= {PROOF_BYTES_MAX} bytes", actual=str(len(data))
        )
    head, blank, checkpoint = data.partition(b"\n\n")
    if not blank:
        raise MalformedTlogProofError("a proof has an empty line before its checkpoint")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise MalformedTlogProofError("the lines before the checkpoint are ASCII") from error
    if lines.pop(0) != HEADER:
        raise MalformedTlogProofError("not a proof of this version", field="line 1", expected=HEADER)
    try:
        extra = b""
        if lines and lines[0].startswith("extra "):
            extra = parse_base64(lines.pop(0).removeprefix("extra "), "extra")
            if not 0 < len(extra) <= EXTRA_BYTES_MAX:
                raise MalformedTlogProofError(
                    "extra data is left out where there is none",
                    field="extra",
                    expected=f"1 to {EXTRA_BYTES_MAX} bytes",
                    actual=str(len(extra)),
                )
        if not lines or not lines[0].startswith("index "):
            raise MalformedTlogProofError(
                "a proof has an index line", field="index", expected="index <number>"
            )
        index = parse_decimal(lines.pop(0).removeprefix("index "), "index")
        if len(lines) > PATH_HASHES_MAX:
            raise MalformedTlogProofError(
                "path too long", field="path", expected=f"<= {PATH_HASHES_MAX} hashes", actual=str(len(lines))
            )
        path = tuple(parse_hash(line, f"path[{number}]") for number, line in enumerate(lines))
        parse_note(checkpoint)
    except MalformedTlogProofError:
        raise
    except MalformedError as error:
        raise MalformedTlogProofError(
            error.what, field=error.field or "checkpoint", expected=error.expected, actual=error.actual
        ) from error
    return TlogProof(index=index, path=path, checkpoint=checkpoint, extra=extra)


def verify_tlog_proof(proof: TlogProof, leaf: bytes, policy: Policy) -> WitnessedCheckpoint:
    """Check that the leaf with the hash ``leaf`` is in a log, by a policy.

    1. ``leaf`` is the leaf hash that the caller has computed from the data in question; ``extra`` may have
       helped, and is not trusted for that.
    2. The checkpoint's origin is one of the policy's logs, which has signed it.
    3. Every cosignature of a known witness verifies, and they satisfy the quorum.
    4. The path leads from the leaf, at this index, to the checkpoint's root.

    Raises: MalformedNoteError, MalformedCheckpointError, InvalidNoteError, InvalidCheckpointError (2, 3),
    InvalidQuorumError (3), InvalidInclusionProofError (4).
    """
    witnessed = open_witnessed_checkpoint(proof.checkpoint, policy)
    checkpoint = witnessed.checkpoint
    verify_inclusion(proof.index, checkpoint.size, leaf, proof.path, checkpoint.root)
    return witnessed
