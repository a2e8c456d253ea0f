"""Statements: anybody's bytes on record, with the proof of their place.

Life of a statement: it waits for the append that is under way → all that wait are put into the next one
together → that append is sealed and durable → each gets its place and a proof under the newest seal.  The
same bytes again get the place they already have.

The proof is a C2SP tlog-proof whose ``extra`` line holds the entry.  Whoever has the statement and the log's
key checks it without anything else:

1. The entry in ``extra`` parses, is of the type ``statement.added.v1``, and its index is the proof's.
2. The entry's payload digest and size are those of the statement.
3. The tlog-proof verifies for the entry's leaf hash (``ledger.tlog_proof``).
4. The entry names the log whose checkpoint it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from base64 import b64encode
from collections.abc import Sequence
from itertools import pairwise

from msgspec import Struct

from domain.errors import ConflictError, InvalidError, LimitError, MalformedError
from domain.events import Recorded, StatementAdded
from ledger.entry import PREVIOUS_OF_FIRST, Entry, entry_bytes, entry_head, format_causation, parse_entry
from ledger.ledger import APPEND_BYTES_MAX, Ledger, Proposal
from ledger.merkle import leaf_hash
from ledger.neighbour_proofs import neighbour_paths
from ledger.policy import Policy, WitnessedCheckpoint
from ledger.ports import APPEND_EVENTS_MAX
from ledger.recorded import event_of
from ledger.tlog_proof import HEADER, TlogProof, verify_tlog_proof

STATEMENT_BYTES_MAX = 65_535
MEDIA_TYPE_DEFAULT = "application/octet-stream"
SUBJECT_PREFIX = "statement/"
# What waits for the next append; beyond it, whoever sends is told to slow down.
WAITING_MAX = 4_096
WAITING_BYTES_MAX = 64 * 1024 * 1024
# What the ledger counts for an event beside its body, when it bounds an append.
_BESIDE_BYTES = 1_024

# RFC 9110 section 8.3.1, without parameters, in lower case; 127 characters a part as RFC 6838 allows.
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}")


class BusyError(ConflictError):
    """More is waiting than can be taken in; the same can be sent again a little later."""


class InvalidStatementProofError(InvalidError):
    """The proof is not of this statement."""


class Placed(Struct, frozen=True):
    """A statement with its place: ``proof`` are the bytes of its tlog-proof; ``is_new`` is false when the
    same bytes were on record before."""

    index: int
    is_new: bool
    proof: bytes


def parse_media_type(text: str) -> str:
    """The media type without parameters, in lower case.  Raises: MalformedError."""
    media_type = text.partition(";")[0].strip(" \t").lower()
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise MalformedError(
            "not a media type", field="Content-Type", expected="type/subtype", actual=repr(text)[:80]
        )
    return media_type


class StatementWriter:
    """Puts statements into one ledger; many callers share each append."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._task: asyncio.Task[None] | None = None

    async def add(self, statement: bytes, media_type: str, actor: str) -> Placed:
        """Put a statement on record; ``media_type`` is one that ``parse_media_type`` gave.

        Answers once it is durable and sealed.  Raises: LimitError, InvalidError for no bytes, BusyError, and
        what ``Ledger.append`` raises.
        """
        if not statement:
            raise InvalidError("a statement has bytes", field="statement", expected=">= 1 byte")
        if len(statement) > STATEMENT_BYTES_MAX:
            raise LimitError(
                "statement too long",
                field="statement",
                expected=f"<= {STATEMENT_BYTES_MAX} bytes",
                actual=f"{len(statement)} bytes",
                remedy="Put its digest on record, or send it as a batch.",
            )
        if len(self._waiting) >= WAITING_MAX or self._waiting_bytes > WAITING_BYTES_MAX:
            raise BusyError("too many statements are waiting", actual=str(len(self._waiting)))
        future: asyncio.Future[Placed] = asyncio.get_running_loop().create_future()
        proposal = Proposal(
            event=StatementAdded(statement=statement), actor=actor, subject=SUBJECT_PREFIX + media_type
        )
        self._waiting.append(_Waiting(proposal, len(statement), future))
        self._waiting_bytes += len(statement)
        if self._task is None:
            self._task = asyncio.create_task(self._write(), name=f"statements of {self._ledger.name}")
        return await future

    async def _write(self) -> None:
        """Until nobody waits."""
        try:
            while self._waiting:
                together = self._take()
                try:
                    await self._place(together)
                except BaseException as error:
                    for waiting in together:
                        if not waiting.future.done():
                            waiting.future.set_exception(_as_answer(error))
                    if not isinstance(error, Exception):
                        raise
        finally:
            self._task = None

    def _take(self) -> list[_Waiting]:
        count = byte_count = 0
        for waiting in self._waiting[:APPEND_EVENTS_MAX]:
            if byte_count + waiting.byte_count + (count + 1) * _BESIDE_BYTES > APPEND_BYTES_MAX:
                break
            count += 1
            byte_count += waiting.byte_count
        together, self._waiting = self._waiting[:count], self._waiting[count:]
        self._waiting_bytes -= byte_count
        return together

    async def _place(self, together: list[_Waiting]) -> None:
        proposals = [waiting.proposal for waiting in together]
        size_before = self._ledger.size
        recorded = await self._ledger.record(*proposals)
        proofs = statement_proofs(self._ledger, recorded)
        seen = size_before - 1
        for waiting, one in zip(together, recorded, strict=True):
            # The first of equal statements in one append is the new one.
            is_new = one.index > seen
            seen = max(seen, one.index)
            if not waiting.future.done():
                waiting.future.set_result(Placed(one.index, is_new, proofs[one.index]))


