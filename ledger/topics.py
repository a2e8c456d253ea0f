"""Topics: what an entry is about, committed so that "these are all" and "there is none" can be proven.

Entries are filed under topics (``topics_of``).  For every topic a running digest is kept over the leaf hashes
of its entries::

    chain(0) = 32 zero bytes
    chain(k) = SHA-256("tallystick/topic-chain/v1" || 0x00 || chain(k-1) || leaf hash of the k-th entry)

At any size the topics, sorted by their UTF-8 bytes, are the leaves of a Merkle tree (RFC 6962 hashing) of
these lines, each ended by LF::

    tallystick/topic/v1
    <topic>
    <number of its entries, decimal>
    <index of the last one, decimal>
    <chain, 64 hex digits>

A ``topics.committed.v1`` entry records the root of that tree over all entries before it.  To show that a list
of entries is complete, show the topic's line in the tree, and that the list reproduces its chain; to show
that there is no such topic, show two lines that are neighbours in the tree and between which it would have to
stand.  An audit folds the ledger and checks every root.
"""

from __future__ import annotations

import bisect
import hashlib
import re
from collections.abc import Iterable, Sequence

from msgspec import Struct

from domain.errors import MalformedError
from domain.events import (
    BatchIngested,
    BatchQuarantined,
    CalibrationSet,
    DeviceConfigured,
    RecallDeclared,
    ReceiptIssued,
    ReceiptReplayed,
    ReceiptsRecalled,
    Recorded,
    SubjectErased,
)
from ledger.entry import check_field
from ledger.merkle import inclusion_path, leaf_hash, perfect_root, root_of
from ledger.ports import Record
from ledger.receipt import parse_receipt
from ledger.recorded import recorded_of
from ledger.spelling import parse_decimal

FORMAT = "tallystick/topic/v1"
_CHAIN_PREFIX = b"tallystick/topic-chain/v1\x00"
_NO_CHAIN = bytes(32)
_HEX = re.compile(r"[0-9a-f]{64}")

# Entries of other types are about nothing that anybody needs a complete list of.
FILED_TYPES = frozenset(
    kind.TYPE
    for kind in (
        BatchIngested,
        BatchQuarantined,
        CalibrationSet,
        DeviceConfigured,
        RecallDeclared,
        ReceiptIssued,
        ReceiptReplayed,
        ReceiptsRecalled,
        SubjectErased,
    )
)


class TopicState(Struct, frozen=True, kw_only=True):
    """What is committed about one topic."""

    topic: str
    entry_count: int
    last_index: int
    chain: bytes

    @property
    def line(self) -> bytes:
        """The leaf of this topic."""
        return f"{FORMAT}\n{self.topic}\n{self.entry_count}\n{self.last_index}\n{self.chain.hex()}\n".encode()


def receipts_topic(source_id: str) -> str:
    """All receipts of a device or connection."""
    return f"receipts/{source_id}"


def calibrations_topic(device_id: str) -> str:
    """All calibrations of a device, set and withdrawn."""
    return f"calibrations/{device_id}"


def status_topic(receipt_id: str) -> str:
    """Everything that changes what a receipt is worth: what supersedes or recalls it."""
    return f"status/{receipt_id}"


def erasures_topic(connection_id: str) -> str:
    """That the person behind a connection was erased; or, where it is empty, that nobody has said so."""
    return f"erasures/{connection_id}"


def topics_of(recorded: Recorded) -> tuple[str, ...]:
    """The topics an entry is filed under, each once.  Raises: MalformedError for a receipt that is none."""
    match recorded.event:
        case BatchIngested() as event:
            return (f"batches/{event.source_id}",)
        case BatchQuarantined() as event:
            return (f"quarantines/{event.source_id}",)
        case CalibrationSet() as event:
            return (calibrations_topic(event.device_id),)
        case DeviceConfigured() as event:
            return (f"configurations/{event.device_id}",)
        case RecallDeclared() as event:
            about = (
                (calibrations_topic(event.target.partition("/")[0]),) if event.kind == "calibration" else ()
            )
            return ("recalls", *about)
        case ReceiptIssued() as event:
            _, predicate = parse_receipt(event.envelope)
            replaced = (status_topic(predicate.supersedes),) if predicate.supersedes else ()
            return (receipts_topic(predicate.source.source_id), *replaced)
        case ReceiptReplayed() as event:
            return (f"replays/{event.receipt_id}",)
        case ReceiptsRecalled() as event:
            return tuple(status_topic(receipt.receipt_id) for receipt in event.receipts)
        case SubjectErased() as event:
            return (erasures_topic(event.connection_id),)
        case _:
            return ()


