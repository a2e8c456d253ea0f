"""Recorders of the ``eventsourcing`` library (9.5) whose events are sealed entries of a ledger, in any store.

A stock ``Application`` uses them with ``PERSISTENCE_MODULE=adapters.eventsourcing_recorder`` and these
settings, each also with the application's name in front as the library has it:

| setting | default | |
|---|---|---|
| ``TALLY_HOME`` | ``.tally`` | |
| ``TALLY_STORE`` | ``<home>/ledgers`` | a folder, or ``esdb://…`` |
| ``TALLY_KEYS`` | ``<home>/keys`` | a folder, ``pkcs11:…`` or ``https+vault://…`` |
| ``TALLY_ORIGIN`` | ``tallystick.local`` | the ledger's origin and key name is ``<this>/<ledger>`` |
| ``TALLY_LEDGER`` | the application's name | snapshots go to ``<ledger>.snapshots`` |

Calls are synchronous and may come from any thread; the ledger lives on one event loop thread per factory,
where callers at the same time share an append, a seal and an fsync.  A subscription is woken by every append
of its own process at once, and by those of other processes as the store's ``follow`` has it (SQLite looks ten
times a second, EventStoreDB pushes).

There are no tracking and process recorders: what a projection has processed belongs into the projection's own
database, in the transaction that wrote its rows (``projections``), and that is not the ledger.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    ListenNotifySubscription,
    Notification,
    ProcessRecorder,
    StoredEvent,
    TrackingRecorder,
)
from eventsourcing.utils import Environment, EnvType

from adapters.event_logs import open_log
from adapters.key_stores import open_key_store
from adapters.loop_thread import LoopThread
from adapters.stored_event_ledger import StoredEventLedger
from domain.errors import TallystickError
from domain.identifiers import parse_identifier
from ledger.ledger import ledger_name

#: Most notifications read for one call; the library asks for at most some hundreds.
NOTIFICATIONS_MAX: Final = 10_000

logger = logging.getLogger(__name__)


class LedgerAggregateRecorder(AggregateRecorder):
    """Events of aggregates (snapshots, for one) without an application's sequence."""

    def __init__(self, loop: LoopThread, ledger: StoredEventLedger) -> None:
        self._loop = loop
        self._ledger = ledger
        loop.run(ledger.catch_up())

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """See the library.  Durable and sealed when it returns."""
        self._insert(stored_events)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """See the library; events of other processes included."""
        found = self._loop.run(self._ledger.select(str(originator_id), gt, lte, desc, limit))
        return [
            StoredEvent(
                originator_id=one.originator_id,
                originator_version=one.originator_version,
                topic=one.topic,
                state=one.state,
            )
            for one in found
        ]

    def _insert(self, stored_events: Sequence[StoredEvent]) -> Sequence[int] | None:
        return self._loop.run(self._ledger.insert(stored_events)) if stored_events else None


class LedgerApplicationRecorder(LedgerAggregateRecorder, ApplicationRecorder):
    """Events of an application; notification ids count from 1 without gaps."""

    def __init__(self, loop: LoopThread, ledger: StoredEventLedger) -> None:
        super().__init__(loop, ledger)
        self._listeners: set[threading.Event] = set()
        self._listening = threading.Lock()
        self._following: Future[None] | None = None

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """See the library.  Durable and sealed when it returns."""
        ids = self._insert(stored_events)
        self._notify()
        return ids

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """See the library; events of other processes included."""
        first = (start or 0) + (start is not None and not inclusive_of_start)
        return self._loop.run(self._ledger.notifications(first, min(limit, NOTIFICATIONS_MAX), stop, topics))

    def max_notification_id(self) -> int | None:
        """See the library."""
        return self._loop.run(self._ledger.size()) or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> LedgerSubscription:
        """See the library."""
        return LedgerSubscription(self, gt=gt, topics=topics)

    def listen(self, event: threading.Event) -> None:
        """Set ``event`` whenever there may be something new, and now."""
        with self._listening:
            self._listeners.add(event)
            if self._following is None:
                self._following = self._loop.start(self._follow())
        event.set()

    def unlisten(self, event: threading.Event) -> None:
        """No longer set ``event``."""
        with self._listening:
            self._listeners.discard(event)
            if not self._listeners and self._following is not None:
                self._following.cancel()
                self._following = None

    async def _follow(self) -> None:
        try:
            async for _ in self._ledger.grown():
                self._notify()
        except TallystickError as error:
            # The next read of a subscriber meets the same error, and raises it where somebody sees it.
            logger.warning("following %s: %s", self._ledger.name, error)
            self._notify()

    def _notify(self) -> None:
        with self._listening:
            for listener in self._listeners:
                listener.set()


class LedgerSubscription(ListenNotifySubscription[LedgerApplicationRecorder]):
    """Notifications as they are recorded, by whichever process."""

    def __init__(
        self, recorder: LedgerApplicationRecorder, gt: int | None = None, topics: Sequence[str] = ()
    ) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        recorder.listen(self._has_been_notified)

    def stop(self) -> None:
        """End the iteration."""
        super().stop()
        self._recorder.unlisten(self._has_been_notified)


class LedgerFactory(InfrastructureFactory[TrackingRecorder]):
    """Makes the recorders of one application from its settings."""

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        home = Path(self.env.get("TALLY_HOME", ".tally") or ".tally").absolute()
        self._origin_prefix = self.env.get("TALLY_ORIGIN", "tallystick.local")
        self._name = parse_identifier(
            self.env.get("TALLY_LEDGER", "") or _identifier(self.env.name or "application"), "TALLY_LEDGER"
        )
        self._keys = open_key_store(self.env.get("TALLY_KEYS", "") or "", home / "keys")
        self._ledgers: dict[str, StoredEventLedger] = {}
        self._loop = LoopThread(f"ledger of {self._name}")
        self._log = open_log(self.env.get("TALLY_STORE", "") or str(home / "ledgers"))

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """A recorder with a ledger of its own for anything but the application's events."""
        name = self._name if purpose == "events" else f"{self._name}.{_identifier(purpose)}"
        return LedgerAggregateRecorder(self._loop, self._ledger(name))

    def application_recorder(self) -> ApplicationRecorder:
        """The recorder of the application's events."""
        return LedgerApplicationRecorder(self._loop, self._ledger(self._name))

    def tracking_recorder(
        self, tracking_recorder_class: type[TrackingRecorder] | None = None
    ) -> TrackingRecorder:
        """There is none.  Raises: NotImplementedError."""
        raise NotImplementedError("a ledger keeps no tracking: keep it with the rows of the projection")

    def process_recorder(self) -> ProcessRecorder:
        """There is none.  Raises: NotImplementedError."""
        raise NotImplementedError("a ledger keeps no tracking: keep it with the rows of the projection")

    def close(self) -> None:
        """Close the store and end the thread."""
        with contextlib.suppress(RuntimeError, CancelledError):
            self._loop.run(self._log.close())
        self._loop.stop()

    def _ledger(self, name: str) -> StoredEventLedger:
        origin = f"{self._origin_prefix}/{name}"
        if name not in self._ledgers:
            self._ledgers[name] = StoredEventLedger(
                log=self._log,
                name=ledger_name(name),
                origin=origin,
                signer=self._keys.signer(origin),
                clock=time.time_ns,
            )
        return self._ledgers[name]


Factory = LedgerFactory


def _identifier(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("._-")
