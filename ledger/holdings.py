"""What a ledger rests on outside itself: the objects it names in the vault, and people's keys.

A backup is whole when it has the ledger and everything here.  Objects and keys of people who were erased are
not among it: nobody can read them, and nobody should come to be able to.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from domain.digests import Digest
from domain.events import (
    BatchIngested,
    ConnectionRegistered,
    DatasetDerived,
    Event,
    RunGatesDecided,
    RunStarted,
    SubjectErased,
)
from ledger.ports import EventLog
from ledger.recorded import recorded_of

READ_BATCH = 2_048

_LOOKED_AT = frozenset(
    kind.TYPE
    for kind in (
        BatchIngested,
        ConnectionRegistered,
        DatasetDerived,
        RunGatesDecided,
        RunStarted,
        SubjectErased,
    )
)


class Holdings(Struct, frozen=True, kw_only=True):
    """``objects`` and ``subject_keys`` that must be there, in the order of the ledger; ``shredded`` and
    ``erased_keys`` are those of people who were erased."""

    objects: tuple[Digest, ...]
    shredded: tuple[Digest, ...]
    subject_keys: tuple[str, ...]
    erased_keys: tuple[str, ...]


async def holdings(log: EventLog, ledger: str) -> Holdings:
    """Read a ledger from beginning to end and note what it names; about 200 bytes of memory for each object.

    Raises: MalformedError, UnknownError for an entry that this version cannot read.
    """
    source_of: dict[Digest, str] = {}
    run_sources: dict[str, str] = {}
    keys: dict[str, str] = {}
    erased: set[str] = set()
    position = 0
    while records := await log.read(ledger, position, READ_BATCH):
        for record in records:
            if record.event_type not in _LOOKED_AT:
                continue
            event = recorded_of(record).event
            match event:
                case ConnectionRegistered():
                    keys[event.connection_id] = event.subject_key_id
                case SubjectErased():
                    erased.add(event.connection_id)
                case RunStarted():
                    run_sources[event.run_id] = event.source_id
                case RunGatesDecided():
                    source_id = run_sources.pop(event.run_id, "")
                    # A run decided after its person was erased holds nothing of them, and no secret.
                    personal = source_id if any(one.is_encrypted for one in event.artifacts) else ""
                    _note(source_of, _objects(event), personal)
                case BatchIngested() | DatasetDerived():
                    _note(source_of, _objects(event), event.source_id)
                case _:
                    pass
        position = records[-1].index + 1
    return Holdings(
        objects=tuple(digest for digest, source_id in source_of.items() if source_id not in erased),
        shredded=tuple(digest for digest, source_id in source_of.items() if source_id in erased),
        subject_keys=tuple(key for source_id, key in keys.items() if source_id not in erased),
        erased_keys=tuple(key for source_id, key in keys.items() if source_id in erased),
    )


def _objects(event: Event) -> tuple[Digest, ...]:
    match event:
        case BatchIngested():
            return (event.digest,)
        case DatasetDerived():
            return (event.object_digest,)
        case RunGatesDecided():
            return tuple(artifact.digest for artifact in event.artifacts)
        case _:
            return ()


def _note(source_of: dict[Digest, str], objects: Iterable[Digest], source_id: str) -> None:
    for digest in objects:
        source_of.setdefault(digest, source_id)
