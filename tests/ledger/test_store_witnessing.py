"""All ledgers of a store and the witnesses: by themselves, through the meta-log, and by itself for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from adapters.cosignature_store import SQLiteCosignatures
from adapters.sqlite_log import SQLiteLog
from domain.errors import InvalidError
from ledger.ledger import Ledger
from ledger.metalog import META_TENANT
from ledger.notes import VerifierKey
from ledger.policy import Policy, PolicyLog
from ledger.store_witnessing import StoreCoverer, StoreWitnessing
from ledger.witness_exchange import Outcome
from tests.ledger.signing_key import SigningKey
from tests.ledger.test_metalog import META_ORIGIN, open_one, origin_of
from tests.ledger.test_witnessing import device
from tests.ledger.witnesses import NOW_S, LocalWitness, Witnesses, policy_of

ACME, BETA = (SigningKey(origin_of(tenant)).verifier_key for tenant in ("acme", "beta"))
META = SigningKey(META_ORIGIN).verifier_key


class Scene:
    """Two tenants, two witnesses that know both and the meta-log, and a policy that names some of them."""

    def __init__(
        self, folder: Path, log: SQLiteLog, ledgers: list[Ledger], named: tuple[VerifierKey, ...]
    ) -> None:
        self.log = log
        self.ledgers = ledgers
        self.witnesses = [LocalWitness(folder, number, ACME, BETA, META) for number in range(2)]
        self.port = Witnesses(*self.witnesses)
        self.witnessing = StoreWitnessing(
            policy=replace(
                policy_of(*self.witnesses, threshold=2), logs=tuple(PolicyLog(key=key) for key in named)
            ),
            log=log,
            meta_origin=META_ORIGIN,
            open_meta=lambda: open_one(folder, log, META_TENANT),
            witnesses=self.port,
            store=SQLiteCosignatures(folder / "cosignatures.sqlite"),
            clock=lambda: NOW_S * 1_000_000_000,
            interval_seconds=0.005,
        )
        for ledger in ledgers:
            ledger.coverer = StoreCoverer(self.witnessing, ledger)

    def shown(self) -> set[str]:
        return {body.split(b"\n\n")[1].split(b"\n")[0].decode() for _, body in self.port.asked}


@asynccontextmanager
async def scene(folder: Path, *named: VerifierKey) -> AsyncIterator[Scene]:
    log = SQLiteLog(folder / "log")
    ledgers = [await open_one(folder, log, tenant) for tenant in ("acme", "beta")]
    at = Scene(folder, log, ledgers, named)
    try:
        yield at
    finally:
        await at.witnessing.close()
        for ledger in ledgers:
            await ledger.close()
        await log.close()


@pytest.mark.anyio
async def test_without_named_logs_all_are_shown_through_the_meta_log(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        assert await at.ledgers[0].covering(0) is not None
        assert META_TENANT not in "".join(await at.log.ledgers())
        outcomes = await at.witnessing.turn(at.ledgers)
        assert at.shown() == {META_ORIGIN}
        assert [(one.origin, one.outcome.outcome) for one in outcomes] == [
            (META_ORIGIN, Outcome.COSIGNED)
        ] * 2
        for ledger in at.ledgers:
            covering = await ledger.covering(1)
            assert covering.meta is not None
            policy = await at.witnessing.policy_for(ledger)
            assert [log.key.name for log in policy.logs] == [ledger.origin, META_ORIGIN]
            assert policy.quorum == "enough"


@pytest.mark.anyio
async def test_a_named_ledger_is_shown_itself_and_the_others_not_at_all(tmp_path: Path) -> None:
    async with scene(tmp_path, ACME) as at:
        acme, beta = at.ledgers
        await at.witnessing.turn(at.ledgers)
        assert at.shown() == {ACME.name}
        assert (await acme.covering(1)).meta is None
        assert (await acme.covering(1)).checkpoint != acme.checkpoint
        assert (await beta.covering(1)).checkpoint == beta.checkpoint
        assert not at.witnessing.covers(beta.origin)
        assert [log.key for log in (await at.witnessing.policy_for(acme)).logs] == [ACME]
        assert await at.witnessing.meta_log() is None


@pytest.mark.anyio
async def test_named_ledgers_and_the_meta_log_go_together(tmp_path: Path) -> None:
    async with scene(tmp_path, ACME, META) as at:
        acme, beta = at.ledgers
        await at.witnessing.turn(at.ledgers)
        assert at.shown() == {ACME.name, META_ORIGIN}
        assert (await acme.covering(1)).meta is None
        assert (await beta.covering(1)).meta is not None
        assert at.witnessing.covers(beta.origin)
        meta = await at.witnessing.meta_log()
        assert meta is not None
        assert await meta.check_ledger(beta) == []


@pytest.mark.anyio
async def test_a_ledger_that_cannot_be_read_does_not_keep_the_others_back(tmp_path: Path) -> None:
    async with scene(tmp_path, ACME, BETA) as at:
        acme, beta = at.ledgers

        async def broken() -> None:
            raise InvalidError("the store refused")

        acme.catch_up = broken  # type: ignore[method-assign]
        outcomes = await at.witnessing.turn(at.ledgers)
        told = {(one.origin, one.outcome.outcome) for one in outcomes}
        assert told == {(acme.origin, Outcome.REFUSED), (beta.origin, Outcome.COSIGNED)}


@pytest.mark.anyio
async def test_it_goes_on_by_itself_and_comes_back_to_a_witness_that_was_down(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        acme, _ = at.ledgers
        down = at.port.answers.pop(at.witnesses[0].url)
        running = asyncio.create_task(at.witnessing.run(lambda: at.ledgers))
        try:
            async with asyncio.timeout(60):
                await until(lambda: is_asked(at))
                assert await at.witnessing.covering(acme, 1) is None
                at.port.answers[at.witnesses[0].url] = down
                await until(lambda: at.witnessing.covering(acme, 1))
                await acme.record(device(1))
                await until(lambda: at.witnessing.covering(acme, 2))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def is_asked(at: Scene) -> object | None:
    return at.port.asked or None


async def until(look: Callable[[], Awaitable[object | None]]) -> None:
    """Look until there is something to see; whoever calls sets the limit."""
    while await look() is None:  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.005)


def test_a_policy_that_names_nobody_to_ask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="nobody to ask"):
        StoreWitnessing(
            policy=Policy(logs=()),
            log=SQLiteLog(tmp_path),
            meta_origin=META_ORIGIN,
            open_meta=lambda: open_one(tmp_path, SQLiteLog(tmp_path), META_TENANT),
            witnesses=Witnesses(),
            store=SQLiteCosignatures(tmp_path / "cosignatures.sqlite"),
            clock=lambda: 0,
        )
