"""The meta-log: many ledgers under one cosigned checkpoint, none of them named in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.cosignature_store import SQLiteCosignatures
from adapters.sqlite_index import SQLiteIndex
from adapters.sqlite_log import SQLiteLog
from domain.errors import InvalidError
from domain.events import TenantCheckpointed
from ledger import metalog
from ledger.audit import audit
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.entry import parse_entry
from ledger.key_change import rotate_key
from ledger.ledger import Ledger, Proposal, ledger_name
from ledger.merkle import leaf_hash
from ledger.meta_proof import verify_meta_proof
from ledger.metalog import META_TENANT, MetaCoverer, MetaLog, subject_of_ledger
from ledger.policy import Policy, PolicyLog
from ledger.tiles import prove_inclusion
from ledger.tlog_proof import TlogProof, verify_tlog_proof
from ledger.witnessing import LogWitnessing
from tests.ledger.desk import ticking_clock
from tests.ledger.key_ring import KeyRing
from tests.ledger.signing_key import SigningKey
from tests.ledger.test_witnessing import device
from tests.ledger.witnesses import NOW_S, LocalWitness, Witnesses, policy_of

TENANTS = ("acme", "beta", "gamma")
META_ORIGIN = "tests.local/meta"


def origin_of(tenant: str) -> str:
    return f"tests.local/{tenant}"


class Scene:
    """Three tenants and a meta-log in one store, three witnesses of which two are enough."""

    def __init__(self, folder: Path, log: SQLiteLog, ledgers: dict[str, Ledger], meta: Ledger) -> None:
        self.folder = folder
        self.log = log
        self.ledgers = ledgers
        key = SigningKey(META_ORIGIN).verifier_key
        self.witnesses = [LocalWitness(folder, number, key) for number in range(3)]
        self.port = Witnesses(*self.witnesses)
        self.witnessing = LogWitnessing(
            ledger=meta,
            policy=policy_of(*self.witnesses, threshold=2),
            witnesses=self.port,
            store=SQLiteCosignatures(folder / "cosignatures.sqlite"),
            clock=lambda: NOW_S * 1_000_000_000,
        )

    async def turn(self, meta: MetaLog) -> int:
        count = await meta.record(self.ledgers.values())
        await self.witnessing.submit(is_urgent=True)
        return count


async def open_one(folder: Path, log: SQLiteLog, tenant: str, ring: KeyRing | None = None) -> Ledger:
    return await Ledger.open(
        log=log,
        tenant=tenant,
        origin=origin_of(tenant),
        keys=ring or KeyRing(SigningKey(origin_of(tenant))),
        clock=ticking_clock(),
        index=SQLiteIndex(folder / f"{tenant}.sqlite"),
    )


@asynccontextmanager
async def scene(folder: Path, ring: KeyRing | None = None) -> AsyncIterator[Scene]:
    log = SQLiteLog(folder / "log")
    ledgers = {
        tenant: await open_one(folder, log, tenant, ring if tenant == "acme" else None) for tenant in TENANTS
    }
    meta = await open_one(folder, log, META_TENANT)
    try:
        yield Scene(folder, log, ledgers, meta)
    finally:
        for ledger in (*ledgers.values(), meta):
            await ledger.close()
        await log.close()


def policy_for(at: Scene, tenant: str) -> Policy:
    """What somebody who verifies this tenant's receipts is given."""
    own = PolicyLog(key=SigningKey(origin_of(tenant)).verifier_key)
    meta = PolicyLog(key=SigningKey(META_ORIGIN).verifier_key)
    asked = policy_of(*at.witnesses, threshold=2)
    return Policy(logs=(own, meta), witnesses=asked.witnesses, groups=asked.groups, quorum=asked.quorum)