class _Waiting:
    __slots__ = ("byte_count", "future", "proposal")

    def __init__(self, proposal: Proposal, byte_count: int, future: asyncio.Future[Placed]) -> None:
        self.proposal = proposal
        self.byte_count = byte_count
        self.future = future


def statement_proofs(ledger: Ledger, recorded: Sequence[Recorded]) -> dict[int, bytes]:
    """A tlog-proof for each of these statements under the newest seal, by index.

    Raises: InvalidError when an entry is not the one in the tree.
    """
    size, checkpoint = ledger.size, ledger.checkpoint
    by_index = {one.index: one for one in recorded}
    proofs: dict[int, bytes] = {}
    for first, last in _runs(sorted(by_index)):
        # One leaf more on the left: the entries are chained to it.
        start = max(first - 1, 0)
        leaves, lines = neighbour_paths(ledger.tile, start, last + 1 - start, size)
        for index in range(first, last + 1):
            place = index - start
            previous = leaves[place - 1].hex() if index else PREVIOUS_OF_FIRST
            entry = _entry_of(ledger.origin, by_index[index], previous)
            if leaf_hash(entry) != leaves[place]:
                raise InvalidError(
                    "an entry is not the one in the tree", field=f"[{index}]", remedy="Run tally audit."
                )
            proofs[index] = b"%b\nextra %b\nindex %d\n%b\n%b" % (
                _HEADER,
                b64encode(entry),
                index,
                lines[place],
                checkpoint,
            )
    return proofs


def verify_statement(statement: bytes, proof: TlogProof, policy: Policy) -> tuple[Entry, WitnessedCheckpoint]:
    """Check that ``statement`` is on record in a log of the policy; the module's docstring has the steps.

    Raises: MalformedEntryError (1), InvalidStatementProofError (1, 2, 4), and what ``verify_tlog_proof``
    raises (3).
    """
    entry = parse_entry(proof.extra)
    if entry.event_type != StatementAdded.TYPE:
        raise _failed(1, StatementAdded.TYPE, entry.event_type)
    if entry.index != proof.index:
        raise _failed(1, f"index {proof.index}", str(entry.index))
    digest = hashlib.sha256(statement).hexdigest()
    if (entry.payload_sha256, entry.payload_size) != (digest, len(statement)):
        raise _failed(2, entry.payload_sha256, digest)
    witnessed = verify_tlog_proof(proof, leaf_hash(proof.extra), policy)
    if entry.origin != witnessed.checkpoint.origin:
        raise _failed(4, witnessed.checkpoint.origin, entry.origin)
    return entry, witnessed


_HEADER = HEADER.encode()


def _entry_of(origin: str, recorded: Recorded, previous: str) -> bytes:
    statement = event_of(recorded, StatementAdded).statement
    return entry_bytes(
        entry_head(origin),
        recorded.index,
        StatementAdded.TYPE,
        recorded.recorded_at_ns,
        recorded.actor,
        recorded.subject,
        format_causation(recorded.causation),
        len(statement),
        hashlib.sha256(statement).hexdigest(),
        previous,
    )


def _runs(indices: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive numbers."""
    breaks = [place for place, (left, right) in enumerate(pairwise(indices), 1) if right != left + 1]
    starts = [0, *breaks]
    ends = [*breaks, len(indices)]
    return [(indices[start], indices[end - 1]) for start, end in zip(starts, ends, strict=True)]


def _failed(step: int, expected: str, actual: str) -> InvalidStatementProofError:
    return InvalidStatementProofError(
        "the proof is not of this statement", field=f"step {step}", expected=expected, actual=actual
    )


def _as_answer(error: BaseException) -> Exception:
    if isinstance(error, Exception):
        return error
    return InvalidError("the ledger was closed before this could be appended", remedy="Send it again.")
