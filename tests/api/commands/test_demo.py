"""What the demo says of where things lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.commands.demo import place_of


@pytest.mark.parametrize(
    ("store", "place"),
    [
        ("esdb://127.0.0.1:2113?tls=false", "esdb://127.0.0.1:2113?tls=false"),
        ("esdb+discover://admin:secret@db.example.org", "esdb+discover://…@db.example.org"),
        ("/nowhere/ledgers", "/nowhere/ledgers"),
        (str(Path.cwd() / "here" / "ledgers"), "here/ledgers"),
    ],
)
def test_the_ledger_lies_where_the_store_is_and_no_password_is_shown(store: str, place: str) -> None:
    assert place_of(store) == place
