"""A store's meta-log: the checkpoints of its ledgers in one, so that one cosignature covers them all.

It is a ledger like any other (``ledger.ledger``), of its own name in the same store; its entries are
``tenant.checkpointed.v1``, filed and verified as ``ledger.meta_proof`` says.  Witnesses see only its
checkpoints, and so learn no tenant's name, number of entries or roots.

A receipt is covered once three things have happened: its ledger's checkpoint is recorded here, the meta-log's
checkpoint over that is cosigned, and both are found again: for each ledger the newest recorded checkpoint
under the newest cosigned one.  To find it, each ledger's entries are remembered by place, those that newer
ones have made useless are forgotten, and after a restart they are read again.

What it is not: a witness looks at the meta-log as a whole, and never at whether the checkpoints recorded in
it fit together.  That is for those who know a ledger (``check_ledger``): its tenant, or an auditor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from msgspec import Struct

from domain.errors import InvalidError
from domain.events import KeyCreated, LedgerOpened, TenantCheckpointed
from domain.key_history import KEY_EVENT_TYPES
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.covering import Covering
from ledger.entry import parse_entry
from ledger.ledger import APPEND_BYTES_MAX, READ_BATCH, Ledger, Proposal
from ledger.meta_proof import MetaProof, meta_subject
from ledger.notes import parse_note
from ledger.ports import APPEND_EVENTS_MAX, Record
from ledger.proving import changed_keys
from ledger.sealing_keys import all_keys, ruling_log_key
from ledger.tiles import prove_inclusion, root_from_tiles
from ledger.tlog_proof import TlogProof, format_tlog_proof
from ledger.witnessing import LogWitnessing

META_TENANT = "meta"
"""The name that no tenant can have, because the meta-log has it."""
# Places remembered of one ledger.
PLACES_MAX = 64
# Each recorded checkpoint costs an entry besides its body; ``Ledger`` reckons the same.
_ENTRY_BYTES = 1_024
_OWN_TYPES = KEY_EVENT_TYPES | {LedgerOpened.TYPE, KeyCreated.TYPE, TenantCheckpointed.TYPE}


class _Place(Struct, frozen=True):
    """A ledger's checkpoint of this size stands at this index of the meta-log."""

    size: int
    index: int


class MetaFinding(Struct, frozen=True, kw_only=True):
    """A recorded checkpoint that a ledger does not agree with; ``note`` is signed by the ledger's key."""

    index: int
    size: int
    detail: str
    note: bytes


