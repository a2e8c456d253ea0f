"""The ledger of one tenant: it decides, chains, seals and appends, and answers with proof.

Life of an event: a caller proposes it → the writer (``ledger.writer``) gives it the next index, chains its
entry to the one before and adds its leaf to the Merkle tree → one checkpoint over the whole tree is signed
(the seal) → entries, bodies and seal are stored in one atomic append → only then is the caller answered.

What a crash leaves behind: before the append, nothing; after it, a sealed ledger whose derived index is
behind and catches up on the next opening.  The recovery path is the opening path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace

from domain.errors import InvalidError
from domain.events import KeyCreated, LedgerOpened, Recorded
from domain.flow import FLOWING, Command, answered_key, command_key, next_commands
from domain.key_history import ED25519, KEY_EVENT_TYPES, KeyHistory
from domain.lookups import unique_key
from domain.state import CHANGING, State, evolve
from ledger.chain import PartExamination, PartTask, link_fault
from ledger.covering import Coverer, Covering
from ledger.draft import APPEND_BYTES_MAX as APPEND_BYTES_MAX
from ledger.draft import Caller, Draft, Position
from ledger.draft import Decide as Decide
from ledger.draft import Proposal as Proposal
from ledger.entry import (
    PREVIOUS_OF_FIRST,
    check_field,
)
from ledger.errors import ClosedError, LedgerConflictError
from ledger.key_statement import check_key_event, read_key_event
from ledger.known_keys import KnownKeys
from ledger.mentions import filed_under, filings_of, named
from ledger.merkle import HASH_BYTES, Frontier, UnknownLeafError, leaf_hash
from ledger.notes import Algorithm, VerifierKey, format_verifier_key, verifier_key_of
from ledger.ports import (
    Clock,
    EventLog,
    LedgerIndex,
    Record,
    RecordColumns,
    Signer,
    SigningKeys,
)
from ledger.recorded import record_at, recorded_of, recorded_of_examined, stretches
from ledger.sealing_keys import open_seal, ruling_keys
from ledger.tiles import Tile, prove_consistency, prove_inclusion
from ledger.tlog_proof import TlogProof
from ledger.writer import Writer

FORMAT_VERSION = 1
READ_BATCH = 2_048
# Entries looked at in one go for one that is looked for; it is nearly always the first.
_CANDIDATES = 16


def ledger_name(tenant: str) -> str:
    """Name of a tenant's ledger in a store (an EventStoreDB stream)."""
    return f"ledger-{tenant}"


