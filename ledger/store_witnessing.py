"""Witnessing all ledgers of a store: which are shown to witnesses themselves, and which through the meta-log.

The policy of an installation says it with its ``log`` lines: a ledger that is named there is submitted by
itself; the meta-log, where it is named or nothing is, is submitted for all others.  So the same file, with
the keys of the ledgers somebody wants to verify, is the policy that is handed out.

By itself: witnesses check that this ledger only grows, and see its name, its size and how often it grows.
Through the meta-log: they see one log for all, and check that; whether a tenant's checkpoints in it fit
together is for those who know the tenant (``ledger.metalog``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from domain.errors import InvalidError, TallystickError
from ledger.covering import Covering
from ledger.ledger import Ledger, ledger_name
from ledger.metalog import META_TENANT, MetaLog
from ledger.policy import NO_QUORUM, Policy, PolicyLog, logs_of
from ledger.ports import Clock, EventLog
from ledger.sealing_keys import all_keys
from ledger.witness_exchange import (
    AlarmKind,
    CosignatureStore,
    Outcome,
    WitnessAlarm,
    WitnessOutcome,
    WitnessPort,
)
from ledger.witnessing import INTERVAL_SECONDS_DEFAULT, LogWitnessing

_log = logging.getLogger("tallystick.witnessing")


class LogOutcome(Struct, frozen=True, kw_only=True):
    """What came of showing one log to one witness."""

    origin: str
    size: int
    outcome: WitnessOutcome


class StoreWitnessing:
    """The ledgers of a store, and the witnesses of a policy."""

    def __init__(
        self,
        *,
        policy: Policy,
        log: EventLog,
        meta_origin: str,
        open_meta: Callable[[], Awaitable[Ledger]],
        witnesses: WitnessPort,
        store: CosignatureStore,
        clock: Clock,
        interval_seconds: float = INTERVAL_SECONDS_DEFAULT,
    ) -> None:
        """``open_meta`` opens the meta-log's ledger, making it if it does not exist.

        Raises: InvalidError for a policy that asks for cosignatures and names nobody to give them.
        """
        if not any(witness.url for witness in policy.witnesses):
            raise InvalidError(
                "nobody to ask for cosignatures",
                field="policy",
                expected="witness <name> <vkey> <url>",
                actual=f"{len(policy.witnesses)} witnesses, none with an address",
            )
        self.policy = policy
        self._log = log
        self._meta_origin = meta_origin
        self._open_meta = open_meta
        self._witnesses = witnesses
        self._store = store
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._by_origin: dict[str, LogWitnessing] = {}
        self._meta: MetaLog | None = None
        self._opening = asyncio.Lock()

    def is_shown_itself(self, origin: str) -> bool:
        """Whether this ledger is submitted by itself."""
        return any(log.key.name == origin for log in self.policy.logs) and origin != self._meta_origin

    @property
    def has_meta_log(self) -> bool:
        """Whether the other ledgers are submitted through the meta-log."""
        return not self.policy.logs or any(log.key.name == self._meta_origin for log in self.policy.logs)

    def covers(self, origin: str) -> bool:
        """Whether this ledger is submitted in either way."""
        return self.is_shown_itself(origin) or self.has_meta_log

    async def turn(self, ledgers: Sequence[Ledger], *, is_urgent: bool = False) -> list[LogOutcome]:
        """Show what is new of these ledgers to the witnesses, once.

        A ledger that cannot be read does not keep the others back.  Raises: TallystickError, OSError for the
        meta-log.
        """
        shown = [self._of(ledger) for ledger in ledgers if self.is_shown_itself(ledger.origin)]
        others = [ledger for ledger in ledgers if not self.is_shown_itself(ledger.origin)]
        if others and self.has_meta_log:
            meta = await self._opened_meta()
            await meta.record(others)
            shown.append(meta.witnessing)
        turns = await asyncio.gather(*(_submit(one, is_urgent=is_urgent) for one in shown))
        return [outcome for outcomes in turns for outcome in outcomes]

    async def run(self, ledgers: Callable[[], Sequence[Ledger]]) -> None:
        """A turn after every interval, for ever, with the ledgers that are open then."""
        while True:
            opened = ledgers()
            try:
                await self.turn(opened)
            except (TallystickError, OSError) as error:
                _log.error("nothing was submitted to witnesses: %s", error)
            # Right after a start the first ledgers are still being opened.
            await asyncio.sleep(self._interval_seconds if opened else min(1.0, self._interval_seconds))

    async def covering(self, ledger: Ledger, index: int) -> Covering | None:
        """The newest witnessed checkpoint over an entry; None while there is none."""
        if self.is_shown_itself(ledger.origin):
            return await self._of(ledger).covering(index)
        if not self.has_meta_log or not await self._log.size(ledger_name(META_TENANT)):
            return None
        return await (await self._opened_meta()).covering(ledger, index)

    async def meta_log(self) -> MetaLog | None:
        """The meta-log, if there is one."""
        if not self.has_meta_log or not await self._log.size(ledger_name(META_TENANT)):
            return None
        return await self._opened_meta()

    async def policy_for(self, ledger: Ledger) -> Policy:
        """What somebody who verifies this ledger's receipts is to be given: its key, the meta-log's where
        that is what witnesses see, and the witnesses."""
        keys = [ledger.verifier_key]
        if not self.is_shown_itself(ledger.origin) and self.has_meta_log:
            keys.append((await self._opened_meta()).ledger.verifier_key)
        return replace(self.policy, logs=tuple(PolicyLog(key=key) for key in keys))

    async def known_policy(self, ledger: Ledger) -> Policy:
        """Every key that this ledger and the meta-log have had, the witnesses, and no quorum: to look at what
        is proven here, and not to be handed out."""
        keys = [*all_keys(ledger.state.keys)]
        if not self.is_shown_itself(ledger.origin) and (meta := await self.meta_log()) is not None:
            keys += all_keys(meta.ledger.state.keys)
        return replace(self.policy, logs=logs_of(keys), groups=(), quorum=NO_QUORUM)

    def alarms(self) -> Sequence[WitnessAlarm]:
        """Every alarm there was, oldest first; waits for a disk."""
        return self._store.alarms()

    async def close(self) -> None:
        """Close the meta-log's ledger, the connections to witnesses, and what is kept of them."""
        if self._meta is not None:
            await self._meta.ledger.close()
        await self._witnesses.close()
        await asyncio.to_thread(self._store.close)

    def _of(self, ledger: Ledger) -> LogWitnessing:
        if ledger.origin not in self._by_origin:
            self._by_origin[ledger.origin] = LogWitnessing(
                ledger=ledger,
                policy=self.policy,
                witnesses=self._witnesses,
                store=self._store,
                clock=self._clock,
                tell=_tell,
                interval_seconds=self._interval_seconds,
            )
        return self._by_origin[ledger.origin]

    async def _opened_meta(self) -> MetaLog:
        async with self._opening:
            if self._meta is None:
                ledger = await self._open_meta()
                try:
                    self._meta = await MetaLog.open(ledger, self._of(ledger))
                except BaseException:
                    await ledger.close()
                    raise
            return self._meta


class StoreCoverer:
    """One ledger's ``ledger.covering.Coverer``, by whichever way it is witnessed."""

    def __init__(self, witnessing: StoreWitnessing, ledger: Ledger) -> None:
        self._witnessing = witnessing
        self._ledger = ledger

    async def covering(self, index: int) -> Covering | None:
        """See ``Coverer.covering``."""
        return await self._witnessing.covering(self._ledger, index)


async def _submit(witnessing: LogWitnessing, *, is_urgent: bool) -> list[LogOutcome]:
    ledger = witnessing.ledger
    try:
        outcomes = await witnessing.submit(is_urgent=is_urgent)
    except (TallystickError, OSError) as error:
        _log.error("%s was not shown to witnesses: %s", ledger.origin, error)
        outcomes = (WitnessOutcome(witness="", outcome=Outcome.REFUSED, detail=str(error)),)
    return [LogOutcome(origin=ledger.origin, size=ledger.size, outcome=one) for one in outcomes]


def _tell(alarm: WitnessAlarm) -> None:
    what = "this ledger was rolled back or changed" if alarm.kind is AlarmKind.OWN_HISTORY else alarm.kind
    _log.error("ALARM, %s, witness %s: %s: %s", alarm.origin, alarm.witness, what, alarm.detail)
