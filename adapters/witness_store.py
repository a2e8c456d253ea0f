"""What a witness remembers: every checkpoint a known log has signed and shown, and which it cosigned.

One SQLite file, WAL with ``synchronous=FULL``.  ``seen`` and ``cosigned`` only ever grow (triggers refuse
anything else), and the schema itself holds the promise of a witness: one cosigned root for a size, and no
cosigned size below an earlier one.

A submission is one transaction, so that of two that race only one sees the old size:

1. ``BEGIN IMMEDIATE``: nobody else, in this process or another, decides until this ends
2. read the newest cosigned checkpoint, decide, keep what was shown, sign
3. commit: fsync of the WAL
4. return the cosignature

A crash before 3 leaves nothing; one before 4 leaves a checkpoint that counts as cosigned although nobody has
the cosignature, and the log asks once more, from there.

The key and this file belong together: a witness that forgot what it signed would sign a fork.  So the file is
made before the key, a key without its file is refused (``WitnessStore.open``), and the file knows its key
(``WitnessStore.bind``).
"""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

from msgspec import Struct

from adapters.durable_database import DurableDatabase
from domain.errors import InvalidError, LimitError
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.cosignature import add_signatures, cosign
from ledger.notes import format_signature_lines, parse_note
from ledger.ports import Signer
from ledger.witness import Decision, Submission, decide

SCHEMA_VERSION = 1
# Refused checkpoints kept of one log.  Only the log itself can sign them; what a thousand do not prove about
# it, more will not.  Those that prove a fork are counted apart, so that no flood can keep them out.
REFUSED_KEPT_MAX = 1_000
FORKS_KEPT_MAX = 1_000
# Checkpoints take about 600 bytes each: three of them every ten seconds for three years.
STORE_BYTES_MAX = 16 * 1024**3
PAGE_MAX = 1_000
FORK_SIZES_TOLD_MAX = 100

_SCHEMA = """
CREATE TABLE IF NOT EXISTS witness (
    one INTEGER PRIMARY KEY CHECK (one = 1), verifier_key TEXT NOT NULL, schema_version INTEGER NOT NULL,
    time_s INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS counts (
    origin TEXT PRIMARY KEY, seen INTEGER NOT NULL, refused INTEGER NOT NULL, forks INTEGER NOT NULL,
    dropped INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS seen (
    seen_id INTEGER PRIMARY KEY,
    origin TEXT NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    text_digest BLOB NOT NULL,
    note BLOB NOT NULL,
    seen_at_s INTEGER NOT NULL,
    decision TEXT NOT NULL,
    is_fork INTEGER NOT NULL,
    UNIQUE (origin, text_digest)
) STRICT;
CREATE INDEX IF NOT EXISTS seen_by_size ON seen (origin, size);
CREATE INDEX IF NOT EXISTS forks ON seen (origin, size) WHERE is_fork = 1;
CREATE TABLE IF NOT EXISTS cosigned (
    origin TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL,
    time_s INTEGER NOT NULL, PRIMARY KEY (origin, size)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS cosigned_only_grows BEFORE INSERT ON cosigned
    WHEN NEW.size <= (SELECT max(size) FROM cosigned WHERE origin = NEW.origin)
    BEGIN SELECT RAISE(ABORT, 'a witness never goes back'); END;
CREATE TRIGGER IF NOT EXISTS cosigned_is_never_updated BEFORE UPDATE ON cosigned
    BEGIN SELECT RAISE(ABORT, 'what was cosigned stays'); END;
CREATE TRIGGER IF NOT EXISTS cosigned_is_never_deleted BEFORE DELETE ON cosigned
    BEGIN SELECT RAISE(ABORT, 'what was cosigned stays'); END;
CREATE TRIGGER IF NOT EXISTS seen_is_never_updated BEFORE UPDATE ON seen
    BEGIN SELECT RAISE(ABORT, 'evidence is never changed'); END;
CREATE TRIGGER IF NOT EXISTS seen_is_never_deleted BEFORE DELETE ON seen
    BEGIN SELECT RAISE(ABORT, 'evidence is never deleted'); END;
"""


class WitnessAnswer(Struct, frozen=True, kw_only=True):
    """What was decided; ``size`` is the newest cosigned size before, ``lines`` are the cosignature lines."""

    decision: Decision
    size: int
    lines: str = ""


