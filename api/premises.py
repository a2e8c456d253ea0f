"""What a serving process keeps open: a workplace, one worker per tenant, one view per tenant."""

from __future__ import annotations

import asyncio
import logging

from api.views import TenantViews
from api.workplace import Workplace
from ledger.desk import Desk
from ledger.worker import Stuck, work

_log = logging.getLogger("tallystick.worker")


class Premises:
    """Opens tenants as they are asked for, and starts their worker and view."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        self._lock = asyncio.Lock()
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._views: dict[str, TenantViews] = {}

    async def desk(self, tenant: str) -> Desk:
        """The tenant's desk, with its worker running."""
        if tenant in self._workers:
            return await self.workplace.desk(tenant)
        async with self._lock:
            desk = await self.workplace.desk(tenant)
            if tenant not in self._workers:
                self._workers[tenant] = asyncio.create_task(work(desk, _tell), name=f"worker of {tenant}")
            return desk

    async def views(self, tenant: str) -> TenantViews:
        """The tenant's views, caught up with everything this process has appended."""
        desk = await self.desk(tenant)
        async with self._lock:
            if tenant not in self._views:
                path = self.workplace.settings.views_folder
                self._views[tenant] = await TenantViews.open(self.workplace.log, desk.ledger, path)
        views = self._views[tenant]
        await views.wait(desk.ledger.size)
        return views

    async def open_all(self) -> None:
        """Open every tenant of the store, so that work left over from a crash goes on without being asked for."""
        for tenant in await self.workplace.tenants():
            await self.desk(tenant)

    async def close(self) -> None:
        """Stop workers and views; what is pending stays pending in the ledger."""
        for task in self._workers.values():
            task.cancel()
        await asyncio.gather(*self._workers.values(), return_exceptions=True)
        for views in self._views.values():
            await views.close()


def _tell(stuck: Stuck) -> None:
    _log.warning("stuck, will be tried again: %s: %s", stuck.command, stuck.error)
