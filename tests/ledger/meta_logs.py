"""A meta-log of three leaves around any ledger's checkpoint, cosigned by witnesses."""

from __future__ import annotations

import hashlib
from typing import Any

from ledger.checkpoint import Checkpoint, format_checkpoint, sign_checkpoint
from ledger.cosignature import add_signatures, cosign
from ledger.entry import Entry, format_entry
from ledger.merkle import inclusion_path, leaf_hash, perfect_root, root_of
from ledger.meta_proof import MetaProof, meta_subject
from ledger.notes import VerifierKey
from ledger.policy import Policy, PolicyGroup, PolicyLog, PolicyWitness
from ledger.tlog_proof import TlogProof, format_tlog_proof
from tests.ledger.signing_key import SigningKey

META = SigningKey("tally.example/meta")
WITNESSES = tuple(SigningKey(f"witness.example/w{number}") for number in range(3))
COSIGNED_AT_S = 1_780_000_000


def policy_for(*logs: VerifierKey, threshold: int = 2) -> Policy:
    """These logs, and ``threshold`` of the three witnesses."""
    witnesses = tuple(
        PolicyWitness(name=f"w{number}", key=key.cosigner_key) for number, key in enumerate(WITNESSES)
    )
    names = tuple(witness.name for witness in witnesses)
    return Policy(
        logs=tuple(PolicyLog(key=key) for key in logs),
        witnesses=witnesses,
        groups=(PolicyGroup(name="most", threshold=threshold, members=names),),
        quorum="most",
    )


def meta_proof(
    checkpoint: bytes,
    tenant: VerifierKey,
    *,
    witnesses: tuple[SigningKey, ...] = WITNESSES[:2],
    log: SigningKey = META,
    index: int | None = None,
    **changes: Any,
) -> MetaProof:
    """Entry 1 of 3 in a meta-log, whose body is ``checkpoint``."""
    fields: dict[str, Any] = {
        "origin": META.name,
        "index": 1,
        "event_type": "tenant.checkpointed.v1",
        "recorded_at_ns": COSIGNED_AT_S * 1_000_000_000,
        "actor": "tallystick",
        "subject": meta_subject(tenant),
        "causation": (),
        "payload_size": len(checkpoint),
        "payload_sha256": hashlib.sha256(checkpoint).hexdigest(),
        "previous": "cd" * 32,
    }
    entry = format_entry(Entry(**{**fields, **changes}))
    leaves = [leaf_hash(b"before"), leaf_hash(entry), leaf_hash(b"after")]
    head = Checkpoint(origin=log.name, size=3, root=root_of(leaves))
    note = sign_checkpoint(head, log)
    lines = tuple(cosign(format_checkpoint(head), COSIGNED_AT_S, key) for key in witnesses)
    if lines:
        note = add_signatures(note, lines)
    path = inclusion_path(
        1, 3, lambda level, place: perfect_root(leaves[place << level : (place + 1) << level])
    )
    proof = TlogProof(index=1 if index is None else index, path=tuple(path), checkpoint=note)
    return MetaProof(entry=entry, proof=format_tlog_proof(proof))
