"""The log on EventStoreDB: the contract every log keeps, and what a server in between adds to it.

Runs against a development node, or against the server that ``ESDB_URI`` names.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from adapters.esdb_log import EventStoreDBLog
from ledger.ports import EventLog
from tests.adapters.esdb_node.fixture import esdb_uri
from tests.contracts.event_log_contract import EventLogContract

__all__ = ["esdb_uri"]


@pytest.mark.usefixtures("_uri")
class TestEventStoreDBLog(EventLogContract):
    uri = ""

    @pytest.fixture
    def _uri(self, esdb_uri: str) -> None:
        self.uri = esdb_uri

    def ledger(self) -> str:
        return f"ledger-{uuid4()}"

    @asynccontextmanager
    async def open_log(self, place: Path) -> AsyncIterator[EventLog]:
        log = EventStoreDBLog(self.uri)
        try:
            yield log
        finally:
            await log.close()
