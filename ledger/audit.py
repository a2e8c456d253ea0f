"""Audit: derive everything in a ledger again and name the first position that does not fit.

1. The store's own integrity check.
2. Every record: its entry parses, names this ledger, its index and its type, commits to its body, and is
   chained to the one before; its event id is the one that belongs to its entry.
3. Every change of keys: vouched for by the keys before it (``ledger.key_statement``).  Every seal: signed by
   the keys that ruled at its index, over exactly this size and this root.
4. The last record is sealed: nothing was appended outside an atomic append.
5. A checkpoint that was kept elsewhere is the beginning of this ledger (truncation and forks are invisible
   from inside).
6. Every receipt: signed by the keys that ruled at its index, and its statement rebuilt byte for byte from the
   events it names.
7. What the ledger says about itself: topic commitments and recall sets (``ledger.audit_commitments``).
8. Every object that the events name: present in the vault, with its digest.  What is missing, what was
   changed and what is shredded (encrypted for a person who was erased) are told apart; the last is as it
   should be, whether its ciphertext is still there or not.
9. Every erasure: nothing of the person was taken in or made after it, and the key is destroyed.
10. Every token of a timestamp authority is recorded for a seal of this ledger.  Whether the authority is to
    be believed is asked with ``tally timestamp``, because that takes certificates.

Steps 2 to 5 stop at the first finding, because what follows a broken link proves nothing; steps 6 to 10
collect.

What was signed with a key that was later declared compromised, at an index from which it is not believed, is
a warning and not a finding: the ledger is whole, a later seal by another key vouches for its entries, and a
receipt that nothing else has signed is not to be believed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable

from msgspec import Struct

from domain.digests import Digest, digest_of
from domain.errors import TallystickError
from domain.events import (
    BatchIngested,
    CheckpointTimestamped,
    DatasetDerived,
    LedgerOpened,
    ReceiptIssued,
    ReceiptsRecalled,
    Recorded,
    RunGatesDecided,
    RunStarted,
    SubjectErased,
    TopicsCommitted,
)
from domain.key_history import Standing
from ledger.audit_chain import ChainAudit, Finding
from ledger.audit_commitments import check_commitments
from ledger.dsse import Envelope, parse_envelope, verify_envelope
from ledger.errors import CorruptObjectError, UnknownObjectError, UnknownSubjectKeyError
from ledger.notes import VerifierKey
from ledger.pages import RecordPages
from ledger.ports import EventLog, KeyStore, Vault
from ledger.receipt import build_statement, parse_receipt, receipt_id_of
from ledger.recorded import event_of, recorded_of
from ledger.run_facts import ReadAt, gather_facts
from ledger.sealing_keys import InvalidSignerError, all_keys, check_ruled
from ledger.statement import PAYLOAD_TYPE

# More findings than this say the same thing again.
FINDINGS_MAX = 1_000


class AuditReport(Struct, frozen=True, kw_only=True):
    """What an audit looked at and what it found; an empty ``findings`` is the good answer.  ``warnings`` name
    what fits together and is still not to be believed.  Of the objects ``shredded_count`` are encrypted for
    somebody who was erased."""

    ledger: str
    size: int
    root: str
    seal_count: int
    receipt_count: int
    object_count: int
    shredded_count: int
    byte_count: int
    findings: tuple[Finding, ...]
    warnings: tuple[Finding, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Nothing was found."""
        return not self.findings


