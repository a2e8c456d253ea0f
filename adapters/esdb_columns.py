"""Reading a ledger in EventStoreDB from any process (``ledger.ports.ColumnReader``), for audits that share
out its parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from esdbclient.exceptions import NotFound
from msgspec import Struct

from adapters.esdb_connection import Client
from adapters.esdb_pages import PAGE_EVENTS_MAX, begin_page, drain_page, open_channel
from ledger.ports import RecordColumns


class EventStoreDBColumns(Struct, frozen=True, kw_only=True):
    """A stream on the node that was found for it.  Holds the connection string with its password: it goes
    through a pipe to a child process and nowhere else."""

    uri: str
    target: str
    stream: str
    seconds_max: float

    def __repr__(self) -> str:
        return f"EventStoreDBColumns({self.stream} at {self.target})"

    def columns(self, start: int, stop: int) -> Iterator[RecordColumns]:
        """See ``ColumnReader.columns``."""
        client = Client(self.uri)
        with closing(open_channel(client, self.target)) as channel:
            while start < stop:
                limit = min(stop - start, PAGE_EVENTS_MAX)
                call = begin_page(client, channel, self.stream, start, limit, self.seconds_max)
                try:
                    records = drain_page(call)
                except NotFound:
                    return
                if not records:
                    return
                yield RecordColumns.of(records)
                start = records[-1].index + 1
