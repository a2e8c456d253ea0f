"""The ports of the ledger: what it needs from the outside world, and the promises an adapter makes.

Each port has one contract suite under ``tests/contracts/`` that every adapter runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from msgspec import Struct

from domain.digests import Digest
from domain.events import DatasetChannel, NumericEnvironment
from domain.procedures.procedure import CalibrationInForce, ProcedureResult
from ledger.merkle import Frontier

# One upload; larger recordings are sent as several batches.
BATCH_BYTES_MAX = 512 * 1024 * 1024
# Events in one atomic append; bounds the memory of a group commit and stays under EventStoreDB's append
# limit.
APPEND_EVENTS_MAX = 1_024
# EventStoreDB refuses more than 1 MiB in one append (its default); one event with its entry stays below.
PAYLOAD_BYTES_MAX = 900_000

Clock = Callable[[], int]
"""Unix time in nanoseconds."""


class Record(Struct, frozen=True, kw_only=True):
    """One stored event: ``entry`` are the hashed header bytes, ``payload`` the body they commit to.

    ``event_id`` are the 16 bytes of a UUID (``ledger.entry.event_id``).  ``seal`` is the signed checkpoint
    over the tree of ``index + 1`` leaves, present on the last record of each atomic append and empty on the
    others.
    """

    index: int
    event_id: bytes
    event_type: str
    entry: bytes
    payload: bytes
    seal: bytes = b""


def nothing() -> None:
    """What is done meanwhile when there is nothing to do."""


class EventLog(Protocol):
    """Ordered, append-only storage of records, one sequence per ledger name (``ledger-<tenant>``).

    An adapter stores the bytes it is given and returns exactly those.  ``append`` is atomic and durable when
    it returns. Appending records that are already stored at those positions (same event ids) succeeds without
    effect, because clients retry.
    """

    async def append(
        self,
        ledger: str,
        expected_size: int,
        records: Sequence[Record],
        after: Record | None = None,
        meanwhile: Callable[[], None] = nothing,
    ) -> None:
        """Append ``records`` at positions ``expected_size`` and following.  Where ``after`` is given, its
        entry and body must be what is stored right before them, read from where it is stored and not from
        memory.  ``meanwhile`` may be called once, on the event loop, when the store is at work and the
        caller would only wait.

        Raises: LedgerConflictError (``ledger.errors``) with the actual size when somebody else appended
        first; DamagedStoreError (``ledger.errors``) when other bytes are stored before them; LimitError.
        """

    async def size(self, ledger: str) -> int:
        """How many records the ledger has; 0 when it does not exist."""

    async def read(self, ledger: str, start: int, limit: int) -> list[Record]:
        """Up to ``limit`` records from position ``start``, ascending; empty at the end."""

    def follow(self, ledger: str, start: int) -> AsyncIterator[Sequence[Record]]:
        """Records from ``start`` on, for ever, as they arrive; also those that other processes append."""

    async def ledgers(self) -> list[str]:
        """Names of the ledgers in this store, sorted."""

    async def check_storage(self, ledger: str) -> list[str]:
        """The store's own integrity check; each finding is a sentence, none means healthy."""

    async def close(self) -> None:
        """Release everything; appended records stay."""


class RecordColumns(NamedTuple):
    """Stored records column by column, for whoever looks at many of them."""

    indices: Sequence[int]
    event_ids: Sequence[bytes]
    event_types: Sequence[str]
    entries: Sequence[bytes]
    payloads: Sequence[bytes]
    seals: Sequence[bytes]

    @classmethod
    def of(cls, records: Sequence[Record]) -> RecordColumns:
        """These records as columns."""
        return cls(
            indices=[record.index for record in records],
            event_ids=[record.event_id for record in records],
            event_types=[record.event_type for record in records],
            entries=[record.entry for record in records],
            payloads=[record.payload for record in records],
            seals=[record.seal for record in records],
        )

    def until(self, count: int) -> RecordColumns:
        """The first ``count`` of these records."""
        return RecordColumns(
            indices=self.indices[:count],
            event_ids=self.event_ids[:count],
            event_types=self.event_types[:count],
            entries=self.entries[:count],
            payloads=self.payloads[:count],
            seals=self.seals[:count],
        )

    def records(self) -> Iterator[Record]:
        """These columns as records."""
        for index, event_id, event_type, entry, payload, seal in zip(*self, strict=True):
            yield Record(
                index=index,
                event_id=event_id,
                event_type=event_type,
                entry=entry,
                payload=payload,
                seal=seal,
            )


