"""Names of their own for the ledgers of one test, in a store that all tests share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from ledger.ports import EventLog

_SESSION = uuid4().hex[:8]


class NamesApart:
    """An `EventLog` whose ledgers are those of one folder: the same folder is the same store."""

    def __init__(self, log: EventLog, folder: Path, suffix: str = f"-{_SESSION}") -> None:
        self._log = log
        self._suffix = f"-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}{suffix}"

    async def ledgers(self) -> list[str]:
        found = await self._log.ledgers()
        return [name.removesuffix(self._suffix) for name in found if name.endswith(self._suffix)]

    async def close(self) -> None:
        await self._log.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._log, name)
        return lambda ledger, *arguments, **named: method(ledger + self._suffix, *arguments, **named)
