"""Cosignatures beside the ledgers, in one SQLite file: what witnesses said of our checkpoints, and alarms.

Unlike an index this cannot be derived again from anything, and it is what shows that a ledger was rolled
back; so it is written with ``synchronous=FULL`` and belongs into a backup, but not into the same one as the
ledgers.  All origins of a home share the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from adapters.durable_database import DurableDatabase
from domain.errors import InvalidError
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.cosignature import add_signatures
from ledger.notes import (
    VerifierKey,
    format_signature_lines,
    format_verifier_key,
    parse_note,
    parse_signature_lines,
    parse_verifier_key,
)
from ledger.witness_exchange import AlarmKind, StoredCosignature, WitnessAlarm

SCHEMA_VERSION = 1
# Cosigned checkpoints kept of one log; the newest covers all that came before it, so the others are history.
CHECKPOINTS_KEPT_MAX = 10_000
# Alarms kept, each up to 130 KiB; the first say what the later ones repeat.
ALARMS_KEPT_MAX = 1_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS checkpoints (
    origin TEXT NOT NULL, size INTEGER NOT NULL, note BLOB NOT NULL, PRIMARY KEY (origin, size)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cosignatures (
    origin TEXT NOT NULL, size INTEGER NOT NULL, witness TEXT NOT NULL, line TEXT NOT NULL,
    PRIMARY KEY (origin, size, witness)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS witnesses (
    origin TEXT NOT NULL, witness TEXT NOT NULL, size INTEGER NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (origin, witness)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alarms (
    alarm_id INTEGER PRIMARY KEY,
    at_ns INTEGER NOT NULL,
    origin TEXT NOT NULL,
    witness TEXT NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    request BLOB NOT NULL,
    status INTEGER NOT NULL,
    answer BLOB NOT NULL,
    UNIQUE (origin, witness, kind, detail)
) STRICT;
"""
_ALARM = "at_ns, origin, witness, kind, detail, request, status, answer"


class SQLiteCosignatures:
    """A ``ledger.witness_exchange.CosignatureStore`` in a file.  Calls may come from any thread."""

    def __init__(self, path: Path) -> None:
        """Raises: InvalidError when the file is something else."""
        self._file = DurableDatabase(
            path,
            _SCHEMA,
            schema_version=SCHEMA_VERSION,
            what="a file of cosignatures",
            remedy="Restore it from a backup; without it only witnesses notice a rolled-back ledger.",
        )

    def add(self, cosignature: StoredCosignature) -> None:
        """See ``CosignatureStore.add``."""
        checkpoint, witness = cosignature.checkpoint, format_verifier_key(cosignature.witness)
        origin, size = checkpoint.origin, checkpoint.size
        line = format_signature_lines((cosignature.line,))
        with self._file.transaction() as db:
            row = db.execute(
                "SELECT note FROM checkpoints WHERE origin = ? AND size = ?", (origin, size)
            ).fetchone()
            if row is not None and parse_note(bytes(row[0])).text != parse_note(cosignature.note).text:
                raise InvalidError(
                    "another checkpoint of this size was cosigned", field=f"{origin}, {size} entries"
                )
            db.execute("INSERT OR IGNORE INTO checkpoints VALUES (?, ?, ?)", (origin, size, cosignature.note))
            db.execute(
                "INSERT OR REPLACE INTO cosignatures VALUES (?, ?, ?, ?)", (origin, size, witness, line)
            )
            db.execute(
                "INSERT INTO witnesses VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET size = excluded.size, text = excluded.text WHERE excluded.size > size",
                (origin, witness, size, parse_note(cosignature.note).text),
            )

    def last_of(self, origin: str, witness: VerifierKey) -> Checkpoint | None:
        """See ``CosignatureStore.last_of``."""
        with self._file.reading() as db:
            row = db.execute(
                "SELECT text FROM witnesses WHERE origin = ? AND witness = ?",
                (origin, format_verifier_key(witness)),
            ).fetchone()
        return None if row is None else parse_checkpoint(str(row[0]))

    def newest(
        self, origin: str, size_min: int, is_enough: Callable[[Sequence[VerifierKey]], bool]
    ) -> bytes | None:
        """See ``CosignatureStore.newest``."""
        with self._file.reading() as db:
            found = _newest(db, origin, size_min, is_enough)
            if found is None:
                return None
            size, lines = found
            (note,) = db.execute(
                "SELECT note FROM checkpoints WHERE origin = ? AND size = ?", (origin, size)
            ).fetchone()
        return add_signatures(bytes(note), parse_signature_lines("".join(lines)))

    def prune(self, origin: str, is_enough: Callable[[Sequence[VerifierKey]], bool]) -> int:
        """See ``CosignatureStore.prune``; ``CHECKPOINTS_KEPT_MAX`` are kept."""
        with self._file.transaction() as db:
            row = db.execute(
                "SELECT size FROM checkpoints WHERE origin = ? ORDER BY size DESC LIMIT 1 OFFSET ?",
                (origin, CHECKPOINTS_KEPT_MAX),
            ).fetchone()
            if row is None:
                return 0
            found = _newest(db, origin, 0, is_enough)
            until = min(int(row[0]), found[0] - 1 if found else -1)
            db.execute("DELETE FROM cosignatures WHERE origin = ? AND size <= ?", (origin, until))
            return db.execute(
                "DELETE FROM checkpoints WHERE origin = ? AND size <= ?", (origin, until)
            ).rowcount

    def raise_alarm(self, alarm: WitnessAlarm) -> bool:
        """See ``CosignatureStore.raise_alarm``."""
        with self._file.transaction() as db:
            (count,) = db.execute("SELECT count(*) FROM alarms").fetchone()
            if count >= ALARMS_KEPT_MAX:
                return False
            cursor = db.execute(
                f"INSERT OR IGNORE INTO alarms ({_ALARM}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    alarm.at_ns,
                    alarm.origin,
                    alarm.witness,
                    alarm.kind,
                    alarm.detail,
                    alarm.request,
                    alarm.status,
                    alarm.answer,
                ),
            )
            return cursor.rowcount == 1

    def alarms(self) -> list[WitnessAlarm]:
        """Every alarm, oldest first."""
        with self._file.reading() as db:
            rows = db.execute(f"SELECT {_ALARM} FROM alarms ORDER BY alarm_id").fetchall()
        return [
            WitnessAlarm(
                at_ns=at_ns,
                origin=origin,
                witness=witness,
                kind=AlarmKind(kind),
                detail=detail,
                request=bytes(request),
                status=status,
                answer=bytes(answer),
            )
            for at_ns, origin, witness, kind, detail, request, status, answer in rows
        ]

    def close(self) -> None:
        """Release the file."""
        self._file.close()


def _newest(
    db: sqlite3.Connection,
    origin: str,
    size_min: int,
    is_enough: Callable[[Sequence[VerifierKey]], bool],
) -> tuple[int, list[str]] | None:
    """Size and cosignature lines of the newest checkpoint whose cosigners are enough."""
    rows = db.execute(
        "SELECT size, witness, line FROM cosignatures WHERE origin = ? AND size >= ?"
        " ORDER BY size DESC, witness",
        (origin, size_min),
    )
    keys: dict[str, VerifierKey] = {}
    current = -1
    found: list[VerifierKey] = []
    lines: list[str] = []
    for size, witness, line in rows:
        if size != current:
            if lines and is_enough(found):
                return current, lines
            current, found, lines = int(size), [], []
        if witness not in keys:
            keys[witness] = parse_verifier_key(witness)
        found.append(keys[witness])
        lines.append(str(line))
    return (current, lines) if lines and is_enough(found) else None