class MetaLog:
    """A store's meta-log.  Create it with ``MetaLog.open``."""

    def __init__(self, ledger: Ledger, witnessing: LogWitnessing) -> None:
        self.ledger = ledger
        self.witnessing = witnessing
        self._places: dict[str, list[_Place]] = {}
        self._read_until = 0
        self._reading = asyncio.Lock()

    @classmethod
    async def open(cls, ledger: Ledger, witnessing: LogWitnessing) -> MetaLog:
        """The meta-log in ``ledger``, which holds nothing else.  Raises: InvalidError when it does."""
        meta = cls(ledger, witnessing)
        await meta._read_new()
        return meta

    async def record(self, ledgers: Iterable[Ledger]) -> int:
        """Record the newest checkpoint of each of these ledgers that has grown; returns how many."""
        await self._read_new()
        proposals = []
        for ledger in ledgers:
            note, size = ledger.checkpoint, ledger.size
            subject = subject_of_ledger(ledger)
            places = self._places.get(subject)
            if not places or places[-1].size < size:
                event = TenantCheckpointed(note=note)
                proposals.append(Proposal(event=event, actor="tallystick", subject=subject))
        for part in _parts(proposals):
            await self.ledger.record(*part)
        await self._read_new()
        return len(proposals)

    async def covering(self, ledger: Ledger, index: int) -> Covering | None:
        """The newest checkpoint of ``ledger`` over its entry at ``index`` that is recorded under a witnessed
        checkpoint of the meta-log; None while there is none."""
        await self._read_new()
        subject = subject_of_ledger(ledger)
        first = next((one for one in self._places.get(subject, ()) if one.size > index), None)
        if first is None:
            return None
        cosigned = await self.witnessing.cosigned(first.index + 1)
        if cosigned is None:
            return None
        meta_size = cosigned.size
        place = max(
            (one for one in self._places[subject] if one.size > index and one.index < meta_size),
            key=lambda one: one.size,
            default=None,
        )
        if place is None:
            return None
        record, _ = await self.ledger.get(place.index)
        if place.size > ledger.size:
            await ledger.catch_up()
        if _disagreement(ledger, _checkpoint_in(record.payload)):
            return None
        path = prove_inclusion(self.ledger.tile, place.index, meta_size)
        proof = TlogProof(index=place.index, path=tuple(path), checkpoint=cosigned.checkpoint)
        self._forget(subject, meta_size)
        return Covering(
            checkpoint=record.payload,
            size=place.size,
            meta=MetaProof(
                entry=record.entry,
                proof=format_tlog_proof(proof),
                keys=await changed_keys(self.ledger, cosigned.checkpoint),
            ),
            cosigners=cosigned.cosigners,
            meta_key=ruling_log_key(self.ledger.state.keys, meta_size),
        )

    async def check_ledger(self, ledger: Ledger) -> list[MetaFinding]:
        """Every recorded checkpoint of ``ledger`` that it does not begin with, or that is larger than it is.

        None found means: whoever was shown a receipt of this ledger through the meta-log was shown this
        ledger.
        """
        subject = subject_of_ledger(ledger)
        findings: list[MetaFinding] = []
        start = 0
        while records := await self.ledger.read(start, READ_BATCH):
            start = records[-1].index + 1
            for record in records:
                if (
                    record.event_type == TenantCheckpointed.TYPE
                    and parse_entry(record.entry).subject == subject
                ):
                    detail = _disagreement(ledger, _checkpoint_in(record.payload))
                    if detail:
                        findings.append(
                            MetaFinding(
                                index=record.index,
                                size=_checkpoint_in(record.payload).size,
                                detail=detail,
                                note=record.payload,
                            )
                        )
        return findings

    async def _read_new(self) -> None:
        async with self._reading:
            await self.ledger.catch_up()
            while self._read_until < self.ledger.size:
                for record in await self.ledger.read(self._read_until, READ_BATCH):
                    self._take(record)
                    self._read_until = record.index + 1

    def _take(self, record: Record) -> None:
        if record.event_type not in _OWN_TYPES:
            raise InvalidError(
                "this is the ledger of a tenant, not a meta-log",
                field=f"{self.ledger.name}[{record.index}]",
                expected=TenantCheckpointed.TYPE,
                actual=record.event_type,
                remedy=f"No tenant can be called {META_TENANT!r} where witnesses cosign a meta-log.",
            )
        if record.event_type == TenantCheckpointed.TYPE:
            place = _Place(_checkpoint_in(record.payload).size, record.index)
            places = self._places.setdefault(parse_entry(record.entry).subject, [])
            places.append(place)
            if len(places) > PLACES_MAX:
                # Nothing has been cosigned for long; any of them will do until the newest is.
                del places[1:-1:2]

    def _forget(self, subject: str, meta_size: int) -> None:
        """Forget what a newer checkpoint under the same cosignature has made useless."""
        places = self._places[subject]
        covered = [number for number, one in enumerate(places) if one.index < meta_size]
        if covered:
            del places[: covered[-1]]


class MetaCoverer:
    """One ledger's ``ledger.covering.Coverer`` by way of the meta-log."""

    def __init__(self, meta: MetaLog, ledger: Ledger) -> None:
        self._meta = meta
        self._ledger = ledger

    async def covering(self, index: int) -> Covering | None:
        """See ``Coverer.covering``."""
        return await self._meta.covering(self._ledger, index)


def subject_of_ledger(ledger: Ledger) -> str:
    """What a ledger's checkpoints are filed under: the label of its first key."""
    return meta_subject(all_keys(ledger.state.keys)[0])


def _disagreement(ledger: Ledger, checkpoint: Checkpoint) -> str:
    if checkpoint.origin != ledger.origin:
        return f"is of {checkpoint.origin}"
    if checkpoint.size > ledger.size:
        return f"covers {checkpoint.size} entries, and the ledger has {ledger.size}"
    if root_from_tiles(ledger.tile, checkpoint.size) != checkpoint.root:
        return f"has another root than the ledger at {checkpoint.size} entries"
    return ""


def _checkpoint_in(note: bytes) -> Checkpoint:
    return parse_checkpoint(parse_note(note).text)


def _parts(proposals: Sequence[Proposal]) -> Iterable[list[Proposal]]:
    """The proposals in appends that the ledger takes."""
    part: list[Proposal] = []
    byte_count = 0
    for proposal in proposals:
        assert isinstance(proposal.event, TenantCheckpointed)
        cost = len(proposal.event.note) + _ENTRY_BYTES
        if part and (byte_count + cost > APPEND_BYTES_MAX or len(part) == APPEND_EVENTS_MAX):
            yield part
            part, byte_count = [], 0
        part.append(proposal)
        byte_count += cost
    if part:
        yield part