def extend_chain(chain: bytes, leaf: bytes) -> bytes:
    """The chain with one more entry."""
    return hashlib.sha256(_CHAIN_PREFIX + chain + leaf).digest()


def chain_of(leaves: Iterable[bytes]) -> bytes:
    """The chain over these leaf hashes, in order."""
    chain = _NO_CHAIN
    for leaf in leaves:
        chain = extend_chain(chain, leaf)
    return chain


def parse_topic_line(line: bytes) -> TopicState:
    """Read a leaf.  Raises: MalformedError for every other spelling."""
    parts = line.decode("utf-8", "replace").split("\n")
    if len(parts) != 6 or parts[0] != FORMAT or parts[5]:
        raise MalformedError(
            "not a topic's line", expected=f"{FORMAT} and four more lines", actual=repr(line[:60])
        )
    if not _HEX.fullmatch(parts[4]):
        raise MalformedError("not a chain", field="chain", expected="64 hex digits", actual=parts[4][:80])
    state = TopicState(
        topic=check_field(parts[1], "topic"),
        entry_count=parse_decimal(parts[2], "entry count"),
        last_index=parse_decimal(parts[3], "last index"),
        chain=bytes.fromhex(parts[4]),
    )
    if state.line != line or state.entry_count == 0:
        raise MalformedError("not the canonical spelling of a topic's line", actual=repr(line[:60]))
    return state


class TopicFold:
    """What is known about every topic after ``size`` entries."""

    def __init__(self) -> None:
        self.size = 0
        self._states: dict[str, TopicState] = {}

    def take(self, records: Sequence[Record]) -> None:
        """Fold the next records, which must follow on."""
        for record in records:
            if record.index != self.size:
                raise MalformedError(
                    "records do not follow on", expected=str(self.size), actual=str(record.index)
                )
            self.size += 1
            if record.event_type not in FILED_TYPES:
                continue
            leaf = leaf_hash(record.entry)
            for topic in topics_of(recorded_of(record)):
                known = self._states.get(topic)
                self._states[topic] = TopicState(
                    topic=topic,
                    entry_count=known.entry_count + 1 if known else 1,
                    last_index=record.index,
                    chain=extend_chain(known.chain if known else _NO_CHAIN, leaf),
                )

    def tree(self) -> TopicTree:
        """The tree over the topics as they stand now."""
        return TopicTree(self.size, sorted(self._states.values(), key=lambda state: state.topic.encode()))


class TopicTree:
    """The topics at one size, as a Merkle tree."""

    def __init__(self, size: int, states: list[TopicState]) -> None:
        self.size = size
        self.states = states
        self._keys = [state.topic.encode() for state in states]
        self._leaves = [leaf_hash(state.line) for state in states]
        self.root = root_of(self._leaves)

    def place(self, topic: str) -> tuple[int, bool]:
        """Where ``topic`` stands, or would stand, and whether it is there."""
        key = topic.encode()
        place = bisect.bisect_left(self._keys, key)
        return place, place < len(self._keys) and self._keys[place] == key

    def state_of(self, topic: str) -> TopicState | None:
        """What is committed about ``topic``; None where nothing is recorded about it."""
        place, is_there = self.place(topic)
        return self.states[place] if is_there else None

    def path(self, place: int) -> list[bytes]:
        """Inclusion path of the line at ``place``."""
        return inclusion_path(place, len(self._leaves), self._node)

    def _node(self, level: int, place: int) -> bytes:
        return perfect_root(self._leaves[place << level : (place + 1) << level])
