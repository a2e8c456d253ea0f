"""Files of `tests/vectors/ledger`: one file for each good example and for each evil, named after it."""

from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "vectors" / "ledger"


def vectors(folder: str) -> list[Any]:
    """The bytes of every file in a folder, as parameters named after the files."""
    found = sorted(path for path in (FOLDER / folder).iterdir() if path.is_file())
    assert found, f"no vectors in {folder}"
    return [pytest.param(path.read_bytes(), id=path.stem) for path in found]


def vector(name: str) -> bytes:
    """The bytes of one file."""
    return (FOLDER / name).read_bytes()