class SeenCheckpoint(Struct, frozen=True, kw_only=True):
    """A checkpoint that a log has shown; ``decision`` is ``cosigned`` if its tree was, ever, and otherwise
    what was decided the first time."""

    seen_id: int
    origin: str
    size: int
    root_sha256: str
    note: str
    seen_at_s: int
    decision: str


class LogStanding(Struct, frozen=True, kw_only=True):
    """Where a log stands with this witness; ``size`` is -1 while nothing was cosigned."""

    origin: str
    size: int
    root_sha256: str
    cosigned_at_s: int
    seen_count: int
    refused_count: int
    dropped_count: int
    fork_sizes: tuple[int, ...]


class WitnessStore:
    """A witness's memory.  Create it with ``WitnessStore.open``; calls may come from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = DurableDatabase(
            path, _SCHEMA, schema_version=SCHEMA_VERSION, what="a witness's memory", remedy="Restore it."
        )

    @classmethod
    def open(cls, path: Path, *, is_key_there: bool) -> WitnessStore:
        """Open a witness's memory; it is made where there is no key yet.  ``bind`` comes next.

        Raises: InvalidError when it is no such file, or gone while its key is still there.
        """
        if is_key_there and not path.exists():
            raise InvalidError(
                "this witness has a key, and what it signed with it is not known any more",
                field=str(path),
                remedy="Restore the file as it was last. If it is lost, never sign with this key again: "
                "make a witness of another name, and tell those who trust this one.",
            )
        return cls(path)

    def bind(self, verifier_key: str) -> None:
        """Take this key (a vkey) for the witness's for ever.  Raises: InvalidError when it has another."""
        with self._file.transaction() as db:
            db.execute("INSERT OR IGNORE INTO witness VALUES (1, ?, ?, 0)", (verifier_key, SCHEMA_VERSION))
            held, version = db.execute("SELECT verifier_key, schema_version FROM witness").fetchone()
        if (held, version) != (verifier_key, SCHEMA_VERSION):
            raise InvalidError(
                "this is the memory of another witness",
                field=str(self.path),
                expected=verifier_key,
                actual=f"{held}, schema {version}",
                remedy="Give each witness a folder of its own.",
            )

    def verifier_key(self) -> str:
        """The witness's key (a vkey); empty before it has one."""
        with self._file.reading() as db:
            row = db.execute("SELECT verifier_key FROM witness").fetchone()
        return "" if row is None else str(row[0])

    def submit(self, submission: Submission, now_s: int, signer: Signer) -> WitnessAnswer:
        """Decide about a submission, keep it, and cosign it if it holds; durable when it returns.

        ``now_s`` is Unix seconds; a clock that goes back is answered with the last time it showed.
        Raises: LimitError when no more of this log can be kept, InvalidError when the store refuses.
        """
        checkpoint = submission.checkpoint
        with self._file.transaction() as db:
            (last_s,) = db.execute("SELECT time_s FROM witness").fetchone()
            time_s = max(now_s, int(last_s))
            latest = _latest(db, checkpoint.origin)
            decision = decide(latest, submission)
            is_again = latest is not None and checkpoint.size == latest.size
            self._check_room(db)
            _keep(db, submission, decision, time_s)
            lines = ""
            if decision is Decision.COSIGNED:
                line = cosign(submission.text, time_s, signer)
                lines = format_signature_lines((line,))
                if not is_again:
                    db.execute(
                        "INSERT INTO cosigned VALUES (?, ?, ?, ?, ?)",
                        (
                            checkpoint.origin,
                            checkpoint.size,
                            checkpoint.root,
                            add_signatures(submission.note, (line,)),
                            time_s,
                        ),
                    )
                db.execute("UPDATE witness SET time_s = ?", (time_s,))
        return WitnessAnswer(decision=decision, size=0 if latest is None else latest.size, lines=lines)

    def newest(self, origin: str) -> bytes | None:
        """The newest checkpoint of a log that was cosigned, with the cosignature."""
        with self._file.reading() as db:
            row = db.execute(
                "SELECT note FROM cosigned WHERE origin = ? ORDER BY size DESC LIMIT 1", (origin,)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def standing(self, origin: str) -> LogStanding:
        """Where a log stands."""
        with self._file.reading() as db:
            row = db.execute(
                "SELECT size, root, time_s FROM cosigned WHERE origin = ? ORDER BY size DESC LIMIT 1",
                (origin,),
            ).fetchone()
            counts = db.execute(
                "SELECT seen, refused, dropped FROM counts WHERE origin = ?", (origin,)
            ).fetchone()
            forks = db.execute(
                "SELECT DISTINCT size FROM seen WHERE origin = ? AND is_fork = 1 ORDER BY size LIMIT ?",
                (origin, FORK_SIZES_TOLD_MAX),
            ).fetchall()
        size, root, time_s = (-1, b"", 0) if row is None else row
        return LogStanding(
            origin=origin,
            size=size,
            root_sha256=bytes(root).hex(),
            cosigned_at_s=time_s,
            seen_count=counts[0] if counts else 0,
            refused_count=counts[1] if counts else 0,
            dropped_count=counts[2] if counts else 0,
            fork_sizes=tuple(int(row[0]) for row in forks),
        )

    def seen(
        self, origin: str, after_id: int = 0, limit: int = PAGE_MAX, *, size: int | None = None
    ) -> list[SeenCheckpoint]:
        """What a log has shown, in the order it was first shown, at most ``PAGE_MAX`` at a time; with
        ``size`` only of that size, where two roots are a fork."""
        of_size = "" if size is None else " AND size = :size"
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT seen_id, size, root, note, seen_at_s, CASE WHEN EXISTS (SELECT 1 FROM cosigned"
                " WHERE cosigned.origin = seen.origin AND cosigned.size = seen.size"
                " AND cosigned.root = seen.root) THEN 'cosigned' ELSE decision END FROM seen"
                f" WHERE origin = :origin AND seen_id > :after{of_size} ORDER BY seen_id LIMIT :limit",
                {"origin": origin, "after": after_id, "size": size, "limit": max(1, min(limit, PAGE_MAX))},
            ).fetchall()
        return [
            SeenCheckpoint(
                seen_id=seen_id,
                origin=origin,
                size=size,
                root_sha256=bytes(root).hex(),
                note=bytes(note).decode(),
                seen_at_s=seen_at_s,
                decision=decision,
            )
            for seen_id, size, root, note, seen_at_s, decision in rows
        ]

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _check_room(self, db: sqlite3.Connection) -> None:
        (pages,), (page_bytes,) = (
            db.execute("PRAGMA page_count").fetchone(),
            db.execute("PRAGMA page_size").fetchone(),
        )
        if pages * page_bytes > STORE_BYTES_MAX:
            raise LimitError(
                "no more checkpoints can be kept",
                field=str(self.path),
                expected=f"<= {STORE_BYTES_MAX} bytes",
                remedy="Go on with a witness of another name, and keep this file: it is evidence.",
            )


def _latest(db: sqlite3.Connection, origin: str) -> Checkpoint | None:
    row = db.execute(
        "SELECT note FROM cosigned WHERE origin = ? ORDER BY size DESC LIMIT 1", (origin,)
    ).fetchone()
    return None if row is None else parse_checkpoint(parse_note(bytes(row[0])).text)


def _keep(db: sqlite3.Connection, submission: Submission, decision: Decision, time_s: int) -> None:
    """Keep what was shown, once; refused ones up to a limit, and those that prove a fork up to another."""
    checkpoint = submission.checkpoint
    digest = hashlib.sha256(submission.text.encode()).digest()
    origin = checkpoint.origin
    if db.execute("SELECT 1 FROM seen WHERE origin = ? AND text_digest = ?", (origin, digest)).fetchone():
        return
    is_fork = bool(
        db.execute(
            "SELECT 1 FROM seen WHERE origin = ? AND size = ? AND root != ?",
            (origin, checkpoint.size, checkpoint.root),
        ).fetchone()
    )
    is_refused = decision is not Decision.COSIGNED
    db.execute("INSERT OR IGNORE INTO counts VALUES (?, 0, 0, 0, 0)", (origin,))
    # Of the refused ones: those that prove a fork are counted apart.
    refused, forks = db.execute("SELECT refused, forks FROM counts WHERE origin = ?", (origin,)).fetchone()
    if is_refused and (forks >= FORKS_KEPT_MAX if is_fork else refused - forks >= REFUSED_KEPT_MAX):
        db.execute("UPDATE counts SET dropped = dropped + 1 WHERE origin = ?", (origin,))
        return
    db.execute(
        "UPDATE counts SET seen = seen + 1, refused = refused + ?, forks = forks + ? WHERE origin = ?",
        (is_refused, is_refused and is_fork, origin),
    )
    db.execute(
        "INSERT INTO seen (origin, size, root, text_digest, note, seen_at_s, decision, is_fork)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (origin, checkpoint.size, checkpoint.root, digest, submission.note, time_s, decision, is_fork),
    )
