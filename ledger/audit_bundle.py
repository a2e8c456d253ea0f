"""Audit bundles: receipts with everything they rest on, in one file that verifies offline.

Canonical JSON::

    {"checkpoint": <signed note>,
     "entries":    [{"entry": base64, "path": [base64, ...], "payload": base64}, ...],   ascending by index
     "format":     "tallystick/audit-bundle/v1",
     "objects":    {<digest>: base64, ...},        objects of the vault: none, some or all that receipts name
     "policy":     <tlog-policy>,                  who vouches for it, as its maker says; yours is what counts
     "receipts":   [<index>, ...],                 which of the entries are the receipts it is about
     "recipe":     [<line>, ...]}                  how to run them again

and where witnesses have cosigned, ``tallystick/audit-bundle/v2``: the policy names them, and

     "meta":       {...}                           where it is not the checkpoint that they have cosigned, but
                                                   that of a meta-log which holds it (ledger.meta_proof)

Its name ends in ``.audit.json``.  Verifying one (``verify_audit_bundle``):

1. It parses in its one spelling.  The checkpoint carries signatures by the ledger's keys and by those that
   the policy knows; others' cosignatures may be there, and are set aside.
2. The checkpoint is signed (and cosigned as the policy asks, by itself or through the meta-log:
   ``ledger.judged_covering``); if the ledger's keys have changed, its key events among the entries say which
   keys those are (``ledger.key_chain``).
3. Every entry is in the tree under the checkpoint and commits to its body.
4. Every receipt is signed by the ledger's key.
5. Every receipt's statement, built again from the entries it names, is the one that was signed.  So the
   batch, dataset, calibration, configuration, contract and procedure in it are those that were recorded, at
   the indices it says.
6. Nothing is in the bundle that no receipt names, but the ledger's first entries and its keys.
7. The policy in it names a key of the ledger, one of the meta-log if there is one, and the witnesses who
   have cosigned, and holds for it too.  The recipe is the one for these receipts.
8. Every object has the digest it is filed under, and some receipt or event names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from domain.canonical import canonical_json, parse_canonical
from domain.digests import Digest, digest_of
from domain.errors import InvalidError, LimitError, MalformedError, UnknownError
from domain.events import (
    BatchIngested,
    DatasetDerived,
    LedgerOpened,
    ReceiptIssued,
    Recorded,
    RunGatesDecided,
    RunStarted,
)
from domain.key_history import KeyEvent
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.desk import Desk
from ledger.dsse import parse_envelope, verify_envelope
from ledger.entry import parse_entry
from ledger.judged_covering import judge_covering
from ledger.meta_proof import VerifiedMeta, WireMetaProof, read_meta, wire_meta
from ledger.notes import VerifierKey, parse_note
from ledger.policy import (
    NO_QUORUM,
    Policy,
    PolicyGroup,
    PolicyLog,
    PolicyWitness,
    WitnessedCheckpoint,
    format_policy,
    parse_policy,
)
from ledger.proven_entry import ProvenEntry, open_proven_entry
from ledger.proving import covering_of_entry, prove_entries
from ledger.receipt import Predicate, build_statement, parse_receipt
from ledger.recorded import event_of
from ledger.replay import find_receipt
from ledger.run import decided_of, run_facts
from ledger.run_facts import gather_facts
from ledger.sealing_keys import names_keys, ruling_log_key
from ledger.spelling import format_base64, parse_base64
from ledger.statement import PAYLOAD_TYPE

FORMAT = "tallystick/audit-bundle/v1"
FORMAT_2 = "tallystick/audit-bundle/v2"
FILE_SUFFIX = ".audit.json"
MEDIA_TYPE = "application/vnd.tallystick.audit-bundle+json"
RECEIPTS_MAX = 1_000
AUDIT_BUNDLE_BYTES_MAX = 1024 * 1024 * 1024
# The first entries say whose ledger it is and with which key; a bundle always carries them.
_FIRST = (0, 1)
# What the policy in a bundle calls the witnesses, and all of them.
_GROUP = "cosigners"
# Bytes of a cosignature after its key id, by Ed25519 and by ML-DSA-44 (C2SP tlog-cosignature).
_COSIGNATURE_BYTES = (8 + 64, 8 + 2_420)


class InvalidAuditBundleError(InvalidError):
    """A step of the verification failed; ``field`` names it."""


class AuditBundle(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A bundle as it travels; nothing in it has been verified."""

    checkpoint: str
    entries: tuple[ProvenEntry, ...]
    format: str
    objects: dict[str, str]
    policy: str
    receipts: tuple[int, ...]
    recipe: tuple[str, ...]
    meta: WireMetaProof | None = None


