"""Which store a setting names, and how it may be shown."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapters.esdb_log import EventStoreDBLog
from adapters.esdb_subscriptions import EventStoreDBWorkQueue
from adapters.event_logs import describe, open_log, open_work_queue
from adapters.sqlite_log import SQLiteLog
from adapters.sqlite_work_queue import SQLiteWorkQueue
from domain.errors import MalformedError


@pytest.mark.parametrize("uri", ["esdb://127.0.0.1:2113?tls=false", "esdb+discover://cluster:2113?tls=false"])
def test_a_connection_string_names_eventstoredb(uri: str) -> None:
    assert isinstance(open_log(uri), EventStoreDBLog)


def test_everything_else_is_a_folder(tmp_path: Path) -> None:
    log = open_log(str(tmp_path / "ledgers"))
    assert isinstance(log, SQLiteLog)
    asyncio.run(log.close())


def test_the_work_queue_is_in_the_store_where_the_store_has_one(tmp_path: Path) -> None:
    remote = open_log("esdb://127.0.0.1:2113?tls=false")
    local = open_log(str(tmp_path / "ledgers"))
    assert isinstance(open_work_queue(remote, tmp_path / "work"), EventStoreDBWorkQueue)
    assert not (tmp_path / "work").exists()
    assert isinstance(open_work_queue(local, tmp_path / "work"), SQLiteWorkQueue)


@pytest.mark.parametrize("store", ["postgres://user:secret@host/db", "kurrentdb://host", "://x"])
def test_other_kinds_of_store_are_refused_without_what_they_hide(store: str) -> None:
    with pytest.raises(MalformedError) as caught:
        open_log(store)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("/var/lib/ledgers", "/var/lib/ledgers"),
        ("esdb://127.0.0.1:2113?tls=false", "esdb://127.0.0.1:2113?tls=false"),
        ("esdb://admin:secret@host:2113", "esdb://…@host:2113"),
        ("esdb://admin:se/cret@host:2113", "esdb://…@host:2113"),
        ("esdb://admin:se@cret@a,b:1?tls=true", "esdb://…@a,b:1?tls=true"),
    ],
)
def test_a_store_is_shown_without_its_password(store: str, shown: str) -> None:
    assert describe(store) == shown
