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
8. Every object that the events name: present in the vault, with its digest.  Missing and shredded are told
   apart from changed.

Steps 2 to 5 stop at the first finding, because what follows a broken link proves nothing; steps 6 to 8
collect.

What was signed with a key that was later declared compromised, at an index from which it is not believed, is
a warning and not a finding: the ledger is whole, a later seal by another key vouches for its entries, and a
receipt that nothing else has signed is not to be believed.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from domain.digests import Digest
from domain.errors import TallystickError
from domain.events import (
    BatchIngested,
    DatasetDerived,
    ReceiptIssued,
    ReceiptsRecalled,
    Recorded,
    RunGatesDecided,
    TopicsCommitted,
)
from domain.key_history import Standing
from ledger.audit_chain import ChainAudit, Finding
from ledger.audit_commitments import check_commitments
from ledger.dsse import Envelope, parse_envelope, verify_envelope
from ledger.errors import CorruptObjectError, UnknownObjectError
from ledger.notes import VerifierKey
from ledger.ports import EventLog, Vault
from ledger.receipt import build_statement, parse_receipt, receipt_id_of
from ledger.recorded import record_at, recorded_of
from ledger.run_facts import ReadAt, gather_facts
from ledger.sealing_keys import InvalidSignerError, all_keys, check_ruled
from ledger.statement import PAYLOAD_TYPE

# More findings than this say the same thing again.
FINDINGS_MAX = 1_000


class AuditReport(Struct, frozen=True, kw_only=True):
    """What an audit looked at and what it found; an empty ``findings`` is the good answer.  ``warnings`` name
    what fits together and is still not to be believed."""

    ledger: str
    size: int
    root: str
    seal_count: int
    receipt_count: int
    object_count: int
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
    trusted: VerifierKey | None = None,
    kept_checkpoint: bytes = b"",
    progress: Callable[[int, int], None] = lambda done, size: None,
) -> AuditReport:
    """Audit ``ledger``.  ``trusted`` is a key the auditor got elsewhere, of whatever age: the others follow
    from it by signed succession, or it sealed them.  Without it the ledger's own first key is believed, and
    only its consistency is shown.  ``kept_checkpoint`` is a checkpoint the auditor kept
    from an earlier visit.  ``vault`` adds step 8."""
    findings = [Finding(index=-1, check="storage", detail=text) for text in await log.check_storage(ledger)]
    chain = ChainAudit(
        log,
        ledger,
        trusted=trusted,
        kept_checkpoint=kept_checkpoint,
        noted_types=_LOOKED_AT,
        progress=progress,
    )
    await chain.run()
    findings += chain.findings
    receipts = _ReceiptAudit(chain)
    if not chain.findings:
        await receipts.run(log, ledger, vault)
    findings += receipts.findings
    if not chain.findings and not receipts.has_unreadable and chain.found_types & _COMMITMENTS:
        for index, check, detail in await check_commitments(log, ledger):
            findings.append(Finding(index=index, check=check, detail=detail))
    warnings = [*chain.key_warnings(), *receipts.warnings]
    return AuditReport(
        ledger=ledger,
        size=chain.size,
        root=chain.frontier.root().hex(),
        seal_count=chain.seal_count,
        receipt_count=receipts.receipt_count,
        object_count=receipts.object_count,
        byte_count=chain.byte_count,
        findings=tuple(findings[:FINDINGS_MAX]),
        warnings=tuple(warnings[:FINDINGS_MAX]),
    )


_COMMITMENTS = frozenset({TopicsCommitted.TYPE, ReceiptsRecalled.TYPE})
_LOOKED_AT = _COMMITMENTS | {
    ReceiptIssued.TYPE,
    BatchIngested.TYPE,
    DatasetDerived.TYPE,
    RunGatesDecided.TYPE,
}


class _ReceiptAudit:
    """Steps 6 and 8."""

    def __init__(self, chain: ChainAudit) -> None:
        self._chain = chain
        self.findings: list[Finding] = []
        self.warnings: list[Finding] = []
        self.receipt_count = 0
        self.object_count = 0
        self.has_unreadable = False
        self._seen: set[Digest] = set()

    async def run(self, log: EventLog, ledger: str, vault: Vault | None) -> None:
        async def at(index: int) -> Recorded:
            return recorded_of(await record_at(log, ledger, index))

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
                case BatchIngested() as event if vault is not None:
                    await self._check_object(vault, index, event.digest)
                case DatasetDerived() as event if vault is not None:
                    await self._check_object(vault, index, event.object_digest)
                case RunGatesDecided() as event if vault is not None:
                    for artifact in event.artifacts:
                        await self._check_object(vault, index, artifact.digest)
                case _:
                    pass

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
                tenant=predicate.tenant,
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

    async def _check_object(self, vault: Vault, index: int, digest: Digest) -> None:
        if digest in self._seen:
            return
        self._seen.add(digest)
        self.object_count += 1
        try:
            await vault.get(digest)
        except UnknownObjectError:
            self._find(index, "vault", f"object {digest} is missing")
        except CorruptObjectError as error:
            self._find(index, "vault", f"object {digest} was changed: it now has {error.actual_digest}")

    def _find(self, index: int, check: str, detail: str) -> None:
        self.findings.append(Finding(index=index, check=check, detail=detail))
