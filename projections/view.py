"""A view file: one tenant's rows and the position they stand for, always together.

Each increment is one transaction: rows, open runs and position are committed with one fsync, or none of
them is.  The position is moved only from where the increment began, so an entry that is delivered twice
changes nothing, and a crash at any line leaves the view as it was after some whole increment.

An entry that cannot be folded is a *poison*: everything before it is committed, the reason is recorded in
``projection_error``, and the view stands still.  Skipping it would present an incomplete view as a whole
one.  An event type of a newer version is treated the same way.  The next start tries again, so an upgrade
is all it takes to go on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec
import pyarrow as pa
from msgspec.structs import astuple

from domain.errors import InvalidError, TallystickError
from domain.event_codec import decode_event
from ledger.entry import parse_entry
from ledger.merkle import leaf_hash
from ledger.ports import EventLog, Record
from projections import schema
from projections.errors import (
    MalformedViewError,
    ProjectionStoppedError,
    ViewInUseError,
    ViewMismatchError,
    ViewStorageError,
)
from projections.facts import FACT_TABLES, FactTable
from projections.fold import Increment, Position, fold
from projections.lease import Lease

# A view shares the machine with other tenants' views; larger sorts spill to disk.
MEMORY_BYTES_MAX: Final = 512 * 1024 * 1024
# One thread per view: tenants are the unit of parallelism, and sums come out the same every time.
_SETTINGS: Final[dict[str, str | bool | int | float | list[str]]] = {
    "threads": "1",
    "memory_limit": f"{MEMORY_BYTES_MAX // (1024 * 1024)}MiB",
    # A view never reads another file and never fetches an extension, whatever ends up in a query.
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    # Each checkpoint rewrites row groups that are not full; a crash costs reading so much of the log again.
    "checkpoint_threshold": "64MiB",
}
_CAUSE_CHARACTERS_MAX: Final = 500

# What says that an entry, not the machine, is at fault.
_POISONS: Final = (
    TallystickError,
    msgspec.MsgspecError,
    pa.ArrowException,
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
    duckdb.DataError,
    duckdb.IntegrityError,
    duckdb.ProgrammingError,
)


class Stop(msgspec.Struct, frozen=True):
    """Why a view stands still: the entry it could not fold."""

    index: int
    event_type: str
    cause: str
    remedy: str


class _Staged:
    """Arrow rows on their way into a table: registered once, because that costs more than inserting a few
    rows does."""

    def __init__(self, table: FactTable) -> None:
        self.table = table.schema.empty_table()

    def __arrow_c_schema__(self) -> object:
        return self.table.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


class View:
    """An open view, folded by one thread; ``cursor`` gives readers in other threads their own connection."""

    def __init__(self, path: Path | None, ledger: str, *, is_scratch: bool = False) -> None:
        """Open the view at ``path`` (``None``: in memory), creating it when there is none.

        A scratch view is being rebuilt: it is written without a log of its own, and is worth nothing until
        ``checkpoint``. Raises: ViewInUseError, MalformedViewError when the file cannot be read or is of
        another ledger or version.
        """
        self.path = path
        self.ledger = ledger
        self.position = Position()
        self.stop: Stop | None = None
        self.open_runs: dict[str, int] = {}
        self._lease = Lease(path) if path else None
        try:
            # Nothing runs on the root, so that readers can take cursors from it at any time.
            self._root = connect_scratch(path) if path and is_scratch else connect(path)
            self._catalog = "scratch" if path and is_scratch else ""
            self._connection = self.cursor()
            self._staged = {table.name: _Staged(table) for table in FACT_TABLES}
            self._open()
        except BaseException:
            if self._lease:
                self._lease.release()
            raise

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own for one thread; close it after use."""
        cursor = self._root.cursor()
        if self._catalog:
            cursor.execute(f"USE {self._catalog}")
        return cursor

    def advance(self, records: Sequence[Record]) -> None:
        """Fold records in ledger order; those the view has already are ignored.

        Raises: ProjectionStoppedError at an entry that cannot be folded, ViewMismatchError when the records
        continue another history, InvalidError for a gap between the view and the records, ViewStorageError
        when the file cannot be written.
        """
        expected = self.position.next_index
        new: list[Record] = []
        for record in records:
            if record.index == expected:
                new.append(record)
                expected += 1
            elif record.index > expected:
                raise InvalidError(
                    "entries were delivered with a gap",
                    field="index",
                    expected=str(expected),
                    actual=str(record.index),
                )
        if new:
            self._advance(new)

    def checkpoint(self) -> None:
        """Write everything into the one file and onto the disk."""
        try:
            self._connection.checkpoint()
        except duckdb.Error as error:
            raise ViewStorageError(self.path, str(error)) from error

    def close(self) -> None:
        """Let go of the file; what is in its log is written into it first.  Closing again changes nothing."""
        try:
            self._connection.close()
            self._root.close()
        finally:
            if self._lease:
                self._lease.release()
                self._lease = None

    def _advance(self, records: Sequence[Record]) -> None:
        try:
            check_chain(records[0].entry, self.position, self.ledger)
            self.write(fold(records, self.position, self.open_runs))
        except ViewMismatchError:
            raise
        except _POISONS as error:
            if len(records) == 1:
                raise self._stop(records[0], error) from error
            # Halving finds the poison and commits everything before it.
            half = len(records) // 2
            self._advance(records[:half])
            self._advance(records[half:])

    def write(self, increment: Increment) -> None:
        """Commit an increment that begins where the view stands.

        Raises: ViewMismatchError when it does not, ViewStorageError, and what DuckDB says of rows it refuses.
        """
        connection = self._connection
        try:
            connection.begin()
            for table in FACT_TABLES:
                if table.name in increment.rows:
                    self._staged[table.name].table = increment.rows[table.name]
                    connection.execute(table.insert)
            self._write_open_runs(increment)
            moved = connection.execute(
                "UPDATE position SET next_index = ?, leaf = ? WHERE upstream = ? AND next_index = ?"
                " RETURNING next_index",
                [increment.after.next_index, increment.after.leaf, self.ledger, increment.before.next_index],
            ).fetchall()
            if len(moved) != 1:
                raise ViewMismatchError(
                    self.ledger,
                    index=increment.before.next_index,
                    expected=f"position {increment.before.next_index}",
                    actual="another position: somebody else wrote to this view",
                )
            if self.stop:
                connection.execute("DELETE FROM projection_error")
            connection.commit()
        except BaseException as error:
            self._give_up(error)
            raise
        self.position = increment.after
        self.stop = None
        self.open_runs.update(increment.opened)
        for run_id in increment.closed:
            del self.open_runs[run_id]

    def _write_open_runs(self, increment: Increment) -> None:
        closed = set(increment.closed)
        if before := [run_id for run_id in closed if run_id not in increment.opened]:
            self._connection.execute("DELETE FROM open_run WHERE run_id IN (SELECT unnest(?))", [before])
        if opened := {run_id: index for run_id, index in increment.opened.items() if run_id not in closed}:
            names, indices = list(opened), list(opened.values())
            self._connection.execute("INSERT INTO open_run SELECT unnest(?), unnest(?)", [names, indices])

    def _give_up(self, error: BaseException) -> None:
        """Undo what was not committed; a fault of the machine becomes a ViewStorageError."""
        # There is nothing to undo when the transaction never began, or the database has ended it already.
        with contextlib.suppress(duckdb.Error):
            self._connection.rollback()
        if isinstance(error, duckdb.Error) and not isinstance(error, _POISONS):
            raise ViewStorageError(self.path, str(error)) from error

    def _stop(self, record: Record, error: BaseException) -> ProjectionStoppedError:
        cause, remedy = _explain(record, error)
        stop = Stop(record.index, record.event_type, cause, remedy)
        try:
            self._connection.begin()
            self._connection.execute("DELETE FROM projection_error")
            self._connection.execute("INSERT INTO projection_error VALUES (?, ?, ?, ?)", list(astuple(stop)))
            self._connection.commit()
        except duckdb.Error as fault:
            self._give_up(fault)
            raise
        self.stop = stop
        return ProjectionStoppedError(
            self.ledger, index=stop.index, event_type=stop.event_type, cause=cause, remedy=remedy
        )

    def _open(self) -> None:
        try:
            found = self._connection.execute(
                "SELECT 1 FROM duckdb_tables() WHERE table_name = 'position'"
            ).fetchall()
            if not found:
                schema.create(self._connection, self.ledger)
            for name, staged in self._staged.items():
                self._connection.register(f"staged_{name}", staged)
            self._load()
        except BaseException as error:
            self._connection.close()
            self._root.close()
            if isinstance(error, duckdb.Error):
                raise MalformedViewError(self.path, str(error)) from error
            raise

    def _load(self) -> None:
        """Take position and open runs from the file."""
        self.position = read_position(self._connection, self.ledger, self.path)
        self.stop = read_stop(self._connection)
        self.open_runs = dict(self._connection.execute("SELECT run_id, run_index FROM open_run").fetchall())


