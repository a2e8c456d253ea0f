"""``tally migrate``: what a person types, sees, and gets back as exit status."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from adapters.event_logs import open_log
from api.command_line import main
from tests.adapters.esdb_node.fixture import esdb_uri
from tests.ledger.test_migrate import NAME, everything, fill

__all__ = ["esdb_uri"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with one ledger of 32 entries, that of the tenant demo."""

    async def make() -> None:
        log = open_log(str(tmp_path / "ledgers"))
        await fill(log, tmp_path, 10, 20)
        await log.close()

    asyncio.run(make())
    return tmp_path / "ledgers"


def stored(store: str) -> list[object]:
    async def read() -> list[object]:
        log = open_log(store)
        try:
            return list(await everything(log))
        finally:
            await log.close()

    return asyncio.run(read())


def test_a_ledger_moves_to_eventstoredb_and_back(
    source: Path, tmp_path: Path, esdb_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # The development node is shared by the session, so a real tenant's name is free only once.
    name = f"ledger-moved-{tmp_path.name}".lower().replace("_", "-")[:60].rstrip("-")
    (source / f"{NAME}.sqlite").rename(source / f"{name}.sqlite")
    with sqlite3.connect(source / f"{name}.sqlite") as db:
        db.execute("UPDATE store SET ledger = ?", (name,))
    tenant = name.removeprefix("ledger-")
    assert main(["migrate", "--from", str(source), "--to", esdb_uri, "--tenant", tenant, "--json"]) == 0
    moved = json.loads(capsys.readouterr().out)
    assert moved["is_complete"] is True
    assert [(one["size"], one["copied_count"]) for one in moved["ledgers"]] == [(32, 32)]
    back = tmp_path / "back"
    assert main(["migrate", "--from", esdb_uri, "--to", str(back), "--tenant", tenant]) == 0
    shown = capsys.readouterr().out
    assert moved["ledgers"][0]["root"] in shown
    assert "✓" in shown
    with (
        sqlite3.connect(back / f"{name}.sqlite") as ours,
        sqlite3.connect(source / f"{name}.sqlite") as theirs,
    ):
        query = "SELECT * FROM records ORDER BY ledger_index"
        assert ours.execute(query).fetchall() == theirs.execute(query).fetchall()


def test_all_ledgers_of_a_store_move_together(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert main(["migrate", "--from", str(source), "--to", str(other), "--all"]) == 0
    assert stored(str(other)) == stored(str(source))


def test_a_target_that_differs_fails_the_check(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    assert main(["migrate", "--from", str(source), "--to", str(other)]) == 0
    with sqlite3.connect(other / f"{NAME}.sqlite") as db:
        db.executescript(
            "DROP TRIGGER records_are_never_updated;"
            "UPDATE records SET payload = x'7b7d' WHERE ledger_index = 5"
        )
    assert main(["migrate", "--from", str(source), "--to", str(other)]) == 1
    assert f"{NAME}[5]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "{source}"], "--to"),
        (["--from", "{source}", "--to", "{source}"], "another store"),
        (["--from", "{source}/missing", "--to", "{source}"], "no such store"),
        (["--from", "{source}", "--to", "{source}2", "--tenant", "nobody"], "no such ledger"),
        (["--from", "{source}", "--to", "mongo://admin:hunter2@x"], "kind of store"),
        (["--from", "{source}", "--to", "esdb://admin:hunter2@127.0.0.1:1?tls=maybe"], "connection string"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(
    source: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["migrate", *(argument.format(source=source) for argument in arguments)])
    complaint = capsys.readouterr().err
    assert status != 0
    assert words in complaint
    assert "hunter2" not in complaint
    assert "Traceback" not in complaint
    assert not (source / "missing").exists()
