"""The port for work: every record of a ledger handed to the workers of a destination until it is done.

A *destination* is whatever facts are sent to; each has a place of its own in the ledger.  Workers of one
destination share its records: each goes to one of them at a time, at least once, ascending except for what
comes again.  What is stored is which records are done, never how far somebody has read, so that a record
that was handed out and not finished comes again after a crash.  Doing something twice must therefore be
harmless.

Contract suite: ``tests/contracts/work_queue_contract.py``.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from msgspec import Struct

from ledger.ports import Record

#: A record that failed this often is parked by itself: it will not heal, and others wait behind it.
ATTEMPTS_MAX: Final = 10
#: How long a worker may take for one record before it is handed to another.
LEASE_SECONDS: Final = 30.0
#: Records handed to a worker ahead of time; those it holds when it dies wait for their leases to end.
BUFFER_RECORDS_MAX: Final = 16
#: Workers of one destination at the same time.
WORKERS_MAX: Final = 64


class WorkItem(Struct, frozen=True, kw_only=True):
    """A record to be worked on; ``attempt`` counts from 1."""

    record: Record
    attempt: int


class WorkSession(Protocol):
    """One worker's share of the work.  ``async for item in session`` waits for records without end."""

    def __aiter__(self) -> WorkSession:
        """The session itself."""

    async def __anext__(self) -> WorkItem:
        """The next record.  May be cancelled without losing one."""

    async def done(self, item: WorkItem) -> None:
        """The record is done with and does not come again."""

    async def again(self, item: WorkItem) -> None:
        """It failed and shall come again, to whichever worker; parked after ``ATTEMPTS_MAX``."""

    async def park(self, item: WorkItem) -> None:
        """It will not heal: put it aside for a person, and go on with the others."""


class WorkQueue(Protocol):
    """The work of all destinations over the ledgers of one store."""

    def work(
        self, ledger: str, destination: str, *, start: int = 0
    ) -> AbstractAsyncContextManager[WorkSession]:
        """Take part in a destination's work.  A destination that is new begins at ``start``.

        What was taken and not finished when the session ends comes again.
        Raises: MalformedError for a name that is no identifier, LimitError beyond ``WORKERS_MAX``.
        """

    async def position(self, ledger: str, destination: str) -> int:
        """Every record before this one is done or parked.  May lag behind by a moment, never run ahead."""

    async def parked(self, ledger: str, destination: str) -> list[int]:
        """Indices of the records that were put aside, ascending."""

    async def replay_parked(self, ledger: str, destination: str) -> None:
        """Hand out again what was put aside, with fresh attempts."""

    async def forget(self, ledger: str, destination: str) -> None:
        """Forget a destination and its place; nothing happens when there is none."""

    async def close(self) -> None:
        """Release everything; places stay."""