class Ledger:
    """One tenant's ledger, open for reading and appending.  Create it with ``Ledger.open``."""

    def __init__(
        self, *, log: EventLog, tenant: str, origin: str, keys: SigningKeys, clock: Clock, index: LedgerIndex
    ) -> None:
        self.log = log
        self.tenant = tenant
        self.name = ledger_name(tenant)
        self.origin = origin
        self.index = index
        self.coverer: Coverer | None = None
        """Finds witnessed checkpoints to prove entries under; set where witnesses are asked."""
        self._keys = [keys]
        self._signers: tuple[Signer, ...] = ()
        self._signers_of: KeyHistory | None = None
        self._clock = clock
        self._state = State()
        self._frontier = Frontier()
        self._previous = PREVIOUS_OF_FIRST
        self._time_ns = 0
        self._seal = b""
        self._head: Record | None = None
        self._known = KnownKeys()
        self._pending: dict[str, Command] = {}
        self._grown = asyncio.Event()
        self._catch_up_lock = asyncio.Lock()
        self._writer = Writer(self)
        self._writing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, *, log: EventLog, tenant: str, origin: str, keys: SigningKeys, clock: Clock, index: LedgerIndex
    ) -> Ledger:
        """Open the tenant's ledger, creating it when it does not exist.

        Raises: InvalidError when what is stored does not fit together; run ``tally audit`` then.
        """
        check_field(origin, "origin")
        ledger = cls(log=log, tenant=tenant, origin=origin, keys=keys, clock=clock, index=index)
        await ledger._load()
        ledger._writing = asyncio.create_task(ledger._writer.run(), name=f"writer of {ledger.name}")
        if ledger.size == 0:
            await ledger.append(ledger._genesis)
        ledger.signers(ledger.state)
        return ledger

    @property
    def state(self) -> State:
        """The state after every entry this process has seen."""
        return self._state

    @property
    def size(self) -> int:
        """Entries seen so far."""
        return self._state.size

    @property
    def pending(self) -> tuple[Command, ...]:
        """What the flow asks for next, oldest first; nothing is forgotten over a crash."""
        return tuple(self._pending.values())

    @property
    def grown(self) -> asyncio.Event:
        """An event that is set when the ledger next grows; take it before looking, so that no growth is
        missed."""
        return self._grown

    @property
    def checkpoint(self) -> bytes:
        """The newest seal: a signed note over ``size`` leaves."""
        return self._seal

    @property
    def verifier_key(self) -> VerifierKey:
        """The Ed25519 key that rules now (``domain.key_history``): the newest seal verifies with it."""
        return next(
            key for key in ruling_keys(self._state.keys, self.size) if key.algorithm is Algorithm.ED25519
        )

    def hold(self, keys: SigningKeys) -> None:
        """Sign with the keys of this store too, where they are in force: the first step of a move to it."""
        if keys not in self._keys:
            self._keys.append(keys)
            self._signers_of = None

    def signers(self, state: State) -> tuple[Signer, ...]:
        """Who signs for the entries after ``state``: every key in force there, oldest first.  Older keys that
        this key store does not hold are passed over.

        Raises: InvalidError when it does not hold a key that rules, without which nothing can be sealed.
        """
        if state.keys is self._signers_of:
            return self._signers
        held = {
            format_verifier_key(verifier_key_of(signer)): signer
            for keys in self._keys
            for signer in keys.signers(self.origin)
        }
        for span in state.keys.ruling(state.size):
            if span.verifier_key not in held:
                raise InvalidError(
                    "this key store does not hold the key that this ledger is sealed with",
                    field=self.name,
                    expected=span.verifier_key,
                    actual=", ".join(held) or "no key for this ledger",
                    remedy="Point the key setting at the key store that belongs to this ledger.",
                )
        in_force = [span.verifier_key for span in state.keys.in_force(state.size)]
        self._signers = tuple(held[vkey] for vkey in in_force if vkey in held)
        self._signers_of = state.keys
        return self._signers

    async def append(self, decide: Decide) -> tuple[Recorded, ...]:
        """Decide and append; returns once the events are durable and sealed.

        A proposed event whose ``unique_key`` is already in the ledger is not appended again: the entry that
        is there is returned in its place.  Raises: whatever ``decide`` raises; LedgerConflictError after
        ``CONFLICTS_MAX`` lost races; LimitError.
        """
        return await self._ask(decide, ())

    async def record(self, *proposals: Proposal) -> tuple[Recorded, ...]:
        """Append these events whatever the state is."""
        return await self._ask(None, proposals)

    def _ask(
        self, decide: Decide | None, proposals: Sequence[Proposal]
    ) -> asyncio.Future[tuple[Recorded, ...]]:
        if self._writing is None or self._writing.done() or self._writer.is_closing:
            raise ClosedError("the ledger is closed", field=self.name)
        future: asyncio.Future[tuple[Recorded, ...]] = asyncio.get_running_loop().create_future()
        self._writer.ask(Caller(decide, proposals, future))
        return future

    async def read(self, start: int, limit: int) -> list[Record]:
        """Stored records from ``start``; see ``EventLog.read``."""
        return await self.log.read(self.name, start, limit)

    async def find(self, name: str) -> int | None:
        """The index of the fact with this name (``domain.lookups``)."""
        return await self.first(named(name))

    async def first(self, *topics: str) -> int | None:
        """The index of the first entry that is filed under all of ``topics`` (``ledger.mentions``)."""
        start = 0
        while True:
            indices = await asyncio.to_thread(self.index.find_entries, topics, start, _CANDIDATES)
            for index in indices:
                if filings_of(await record_at(self.log, self.name, index)).issuperset(topics):
                    return index
            if len(indices) < _CANDIDATES:
                return None
            start = indices[-1] + 1

    async def get(self, index: int) -> tuple[Record, Recorded]:
        """One record and its event.  Raises: UnknownError beyond the end."""
        record = await record_at(self.log, self.name, index)
        return record, recorded_of(record)

    def prove(self, index: int, covering: Covering | None = None) -> TlogProof:
        """Proof that the entry at ``index`` is in the tree under ``covering``, or under the newest seal.

        Raises: UnknownLeafError.
        """
        under = covering or Covering(checkpoint=self._seal, size=self.size)
        path = prove_inclusion(self.tile, index, under.size)
        return TlogProof(index=index, path=tuple(path), checkpoint=under.checkpoint)

    async def covering(self, index: int) -> Covering:
        """What to prove the entry at ``index`` under: the newest checkpoint that witnesses have cosigned, or
        the newest seal while none of those covers it, and where no witnesses are asked."""
        found = None if self.coverer is None else await self.coverer.covering(index)
        return found or Covering(checkpoint=self._seal, size=self.size)

    def prove_growth(self, size_old: int) -> list[bytes]:
        """Consistency path from an earlier size (> 0) to the current one.  Raises: UnknownLeafError."""
        return prove_consistency(self.tile, size_old, self.size)

    def tile(self, tile: Tile) -> bytes:
        """A Merkle tile's bytes, at least ``tile.width`` hashes of it.  Raises: UnknownLeafError beyond the
        right edge."""
        hashes = self.index.tile_hashes(tile.level, tile.number)
        if hashes is None or len(hashes) < tile.width * HASH_BYTES:
            raise UnknownLeafError(
                "no such tile yet", field="tile", actual=f"{tile.level}/{tile.number} width {tile.width}"
            )
        return hashes[: tile.width * HASH_BYTES]

    async def catch_up(self) -> None:
        """See what other processes have appended."""
        async with self._catch_up_lock:
            await self._read_new()

    async def close(self) -> None:
        """Finish what is waiting, then stop the writer; the log stays open."""
        if self._writer.is_closing:
            return
        self._writer.close()
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        self.index.close()

    # -- opening

    async def _load(self) -> None:
        size = await self.log.size(self.name)
        frontier, previous = self.index.frontier()
        if frontier.size > size or (frontier.size and not await self._is_at(frontier.size - 1, previous)):
            self.index.reset()
            frontier, previous = Frontier(), PREVIOUS_OF_FIRST
        # Everything is read to fold the state; so everything stored is also compared with what was sealed.
        if await self._fold_known(frontier):
            self._frontier, self._previous = frontier, previous
        else:
            # The index says something else than the log, and the seals say which of the two is wrong.
            self.index.reset()
            self._state, self._pending, self._time_ns, self._seal = State(), {}, 0, b""
            self._head, self._known = None, KnownKeys()
        await self._read_new()

    async def _fold_known(self, frontier: Frontier) -> bool:
        """Fold what the index has seen; whether its tree is that of the entries.  Raises: InvalidError for
        one that does not fit."""
        known = PartExamination(PartTask(origin=self.origin, start=0, stop=frontier.size))
        start = 0
        while start < frontier.size:
            records = await self.log.read(self.name, start, min(READ_BATCH, frontier.size - start))
            if not records:
                raise InvalidError(
                    "the log ends early", field=self.name, expected=str(frontier.size), actual=str(start)
                )
            if not known.take(RecordColumns.of(records)):
                part = known.part()
                self._check_link(records[part.stop - start], part.stop, part.last)
            self._fold_all(records)
            start += len(records)
        return known.part().frontier == frontier.to_bytes()

    async def _is_at(self, index: int, leaf_hex: str) -> bool:
        records = await self.log.read(self.name, index, 1)
        return bool(records) and leaf_hash(records[0].entry).hex() == leaf_hex

    def _genesis(self, state: State) -> Sequence[Proposal]:
        if state.size:
            return ()
        opened = LedgerOpened(tenant=self.tenant, origin=self.origin, format_version=FORMAT_VERSION)
        first = verifier_key_of(self._keys[0].signer(self.origin))
        key = KeyCreated(verifier_key=format_verifier_key(first), algorithm=ED25519)
        subject = f"tenant/{self.tenant}"
        return (
            Proposal(event=opened, actor="tallystick", subject=subject),
            Proposal(event=key, actor="tallystick", subject=subject),
        )

    # -- reading what is stored

    async def _read_new(self) -> None:
        while records := await self.log.read(self.name, self.size, READ_BATCH):
            leaves = []
            frontier, previous, keys = self._frontier.copy(), self._previous, self._state.keys
            for offset, record in enumerate(records):
                self._check_link(record, self.size + offset, previous)
                if record.event_type in KEY_EVENT_TYPES:
                    keys = self._check_key_event(keys, record)
                leaf = leaf_hash(record.entry)
                leaves.append(leaf)
                previous = leaf.hex()
                frontier.append(leaf)
                if record.seal:
                    checkpoint = open_seal(record.seal, keys, record.index, self.origin)
                    if checkpoint.size != record.index + 1 or checkpoint.root != frontier.root():
                        raise InvalidError(
                            "a seal does not fit the entries under it",
                            field=f"{self.name}[{record.index}]",
                            remedy="Run tally audit.",
                        )
            folded = self._fold_all(records)
            self._frontier, self._previous = frontier, previous
            topics = [filed_under(recorded.event, recorded.subject, name) for recorded, name in folded]
            self.index.advance(records[0].index, leaves, self.index.filings(topics))
            self._announce()

    def _check_link(self, record: Record, index: int, previous: str) -> None:
        fault = link_fault(record, index, self.origin, previous)
        if fault is not None:
            raise InvalidError(
                f"an entry does not fit: {fault[1]}",
                field=f"{self.name}[{index}]",
                remedy="Run tally audit.",
            )

    def _check_key_event(self, keys: KeyHistory, record: Record) -> KeyHistory:
        event = read_key_event(record.payload, recorded_of(record).event)
        return check_key_event(keys, self.origin, record.index, event)

    def _fold_all(self, records: Sequence[Record]) -> list[tuple[Recorded, str]]:
        """Fold examined records; each event with the name of the fact."""
        folded = [recorded_of_examined(record) for record in records]
        state = self._state
        for recorded in folded:
            kind = type(recorded.event)
            if kind in CHANGING:
                state = evolve(state, recorded)
            if kind in FLOWING:
                self._settle(answered_key(recorded), next_commands(state, recorded))
        self._state = replace(state, size=folded[-1].index + 1)
        names = [unique_key(recorded.event) for recorded in folded]
        self._known.add([name for name in names if name])
        self._time_ns, self._head = folded[-1].recorded_at_ns, records[-1]
        self._seal = next((record.seal for record in reversed(records) if record.seal), self._seal)
        return list(zip(folded, names, strict=True))

    def _settle(self, answered: str, commands: Sequence[Command]) -> None:
        if answered:
            self._pending.pop(answered, None)
        for command in commands:
            self._pending[command_key(command)] = command

    def _announce(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    # -- writing

    def position(self) -> Position:
        """Where the ledger stands: where the next draft begins."""
        return Position(
            state=self._state, frontier=self._frontier, previous=self._previous, time_ns=self._time_ns
        )

    def draft(self, start: Position, found: Mapping[str, int]) -> Draft:
        """An empty draft from ``start`` on; ``found`` are facts that the ledger has, and where."""
        return Draft(self.origin, start, self._clock, found)

    @property
    def is_deciding_remote(self) -> bool:
        """Deciding may sign a receipt with a key that is far away."""
        return any(signer.is_remote for signer in self.signers(self._state))

    async def known(self, keys: Collection[str]) -> dict[str, int]:
        """Those of these names of facts that the ledger has, and where."""
        suspects = self._known.may_hold(list(keys))
        if not suspects:
            return {}
        # Whoever sends again sends much again: one way to the index for all, and few to the log.
        candidates = await asyncio.to_thread(self._candidates, suspects)
        filed: dict[int, frozenset[str]] = {}
        for first, last in stretches(sorted({index for some in candidates for index in some})):
            for record in await self.read(first, last - first + 1):
                filed[record.index] = filings_of(record)
        found = {}
        for key, some in zip(suspects, candidates, strict=True):
            topic = named(key)
            index = next((index for index in some if topic in filed.get(index, ())), None)
            if index is None and (len(some) == _CANDIDATES or not filed.keys() >= set(some)):
                index = await self.find(key)  # there are more, or the log gave fewer than it was asked for
            if index is not None:
                found[key] = index
        return found

    def _candidates(self, keys: Sequence[str]) -> list[list[int]]:
        return [self.index.find_entries((named(key),), 0, _CANDIDATES) for key in keys]

    async def seal(self, draft: Draft) -> list[Record]:
        """The draft's records with their seal.  Raises: InvalidError where a key that rules is not held."""
        signers = self.signers(draft.settled_state)
        if any(signer.is_remote for signer in signers):
            return await asyncio.to_thread(draft.sealed, signers)
        return draft.sealed(signers)

    async def store(self, draft: Draft, records: Sequence[Record]) -> None:
        """Store a sealed draft and stand after it.

        Nothing is stored on top of bytes that are no longer what was sealed: the store compares the last
        entry and its body.  What lies further back is compared at the next opening, and by audits.
        Raises: LedgerConflictError when something else was appended first; DamagedStoreError; InvalidError
        for a store that has lost entries.
        """
        filings = None

        def prepare() -> None:
            nonlocal filings
            if filings is None:
                filings = self.index.filings(draft.topics())
                # If it is not stored after all, some keys are looked up in vain.
                self._known.add(list(draft.places))

        async with self._catch_up_lock:
            try:
                await self.log.append(
                    self.name, draft.start_size, records, after=self._head, meanwhile=prepare
                )
            except LedgerConflictError as conflict:
                # Compared here, where nobody can catch up in between.
                if conflict.actual_size < self.size:
                    raise self._lost(conflict.actual_size) from conflict
                raise
            prepare()
            end = draft.end
            self._state, self._time_ns = end.state, end.time_ns
            self._frontier, self._previous = end.frontier, end.previous
            self._seal, self._head = records[-1].seal, records[-1]
            self.index.advance(draft.start_size, draft.leaves, filings)
            for _, answered, commands in draft.consequences:
                self._settle(answered, commands)
            self._announce()

    def _lost(self, actual_size: int) -> InvalidError:
        return InvalidError(
            "this store has lost entries that were seen in it",
            field=self.name,
            expected=f">= {self.size} entries",
            actual=f"{actual_size} entries",
            remedy="It seems to be put back from a backup. Stop everything that uses it, "
            "then run tally restore.",
        )

    async def answer_late(self, draft: Draft, answer: Sequence[int]) -> tuple[Recorded, ...]:
        """The events at these places, of which some were in the ledger before."""
        return tuple([draft.recorded(index) or (await self.get(index))[1] for index in answer])