def connect(path: Path | None, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """A connection with our settings.  Raises: ViewInUseError, MalformedViewError."""
    # In memory there is nowhere to spill to but the working directory, which is not ours.
    settings = _SETTINGS if path else {**_SETTINGS, "temp_directory": ""}
    try:
        connection = duckdb.connect(str(path) if path else ":memory:", read_only=read_only, config=settings)
        connection.execute("SET lock_configuration = true")
        return connection
    except duckdb.ConnectionException as error:
        raise ViewInUseError(_named(path), "this process") from error
    except duckdb.Error as error:
        if "lock on file" in str(error):
            raise ViewInUseError(_named(path), str(error).split(". See also")[0][-120:]) from error
        raise MalformedViewError(path, str(error)) from error


def connect_scratch(path: Path) -> duckdb.DuckDBPyConnection:
    """A connection to a file that is thrown away if the process ends before its checkpoint."""
    settings = {**_SETTINGS, "enable_external_access": "true", "temp_directory": f"{path}.tmp"}
    connection = duckdb.connect(":memory:", config=settings)
    quoted = str(path).replace("'", "''")
    try:
        connection.execute(f"ATTACH '{quoted}' AS scratch (RECOVERY_MODE no_wal_writes)")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        raise MalformedViewError(path, str(error)) from error
    return connection


def read_position(connection: duckdb.DuckDBPyConnection, ledger: str, path: Path | None) -> Position:
    """Where a view stands.  Raises: MalformedViewError when it is a view of another ledger or layout."""
    layouts = connection.execute("SELECT view_version, digest FROM layout").fetchall()
    if layouts != [(schema.VIEW_VERSION, schema.LAYOUT_DIGEST)]:
        raise MalformedViewError(path, f"it was laid out by another version of Tallystick: {layouts}")
    found = connection.execute(
        "SELECT next_index, leaf FROM position WHERE upstream = ?", [ledger]
    ).fetchall()
    if not found:
        raise MalformedViewError(path, f"it is not a view of {ledger}")
    next_index, leaf = found[0]
    return Position(next_index=next_index, leaf=leaf)


def read_stop(connection: duckdb.DuckDBPyConnection) -> Stop | None:
    """Why the view stands still, if it does."""
    rows = connection.execute(
        "SELECT entry_index, event_type, cause, remedy FROM projection_error"
    ).fetchall()
    return Stop(*rows[0]) if rows else None


def check_chain(first: bytes, position: Position, ledger: str) -> None:
    """Check that the entry ``first`` continues the history that a view at ``position`` was folded from.

    Raises: ViewMismatchError; MalformedError for an entry that is none.
    """
    entry = parse_entry(first)
    if (entry.index, entry.previous) != (position.next_index, position.leaf):
        raise ViewMismatchError(
            ledger,
            index=position.next_index,
            expected=f"entry {position.next_index} after leaf {position.leaf}",
            actual=f"entry {entry.index} after leaf {entry.previous}",
        )


async def check_history(log: EventLog, view: View) -> None:
    """Check that the last entry a view was folded from is the one its ledger has there.

    Raises: ViewMismatchError when the ledger is shorter or has another entry in that place.
    """
    last = view.position.next_index - 1
    if last < 0:
        return
    found = await log.read(view.ledger, last, 1)
    actual = leaf_hash(found[0].entry).hex() if found else "no such entry"
    if actual != view.position.leaf:
        raise ViewMismatchError(view.ledger, index=last, expected=f"leaf {view.position.leaf}", actual=actual)


def _explain(record: Record, error: BaseException) -> tuple[str, str]:
    """Cause and remedy, in our own words where the full decoder finds the fault too."""
    cause: Any = error
    if not isinstance(error, TallystickError):
        try:
            decode_event(record.event_type, record.payload)
        except TallystickError as found:
            cause = found
    text = str(cause).split("  Input:")[0]
    return text[:_CAUSE_CHARACTERS_MAX], getattr(cause, "remedy", "")


def _named(path: Path | None) -> Path:
    return path or Path(":memory:")
