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

import contextlib
import hashlib
from collections.abc import Callable, Sequence

from msgspec import Struct

from domain.digests import Digest
from domain.errors import TallystickError
from domain.event_codec import decode_event
from domain.events import (
    BatchIngested,
    DatasetDerived,
    ReceiptIssued,
    ReceiptsRecalled,
    Recorded,
    RunGatesDecided,
    TopicsCommitted,
)
from domain.key_history import KEY_EVENT_TYPES, KeyEvent, KeyHistory, Standing
from ledger.audit_commitments import check_commitments
from ledger.checkpoint import open_checkpoint
from ledger.dsse import Envelope, parse_envelope, verify_envelope
from ledger.entry import ENTRY_BYTES_MAX, FORMAT, PREVIOUS_OF_FIRST, event_id, parse_entry
from ledger.errors import CorruptObjectError, UnknownObjectError
from ledger.key_statement import check_key_event, verifier_key
from ledger.merkle import Frontier
from ledger.notes import VerifierKey, key_hint
from ledger.ports import EventLog, Record, Vault
from ledger.receipt import build_statement, parse_receipt, receipt_id_of
from ledger.recorded import record_at, recorded_of
from ledger.run_facts import ReadAt, gather_facts
from ledger.sealing_keys import InvalidSignerError, all_keys, check_ruled, open_seal
from ledger.statement import PAYLOAD_TYPE

READ_BATCH = 4_096
# More findings than this say the same thing again.
FINDINGS_MAX = 1_000

_LEAF = hashlib.sha256(b"\x00")


class Finding(Struct, frozen=True, kw_only=True):
    """Something that does not fit; ``index`` is where, -1 when it is not at one entry."""

    index: int
    check: str
    detail: str


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
    size = await log.size(ledger)
    chain = _ChainAudit(trusted, kept_checkpoint)
    while not chain.findings and (records := await log.read(ledger, chain.size, READ_BATCH)):
        chain.take(records)
        progress(chain.size, size)
    if not chain.findings:
        chain.finish()
    findings += chain.findings
    receipts = _ReceiptAudit(chain)
    if not chain.findings:
        await receipts.run(log, ledger, vault)
    findings += receipts.findings
    if not chain.findings and chain.has_commitments:
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