async def audit(
    log: EventLog,
    ledger: str,
    *,
    vault: Vault | None = None,
    keys: KeyStore | None = None,
    trusted: VerifierKey | None = None,
    kept_checkpoint: bytes = b"",
    progress: Callable[[int, int], None] = lambda done, size: None,
) -> AuditReport:
    """Audit ``ledger``.  ``trusted`` is a key the auditor got elsewhere, of whatever age: the others follow
    from it by signed succession, or it sealed them.  Without it the ledger's own first key is believed, and
    only its consistency is shown.  ``kept_checkpoint`` is a checkpoint the auditor kept
    from an earlier visit.  ``vault`` adds step 8, ``keys`` the destroyed keys of step 9."""
    chain = ChainAudit(
        log,
        ledger,
        trusted=trusted,
        kept_checkpoint=kept_checkpoint,
        noted_types=_LOOKED_AT,
        progress=progress,
    )
    # A store that checks itself does so without the interpreter, so both go on side by side.
    findings, _ = await asyncio.gather(_storage_findings(log, ledger), chain.run())
    findings += chain.findings
    receipts = _ReceiptAudit(chain)
    if not chain.findings:
        await receipts.run(log, ledger, vault)
        receipts.check_destroyed(keys)
    findings += receipts.findings
    if not chain.findings and not receipts.has_unreadable and chain.found_types & _COMMITMENTS:
        try:
            for index, check, detail in await check_commitments(log, ledger):
                findings.append(Finding(index=index, check=check, detail=detail))
        except TallystickError as error:
            findings.append(Finding(index=-1, check="storage", detail=str(error)))
    warnings = [*chain.key_warnings(), *receipts.warnings]
    return AuditReport(
        ledger=ledger,
        size=chain.size,
        root=chain.frontier.root().hex(),
        seal_count=chain.seal_count,
        receipt_count=receipts.receipt_count,
        object_count=receipts.object_count,
        shredded_count=receipts.shredded_count,
        byte_count=chain.byte_count,
        findings=tuple(findings[:FINDINGS_MAX]),
        warnings=tuple(warnings[:FINDINGS_MAX]),
    )


async def _storage_findings(log: EventLog, ledger: str) -> list[Finding]:
    try:
        checked = await log.check_storage(ledger)
    except TallystickError as error:
        checked = [str(error)]
    return [Finding(index=-1, check="storage", detail=text) for text in checked]


_COMMITMENTS = frozenset({TopicsCommitted.TYPE, ReceiptsRecalled.TYPE})
_LOOKED_AT = _COMMITMENTS | {
    ReceiptIssued.TYPE,
    BatchIngested.TYPE,
    DatasetDerived.TYPE,
    RunGatesDecided.TYPE,
    SubjectErased.TYPE,
    CheckpointTimestamped.TYPE,
}


