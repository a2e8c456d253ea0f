"""What a serving process keeps open: a workplace and, per tenant, a worker, a follower, a view and a memory
of answered requests.

Tenants do not disturb each other: one whose ledger cannot be opened answers 503 until it can, and the others
are served.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from adapters.answered_requests import AnsweredRequests
from adapters.api_key_file import ApiKeyFile
from adapters.event_logs import open_shared_queue
from api.problems import PROBLEMS, ApiError, problem_name
from api.report_links import ReportLinks
from api.views import TenantViews
from api.work_lease import WorkLease
from api.workplace import Workplace
from domain.errors import TallystickError
from ledger import shared_work
from ledger.desk import Desk
from ledger.shared_work import work_together
from ledger.store_witnessing import StoreWitnessing
from ledger.work_queue import WorkQueue
from ledger.worker import Stuck, work

# Bytes of request bodies held at once, by all and by one tenant: two uploads at their largest.
BODY_BYTES_MAX = 2048 * 1024 * 1024
BODY_BYTES_PER_TENANT_MAX = 1024 * 1024 * 1024
# Runs that callers ask to be done again, at once and waiting; there is one numeric process.
REPLAYS_PER_TENANT_MAX = 2
RETRY_SECONDS_MAX = 30.0
# How soon this process sees what another one appended.
FOLLOW_SECONDS = 0.25
LEASE_SECONDS = 1.0

_log = logging.getLogger("tallystick.premises")


class Premises:
    """Opens tenants as they are asked for, and starts what belongs to them."""

    def __init__(self, workplace: Workplace, api_keys: ApiKeyFile) -> None:
        self.workplace = workplace
        self.failures: dict[str, str] = {}
        """Why a tenant could not be opened, by tenant."""
        self._view_failures: dict[str, str] = {}
        self._queue = open_shared_queue(
            workplace.log, lease_seconds=shared_work.LEASE_SECONDS, buffer_records=shared_work.BUFFER_RECORDS
        )
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._opening: asyncio.Task[None] | None = None
        self._witnessing: asyncio.Task[None] | None = None
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._leases: dict[str, WorkLease] = {}
        self._views: dict[str, TenantViews] = {}
        self._answered: dict[str, AnsweredRequests] = {}
        self.report_links = ReportLinks(api_keys)
        self._page_secret = api_keys.secret_for("page tokens")
        self._body_bytes: defaultdict[str, int] = defaultdict(int)
        self._replays: dict[str, int] = {}
        self._running: set[tuple[str, str]] = set()

    async def desk(self, tenant: str) -> Desk:
        """The tenant's desk, with its worker and follower running.  Raises: ApiError 503."""
        if tenant in self._tasks:
            return await self.workplace.desk(tenant)
        async with self._locks[tenant]:
            try:
                desk = await self.workplace.desk(tenant)
            except (TallystickError, OSError) as error:
                self.failures[tenant] = str(error)
                _log.error("cannot open the ledger of %s: %s", tenant, error)
                name = problem_name(error) if isinstance(error, TallystickError) else "storage"
                name = name if PROBLEMS[name][0] == 503 else "storage"
                raise ApiError(name, "this tenant's ledger cannot be opened now") from error
            self.failures.pop(tenant, None)
            if tenant not in self._tasks:
                lease = self._leases[tenant] = WorkLease(self.workplace.settings.work_lease_path(tenant))
                self._tasks[tenant] = [
                    _start(_work(desk, lease, self._queue), f"worker of {tenant}"),
                    _start(_follow(desk), f"follower of {tenant}"),
                ]
            return desk

    async def views(self, tenant: str) -> TenantViews:
        """The tenant's views, caught up with everything this process has seen of the ledger."""
        desk = await self.desk(tenant)
        views = await self._open_views(tenant)
        await views.wait(desk.ledger.size)
        return views

    async def _open_views(self, tenant: str) -> TenantViews:
        desk = await self.desk(tenant)
        if tenant not in self._views:
            async with self._locks[tenant]:
                if tenant not in self._views:
                    self._views[tenant] = await self._new_views(tenant, desk)
        return self._views[tenant]

    async def _new_views(self, tenant: str, desk: Desk) -> TenantViews:
        try:
            views = await TenantViews.open(
                self.workplace.log, desk.ledger, self.workplace.settings.views_folder
            )
        except Exception as error:
            self._view_failures[tenant] = str(error)
            _log.error("cannot open the view of %s: %s", tenant, error)
            raise
        self._view_failures.pop(tenant, None)
        return views

    def page_secret(self, tenant: str) -> bytes:
        """What signs this tenant's page tokens."""
        return hmac.digest(self._page_secret, tenant.encode(), "sha256")

    async def answered(self, tenant: str) -> AnsweredRequests:
        """The tenant's memory of answered requests."""
        if tenant not in self._answered:
            async with self._locks[tenant]:
                if tenant not in self._answered:
                    path = self.workplace.settings.answered_path(tenant)
                    self._answered[tenant] = await asyncio.to_thread(AnsweredRequests, path)
        return self._answered[tenant]

    @asynccontextmanager
    async def body_room(self, tenant: str) -> AsyncIterator[Callable[[int], None]]:
        """Room for one request's body, taken byte count by byte count and given back at the end.

        Taking raises ApiError 503 when there is none.
        """
        taken = 0

        def take(byte_count: int) -> None:
            nonlocal taken
            if (
                self._body_bytes[tenant] + byte_count > BODY_BYTES_PER_TENANT_MAX
                or sum(self._body_bytes.values()) + byte_count > BODY_BYTES_MAX
            ):
                raise ApiError("storage", "too many uploads at once")
            self._body_bytes[tenant] += byte_count
            taken += byte_count

        try:
            yield take
        finally:
            self._body_bytes[tenant] -= taken

    @asynccontextmanager
    async def replay_room(self, tenant: str) -> AsyncIterator[None]:
        """Room for one replay.  Raises: ApiError 429."""
        if self._replays.get(tenant, 0) >= REPLAYS_PER_TENANT_MAX:
            raise ApiError("busy", f"{REPLAYS_PER_TENANT_MAX} replays are under way or waiting")
        self._replays[tenant] = self._replays.get(tenant, 0) + 1
        try:
            yield
        finally:
            self._replays[tenant] -= 1

    @asynccontextmanager
    async def only_once(self, tenant: str, key: str) -> AsyncIterator[None]:
        """One request at a time under an idempotency key.  Raises: ApiError 409."""
        if (tenant, key) in self._running:
            raise ApiError("running", "a request with this Idempotency-Key is being answered")
        self._running.add((tenant, key))
        try:
            yield
        finally:
            self._running.discard((tenant, key))

    def open_all(self) -> None:
        """Begin to open every tenant of the store, so that work left over from a crash goes on unasked."""
        self._opening = _start(self._open_all(), "opening of all tenants")
        if self.workplace.witnessing is not None:
            self._witnessing = _start(self._ask_witnesses(self.workplace.witnessing), "asking of witnesses")

    @property
    def state(self) -> str:
        """``opening``, ``ready``, or ``degraded`` when a tenant's ledger cannot be opened."""
        if self._opening is None or not self._opening.done():
            return "opening"
        is_whole = not self.failures and not self._opening.cancelled() and not self._opening.exception()
        return "ready" if is_whole else "degraded"

    @property
    def standing_view_count(self) -> int:
        """Tenants whose view does not follow its ledger now; the log says why."""
        standing = {tenant for tenant, views in self._views.items() if views.failure is not None}
        return len(standing | self._view_failures.keys())

    async def _open_all(self) -> None:
        tenants = await self.workplace.tenants()
        for tenant in tenants:
            with suppress(ApiError):
                await self.desk(tenant)
        # Views begin to catch up before anybody asks; whoever does waits for them.
        for tenant in tenants:
            with suppress(ApiError, TallystickError, OSError):
                await self._open_views(tenant)

    async def _ask_witnesses(self, witnessing: StoreWitnessing) -> None:
        """Show what is new to the witnesses for ever, once nobody else on this machine does."""
        lease = self._leases["_witnesses"] = WorkLease(self.workplace.settings.work_lease_path("_witnesses"))
        while not lease.take():  # noqa: ASYNC110 - another process holds it
            await asyncio.sleep(LEASE_SECONDS)
        await witnessing.run(lambda: self.workplace.ledgers)

    async def close(self) -> None:
        """Stop workers and views; what is pending stays pending in the ledger."""
        tasks = [task for group in self._tasks.values() for task in group]
        tasks += [task for task in (self._opening, self._witnessing) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lease in self._leases.values():
            lease.release()
        for views in self._views.values():
            await views.close()
        for answered in self._answered.values():
            answered.close()


async def _work(desk: Desk, lease: WorkLease, queue: WorkQueue | None) -> None:
    """Work the tenant off for ever, once nobody else on this machine does; together with other machines where
    they share the store."""
    while not lease.take():  # noqa: ASYNC110 - another process holds it
        await asyncio.sleep(LEASE_SECONDS)
    await (work(desk, _tell) if queue is None else work_together(desk, queue, _tell))


async def _follow(desk: Desk) -> None:
    """See what other processes append (``tally ingest`` beside ``tally serve``).

    The size is asked for, and not each record: what this process appended need not be read again.
    """
    pause_seconds = FOLLOW_SECONDS
    while True:
        await asyncio.sleep(pause_seconds)
        try:
            if await desk.ledger.log.size(desk.ledger.name) > desk.ledger.size:
                await desk.ledger.catch_up()
            pause_seconds = FOLLOW_SECONDS
        except (TallystickError, OSError) as error:
            _log.error("cannot follow %s: %s", desk.ledger.name, error)
            pause_seconds = min(4 * pause_seconds, RETRY_SECONDS_MAX)


def _start(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    task = asyncio.create_task(coroutine, name=name)
    task.add_done_callback(_tell_end)
    return task


def _tell_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("%s has ended", task.get_name(), exc_info=task.exception())


def _tell(stuck: Stuck) -> None:
    _log.warning("stuck, will be tried again: %s: %s", stuck.command, stuck.error)