class ColumnReader(Protocol):
    """Where one ledger is stored, said so that another process can read it: a value that is pickled, sent
    there, and opens the store by itself."""

    def columns(self, start: int, stop: int) -> Iterator[RecordColumns]:
        """The records ``start`` to ``stop``, ascending, some at a time; fewer where there are no more."""


@runtime_checkable
class ColumnLog(Protocol):
    """An event log that several processes can read side by side.  A log need not be one; then it is read
    through ``EventLog.read``."""

    def column_reader(self, ledger: str) -> ColumnReader:
        """How another process reads this ledger."""


class LedgerIndex(Protocol):
    """Derived, rebuildable memory beside the log: what entries are filed under, Merkle tiles, and the
    frontier of the tree.

    It may be behind the log, never ahead in effect: what lies beyond the log's size is discarded on opening.
    """

    def find_entries(self, topics: Sequence[str], start: int, limit: int) -> list[int]:
        """Up to ``limit`` entries from ``start`` on, ascending, that are filed under all of these topics
        (``ledger.mentions``).  May take a while, and may give one too many: the caller looks at them."""

    def frontier(self) -> tuple[Frontier, str]:
        """The tree up to where the index has seen, and the leaf hash (hex) of its last entry."""

    def filings(self, topics: Sequence[Sequence[str]]) -> Any:
        """What entries that are filed under these topics bring to this index; changes nothing."""

    def advance(self, start: int, leaves: Sequence[bytes], filings: Any) -> None:
        """Take in the entries from ``start`` on: their leaf hashes, and what ``filings`` gave for them."""

    def tile_hashes(self, level: int, number: int) -> bytes | None:
        """The hashes of a Merkle tile (tlog-tiles): 8,192 bytes of a full one, fewer at the right edge,
        ``None`` beyond it."""

    def reset(self) -> None:
        """Forget everything; it will be rebuilt from the log."""

    def close(self) -> None:
        """Write what is held in memory and release the store."""


class Vault(Protocol):
    """Content-addressed storage of batches, datasets and artifacts, under one tenant's prefix.

    Objects are durable when ``put`` returns, verified on every read and never overwritten.
    """

    async def put(self, data: bytes) -> Digest:
        """Store ``data``; storing it again changes nothing."""

    async def get(self, digest: Digest) -> bytes:
        """The bytes.  Raises: UnknownObjectError when missing, CorruptObjectError when they no longer match
        (``ledger.errors``)."""

    async def has(self, digest: Digest) -> bool:
        """Whether an object of this digest is stored (its content is not checked)."""


class Signer(Protocol):
    """A private key that signs for one name, wherever it lives."""

    @property
    def name(self) -> str:
        """C2SP key name; the ledger's origin."""

    @property
    def algorithm(self) -> str:
        """``Ed25519`` or ``ML-DSA-44``, as key events say it."""

    @property
    def public_key(self) -> bytes:
        """Raw: 32 bytes of an Ed25519 key, 1,312 of an ML-DSA-44 key."""

    @property
    def is_remote(self) -> bool:
        """Signing waits for a device or the network; on an event loop it belongs into a thread."""

    def sign(self, message: bytes) -> bytes:
        """64-byte Ed25519 signature (RFC 8032) or 2,420-byte ML-DSA-44 signature (FIPS 204, empty
        context)."""


class SigningKeys(Protocol):
    """The signing keys of ledgers.  What a store holds means nothing by itself: a key is in force when the
    ledger's events say so, so a key that a crash left without its event is simply the next one."""

    def signer(self, origin: str) -> Signer:
        """The first key of the ledger with this origin, made on first use."""

    def signers(self, origin: str) -> tuple[Signer, ...]:
        """Every key held for this origin, oldest first; empty when none was made."""

    def next_signer(self, origin: str, known: Collection[bytes], algorithm: str) -> Signer:
        """The oldest key of this origin and algorithm whose public key is not in ``known``; made when there
        is none.  Durable when it returns; asked again, the same key.

        Raises: UnknownError for an algorithm this store cannot make.
        """


