"""Verifying a receipt bundle, offline, with nothing but a public key.

1. The bundle parses in its one spelling.
2. The entry parses, and it is a ``receipt.issued.v1`` of the ledger whose name is the key's.
3. The entry commits to the envelope: its payload digest is the SHA-256 of the envelope's bytes.
4. The proof's checkpoint is signed by the key (and cosigned as the policy asks), for the same ledger.  Where
   the bundle says that this checkpoint is recorded in a meta-log, it is (``ledger.meta_proof``); where the
   policy names that meta-log, it is the meta-log's checkpoint that is cosigned as the policy asks
   (``ledger.judged_covering``).  Where the
   bundle carries the ledger's key events, the key is any one of that history, and the checkpoint is signed
   by the keys that rule at its last entry (``ledger.key_chain``).  A checkpoint that covers a change of keys
   comes with them.
5. The proof leads from the entry's leaf hash, at the entry's own index, to the checkpoint's root.
6. The envelope's signature is the key's, over an in-toto Statement; with a history of keys, it is signed by
   those that rule at the entry's index, and none of what they sign there was disowned later.
7. The statement is a receipt in its one spelling, of the same ledger, and the entry is filed under the
   receipt's id.
8. What it rests on came before it: every index in it is smaller than the entry's.
9. Its verdict follows from its gates: fail > abstain (required) > borderline > pass, and only what is
   presentable is presented.
10. Artifacts that the caller holds have the digests that the receipt names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from msgspec import Struct

from domain.digests import digest_hex, digest_of
from domain.errors import InvalidError
from domain.events import ReceiptIssued
from domain.outcomes import Outcome, worst
from ledger.bundle import parse_bundle
from ledger.checkpoint import Checkpoint
from ledger.dsse import parse_envelope, verify_envelope
from ledger.entry import Entry, parse_entry
from ledger.judged_covering import judge_covering
from ledger.merkle import leaf_hash, verify_inclusion
from ledger.meta_proof import VerifiedMeta
from ledger.policy import Policy, WitnessedCheckpoint
from ledger.receipt import Predicate, parse_receipt
from ledger.statement import PAYLOAD_TYPE, parse_statement
from ledger.tlog_proof import parse_tlog_proof

STEPS = {
    1: "bundle parses",
    2: "entry is a receipt of this ledger",
    3: "entry commits to the envelope",
    4: "checkpoint is signed",
    5: "entry is in the ledger",
    6: "receipt is signed",
    7: "statement is this receipt",
    8: "everything it rests on came before",
    9: "verdict follows from the gates",
    10: "artifacts are the ones it names",
}


class InvalidReceiptError(InvalidError):
    """A step of the verification failed; ``field`` names it."""


class VerifiedReceipt(Struct, frozen=True, kw_only=True):
    """A receipt that passed every step."""

    receipt_id: str
    entry: Entry
    checkpoint: Checkpoint
    witnessed: WitnessedCheckpoint
    """The checkpoint whose cosignatures counted: the ledger's own, or that of the meta-log that holds it."""
    meta: VerifiedMeta | None
    """Where the ledger's checkpoint stands in a meta-log, if the bundle says it does."""
    predicate: Predicate
    artifacts: dict[str, str]
    """Digest of every artifact by name."""
    checked_artifacts: tuple[str, ...]