class AuditedReceipt(Struct, frozen=True, kw_only=True):
    """A receipt of a verified bundle."""

    receipt_id: str
    index: int
    predicate: Predicate


class VerifiedAuditBundle(Struct, frozen=True, kw_only=True):
    """What a verified bundle shows."""

    checkpoint: Checkpoint
    witnessed: WitnessedCheckpoint
    """The checkpoint whose cosignatures counted: the ledger's own, or that of the meta-log that holds it."""
    meta: VerifiedMeta | None
    """Where the ledger's checkpoint stands in a meta-log, if the bundle says it does."""
    receipts: tuple[AuditedReceipt, ...]
    entry_count: int
    objects: tuple[Digest, ...]


async def make_audit_bundle(
    desk: Desk, receipt_ids: Iterable[str], *, with_objects: bool = False, is_newest: bool = False
) -> bytes:
    """The bundle of these receipts, under the newest checkpoint that witnesses have cosigned and that covers
    them all, or the newest seal (``covering_of_entry``).

    With objects, batches, datasets and artifacts are put in as they lie in the vault (a person's stay
    encrypted).  Raises: UnknownError, LimitError.
    """
    ledger = desk.ledger
    receipts = sorted({await find_receipt(desk, receipt_id) for receipt_id in receipt_ids})
    if not 1 <= len(receipts) <= RECEIPTS_MAX:
        raise LimitError(
            "too many or no receipts", expected=f"1 to {RECEIPTS_MAX}", actual=str(len(receipts))
        )
    indices: set[int] = {*_FIRST, *receipts}
    digests: set[Digest] = set()
    ids: list[str] = []
    for index in receipts:
        envelope = event_of((await ledger.get(index))[1], ReceiptIssued).envelope
        receipt_id, predicate = parse_receipt(envelope)
        ids.append(receipt_id)
        facts = await run_facts(ledger, predicate.run.started_index)
        decided = await decided_of(ledger, predicate.run.decided_index)
        indices |= _named(predicate, event_of(facts.started, RunStarted))
        digests |= {event_of(batch, BatchIngested).digest for batch in facts.batches}
        digests |= {event_of(dataset, DatasetDerived).object_digest for dataset in facts.datasets}
        digests |= {artifact.digest for artifact in decided.artifacts}
    covering = await covering_of_entry(ledger, max(receipts), is_newest=is_newest)
    keys = ledger.state.keys
    indices |= {index for index in keys.indices if index < covering.size}
    _, entries = await prove_entries(ledger, sorted(indices), covering.checkpoint)
    held = sorted(digests) if with_objects else []
    return canonical_json(
        AuditBundle(
            checkpoint=covering.checkpoint.decode(),
            entries=tuple(entries),
            format=FORMAT_2 if covering.is_witnessed else FORMAT,
            objects={digest: format_base64(await desk.vault.get(digest)) for digest in held},
            policy=_policy_text(ruling_log_key(keys, covering.size), covering.meta_key, covering.cosigners),
            receipts=tuple(receipts),
            recipe=_recipe(ids),
            meta=None if covering.meta is None else wire_meta(covering.meta),
        )
    )


