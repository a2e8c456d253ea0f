"""Answered requests: which answer an Idempotency-Key already got, so that a retry gets the same one.

One SQLite file per tenant.  A key is written down with the digest of its request before the work begins, and
with the answer once that is known; both are durable before they are acted upon.  After a crash in between,
the same request may be tried again (what it does is idempotent by itself), and another request under the same
key is still refused.  Keys are forgotten ``KEPT_SECONDS`` after their first use, and the oldest ones earlier
when there are more than ``KEYS_MAX``.

This is not part of the ledger and not derived from it: losing the file loses only the memory of keys.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from msgspec import Struct

from domain.errors import InvalidError

KEPT_SECONDS = 7 * 86_400
KEYS_MAX = 1_000_000
ANSWER_BYTES_MAX = 256 * 1024
_FORGET_EVERY = 1_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    key TEXT PRIMARY KEY,
    request_sha256 BLOB NOT NULL,
    used_at_ns INTEGER NOT NULL,
    status INTEGER,
    location TEXT,
    answer BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS requests_by_age ON requests (used_at_ns);
"""


class Answer(Struct, frozen=True, kw_only=True):
    """An answer that was given; ``location`` is its header of that name, empty for none."""

    status: int
    location: str
    body: bytes


class ReusedKeyError(InvalidError):
    """The key was used for another request."""


class AnsweredRequests:
    """The memory of one tenant.  Calls are quick, may come from any thread, and several processes may share
    the file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._uses = 0
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
        try:
            self._prepare()
        except sqlite3.DatabaseError:
            # It is a memory, not a record: a damaged one is set aside, and keys begin anew.
            self._db.close()
            path.replace(path.with_name(path.name + ".damaged"))
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
            self._prepare()
        path.chmod(0o600)

    def begin(self, key: str, request_sha256: bytes, now_ns: int) -> Answer | None:
        """Write down that ``key`` stands for this request; returns the answer it already got.

        Raises: ReusedKeyError when it stands for another one.
        """
        with self._lock:
            self._forget(key, now_ns)
            self._db.execute(
                "INSERT OR IGNORE INTO requests (key, request_sha256, used_at_ns) VALUES (?, ?, ?)",
                (key, request_sha256, now_ns),
            )
            stored, status, location, body = self._db.execute(
                "SELECT request_sha256, status, location, answer FROM requests WHERE key = ?", (key,)
            ).fetchone()
        if stored != request_sha256:
            raise ReusedKeyError(
                "this idempotency key was used for another request",
                field="Idempotency-Key",
                remedy="Use a new key for every new request, and the same one only to repeat it unchanged.",
            )
        return None if status is None else Answer(status=status, location=location, body=body)

    def finish(self, key: str, answer: Answer) -> None:
        """Keep the answer; one that is too large is not kept, and a retry then does the work again."""
        if len(answer.body) <= ANSWER_BYTES_MAX:
            with self._lock:
                self._db.execute(
                    "UPDATE requests SET status = ?, location = ?, answer = ?"
                    " WHERE key = ? AND status IS NULL",
                    (answer.status, answer.location, answer.body, key),
                )

    def find(self, key: str) -> Answer | None:
        """The answer that was given under ``key``, if there is one."""
        with self._lock:
            row = self._db.execute(
                "SELECT status, location, answer FROM requests WHERE key = ? AND status IS NOT NULL", (key,)
            ).fetchone()
        return None if row is None else Answer(status=row[0], location=row[1], body=row[2])

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def _forget(self, key: str, now_ns: int) -> None:
        """Drop ``key`` if its time is over, and some others whose time is."""
        self._uses += 1
        self._db.execute(
            "DELETE FROM requests WHERE used_at_ns < ?1 AND (key = ?2 OR key IN"
            " (SELECT key FROM requests WHERE used_at_ns < ?1 ORDER BY used_at_ns LIMIT 100))",
            (now_ns - KEPT_SECONDS * 1_000_000_000, key),
        )
        if self._uses % _FORGET_EVERY == 1:
            self._db.execute(
                "DELETE FROM requests WHERE key IN (SELECT key FROM requests ORDER BY used_at_ns DESC"
                " LIMIT -1 OFFSET ?)",
                (KEYS_MAX,),
            )
