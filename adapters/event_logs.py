"""Which event log a setting names, and the work queue that goes with it."""

from __future__ import annotations

from pathlib import Path

from adapters.sqlite_log import SQLiteLog
from adapters.sqlite_work_queue import SQLiteWorkQueue
from domain.errors import MalformedError
from ledger.ports import EventLog
from ledger.work_queue import WorkQueue


def open_log(store: str) -> EventLog:
    """The log in a folder, or on the EventStoreDB that a connection string names.

    Raises: MalformedError, and InvalidError when a file that the connection string names is missing.
    """
    if store.startswith(("esdb://", "esdb+discover://")):
        # Whoever keeps ledgers in a folder does not wait for gRPC to be imported.
        from adapters.esdb_log import EventStoreDBLog

        return EventStoreDBLog(store)
    if "://" in store:
        raise MalformedError(
            "unknown kind of store",
            field="store",
            expected="a path, esdb://… or esdb+discover://…",
            actual=store.partition("://")[0] + "://…",
        )
    return SQLiteLog(Path(store))


def open_shared_queue(log: EventLog, *, lease_seconds: float, buffer_records: int) -> WorkQueue | None:
    """The queue by which machines that share ``log`` share its work; ``None`` for a store that lies on one
    machine, whose processes take turns by a lock."""
    if isinstance(log, SQLiteLog):
        return None
    from adapters.esdb_log import EventStoreDBLog
    from adapters.esdb_subscriptions import EventStoreDBWorkQueue

    if not isinstance(log, EventStoreDBLog):
        return None
    return EventStoreDBWorkQueue(log.connection, lease_seconds=lease_seconds, buffer_records=buffer_records)


def open_work_queue(log: EventLog, folder: Path) -> WorkQueue:
    """The work queue over ``log``: in the store itself where it has one, else in ``folder``."""
    if isinstance(log, SQLiteLog):
        return SQLiteWorkQueue(folder, log)
    from adapters.esdb_log import EventStoreDBLog
    from adapters.esdb_subscriptions import EventStoreDBWorkQueue

    if isinstance(log, EventStoreDBLog):
        return EventStoreDBWorkQueue(log.connection)
    return SQLiteWorkQueue(folder, log)


def describe(store: str) -> str:
    """The setting as it may be shown: without user name and password."""
    scheme, separator, rest = store.partition("://")
    if not separator:
        return store
    authority, slash, path = rest.partition("/")
    credentials, at, host = authority.rpartition("@")
    if not at and "@" in path:
        # A password with a bare slash in it; show no part of it.
        return f"{scheme}://…@{rest.rpartition('@')[2]}"
    return f"{scheme}://{'…@' if credentials else ''}{host}{slash}{path}"
