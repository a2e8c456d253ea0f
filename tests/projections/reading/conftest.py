"""One view of the known history for all tests of answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from duckdb import DuckDBPyConnection

from tests.projections.opened import opened
from tests.projections.reading.known import Known, known


@pytest.fixture(scope="session")
def told() -> Known:
    return known()


@pytest.fixture(scope="session")
def connection(told: Known) -> Iterator[DuckDBPyConnection]:
    with opened(None, told.story.records) as view, view.cursor() as cursor:
        yield cursor
