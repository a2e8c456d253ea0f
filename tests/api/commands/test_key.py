"""``tally key``: what a person types, sees, and gets back as exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.key_store_file import FileKeyStore
from api.command_line import main
from tests.ledger.desk import ORIGIN, TENANT, open_ledger
from tests.ledger.test_ledger import batch


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a ledger of a few entries, whose keys are files."""
    import asyncio

    async def make() -> None:
        from adapters.sqlite_log import SQLiteLog

        log = SQLiteLog(tmp_path / "ledgers")
        async with open_ledger(
            tmp_path, log=log, keys=FileKeyStore(tmp_path / "keys"), index_name="index/demo"
        ) as ledger:
            for number in range(6):
                await ledger.record(batch(number))
        await log.close()

    asyncio.run(make())
    for name, value in (("TALLY_HOME", str(tmp_path)), ("TALLY_TENANT", TENANT)):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TALLY_ORIGIN", ORIGIN.rpartition("/")[0])
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    capsys.readouterr()
    assert main(["key", *words]) == status
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return told.out if status == 0 else told.err


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(said(capsys, *words, "--json"))
    return found


def test_a_key_is_rotated_revoked_and_disowned(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = said(capsys, "show").strip()
    assert first == said(capsys).strip() == told(capsys)["verifier_key"]
    first_id = first.split("+")[1]

    shown = said(capsys, "rotate", "--reason", "once a year")
    second = said(capsys).strip()
    assert second != first
    assert second in shown
    assert f"tally key revoke {first_id}" in shown

    assert "stays valid" in said(capsys, "revoke", first_id, "--reason", "rotated")
    history = told(capsys, "history")
    assert [(key["standing"], key["is_ruling"]) for key in history["keys"]] == [  # type: ignore[attr-defined]
        ("retired", False),
        ("valid", True),
    ]
    assert [change["event"] for change in history["changes"]] == [  # type: ignore[attr-defined]
        "key.created.v1",
        "key.rotated.v1",
        "key.revoked.v1",
    ]

    change = told(capsys, "compromised", first, "--from-index", "5", "--reason", "a stolen laptop")
    assert (change["event"], change["key_id"], change["ruling"]) == (
        "key.compromised.v1",
        first_id,
        [second],
    )
    shown = said(capsys, "history")
    assert "compromised" in shown
    assert "a stolen laptop" in shown
    assert main(["audit", "--no-vault", "--key", first]) == 0


def test_a_ledger_moves_to_another_key_store(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = said(capsys).strip()
    elsewhere = home / "elsewhere"
    assert "TALLY_KEYS" in said(capsys, "rotate", "--to", str(elsewhere), "--reason", "a safer place")
    assert "does not hold the key" in said(capsys, status=2)
    monkeypatch.setenv("TALLY_KEYS", str(elsewhere))
    assert said(capsys).strip() != first
    said(capsys, "revoke", first, "--reason", "moved")
    assert main(["audit", "--no-vault", "--key", first]) == 0


def test_a_second_algorithm_is_put_beside_the_first(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = said(capsys).strip()
    change = told(capsys, "rotate", "--algorithm", "ML-DSA-44", "--reason", "quantum computers")
    assert len(change["ruling"]) == 2  # type: ignore[arg-type]
    assert said(capsys).strip() == first


@pytest.mark.parametrize(
    "words",
    [
        ["rotate"],
        ["rotate", "0a0b0c0d", "--reason", "x"],
        ["rotate", "--reason", ""],
        ["rotate", "--reason", "two\nlines"],
        ["rotate", "--reason", "x", "--algorithm", "RSA"],
        ["rotate", "--reason", "x", "--from-index", "1"],
        ["revoke"],
        ["revoke", "00000000"],
        ["revoke", "00000000", "--reason", "x"],
        ["compromised", "00000000", "--reason", "x"],
        ["compromised", "00000000", "--reason", "x", "--from-index", "many"],
        ["compromised", "00000000", "--reason", "x", "--from-index", "-1"],
        ["history", "--reason", "x"],
        ["destroy"],
        ["--reason", "x"],
    ],
)
def test_what_was_asked_for_wrongly_is_said_and_changes_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    before = told(capsys)["size"]
    assert len(said(capsys, *words, status=2).splitlines()) == 1
    assert told(capsys)["size"] == before


def test_the_newest_key_is_not_revoked_by_mistake(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key_id = said(capsys).split("+")[1]
    assert "Rotate first" in said(capsys, "revoke", key_id, "--reason", "x", status=2)


def test_a_mistyped_tenant_makes_no_ledger_and_no_key(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such ledger" in said(capsys, "--tenant", "dmeo", status=2)
    assert len(list((home / "keys" / "signing").iterdir())) == 1