class _ReceiptAudit:
    """Steps 6, 8 and 9."""

    def __init__(self, chain: ChainAudit) -> None:
        self._chain = chain
        self.findings: list[Finding] = []
        self.warnings: list[Finding] = []
        self.receipt_count = 0
        self.object_count = 0
        self.shredded_count = 0
        self.has_unreadable = False
        self._tenant: str | None = None
        self._seen: set[Digest] = set()
        self._erased: dict[str, Recorded] = {}
        # Objects by the source they came from or were made of; erasures stand behind them in the ledger.
        self._objects_of: Counter[str] = Counter()
        self._missing: list[tuple[int, str, str]] = []

    async def run(self, log: EventLog, ledger: str, vault: Vault | None) -> None:
        pages = RecordPages(log, ledger)

        async def at(index: int) -> Recorded:
            return recorded_of(await pages.at(index))

        for index in self._chain.noted:
            try:
                recorded = await at(index)
            except TallystickError as error:
                self.has_unreadable = True
                self._find(index, "body", str(error))
                continue
            match recorded.event:
                case ReceiptIssued() as event:
                    self.receipt_count += 1
                    await self._check_receipt(at, recorded, event)
                case BatchIngested() as event:
                    self._check_not_erased(index, event.source_id, "a batch was taken in")
                    await self._check_object(vault, index, event.source_id, event.digest)
                case DatasetDerived() as event:
                    await self._check_object(vault, index, event.source_id, event.object_digest)
                case RunGatesDecided() as event:
                    is_personal = any(artifact.is_encrypted for artifact in event.artifacts)
                    source_id = await _source_of(at, recorded) if is_personal else ""
                    self._check_not_erased(index, source_id, "a result was recorded")
                    for artifact in event.artifacts:
                        await self._check_object(vault, index, source_id, artifact.digest)
                case SubjectErased() as event:
                    self._erased[event.connection_id] = recorded
                case CheckpointTimestamped() as event:
                    is_before = 0 < event.size <= index
                    try:
                        seal = (await pages.at(event.size - 1)).seal if is_before else b""
                    except TallystickError as error:
                        self._find(event.size - 1, "storage", str(error))
                        continue
                    if digest_of(seal) != event.digest:
                        self._find(index, "timestamp", "is over another checkpoint than the one it names")
                case _:
                    pass
        for index, source_id, detail in self._missing:
            if source_id not in self._erased:
                self._find(index, "vault", detail)
        self.findings.sort(key=lambda finding: finding.index)
        self.shredded_count = sum(self._objects_of[source_id] for source_id in self._erased)

    def check_destroyed(self, keys: KeyStore | None) -> None:
        """Step 9: no key of anybody who was erased is left."""
        for recorded in self._erased.values() if keys is not None else ():
            event = event_of(recorded, SubjectErased)
            with contextlib.suppress(UnknownSubjectKeyError):
                assert keys is not None
                keys.subject_key(event.subject_key_id)
                self._find(
                    recorded.index,
                    "erasure",
                    f"{event.connection_id} was erased here and its key is not destroyed yet; "
                    "the next opening of the ledger does it",
                )

    async def _tenant_of(self, at: ReadAt) -> str:
        """Whose ledger it is: its first entry says so, and is read once for all receipts."""
        if self._tenant is None:
            self._tenant = event_of(await at(0), LedgerOpened).tenant
        return self._tenant

    async def _check_receipt(self, at: ReadAt, recorded: Recorded, event: ReceiptIssued) -> None:
        try:
            envelope = parse_envelope(event.envelope)
            self._check_signers(recorded.index, envelope)
            receipt_id, predicate = parse_receipt(event.envelope)
            if recorded.subject != f"receipt/{receipt_id}":
                self._find(
                    recorded.index,
                    "receipt",
                    f"is filed as {recorded.subject}, its statement says receipt/{receipt_id}",
                )
            facts = await gather_facts(
                at,
                origin=self._chain.origin,
                tenant=await self._tenant_of(at),
                started_index=predicate.run.started_index,
            )
            decided = (await at(predicate.run.decided_index)).event
            if not isinstance(decided, RunGatesDecided):
                self._find(
                    recorded.index,
                    "receipt",
                    f"entry {predicate.run.decided_index} is not the decision it names",
                )
                return
            rebuilt = build_statement(facts, decided, predicate.run.decided_index)
        except TallystickError as error:
            self._find(recorded.index, "receipt", str(error))
            return
        if rebuilt != envelope.payload:
            self._find(
                recorded.index,
                "receipt",
                f"says something else than the events it names (rebuilt as {receipt_id_of(rebuilt)})",
            )

    def _check_signers(self, index: int, envelope: Envelope) -> None:
        signers = verify_envelope(envelope, all_keys(self._chain.keys), payload_type=PAYLOAD_TYPE)
        try:
            check_ruled(self._chain.keys, index, signers)
        except InvalidSignerError as error:
            if error.standing is not Standing.COMPROMISED:
                raise
            self.warnings.append(Finding(index=index, check="receipt", detail=str(error)))

    def _check_not_erased(self, index: int, source_id: str, what: str) -> None:
        erased = self._erased.get(source_id)
        if erased is not None:
            self._find(index, "erasure", f"{what} after entry {erased.index} had erased {source_id}")

    async def _check_object(self, vault: Vault | None, index: int, source_id: str, digest: Digest) -> None:
        if vault is None or digest in self._seen:
            return
        self._seen.add(digest)
        self.object_count += 1
        self._objects_of[source_id] += 1
        try:
            await vault.get(digest)
        except UnknownObjectError:
            self._missing.append((index, source_id, f"object {digest} is missing"))
        except CorruptObjectError as error:
            self._find(index, "vault", f"object {digest} was changed: it now has {error.actual_digest}")

    def _find(self, index: int, check: str, detail: str) -> None:
        self.findings.append(Finding(index=index, check=check, detail=detail))


async def _source_of(at: ReadAt, decided: Recorded) -> str:
    """The source of the run that was decided; empty when what it names as its start is none."""
    with contextlib.suppress(TallystickError):
        started = (await at(decided.causation[0])).event if decided.causation else None
        if isinstance(started, RunStarted):
            return started.source_id
    return ""
