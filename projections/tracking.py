"""Tracking as the ``eventsourcing`` library knows it, on the ``position`` table of a view file.

A tracking object says that a notification of an upstream application was processed; here the upstream is a
ledger's name and the notification id is the entry's index, so the library's position and the runner's are
the same row.  Moving it is guarded: a position can only grow, and recording one twice is an
``IntegrityError``, which is what makes processing at-least-once deliveries safe.
"""

from __future__ import annotations

import threading

import duckdb
from eventsourcing.persistence import IntegrityError, OperationalError, Tracking, TrackingRecorder


class DuckDBTrackingRecorder(TrackingRecorder):
    """A ``TrackingRecorder`` on a connection to a view; may be used from several threads.

    ``insert_tracking_within`` records in the caller's transaction, together with the rows that go with it.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        super().__init__()
        self._connection = connection
        self._lock = threading.Lock()

    def insert_tracking(self, tracking: Tracking) -> None:
        """Record that a notification was processed.  Raises: IntegrityError when that position or a later
        one is recorded."""
        with self._lock:
            try:
                self._connection.begin()
                self.insert_tracking_within(self._connection, tracking)
                self._connection.commit()
            except IntegrityError:
                self._connection.rollback()
                raise
            except duckdb.Error as error:
                self._connection.rollback()
                raise OperationalError(str(error)) from error

    @staticmethod
    def insert_tracking_within(connection: duckdb.DuckDBPyConnection, tracking: Tracking) -> None:
        """Record in the transaction that is open on ``connection``.  Raises: IntegrityError."""
        moved = connection.execute(
            "INSERT INTO position (upstream, next_index) VALUES (?, ?)"
            " ON CONFLICT (upstream) DO UPDATE SET next_index = excluded.next_index"
            " WHERE position.next_index < excluded.next_index RETURNING next_index",
            [tracking.application_name, tracking.notification_id + 1],
        ).fetchall()
        if not moved:
            raise IntegrityError(f"{tracking} is not after what was processed before")

    def max_tracking_id(self, application_name: str) -> int | None:
        """The last notification processed from an upstream, ``None`` before the first."""
        with self._lock:
            found = self._connection.execute(
                "SELECT next_index - 1 FROM position WHERE upstream = ? AND next_index > 0",
                [application_name],
            ).fetchall()
        return int(found[0][0]) if found else None
