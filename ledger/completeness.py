"""Completeness proofs: these are all entries about a topic up to a size, or there is none.

A proof is canonical JSON::

    {"checkpoint": <signed note>,
     "commitment": {"entry": base64, "path": [base64, ...], "payload": base64},      the topics.committed.v1
     entry "entries":    [{"entry": base64, "path": [base64, ...], "payload": base64}, ...], all of the topic,
     in order "format":     "tallystick/completeness/v1", "lines":      [{"line": <text>, "path": [base64,
     ...], "place": <n>}, ...],      one, or the neighbours of none "topic":      <topic>}

It verifies offline (``verify_completeness``):

1. The checkpoint is signed (and cosigned as the policy asks).
2. The commitment's entry is in the tree under it, is a ``topics.committed.v1`` of the same ledger, and
   commits to its payload.
3. Every line is at its place in the tree of topics whose root and size the commitment names.
4. Either the one line is the topic's, or the lines are neighbours between which the topic would stand (the
   first or last line alone, when it would stand at an end; no line, when there are no topics).
5. Every entry is in the tree under the checkpoint and commits to its payload; indices ascend and lie below
   the commitment.
6. The entries reproduce the line's count, last index and chain: none was left out, added or reordered.

What is then shown is complete up to the commitment's ``size``, not beyond.
"""

from __future__ import annotations

from itertools import pairwise

from msgspec import Struct

from domain.canonical import canonical_json, parse_canonical
from domain.errors import InvalidError, LimitError, MalformedError
from domain.events import Recorded, TopicsCommitted
from domain.state import State
from ledger.judged_checkpoint import judge_checkpoint
from ledger.key_chain import changed_keys
from ledger.ledger import Ledger, Proposal
from ledger.merkle import leaf_hash, verify_inclusion
from ledger.policy import Policy
from ledger.ports import Record
from ledger.proven_entry import ProvenEntry, open_proven_entry, prove_entries
from ledger.recorded import event_of, recorded_of
from ledger.spelling import format_base64, parse_hash
from ledger.topics import FILED_TYPES, TopicFold, TopicTree, chain_of, parse_topic_line, topics_of

FORMAT = "tallystick/completeness/v1"
MEDIA_TYPE = "application/vnd.tallystick.completeness+json"
PROOF_BYTES_MAX = 64 * 1024 * 1024
# A topic with more entries than this is proven in the tiles of the whole ledger instead.
ENTRIES_MAX = 20_000
READ_BATCH = 2_048
COMMIT_RETRIES_MAX = 32


class InvalidCompletenessError(InvalidError):
    """A step of the verification failed; ``field`` names it."""


class ProvenLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A topic's line with its place and path in the tree of topics."""

    line: str
    path: tuple[str, ...]
    place: int


