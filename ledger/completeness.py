"""Completeness proofs: these are all entries about a topic up to a size, or there is none.

A proof is canonical JSON::

    {"checkpoint": <signed note>,
     "commitment": {"entry": base64, "path": [...], "payload": base64},          the topics.committed.v1 entry
     "entries":    [{"entry": base64, "path": [...], "payload": base64}, ...],   all of the topic, in order
     "format":     "tallystick/completeness/v1",
     "lines":      [{"line": <text>, "path": [...], "place": <n>}, ...],         one, or none's neighbours
     "topic":      <topic>}

with ``keys``, the ledger's key events, where its keys have changed (``ledger.key_chain``), and, in
``tallystick/completeness/v2``, with ``meta``, where what witnesses have cosigned is the checkpoint of a
meta-log that holds this one (``ledger.meta_proof``).

What is proven is that the list is complete as of a commitment.  The newest commitment is never cosigned when
it is made.  So where witnesses are asked, the newest one that they have cosigned is taken if nothing about
the topic has been recorded since: the list is the same, and the proof says up to where witnesses vouch for
it.

It verifies offline (``verify_completeness``):

1. The checkpoint is signed (and cosigned as the policy asks, by itself or through the meta-log:
   ``ledger.judged_covering``).
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

import asyncio
from itertools import pairwise
from typing import NamedTuple

from msgspec import Struct

from domain.canonical import canonical_json, parse_canonical
from domain.errors import InvalidError, LimitError, MalformedError
from domain.events import Recorded, TopicsCommitted
from domain.state import State
from ledger.covering import Covering
from ledger.judged_covering import judge_covering
from ledger.ledger import Ledger, Proposal
from ledger.mentions import of_type
from ledger.merkle import leaf_hash, verify_inclusion
from ledger.meta_proof import VerifiedMeta, WireMetaProof, read_meta, wire_meta
from ledger.policy import Policy, WitnessedCheckpoint
from ledger.ports import Record
from ledger.proven_entry import ProvenEntry, open_proven_entry
from ledger.proving import changed_keys, covering_of_entry, prove_entries
from ledger.recorded import event_of, recorded_of
from ledger.spelling import format_base64, parse_hash
from ledger.topics import FILED_TYPES, TopicFold, TopicTree, chain_of, parse_topic_line, topics_of

FORMAT = "tallystick/completeness/v1"
FORMAT_2 = "tallystick/completeness/v2"
MEDIA_TYPE = "application/vnd.tallystick.completeness+json"
PROOF_BYTES_MAX = 64 * 1024 * 1024
# A topic with more entries than this is proven in the tiles of the whole ledger instead.
ENTRIES_MAX = 20_000
READ_BATCH = 2_048
COMMIT_RETRIES_MAX = 32
# Trees of topics held: of the newest commitment, and of the newest one that witnesses vouch for.
TREES_KEPT_MAX = 2


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
    meta: WireMetaProof | None = None


class Complete(Struct, frozen=True, kw_only=True):
    """What a verified proof shows: every event about ``topic`` in the first ``size`` entries; empty when
    there is none.  ``witnessed`` is the checkpoint whose cosignatures counted, the ledger's own or that of
    the meta-log that holds it; ``meta`` says where, if the proof does."""

    topic: str
    origin: str
    size: int
    events: tuple[Recorded, ...]
    witnessed: WitnessedCheckpoint
    meta: VerifiedMeta | None


class _Commitment(NamedTuple):
    """A recorded commitment, and the topics that it covers."""

    recorded: Recorded
    tree: TopicTree


class Topics:
    """The topics of one open ledger, folded as far as anybody asked."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._fold = TopicFold()
        self._known: dict[int, TopicTree] = {}

    async def commit(self, actor: str) -> Recorded:
        """A commitment that covers everything recorded so far; a new entry only when something new is
        covered.  Raises: InvalidError."""
        return (await self._commit(actor)).recorded

    async def prove(self, topic: str, actor: str, *, is_newest: bool = False) -> bytes:
        """The proof of completeness, or of absence, of a topic: everything about it that is recorded now.

        It is under a checkpoint that witnesses have cosigned, where one covers a commitment since which
        nothing about the topic was recorded; else, and where it is asked for plainly, it is under the newest
        seal.  Raises: LimitError, InvalidError.
        """
        older = None if is_newest else await self._witnessed()
        commitment, tree = await self._commit(actor)
        covering = await covering_of_entry(self._ledger, commitment.index, is_newest=is_newest)
        if older is not None and not covering.is_witnessed:
            before = older[0].tree
            if before.state_of(topic) == tree.state_of(topic):
                (commitment, tree), covering = older
        place, is_there = tree.place(topic)
        places = [place] if is_there else [at for at in (place - 1, place) if 0 <= at < len(tree.states)]
        indices = await self._indices(topic, commitment.index) if is_there else []
        checkpoint, entries = await prove_entries(
            self._ledger, [commitment.index, *indices], covering.checkpoint
        )
        proof = CompletenessProof(
            checkpoint=checkpoint.decode(),
            commitment=entries[0],
            entries=tuple(entries[1:]),
            format=FORMAT if covering.meta is None else FORMAT_2,
            lines=tuple(
                ProvenLine(
                    line=tree.states[at].line.decode(),
                    path=tuple(format_base64(node) for node in tree.path(at)),
                    place=at,
                )
                for at in places
            ),
            topic=topic,
            keys=await changed_keys(self._ledger, checkpoint),
            meta=None if covering.meta is None else wire_meta(covering.meta),
        )
        return canonical_json(proof)

    async def _commit(self, actor: str) -> _Commitment:
        for _ in range(COMMIT_RETRIES_MAX):
            last = (await self._ledger.get(self._ledger.size - 1))[1]
            if isinstance(last.event, TopicsCommitted) and (known := await self._tree_at(last)) is not None:
                return _Commitment(last, known)
            tree = await self._fold_to(self._ledger.size)
            event = TopicsCommitted(size=tree.size, topic_count=len(tree.states), root_sha256=tree.root.hex())

            def decide(state: State, event: TopicsCommitted = event) -> tuple[Proposal, ...]:
                if state.size != event.size:
                    return ()
                return (Proposal(event=event, actor=actor, subject="topics"),)

            if appended := await self._ledger.append(decide):
                return _Commitment(appended[0], self._keep(tree))
        raise InvalidError("the ledger grows too fast to commit to its topics", remedy="Ask again.")

    async def _witnessed(self) -> tuple[_Commitment, Covering] | None:
        """The newest commitment under the newest checkpoint that witnesses have cosigned."""
        covering = await covering_of_entry(self._ledger, 0)
        if not covering.is_witnessed:
            return None
        kinds, find = [of_type(TopicsCommitted.TYPE)], self._ledger.index.find_entries
        found: list[int] = []
        while more := await asyncio.to_thread(find, kinds, found[-1] + 1 if found else 0, READ_BATCH):
            found += more
        for index in reversed([index for index in found if index < covering.size]):
            commitment = (await self._ledger.get(index))[1]
            if isinstance(commitment.event, TopicsCommitted):
                tree = await self._tree_at(commitment)
                return None if tree is None else (_Commitment(commitment, tree), covering)
        return None

    async def _tree_at(self, commitment: Recorded) -> TopicTree | None:
        """The topics that a recorded commitment covers; None where it does not say what they are."""
        event = event_of(commitment, TopicsCommitted)
        tree = self._known.get(commitment.index) or await self._fold_to(commitment.index)
        if (event.size, event.topic_count, event.root_sha256) != (
            tree.size,
            len(tree.states),
            tree.root.hex(),
        ):
            return None
        return self._keep(tree)

    def _keep(self, tree: TopicTree) -> TopicTree:
        """Remember the tree; the one that was not asked for longest is forgotten."""
        self._known.pop(tree.size, None)
        self._known[tree.size] = tree
        if len(self._known) > TREES_KEPT_MAX:
            del self._known[next(iter(self._known))]
        return tree

    async def _fold_to(self, size: int) -> TopicTree:
        if size < self._fold.size:
            self._fold = TopicFold()
        while self._fold.size < size:
            wanted = min(READ_BATCH, size - self._fold.size)
            records = await self._ledger.read(self._fold.size, wanted)
            if not records:
                raise InvalidError("the ledger has fewer entries than it had", expected=str(size))
            self._fold.take(records)
        return self._fold.tree()

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
    version = FORMAT if proof.meta is None else FORMAT_2
    if proof.format != version:
        raise MalformedError("unknown format", field="format", expected=version, actual=proof.format[:80])
    meta = None if proof.meta is None else read_meta(proof.meta)
    covering = judge_covering(proof.checkpoint.encode(), policy, proof.keys, meta)  # 1
    checkpoint = covering.checkpoint

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
        witnessed=covering.witnessed,
        meta=covering.meta,
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