def verify_bundle(
    data: bytes, policy: Policy, artifacts: Mapping[str, bytes] | None = None
) -> VerifiedReceipt:
    """Verify a bundle by a policy (``ledger.policy.policy_of_log`` for a bare public key).

    ``artifacts`` are files that the caller holds, by artifact name.  Raises: MalformedError (1, 2, 7),
    InvalidError naming the step.
    """
    bundle = parse_bundle(data)  # 1
    entry = parse_entry(bundle.entry)
    if entry.event_type != ReceiptIssued.TYPE:
        raise _failed(2, expected=ReceiptIssued.TYPE, actual=entry.event_type)
    known = [log.key for log in policy.logs if log.key.name == entry.origin]
    if not known:
        raise _failed(
            2,
            expected=" or ".join(sorted({log.key.name for log in policy.logs})),
            actual=entry.origin,
            remedy="Use the public key of that ledger.",
        )
    if (
        hashlib.sha256(bundle.envelope).hexdigest() != entry.payload_sha256
        or len(bundle.envelope) != entry.payload_size
    ):
        raise _failed(3)
    proof = parse_tlog_proof(bundle.proof)
    if proof.index != entry.index:
        raise _failed(5, expected=f"index {entry.index}", actual=f"index {proof.index}")
    covering = judge_covering(proof.checkpoint, policy, bundle.keys, bundle.meta)  # 4
    checkpoint = covering.checkpoint
    if checkpoint.origin != entry.origin:
        raise _failed(4, expected=entry.origin, actual=checkpoint.origin)
    verify_inclusion(proof.index, checkpoint.size, leaf_hash(bundle.entry), proof.path, checkpoint.root)  # 5
    envelope = parse_envelope(bundle.envelope)
    signers = verify_envelope(envelope, covering.judged.keys, payload_type=PAYLOAD_TYPE)  # 6
    covering.judged.check_signers(entry.index, signers)
    receipt_id, predicate = parse_receipt(bundle.envelope)
    if predicate.ledger != entry.origin or entry.subject != f"receipt/{receipt_id}":
        raise _failed(
            7,
            expected=f"{entry.subject} of {entry.origin}",
            actual=f"receipt/{receipt_id} of {predicate.ledger}",
        )
    _check_order(predicate, entry)
    _check_verdict(predicate)
    named = {
        subject.name: subject.digest["sha256"]
        for subject in parse_statement(envelope.payload).subject
        if "sha256" in subject.digest
    }
    for name, content in (artifacts or {}).items():
        if name not in named:
            raise _failed(10, expected=", ".join(sorted(named)), actual=name)
        if digest_hex(digest_of(content)) != named[name]:
            raise _failed(10, expected=f"{name} {named[name]}", actual=digest_hex(digest_of(content)))
    return VerifiedReceipt(
        receipt_id=receipt_id,
        entry=entry,
        checkpoint=checkpoint,
        witnessed=covering.witnessed,
        meta=covering.meta,
        predicate=predicate,
        artifacts=named,
        checked_artifacts=tuple(sorted(artifacts or ())),
    )


def _check_order(predicate: Predicate, entry: Entry) -> None:
    indices = {
        "run.started_index": predicate.run.started_index,
        "run.decided_index": predicate.run.decided_index,
        "source": predicate.source.index,
        "contract": predicate.contract.index,
        "procedure": predicate.procedure.index,
    }
    indices |= {f"batches[{i}]": part.index for i, part in enumerate(predicate.batches)}
    indices |= {f"datasets[{i}]": part.index for i, part in enumerate(predicate.datasets)}
    if predicate.calibration is not None:
        indices["calibration"] = predicate.calibration.index
    if predicate.configuration is not None:
        indices["configuration"] = predicate.configuration.index
    for name, index in indices.items():
        if not 0 <= index < entry.index:
            raise _failed(8, expected=f"{name} before entry {entry.index}", actual=str(index))


def _check_verdict(predicate: Predicate) -> None:
    required = worst(gate.outcome for gate in predicate.gates if gate.required)
    optional = (
        gate.outcome for gate in predicate.gates if not gate.required and gate.outcome is not Outcome.ABSTAIN
    )
    verdict = worst((required, *optional))
    if verdict is not predicate.verdict:
        raise _failed(9, expected=verdict, actual=predicate.verdict)
    if predicate.is_presentable and predicate.verdict in (Outcome.FAIL, Outcome.ABSTAIN):
        raise _failed(9, expected="withheld", actual=f"{predicate.verdict}, presented")


def _failed(step: int, *, expected: str = "", actual: str = "", remedy: str = "") -> InvalidReceiptError:
    return InvalidReceiptError(
        f"step {step} failed: {STEPS[step]}",
        field=f"step {step}",
        expected=expected,
        actual=actual,
        remedy=remedy,
    )