async def verify(at: Scene, meta: MetaLog, tenant: str, index: int) -> int:
    """Prove an entry of a tenant through the meta-log; returns under which size of its ledger."""
    ledger = at.ledgers[tenant]
    covering = await meta.covering(ledger, index)
    assert covering is not None
    assert covering.meta is not None
    policy = policy_for(at, tenant)
    keys = [policy.logs[0].key]
    found = verify_meta_proof(
        covering.meta, covering.checkpoint, origin=ledger.origin, keys=keys, policy=policy
    )
    assert found.witnessed is not None
    record, _ = await ledger.get(index)
    path = prove_inclusion(ledger.tile, index, covering.size)
    proof = TlogProof(index=index, path=tuple(path), checkpoint=covering.checkpoint)
    verify_tlog_proof(proof, leaf_hash(record.entry), Policy(logs=(policy.logs[0],)))
    return covering.size


@pytest.mark.anyio
async def test_one_cosignature_covers_every_ledger(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        meta = await MetaLog.open(at.witnessing.ledger, at.witnessing)
        assert await meta.covering(at.ledgers["acme"], 0) is None
        for number, ledger in enumerate(at.ledgers.values()):
            await ledger.record(*[device(one) for one in range(number + 1)])
        assert await at.turn(meta) == 3
        assert len(at.port.asked) == 3
        for tenant, ledger in at.ledgers.items():
            for index in range(ledger.size):
                assert await verify(at, meta, tenant, index) == ledger.size


@pytest.mark.anyio
async def test_only_ledgers_that_have_grown_are_recorded_again(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        meta = await MetaLog.open(at.witnessing.ledger, at.witnessing)
        assert await at.turn(meta) == 3
        assert await at.turn(meta) == 0
        await at.ledgers["beta"].record(device(1))
        assert await at.turn(meta) == 1
        assert await verify(at, meta, "beta", 2) == 3
        assert await verify(at, meta, "acme", 1) == 2


@pytest.mark.anyio
async def test_an_entry_is_proven_under_the_newest_witnessed_checkpoint_and_not_before(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as at:
        meta = await MetaLog.open(at.witnessing.ledger, at.witnessing)
        acme = at.ledgers["acme"]
        acme.coverer = MetaCoverer(meta, acme)
        await at.turn(meta)
        await acme.record(device(1))
        assert await meta.covering(acme, 2) is None
        # Recorded, and not cosigned yet.
        await meta.record(at.ledgers.values())
        assert await meta.covering(acme, 2) is None
        assert (await acme.covering(2)).checkpoint == acme.checkpoint
        assert (await acme.covering(1)).size == 2
        await at.witnessing.submit()
        assert (await acme.covering(2)).meta is not None
        assert (await acme.covering(1)).size == 3


@pytest.mark.anyio
async def test_the_meta_log_and_what_witnesses_see_name_no_tenant(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        meta = await MetaLog.open(at.witnessing.ledger, at.witnessing)
        await at.turn(meta)
        for record in await meta.ledger.read(2, 100):
            for tenant in TENANTS:
                assert tenant.encode() not in record.entry
                # Only the body, which is handed out by nobody but its tenant, says whose it is.
                assert record.event_type == TenantCheckpointed.TYPE
        shown = b"".join(body for _, body in at.port.asked)
        assert not any(tenant.encode() in shown for tenant in TENANTS)
        # What one tenant is given holds nothing of another's.
        covering = await meta.covering(at.ledgers["acme"], 0)
        assert covering is not None
        assert covering.meta is not None
        given = covering.checkpoint + covering.meta.entry + covering.meta.proof
        assert not any(tenant.encode() in given for tenant in TENANTS[1:])


@pytest.mark.anyio
async def test_after_a_restart_everything_is_found_again(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        meta = await MetaLog.open(at.witnessing.ledger, at.witnessing)
        for _ in range(5):
            for ledger in at.ledgers.values():
                await ledger.record(device(ledger.size))
            await at.turn(meta)
        again = await MetaLog.open(at.witnessing.ledger, at.witnessing)
        for tenant, ledger in at.ledgers.items():
            assert await verify(at, again, tenant, 3) == ledger.size
        assert await again.record(at.ledgers.values()) == 0


@pytest.mark.anyio
async def test_what_is_remembered_of_a_ledger_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metalog, "PLACES_MAX", 4)
    async with scene(tmp_path) as at:
        meta = await MetaLog.open(at.witnessing.ledger, at.witnessing)
        acme = at.ledgers["acme"]
        for _ in range(20):
            await acme.record(device(acme.size))
            await meta.record([acme])
        assert len(meta._places[subject_of_ledger(acme)]) <= 5
        await at.witnessing.submit()
        assert await verify(at, meta, "acme", 0) == acme.size
        assert len(meta._places[subject_of_ledger(acme)]) == 1
        assert await verify(at, meta, "acme", 21) == acme.size


@pytest.mark.anyio
async def test_a_ledger_keeps_its_label_when_its_keys_change(tmp_path: Path) -> None:
    ring = KeyRing(SigningKey(origin_of("acme")), SigningKey(origin_of("acme"), "second"))
    async with scene(tmp_path, ring) as at:
        meta = await MetaLog.open(at.witnessing.ledger, at.witnessing)
        acme = at.ledgers["acme"]
        await at.turn(meta)
        before = subject_of_ledger(acme)
        await rotate_key(acme, ring, reason="routine", actor="cli")
        await at.turn(meta)
        assert subject_of_ledger(acme) == before
        assert await verify(at, meta, "acme", acme.size - 1) == acme.size


@pytest.mark.anyio
async def test_two_processes_record_the_same_without_harm(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        one = await MetaLog.open(at.witnessing.ledger, at.witnessing)
        two = await MetaLog.open(at.witnessing.ledger, at.witnessing)
        await at.ledgers["acme"].record(device(1))
        await one.record(at.ledgers.values())
        await two.record(at.ledgers.values())
        await at.witnessing.submit()
        assert await verify(at, two, "acme", 2) == 3


@pytest.mark.anyio
async def test_two_histories_of_one_ledger_in_the_meta_log_are_found_by_who_knows_the_ledger(
    tmp_path: Path,
) -> None:
    """What no witness of a meta-log can see: its operator recorded a tree that the tenant never had."""
    async with scene(tmp_path) as at:
        meta = await MetaLog.open(at.witnessing.ledger, at.witnessing)
        acme = at.ledgers["acme"]
        await acme.record(device(1))
        await at.turn(meta)
        assert await meta.check_ledger(acme) == []
        subject = subject_of_ledger(acme)
        for forged in (
            Checkpoint(origin=acme.origin, size=2, root=bytes(32)),
            Checkpoint(origin=acme.origin, size=50, root=bytes(32)),
            Checkpoint(origin=origin_of("beta"), size=2, root=bytes(32)),
        ):
            note = sign_checkpoint(forged, SigningKey(forged.origin))
            event = TenantCheckpointed(note=note)
            await meta.ledger.record(Proposal(event=event, actor="operator", subject=subject))
        findings = await meta.check_ledger(acme)
        assert [(one.size, one.detail.split(" ")[0]) for one in findings] == [
            (2, "has"),
            (50, "covers"),
            (2, "is"),
        ]
        assert await meta.check_ledger(at.ledgers["beta"]) == []
        # A tree that the ledger does not have is not handed out either.
        await at.witnessing.submit()
        assert await meta.covering(acme, 2) is None


@pytest.mark.anyio
async def test_a_tenants_ledger_is_no_meta_log(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.ledgers["acme"].record(device(1))
        with pytest.raises(InvalidError, match="not a meta-log"):
            await MetaLog.open(at.ledgers["acme"], at.witnessing)


@pytest.mark.anyio
async def test_many_ledgers_take_as_many_appends_as_they_need(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        meta = await MetaLog.open(at.witnessing.ledger, at.witnessing)
        many = [at.ledgers["acme"]] * 1_500
        assert await meta.record(many) == 1_500
        assert meta.ledger.size == 1_502


@pytest.mark.anyio
async def test_a_meta_log_is_audited_as_any_ledger(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        meta = await MetaLog.open(at.witnessing.ledger, at.witnessing)
        await at.turn(meta)
        report = await audit(at.log, ledger_name(META_TENANT))
        assert report.is_clean
        (last,) = await meta.ledger.read(meta.ledger.size - 1, 1)
        assert parse_entry(last.entry).subject == subject_of_ledger(at.ledgers["gamma"])
