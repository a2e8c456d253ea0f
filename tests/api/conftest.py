"""The story of ``tests.api.story``, told once, and the application over copies of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.story import Api, open_api, tell_into


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the story was told; not to be changed."""
    home = tmp_path_factory.mktemp("told")
    tell_into(home)
    return home


@pytest.fixture(scope="session")
def api(told: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The application over a copy that tests only read, or add to."""
    with open_api(told, tmp_path_factory.mktemp("served") / "home") as opened:
        yield opened


@pytest.fixture
def fresh_api(told: Path, tmp_path: Path) -> Iterator[Api]:
    """The application over a copy of the test's own."""
    with open_api(told, tmp_path / "home") as opened:
        yield opened
