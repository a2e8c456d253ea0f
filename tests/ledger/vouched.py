"""A ledger with receipts under three witnesses of which two are enough, shown itself or through a meta-log
whose keys change; and what strangers are handed of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from adapters.cosignature_store import SQLiteCosignatures
from adapters.erasure_journal import FolderErasureJournal
from adapters.executor.pinned_executor import PinnedExecutor
from adapters.files.detect import SampleFileFormat
from adapters.key_store_file import FileKeyStore
from adapters.sqlite_log import SQLiteLog
from adapters.vault_directory import DirectoryVault
from domain.outcomes import Outcome
from ledger.audit_bundle import VerifiedAuditBundle, make_audit_bundle, verify_audit_bundle
from ledger.bundle import bundle_of, format_bundle
from ledger.completeness import Topics, verify_completeness
from ledger.desk import Desk
from ledger.key_change import revoke_key, rotate_key
from ledger.ledger import Ledger
from ledger.metalog import META_TENANT
from ledger.notes import VerifierKey
from ledger.policy import Policy, PolicyLog, format_policy
from ledger.store_witnessing import StoreCoverer, StoreWitnessing
from ledger.topics import receipts_topic
from ledger.verify import verify_bundle
from tests.docs.test_verify import verify
from tests.ledger.desk import ticking_clock
from tests.ledger.format_fixtures import premises, run
from tests.ledger.key_ring import KeyRing
from tests.ledger.signing_key import SigningKey
from tests.ledger.test_metalog import META_ORIGIN, open_one, origin_of
from tests.ledger.witnesses import NOW_S, LocalWitness, Witnesses, policy_of

SOURCE = "logger-1"
LOG, META = SigningKey(origin_of("acme")), SigningKey(META_ORIGIN)


def audited(data: bytes, policy: Policy) -> VerifiedAuditBundle:
    """``verify_audit_bundle``, which waits for nothing, where a loop runs already."""
    verifying = verify_audit_bundle(data, policy)
    try:
        verifying.send(None)
    except StopIteration as done:
        found: VerifiedAuditBundle = done.value
        return found
    raise AssertionError("it waits for something")


# How what strangers are handed is judged: by ours, and by the verifier without our code.
OURS: dict[str, Callable[[bytes, Policy], object]] = {
    "receipt": verify_bundle,
    "audit": audited,
    "complete": verify_completeness,
}
THEIRS = {
    "receipt": verify.verify_bundle,
    "audit": verify.verify_audit_bundle,
    "complete": verify.verify_completeness,
}


class Vouched:
    """The ledger, its desk, and the witnesses."""

    def __init__(self, folder: Path, log: SQLiteLog, ledger: Ledger, *, is_itself: bool) -> None:
        self.ledger = ledger
        self.meta_ring = KeyRing(META)
        self.witnesses = [
            LocalWitness(folder, number, LOG.verifier_key, META.verifier_key) for number in range(3)
        ]
        self.port = Witnesses(*self.witnesses)
        policy = policy_of(*self.witnesses, threshold=2)
        if is_itself:
            policy = replace(policy, logs=(PolicyLog(key=LOG.verifier_key),))
        self.witnessing = StoreWitnessing(
            policy=policy,
            log=log,
            meta_origin=META_ORIGIN,
            open_meta=lambda: open_one(folder, log, META_TENANT, self.meta_ring),
            witnesses=self.port,
            store=SQLiteCosignatures(folder / "cosignatures.sqlite"),
            clock=lambda: NOW_S * 1_000_000_000,
        )
        ledger.coverer = StoreCoverer(self.witnessing, ledger)
        self.desk = Desk(
            ledger=ledger,
            vault=DirectoryVault(folder / "vault"),
            keys=FileKeyStore(folder / "keys"),
            executor=PinnedExecutor(),
            formats=SampleFileFormat(),
            clock=ticking_clock(),
            erasures=FolderErasureJournal(folder / "seen"),
        )
        self.topics = Topics(ledger)
        self.receipts: list[tuple[str, int]] = []

    async def issue(self, where: dict[str, int], outcome: Outcome = Outcome.PASS) -> None:
        """One more receipt."""
        recorded = await run(self.ledger, where, len(self.receipts) + 1, outcome)
        self.receipts.append((recorded.subject.removeprefix("receipt/"), recorded.index))

    async def turn(self) -> None:
        """Show what is new to the witnesses."""
        await self.witnessing.turn([self.ledger], is_urgent=True)

    async def meta_ledger(self) -> Ledger:
        meta = await self.witnessing.meta_log()
        assert meta is not None
        return meta.ledger

    async def rotate_meta(self, *, is_first_revoked: bool = True) -> VerifierKey:
        """Put a new key of the meta-log in force, known to the witnesses; returns it."""
        meta = await self.meta_ledger()
        await rotate_key(meta, self.meta_ring, reason="once a year", actor="test")
        newest = meta.verifier_key
        for one in self.witnesses:
            one.logs = Policy(logs=(*one.logs.logs, PolicyLog(key=newest)))
        if is_first_revoked:
            await revoke_key(meta, META.verifier_key.key_id.hex(), reason="rotated", actor="test")
        return newest

    async def handed(self, *, is_newest: bool = False) -> dict[str, bytes]:
        """A receipt, an audit bundle of all and a complete list, as strangers are handed them."""
        index = self.receipts[0][1]
        ids = [receipt_id for receipt_id, _ in self.receipts]
        return {
            "complete": await self.topics.prove(receipts_topic(SOURCE), "test", is_newest=is_newest),
            "receipt": format_bundle(await bundle_of(self.ledger, index, is_newest=is_newest)),
            "audit": await make_audit_bundle(self.desk, ids, is_newest=is_newest),
        }

    def policy(self, *logs: VerifierKey, threshold: int = 2) -> Policy:
        """These logs, and so many of the three witnesses."""
        asked = policy_of(*self.witnesses, threshold=threshold)
        return replace(asked, logs=tuple(PolicyLog(key=key) for key in logs))


@asynccontextmanager
async def vouched(folder: Path, *, is_itself: bool = False) -> AsyncIterator[Vouched]:
    """A ledger with two receipts and a commitment that three witnesses have cosigned."""
    log = SQLiteLog(folder / "log")
    ledger = await open_one(folder, log, "acme", KeyRing(LOG))
    at = Vouched(folder, log, ledger, is_itself=is_itself)
    try:
        where = await premises(ledger)
        await at.issue(where)
        await at.issue(where, Outcome.FAIL)
        await at.topics.commit("test")
        await at.turn()
        yield at
    finally:
        await at.witnessing.close()
        await at.desk.executor.close()
        await ledger.close()
        await log.close()


def their_policy(policy: Policy) -> object:
    """The policy as the other verifier reads it."""
    return verify.parse_policy(format_policy(policy))