async def verify_audit_bundle(data: bytes, policy: Policy) -> VerifiedAuditBundle:
    """Verify a bundle by your own policy.  Raises: MalformedError, LimitError, InvalidError naming the
    step."""
    if len(data) > AUDIT_BUNDLE_BYTES_MAX:
        raise LimitError(
            "bundle too long", expected=f"<= {AUDIT_BUNDLE_BYTES_MAX} bytes", actual=str(len(data))
        )
    bundle = parse_canonical(data.removesuffix(b"\n"), AuditBundle)  # 1
    if bundle.format not in (FORMAT, FORMAT_2):
        raise MalformedError(
            "unknown format",
            field="format",
            expected=f"{FORMAT} or {FORMAT_2}",
            actual=bundle.format[:80],
        )
    note = bundle.checkpoint.encode()
    key_events = [part for part in bundle.entries if _is_key_event(part)]
    if not names_keys(parse_checkpoint(parse_note(note).text)):
        key_events = []
    meta = None if bundle.meta is None else read_meta(bundle.meta)
    covering = judge_covering(note, policy, key_events, meta)  # 2
    checkpoint, judged = covering.checkpoint, covering.judged
    known = {(key.name, key.key_id) for key in (*policy.keys, *judged.keys)}
    for line in parse_note(note).signatures:
        is_others = line.name != checkpoint.origin and len(line.signature) in _COSIGNATURE_BYTES
        if (line.name, line.key_id) not in known and not is_others:
            raise _failed(1, "the checkpoint carries a signature by a key that is not known")
    opened = [open_proven_entry(part, checkpoint) for part in bundle.entries]  # 3
    recorded = {one.recorded.index: one.recorded for one in opened}
    if [one.recorded.index for one in opened] != sorted(recorded):
        raise _failed(3, "entries are not ascending, each once")
    audited, named, digests = [], set(_FIRST), set()

    async def at(index: int) -> Recorded:
        if index not in recorded:
            raise UnknownError(
                "step 5 failed: an entry that a receipt names is not in the bundle", actual=str(index)
            )
        return recorded[index]

    for index in bundle.receipts:
        envelope = event_of(await at(index), ReceiptIssued).envelope
        parsed = parse_envelope(envelope)
        judged.check_signers(index, verify_envelope(parsed, judged.keys, payload_type=PAYLOAD_TYPE))  # 4
        receipt_id, predicate = parse_receipt(envelope)
        facts = await gather_facts(
            at,
            origin=checkpoint.origin,
            tenant=event_of(await at(0), LedgerOpened).tenant,
            started_index=predicate.run.started_index,
        )
        decided = event_of(await at(predicate.run.decided_index), RunGatesDecided)
        if build_statement(facts, decided, predicate.run.decided_index) != parsed.payload:  # 5
            raise _failed(5, f"receipt {receipt_id} says something else than the events it names")
        if recorded[index].subject != f"receipt/{receipt_id}":
            raise _failed(5, f"receipt {receipt_id} is filed as {recorded[index].subject}")
        named |= {index, *_named(predicate, event_of(facts.started, RunStarted))}
        digests |= {event_of(batch, BatchIngested).digest for batch in facts.batches}
        digests |= {event_of(dataset, DatasetDerived).object_digest for dataset in facts.datasets}
        digests |= {artifact.digest for artifact in decided.artifacts}
        audited.append(AuditedReceipt(receipt_id=receipt_id, index=index, predicate=predicate))
    if not audited:
        raise _failed(4, "there is no receipt in it")
    strangers = set(recorded) - named
    if any(not isinstance(recorded[index].event, LedgerOpened | KeyEvent) for index in strangers):  # 6
        raise _failed(6, f"entries that no receipt names: {sorted(strangers)[:5]}")
    stated = _stated_policy(bundle, judged.keys)  # 7
    judge_covering(note, stated, key_events, meta)
    if bundle.recipe != _recipe([one.receipt_id for one in audited]):
        raise _failed(7, "the recipe is not the one for these receipts")
    for digest, content in bundle.objects.items():  # 8
        if digest not in digests:
            raise _failed(8, f"an object that nothing names: {digest}")
        if digest_of(parse_base64(content, digest)) != digest:
            raise _failed(8, f"object {digest} has other bytes")
    return VerifiedAuditBundle(
        checkpoint=checkpoint,
        witnessed=covering.witnessed,
        meta=covering.meta,
        receipts=tuple(audited),
        entry_count=len(opened),
        objects=tuple(sorted(bundle.objects)),
    )


