"""The only place where adapters are wired together: from settings to one desk per tenant."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from adapters.checkpoint_memory import FileCheckpointMemory
from adapters.erasure_journal import FolderErasureJournal
from adapters.event_logs import describe, open_log
from adapters.executor.pinned_executor import PinnedExecutor
from adapters.files.detect import SampleFileFormat
from adapters.key_stores import open_key_store
from adapters.sqlite_index import SQLiteIndex
from adapters.vault_directory import DirectoryVault
from api.settings import Settings
from api.witnessing import check_no_meta_log, open_witnessing
from domain.errors import UnknownError
from domain.identifiers import parse_identifier
from ledger.desk import Desk
from ledger.erasure import apply_erasures
from ledger.ledger import Ledger, ledger_name
from ledger.metalog import META_TENANT
from ledger.ports import EventLog, KeyStore
from ledger.seen import Acceptance, Remembering, open_seen
from ledger.store_witnessing import StoreCoverer


class Workplace:
    """Everything that is open in this process.  Use ``async with open_workplace(settings)``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.log: EventLog = open_log(settings.store)
        self.keys: KeyStore = open_key_store(settings.keys, settings.keys_folder)
        self.executor = PinnedExecutor()
        self.formats = SampleFileFormat()
        self.witnessing = open_witnessing(settings, self.log, self.keys)
        self._desks: dict[str, Desk] = {}
        self._remembering: list[Remembering] = []

    async def desk(self, tenant: str | None = None, *, acceptance: Acceptance | None = None) -> Desk:
        """The desk of a tenant, opened on first use.  One that does not exist yet gets its ledger here.

        ``acceptance`` lets a ledger go on that is older than what was seen.  Raises: InvalidHistoryError.
        """
        name = parse_identifier(tenant or self.settings.tenant, "tenant")
        check_no_meta_log(name)
        if name not in self._desks:
            memory = FileCheckpointMemory(self.settings.seen_folder(name))
            ledger = await open_seen(
                memory,
                log=self.log,
                tenant=name,
                origin=self.settings.origin(name),
                keys=self.keys,
                clock=time.time_ns,
                index=SQLiteIndex(self.settings.index_path(name)),
                acceptance=acceptance,
            )
            desk = Desk(
                ledger=ledger,
                vault=self.vault(name),
                keys=self.keys,
                executor=self.executor,
                formats=self.formats,
                clock=time.time_ns,
                erasures=FolderErasureJournal(self.settings.seen_folder(name)),
            )
            try:
                await apply_erasures(desk)
            except BaseException:
                await ledger.close()
                raise
            if self.witnessing is not None:
                ledger.coverer = StoreCoverer(self.witnessing, ledger)
            self._desks[name] = desk
            self._remembering.append(Remembering(ledger, memory))
        return self._desks[name]

    async def existing_desk(self, tenant: str | None = None) -> Desk:
        """The desk of a tenant that has a ledger.  Raises: UnknownError."""
        name = parse_identifier(tenant or self.settings.tenant, "tenant")
        await self.check_exists(name)
        return await self.desk(name)

    async def check_exists(self, tenant: str) -> None:
        """Raises: UnknownError when the tenant (or the meta-log) has no ledger in this store."""
        if ledger_name(tenant) not in await self.log.ledgers():
            raise UnknownError(
                "no such ledger",
                field="tenant",
                actual=f"{tenant} in {describe(self.settings.store)}",
                remedy="Name it with --home and --tenant, or make one with `tally demo` or `tally apply`.",
            )

    def vault(self, tenant: str) -> DirectoryVault:
        """A tenant's vault, without opening its ledger."""
        return DirectoryVault(self.settings.vault_folder(tenant))

    async def tenants(self) -> list[str]:
        """Tenants that have a ledger in this store."""
        names = [name.removeprefix(ledger_name("")) for name in await self.log.ledgers()]
        return [name for name in names if name != META_TENANT]

    @property
    def ledgers(self) -> list[Ledger]:
        """The ledgers that are open in this process."""
        return [desk.ledger for desk in self._desks.values()]

    async def close(self) -> None:
        """Close every desk, the executor and the store."""
        # Last in, first out, and each of them whatever happens to the others: a full disk may keep a derived
        # index from being written, and must not keep a store open.
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self.log.close)
            closing.push_async_callback(self.executor.close)
            for remembering in self._remembering:
                closing.push_async_callback(remembering.close)
            for desk in self._desks.values():
                closing.push_async_callback(desk.ledger.close)
            if self.witnessing is not None:
                closing.push_async_callback(self.witnessing.close)


@asynccontextmanager
async def open_workplace(settings: Settings) -> AsyncIterator[Workplace]:
    """A workplace that is closed at the end, whatever happens in between."""
    workplace = Workplace(settings)
    try:
        yield workplace
    finally:
        await workplace.close()
