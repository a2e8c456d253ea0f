"""The story, told once; each test gets its own copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.story.told import tell_into


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the story was told; not to be changed."""
    home = tmp_path_factory.mktemp("story")
    tell_into(home)
    return home


@pytest.fixture
def home(told: Path, tmp_path: Path) -> Path:
    """A copy of the told story that a test may damage."""
    return Path(shutil.copytree(told, tmp_path / "home"))
