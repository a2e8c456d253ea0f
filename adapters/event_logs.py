"""Which event log a setting names."""

from __future__ import annotations

from pathlib import Path

from adapters.sqlite_log import SQLiteLog
from domain.errors import MalformedError
from ledger.ports import EventLog


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