class KeyStore(SigningKeys, Protocol):
    """Private keys, created on first use."""

    def subject_key(self, subject_key_id: str) -> bytes:
        """64 random bytes that encrypt one subject's data (AES-256-SIV, RFC 5297).  Raises:
        UnknownSubjectKeyError when destroyed or never made."""

    def create_subject_key(self, subject_key_id: str) -> bytes:
        """Make the key, or return the one there is.  Raises: UnknownSubjectKeyError when it was destroyed."""

    def destroy_subject_key(self, subject_key_id: str) -> None:
        """Erase the key for ever."""


class Erasure(Struct, frozen=True, kw_only=True, tag_field="format", tag="tallystick/erasure/v1"):
    """A person's erasure as it is remembered outside the ledger; see ``SubjectErased``."""

    tenant: str
    connection_id: str
    subject_key_id: str
    reason: str
    erased_at_ns: int


class ErasureJournal(Protocol):
    """One tenant's erasures, remembered where neither the ledger nor its backups are, so that a backup that
    is put back resurrects nobody.  It only ever grows, and the union of two journals is a journal."""

    def keep(self, erasure: Erasure) -> None:
        """Remember it; durable when it returns.  The first one of a subject key stays."""

    def subject_keys(self) -> frozenset[str]:
        """The ids of all subject keys that were erased."""

    def erasure(self, subject_key_id: str) -> Erasure:
        """The erasure of a subject key.  Raises: UnknownError, MalformedError when it cannot be read."""


class CheckpointMemory(Protocol):
    """The newest checkpoint of one ledger that this installation has seen, remembered where neither the
    ledger nor its backups are."""

    def last(self) -> bytes:
        """The signed note; empty when none was seen."""

    def keep(self, note: bytes) -> None:
        """Remember a newer checkpoint; durable when it returns.  One that is not larger changes nothing."""

    def give_up(self, forgone: bytes, note: bytes) -> None:
        """Remember ``note`` instead of ``forgone``, although it may be smaller; nothing happens when
        something else is remembered."""


class ExecutorTask(Struct, frozen=True, kw_only=True):
    """A procedure version with its inputs as bytes; ``datasets`` are dataset files as ``adapters`` store
    them."""

    procedure: str
    version: str
    options: dict[str, Any]
    datasets: tuple[bytes, ...] = ()
    payload: bytes = b""
    calibration: CalibrationInForce | None = None
    received_at_ns: int = 0
    provider_event_time_ns: int | None = None
    record_key_secret: bytes = b""


class ExecutorAnswer(Struct, frozen=True, kw_only=True):
    """What came out: a result, or why there is none.

    ``refusal`` is empty on success; otherwise ``refusal_kind`` is ``malformed`` (the input cannot be
    processed: quarantine it), ``environment`` (the numeric environment is not as asked: abstain) or
    ``failed`` (the procedure broke or ran out of time or memory).
    """

    environment: NumericEnvironment
    source_digest: Digest
    result: ProcedureResult | None = None
    refusal_kind: str = ""
    refusal: str = ""
    remedy: str = ""


class Executor(Protocol):
    """Runs procedures away from the event loop, numeric ones in a child process with a pinned numeric
    environment."""

    async def run(self, task: ExecutorTask) -> ExecutorAnswer:
        """Run one task.  Never raises for what the procedure does; that is in the answer."""

    async def source_digest(self, procedure: str, version: str) -> Digest:
        """Digest over the source files that decide this procedure version's results.  Raises:
        UnknownError."""

    async def close(self) -> None:
        """End the child processes."""


class DerivedDataset(Struct, frozen=True, kw_only=True):
    """A dataset as stored: ``data`` is an Arrow IPC file, ``digest`` the digest of the canonical content (not
    of the file)."""

    data: bytes
    digest: Digest
    parser: str
    channels: tuple[DatasetChannel, ...]


class DatasetFormat(Protocol):
    """Turns uploaded files into dataset files and back; implemented in ``adapters``."""

    async def derive(
        self, data: bytes, media_type: str, file_name: str, options: dict[str, Any]
    ) -> DerivedDataset:
        """Parse an upload.  Raises: MalformedError, InvalidError or LimitError, which quarantine it."""