class CompletenessProof(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The proof as it travels; nothing in it has been verified."""

    checkpoint: str
    commitment: ProvenEntry
    entries: tuple[ProvenEntry, ...]
    format: str
    lines: tuple[ProvenLine, ...]
    topic: str
    keys: tuple[ProvenEntry, ...] = ()


class Complete(Struct, frozen=True, kw_only=True):
    """What a verified proof shows: every event about ``topic`` in the first ``size`` entries; empty when
    there is none."""

    topic: str
    origin: str
    size: int
    events: tuple[Recorded, ...]


class Topics:
    """The topics of one open ledger, folded as far as anybody asked."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._fold = TopicFold()
        self._tree = TopicTree(0, [])
        self._commitment: Recorded | None = None

    async def commit(self, actor: str) -> Recorded:
        """A commitment that covers everything recorded so far; a new entry only when something new is
        covered."""
        if self._commitment is not None and self._commitment.index + 1 == self._ledger.size:
            return self._commitment
        for _ in range(COMMIT_RETRIES_MAX):
            await self._fold_on()
            tree = self._fold.tree()
            event = TopicsCommitted(size=tree.size, topic_count=len(tree.states), root_sha256=tree.root.hex())

            def decide(state: State, event: TopicsCommitted = event) -> tuple[Proposal, ...]:
                if state.size != event.size:
                    return ()
                return (Proposal(event=event, actor=actor, subject="topics"),)

            if appended := await self._ledger.append(decide):
                self._tree, self._commitment = tree, appended[0]
                return appended[0]
        raise InvalidError("the ledger grows too fast to commit to its topics", remedy="Ask again.")

    async def prove(self, topic: str, actor: str) -> bytes:
        """The proof of completeness, or of absence, of a topic as of now.  Raises: LimitError."""
        commitment = await self.commit(actor)
        place, is_there = self._tree.place(topic)
        places = (
            [place] if is_there else [at for at in (place - 1, place) if 0 <= at < len(self._tree.states)]
        )
        indices = await self._indices(topic, commitment.index) if is_there else []
        checkpoint, entries = await prove_entries(self._ledger, [commitment.index, *indices])
        proof = CompletenessProof(
            checkpoint=checkpoint.decode(),
            commitment=entries[0],
            entries=tuple(entries[1:]),
            format=FORMAT,
            lines=tuple(
                ProvenLine(
                    line=self._tree.states[at].line.decode(),
                    path=tuple(format_base64(node) for node in self._tree.path(at)),
                    place=at,
                )
                for at in places
            ),
            topic=topic,
            keys=await changed_keys(self._ledger, checkpoint),
        )
        return canonical_json(proof)

    async def _fold_on(self) -> None:
        while records := await self._ledger.read(self._fold.size, READ_BATCH):
            self._fold.take(records)

    async def _indices(self, topic: str, below: int) -> list[int]:
        found: list[int] = []
        position = 0
        while position < below and (records := await self._ledger.read(position, READ_BATCH)):
            found += [record.index for record in records if record.index < below and _is_about(record, topic)]
            if len(found) > ENTRIES_MAX:
                raise LimitError("too many entries for one proof", field=topic, expected=f"<= {ENTRIES_MAX}")
            position = records[-1].index + 1
        return found


def verify_completeness(data: bytes, policy: Policy) -> Complete:
    """Verify a proof by a policy.  Raises: MalformedError, LimitError, InvalidError naming the step."""
    if len(data) > PROOF_BYTES_MAX:
        raise LimitError("proof too long", expected=f"<= {PROOF_BYTES_MAX} bytes", actual=str(len(data)))
    proof = parse_canonical(data.removesuffix(b"\n"), CompletenessProof)
    if proof.format != FORMAT:
        raise MalformedError("unknown format", field="format", expected=FORMAT, actual=proof.format[:80])
    checkpoint = judge_checkpoint(proof.checkpoint.encode(), policy, proof.keys).checkpoint  # 1

    committed = open_proven_entry(proof.commitment, checkpoint).recorded  # 2
    commitment = event_of(committed, TopicsCommitted)
    if commitment.size != committed.index:
        raise _failed(
            2, "a commitment covers the entries before it", str(committed.index), str(commitment.size)
        )
    root = bytes.fromhex(commitment.root_sha256)
    for part in proof.lines:  # 3
        path = [parse_hash(node, "path") for node in part.path]
        verify_inclusion(part.place, commitment.topic_count, leaf_hash(part.line.encode()), path, root)
    states = [parse_topic_line(part.line.encode()) for part in proof.lines]
    topics = [state.topic for state in states]
    places = [part.place for part in proof.lines]
    if topics == [proof.topic]:  # 4
        expected = states[0]
    else:
        _check_absent(proof.topic, topics, places, commitment.topic_count)
        expected = None
    opened = [open_proven_entry(part, checkpoint) for part in proof.entries]  # 5
    indices = [entry.recorded.index for entry in opened]
    if any(a >= b for a, b in pairwise([*indices, committed.index])):
        raise _failed(5, "entries are not in order below the commitment", "ascending", str(indices[:5]))
    if expected is None:
        if opened:
            raise _failed(6, "entries about a topic that is not there", "none", str(len(opened)))
    elif (
        expected.entry_count != len(opened)
        or expected.last_index != indices[-1]
        or expected.chain != chain_of(entry.leaf for entry in opened)
    ):
        raise _failed(
            6, "the entries are not all there are", f"{expected.entry_count} entries", str(len(opened))
        )
    return Complete(
        topic=proof.topic,
        origin=checkpoint.origin,
        size=commitment.size,
        events=tuple(entry.recorded for entry in opened),
    )


def _check_absent(topic: str, topics: list[str], places: list[int], topic_count: int) -> None:
    key, keys = topic.encode(), [name.encode() for name in topics]
    match places:
        case []:
            is_shown = topic_count == 0
        case [0] if key < keys[0]:
            is_shown = True
        case [last] if last == topic_count - 1:
            is_shown = keys[0] < key
        case [left, right]:
            is_shown = right == left + 1 and keys[0] < key < keys[1]
        case _:
            is_shown = False
    if not is_shown:
        raise _failed(
            4, "the lines show neither the topic nor that there is none", topic, ", ".join(topics)[:200]
        )


def _is_about(record: Record, topic: str) -> bool:
    return record.event_type in FILED_TYPES and topic in topics_of(recorded_of(record))


def _failed(step: int, what: str, expected: str, actual: str) -> InvalidCompletenessError:
    return InvalidCompletenessError(
        f"step {step} failed: {what}", field=f"step {step}", expected=expected, actual=actual
    )
