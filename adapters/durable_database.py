"""A small SQLite file that only its owner reads, and whose every commit is on the disk.

WAL with ``synchronous=FULL``, mode 0600 in a folder of mode 0700.  Calls may come from any thread and take
turns; what SQLite refuses is told as ours.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters.durable_file import make_private_folder, sync_folder
from domain.errors import InvalidError

BUSY_TIMEOUT_SECONDS = 10.0


class DurableDatabase:
    """The file at ``path``, made with ``schema`` (statements that change nothing when done again).

    ``schema_version`` is kept in the file; one of another version is not opened.  ``what`` names the file in
    errors, ``remedy`` says what to do about one that cannot be read.  Raises: InvalidError.
    """

    def __init__(self, path: Path, schema: str, *, schema_version: int, what: str, remedy: str) -> None:
        make_private_folder(path.parent)
        self.path = path
        self._what = what
        self._lock = threading.Lock()
        self._db = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_SECONDS
        )
        try:
            self._prepare(schema, schema_version)
        except sqlite3.Error as error:
            self._db.close()
            raise InvalidError(
                f"this is not {what}", field=str(path), actual=str(error), remedy=remedy
            ) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything in it or nothing; nobody else writes meanwhile, and it is on the disk afterwards.

        Raises: InvalidError when the file refuses.
        """
        with self.reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one caller at a time.  Raises: InvalidError when the file refuses."""
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as error:
                raise InvalidError(
                    f"{self._what} refused", field=str(self.path), actual=str(error)
                ) from error

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._db.close()

    def _prepare(self, schema: str, schema_version: int) -> None:
        db = self._db
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "trusted_schema=OFF"):
            db.execute(f"PRAGMA {pragma}")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, schema_version):
            raise sqlite3.DatabaseError(f"schema version {version}")
        db.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version={schema_version}; COMMIT;")
        self.path.chmod(0o600)
        sync_folder(self.path.parent)
