"""One command's view is current, whoever else has the file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ledger.ports import Record
from projections.current import current_view
from projections.errors import ProjectionStoppedError
from projections.rebuild import TableDigest
from tests.projections.memory_log import log_of
from tests.projections.opened import contents, opened
from tests.projections.story import LEDGER, tell

WHOLE = tell(81, rounds=4).records


def seen(path: Path, records: list[Record] = WHOLE) -> tuple[bool, dict[str, TableDigest]]:
    """Whether a command's view of ``records`` is the file at ``path``, and what it holds."""

    async def run() -> tuple[bool, dict[str, TableDigest]]:
        async with current_view(await log_of(records, LEDGER), LEDGER, path) as view:
            return view.path == path, contents(view)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def whole() -> dict[str, TableDigest]:
    with opened(None, WHOLE) as view:
        return contents(view)


def test_a_file_that_is_free_is_brought_up_to_date(tmp_path: Path, whole: dict[str, TableDigest]) -> None:
    path = tmp_path / "acme.duckdb"
    with opened(path, WHOLE[:30]):
        pass
    assert seen(path) == (True, whole)
    with opened(path) as view:
        assert view.position.next_index == len(WHOLE)


def test_a_file_in_use_is_left_alone_and_the_answer_is_current(
    tmp_path: Path, whole: dict[str, TableDigest]
) -> None:
    path = tmp_path / "acme.duckdb"
    with opened(path, WHOLE[:30]) as view:
        assert seen(path) == (False, whole)
        assert view.position.next_index == 30


@pytest.mark.parametrize("damage", ["garbage", "another history"])
def test_a_file_that_cannot_be_used_is_left_alone(
    damage: str, tmp_path: Path, whole: dict[str, TableDigest]
) -> None:
    path = tmp_path / "acme.duckdb"
    if damage == "garbage":
        path.write_bytes(b"garbage" * 1_000)
    else:
        with opened(path, tell(82, rounds=3).records):
            pass
    before = path.read_bytes()
    assert seen(path) == (False, whole)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_yet_is_made(tmp_path: Path, whole: dict[str, TableDigest]) -> None:
    assert seen(tmp_path / "new" / "acme.duckdb") == (True, whole)


def test_a_place_that_cannot_be_written_does_not_keep_anybody_from_reading(
    tmp_path: Path, whole: dict[str, TableDigest]
) -> None:
    (tmp_path / "file").write_text("")
    assert seen(tmp_path / "file" / "acme.duckdb") == (False, whole)


def test_a_poison_is_said(tmp_path: Path) -> None:
    story = tell(81, rounds=1)
    story.add_bytes("run.started.v9", b"{}", "run/x")
    with pytest.raises(ProjectionStoppedError):
        seen(tmp_path / "acme.duckdb", story.records)
