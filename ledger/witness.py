"""A witness for other people's logs, as C2SP tlog-witness has it: what it is asked, and what it decides.

A log asks for a cosignature with ``POST <prefix>/add-checkpoint`` and this body::

    old <size>                 decimal: the size of the newest checkpoint that the witness has cosigned
    <base64(hash)>             none to 63 lines: consistency path from there (ledger.merkle)
    <empty line>
    <checkpoint>               a signed note (ledger.checkpoint)

each line ended by one newline.  The answer is the first of these that holds:

====  =====================================================================  ========================
400   the body is not one, or its old size is above the checkpoint's         a sentence
404   no log of this origin is known here                                    a sentence
403   no known key of that log has signed, or one of them signed wrongly     a sentence
409   the old size is not that of the newest cosigned checkpoint, or 0       that size and a newline,
                                                                             ``text/x.tlog.size``
422   the path does not lead from the newest cosigned root to this one;      a sentence
      from size 0, and between equal sizes, the path is empty
409   the size is the cosigned one, and the root is another                  a sentence
200   otherwise                                                              cosignature lines
====  =====================================================================  ========================

``admit`` gives the first three, which depend on nothing that changes; ``decide`` gives the others, and
whoever calls it holds the newest cosigned checkpoint still until the new one is stored.  Neither signs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from msgspec import Struct

from domain.errors import InvalidError, MalformedError, UnknownError
from ledger.checkpoint import Checkpoint, checkpoint_of, open_checkpoint, parse_checkpoint
from ledger.merkle import InvalidConsistencyProofError, verify_consistency
from ledger.notes import VerifierKey, open_note, parse_note
from ledger.policy import Policy, parse_policy
from ledger.spelling import format_base64, format_decimal, parse_decimal, parse_hash

# The specification's; a path in a tree of at most 2^63 - 1 leaves has no more.
PATH_LINES_MAX = 63
# The longest path with its lines, and a checkpoint with a dozen post-quantum signatures.
REQUEST_BYTES_MAX = 65_536
# A size in decimal, or 100 signature lines; anything longer is no answer of a witness.
ANSWER_BYTES_MAX = 65_536
SIZE_MEDIA_TYPE = "text/x.tlog.size"


class MalformedRequestError(MalformedError):
    """400: these bytes are not a request to cosign a checkpoint."""


class UnknownLogError(UnknownError):
    """404: this witness does not know the log."""


class UntrustedCheckpointError(InvalidError):
    """403: the log itself has not signed this checkpoint with a key that is known here."""


class AddCheckpoint(Struct, frozen=True, kw_only=True):
    """A request as written: the signed note is verified by nobody yet."""

    size_old: int
    path: tuple[bytes, ...]
    note: bytes


class Submission(Struct, frozen=True, kw_only=True):
    """A request whose checkpoint is signed by a log that is known; ``text`` is what a cosigner signs."""

    checkpoint: Checkpoint
    text: str
    size_old: int
    path: tuple[bytes, ...]
    note: bytes


class Decision(StrEnum):
    """What becomes of a submission."""

    COSIGNED = "cosigned"
    STALE = "stale"
    UNPROVEN = "unproven"
    ANOTHER_ROOT = "another-root"

    @property
    def status(self) -> int:
        """The HTTP status that says so."""
        return _STATUS[self]


_STATUS = {Decision.COSIGNED: 200, Decision.STALE: 409, Decision.UNPROVEN: 422, Decision.ANOTHER_ROOT: 409}


class Fork(Struct, frozen=True, kw_only=True):
    """Proof that a log shows different trees: two checkpoints, both signed by it, of one size with two
    roots."""

    origin: str
    size: int
    one: bytes
    other: bytes


def format_add_checkpoint(request: AddCheckpoint) -> bytes:
    """Spell a request.  Raises: MalformedRequestError if it could not be read back."""
    lines = "".join(f"{format_base64(part)}\n" for part in request.path)
    data = f"old {format_decimal(request.size_old)}\n{lines}\n".encode() + request.note
    if parse_add_checkpoint(data) != request:
        raise MalformedRequestError("this request cannot be read back")
    return data


def parse_add_checkpoint(data: bytes) -> AddCheckpoint:
    """Read a request without verifying anything.  Raises: MalformedRequestError."""
    if len(data) > REQUEST_BYTES_MAX:
        raise MalformedRequestError(
            "request too long", expected=f"<= {REQUEST_BYTES_MAX} bytes", actual=str(len(data))
        )
    head, blank, note = data.partition(b"\n\n")
    if not blank or not head.isascii():
        raise MalformedRequestError("not a request: ASCII lines, an empty line, a checkpoint")
    first, *rest = head.decode("ascii").split("\n")
    if not first.startswith("old "):
        raise MalformedRequestError("not a request", field="line 1", expected="old <size>", actual=first[:80])
    if len(rest) > PATH_LINES_MAX:
        raise MalformedRequestError(
            "path too long", field="path", expected=f"<= {PATH_LINES_MAX} hashes", actual=str(len(rest))
        )
    try:
        size_old = parse_decimal(first.removeprefix("old "), "old size")
        path = tuple(parse_hash(line, f"path[{number}]") for number, line in enumerate(rest))
        parse_checkpoint(parse_note(note).text)
    except MalformedError as error:
        raise MalformedRequestError(
            error.what, field=error.field or "checkpoint", expected=error.expected, actual=error.actual
        ) from error
    return AddCheckpoint(size_old=size_old, path=path, note=note)


def parse_logs(data: bytes) -> Policy:
    """Read the list of logs to witness: a policy (``ledger.policy``) with ``log`` lines and ``quorum none``.

    A log may have several keys, each on a line of its own.  Raises: MalformedPolicyError, InvalidError when
    it names witnesses, which a list of logs has no use for.
    """
    policy = parse_policy(data)
    if policy.witnesses or not policy.logs:
        raise InvalidError(
            "a list of logs to witness has log lines only",
            expected="log <vkey> lines and `quorum none`",
            actual=f"{len(policy.logs)} logs, {len(policy.witnesses)} witnesses",
        )
    return policy


def admit(data: bytes, logs: Policy) -> Submission:
    """Read a request and see whether it comes from a log that is known.

    Raises: MalformedRequestError (400), UnknownLogError (404), UntrustedCheckpointError (403).
    """
    request = parse_add_checkpoint(data)
    origin = parse_checkpoint(parse_note(request.note).text).origin
    keys = [log.key for log in logs.logs if log.key.name == origin]
    if not keys:
        raise UnknownLogError("this witness does not know the log", field="origin", actual=origin[:200])
    try:
        opened = open_note(request.note, keys)
        checkpoint = checkpoint_of(opened, origin=origin)
    except InvalidError as error:
        raise UntrustedCheckpointError(
            error.what, field=origin[:200], expected=error.expected, actual=error.actual[:400]
        ) from error
    if request.size_old > checkpoint.size:
        raise MalformedRequestError(
            "the old size is above the checkpoint's",
            field="old size",
            expected=f"<= {checkpoint.size}",
            actual=str(request.size_old),
        )
    return Submission(
        checkpoint=checkpoint,
        text=opened.text,
        size_old=request.size_old,
        path=request.path,
        note=request.note,
    )


def decide(latest: Checkpoint | None, submission: Submission) -> Decision:
    """What becomes of a submission, given the newest checkpoint of this log that was cosigned here."""
    known, checkpoint = 0 if latest is None else latest.size, submission.checkpoint
    if submission.size_old != known:
        return Decision.STALE
    if latest is None or known == 0:
        # Everything is consistent with the empty tree, whose root no checkpoint can change.
        return Decision.UNPROVEN if submission.path else Decision.COSIGNED
    if checkpoint.size == known and not submission.path:
        return Decision.COSIGNED if checkpoint.root == latest.root else Decision.ANOTHER_ROOT
    try:
        verify_consistency(known, checkpoint.size, latest.root, checkpoint.root, submission.path)
    except InvalidConsistencyProofError:
        return Decision.UNPROVEN
    return Decision.COSIGNED


def find_forks(notes: Iterable[bytes], keys: Sequence[VerifierKey]) -> tuple[Fork, ...]:
    """Every size at which these checkpoints, wherever they were seen, show two roots of one log.

    Each is verified with ``keys``, the logs' own; the answer convinces whoever knows them.  Checkpoints of
    different sizes prove nothing by themselves: ask the log for the consistency path between them.
    Raises: MalformedError, InvalidError for a checkpoint that none of these logs has signed.
    """
    seen: dict[tuple[str, int], tuple[bytes, bytes]] = {}
    forks: dict[tuple[str, int], Fork] = {}
    for note in notes:
        checkpoint = open_checkpoint(note, keys)
        place = (checkpoint.origin, checkpoint.size)
        root, first = seen.setdefault(place, (checkpoint.root, note))
        if root != checkpoint.root and place not in forks:
            forks[place] = Fork(origin=checkpoint.origin, size=checkpoint.size, one=first, other=note)
    return tuple(forks[place] for place in sorted(forks))


def parse_size_answer(body: bytes) -> int:
    """The size in a 409's body.  Raises: MalformedError."""
    text = body[:32].decode("ascii", "replace")
    if not text.endswith("\n") or len(body) > 32:
        raise MalformedError("not a size and a newline", field="answer", actual=repr(text))
    return parse_decimal(text[:-1], "answer")