def stated_cosigners(data: bytes) -> list[str]:
    """The witnesses who have cosigned, as the bundle itself says; nothing is verified.  Raises:
    MalformedError."""
    policy = parse_policy(parse_canonical(data.removesuffix(b"\n"), AuditBundle).policy.encode())
    return [witness.key.name for witness in policy.witnesses]


def _is_key_event(part: ProvenEntry) -> bool:
    return parse_entry(parse_base64(part.entry, "entry")).event_type.startswith("key.")


def _stated_policy(bundle: AuditBundle, keys: Sequence[VerifierKey]) -> Policy:
    """The policy in a bundle, which names one of the ledger's keys, one of the meta-log's if there is one,
    and witnesses, all of whom it asks for.  Raises: MalformedError, InvalidAuditBundleError."""
    stated = parse_policy(bundle.policy.encode())
    logs = [log.key for log in stated.logs]
    if len(logs) != (1 if bundle.meta is None else 2) or logs[0] not in keys:
        raise _failed(7, "the policy names other logs")
    if bundle.policy != _policy_text(
        logs[0], None if len(logs) == 1 else logs[1], [one.key for one in stated.witnesses]
    ):
        raise _failed(7, "the policy asks for something else than for those who have cosigned")
    if bundle.format != (FORMAT_2 if stated.witnesses or bundle.meta else FORMAT):
        raise _failed(7, f"a bundle of the version {bundle.format} with that policy")
    return stated


def _policy_text(log: VerifierKey, meta: VerifierKey | None, cosigners: Sequence[VerifierKey]) -> str:
    witnesses = tuple(
        PolicyWitness(name=f"w{number}", key=key) for number, key in enumerate(cosigners, start=1)
    )
    group = PolicyGroup(
        name=_GROUP, threshold=len(witnesses), members=tuple(witness.name for witness in witnesses)
    )
    policy = Policy(
        logs=tuple(PolicyLog(key=key) for key in (log, meta) if key is not None),
        witnesses=witnesses,
        groups=(group,) if witnesses else (),
        quorum=_GROUP if witnesses else NO_QUORUM,
    )
    return format_policy(policy).decode()


def _recipe(receipt_ids: Sequence[str]) -> tuple[str, ...]:
    """How to run the receipts again, where the ledger and its vault are."""
    return (
        "Check out the version of Tallystick whose procedure sources the receipts name.",
        "Open the ledger and the vault they came from (TALLY_HOME).",
        *(f"tally replay {receipt_id}" for receipt_id in receipt_ids),
    )


def _named(predicate: Predicate, started: RunStarted) -> set[int]:
    """Indices of everything that a receipt rests on, its run and its decision."""
    optional = (started.configuration_index, started.calibration_index)
    return {
        predicate.run.started_index,
        predicate.run.decided_index,
        started.source_index,
        started.contract_index,
        started.deployment_index,
        *(index for index in optional if index is not None),
        *(dataset.index for dataset in started.datasets),
        *(dataset.batch_index for dataset in started.datasets),
    }


def _failed(step: int, what: str) -> InvalidAuditBundleError:
    return InvalidAuditBundleError(f"step {step} failed: {what}", field=f"step {step}")