class _ChainAudit:
    """Steps 2 to 5, one pass, constant memory but for the positions that step 6 looks at again."""

    def __init__(self, trusted: VerifierKey | None, kept_checkpoint: bytes) -> None:
        self.findings: list[Finding] = []
        self.frontier = Frontier()
        self.size = 0
        self.seal_count = 0
        self.byte_count = 0
        self.keys = KeyHistory()
        self.origin = ""
        self.tenant = ""
        self.later: list[int] = []
        self.has_commitments = False
        self._trusted = trusted
        self._kept = kept_checkpoint
        self._previous = PREVIOUS_OF_FIRST.encode()
        self._last_is_sealed = True

    def take(self, records: Sequence[Record]) -> None:
        if self.size == 0:
            self._take_first(records[0])
        leaves: list[bytes] = []
        head = b"%b\n%b\n" % (FORMAT.encode(), self.origin.encode())
        previous, size = self._previous, self.size
        new_leaf, sha256, append = _LEAF.copy, hashlib.sha256, leaves.append
        byte_count = 0
        for record in records:
            entry, payload = record.entry, record.payload
            state = new_leaf()
            state.update(entry)
            leaf = state.digest()
            # The quick look: every byte that is compared here is at a fixed place from either end of a
            # well-formed entry.
            if (
                entry[-65:-1] != previous
                or entry[-130:-66] != sha256(payload).hexdigest().encode()
                or not entry.startswith(b"%b%d\n%b\n" % (head, size, record.event_type.encode()))
                or entry.count(b"\n") != 11
                or record.index != size
                or record.event_id != event_id(leaf)
                or len(entry) > ENTRY_BYTES_MAX
            ):
                self._extend(leaves, previous, size, byte_count)
                self._explain(record, previous.decode("ascii", "replace"))
                return
            append(leaf)
            previous = leaf.hex().encode()
            size += 1
            byte_count += len(entry) + len(payload)
            if record.event_type in _LOOKED_AT and (problem := self._look(record)) is not None:
                self._extend(leaves, previous, size, byte_count)
                self.findings.append(problem)
                return
            if record.seal:
                self._extend(leaves, previous, size, byte_count)
                leaves.clear()
                byte_count = 0
                if not self._check_seal(record):
                    return
        self._extend(leaves, previous, size, byte_count)
        self._last_is_sealed = bool(records[-1].seal)

    def finish(self) -> None:
        if self.size and not self._last_is_sealed:
            self._find(
                self.size - 1,
                "seal",
                "the last entry is not sealed: something was appended outside the ledger's writer",
            )
        if self._trusted is not None and self._trusted not in all_keys(self.keys):
            self._find(
                self.keys.indices[0] if self.keys.indices else -1,
                "seal",
                f"no key of this ledger is the one you trust, {key_hint(self._trusted)}",
            )
        if self._kept:
            self._check_kept(None)

    def key_warnings(self) -> list[Finding]:
        """Which keys were declared compromised; from there on only later seals vouch for the entries."""
        return [
            Finding(
                index=span.believed_until_index,
                check="key",
                detail=f"{key_hint(verifier_key(span.verifier_key))} is not believed from here on",
            )
            for span in self.keys.spans
            if span.believed_until_index is not None
        ]

    def _take_first(self, record: Record) -> None:
        with contextlib.suppress(TallystickError):  # the loop will say what is wrong with it
            self.origin = parse_entry(record.entry).origin

    def _look(self, record: Record) -> Finding | None:
        self.has_commitments |= record.event_type in _COMMITMENTS
        try:
            parse_entry(record.entry)
            event = decode_event(record.event_type, record.payload)
            if isinstance(event, KeyEvent):
                self.keys = check_key_event(self.keys, self.origin, record.index, event)
            else:
                self.later.append(record.index)
        except TallystickError as error:
            check = "key" if record.event_type in KEY_EVENT_TYPES else "body"
            return Finding(index=record.index, check=check, detail=str(error))
        return None

    def _extend(self, leaves: list[bytes], previous: bytes, size: int, byte_count: int) -> None:
        kept_size = self._kept_size()
        if kept_size is not None and self.size < kept_size <= size:
            until = kept_size - self.size
            self.frontier.extend(leaves[:until])
            self._check_kept(self.frontier.root())
            self.frontier.extend(leaves[until:])
        else:
            self.frontier.extend(leaves)
        self._previous, self.size = previous, size
        self.byte_count += byte_count

    def _check_seal(self, record: Record) -> bool:
        self.seal_count += 1
        try:
            checkpoint = open_seal(record.seal, self.keys, record.index, self.origin)
        except TallystickError as error:
            self._find(record.index, "seal", str(error))
            return False
        if checkpoint.size != self.size:
            self._find(record.index, "seal", f"signed over {checkpoint.size} entries, stands at {self.size}")
        elif checkpoint.root != self.frontier.root():
            self._find(
                record.index,
                "seal",
                "signed over another root: the entries under it are not those it was made for",
            )
        return not self.findings

    def _explain(self, record: Record, previous: str) -> None:
        """Say which of the quick comparisons failed, by parsing slowly."""
        index = self.size
        if record.index != index:
            self._find(index, "order", f"found the entry of index {record.index} here")
            return
        try:
            entry = parse_entry(record.entry)
        except TallystickError as error:
            self._find(index, "entry", str(error))
            return
        state = _LEAF.copy()
        state.update(record.entry)
        if entry.index != index:
            self._find(index, "order", f"the entry says it is number {entry.index}")
        elif entry.origin != self.origin:
            self._find(index, "origin", f"belongs to {entry.origin}, not to {self.origin}")
        elif entry.previous != previous:
            self._find(
                index,
                "chain",
                "is not chained to the entry before it: one of the two was changed, removed or put in",
            )
        elif entry.payload_sha256 != hashlib.sha256(record.payload).hexdigest():
            self._find(index, "body", "the body is not the one this entry commits to")
        elif entry.event_type != record.event_type:
            self._find(index, "type", f"stored as {record.event_type}, the entry says {entry.event_type}")
        elif record.event_id != event_id(state.digest()):
            self._find(index, "event id", "is not the one that belongs to this entry")
        else:
            self._find(index, "entry", "is not in its canonical spelling")

    def _kept_size(self) -> int | None:
        if not self._kept:
            return None
        try:
            return open_checkpoint(self._kept, all_keys(self.keys)).size
        except TallystickError:
            return None

    def _check_kept(self, root: bytes | None) -> None:
        kept, self._kept = self._kept, b""
        try:
            checkpoint = open_checkpoint(kept, all_keys(self.keys), origin=self.origin)
        except TallystickError as error:
            self._find(-1, "kept checkpoint", str(error))
            return
        if root is None and checkpoint.size > self.size:
            self._find(
                self.size,
                "truncated",
                f"the kept checkpoint covers {checkpoint.size} entries, {self.size} are left",
            )
        elif root is not None and checkpoint.root != root:
            self._find(
                checkpoint.size - 1,
                "forked",
                "the kept checkpoint has another root for this size: history was rewritten",
            )

    def _find(self, index: int, check: str, detail: str) -> None:
        self.findings.append(Finding(index=index, check=check, detail=detail))


_COMMITMENTS = frozenset({TopicsCommitted.TYPE, ReceiptsRecalled.TYPE})
_LOOKED_AT = (
    _COMMITMENTS
    | KEY_EVENT_TYPES
    | {ReceiptIssued.TYPE, BatchIngested.TYPE, DatasetDerived.TYPE, RunGatesDecided.TYPE}
)


class _ReceiptAudit:
    """Steps 6 and 8."""

    def __init__(self, chain: _ChainAudit) -> None:
        self._chain = chain
        self.findings: list[Finding] = []
        self.warnings: list[Finding] = []
        self.receipt_count = 0
        self.object_count = 0
        self._seen: set[Digest] = set()

    async def run(self, log: EventLog, ledger: str, vault: Vault | None) -> None:
        async def at(index: int) -> Recorded:
            return recorded_of(await record_at(log, ledger, index))

        for index in self._chain.later:
            recorded = await at(index)
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
