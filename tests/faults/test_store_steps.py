"""Each step of each store fails once, before or after it took effect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.esdb_log import EventStoreDBLog
from adapters.sqlite_log import SQLiteLog
from ledger.ports import EventLog
from tests.adapters.esdb_node.fixture import esdb_uri
from tests.contracts.store_steps_contract import StoreStepsContract
from tests.ledger.names_apart import NamesApart

__all__ = ["esdb_uri"]


class TestSQLite(StoreStepsContract):
    @pytest.fixture
    def open_log(self) -> Callable[[Path], EventLog]:
        return SQLiteLog


class TestEventStoreDB(StoreStepsContract):
    @pytest.fixture
    def open_log(self, esdb_uri: str) -> Callable[[Path], EventLog]:
        return lambda folder: NamesApart(EventStoreDBLog(esdb_uri), folder)  # type: ignore[return-value]
