"""That a ledger's checkpoint is recorded in a meta-log, so that who cosigned the meta-log cosigned it too.

A *meta-log* is a ledger (``ledger.ledger``) whose entries of the type ``tenant.checkpointed.v1`` have another
ledger's signed checkpoint, byte for byte, as their body.  A receipt is then proven in two steps: its entry is
under its own ledger's checkpoint, and that checkpoint's entry is under the meta-log's, which witnesses
cosign.

Such an entry is filed under ``ledger/<label>``, where the label is

    hex(SHA-256("tallystick/meta/v1" LF <vkey of the ledger's first key> LF))

Whoever knows a ledger's key can tell its entries; whoever does not cannot guess whose they are, because a
public key, unlike a name, is not in any list of names.  The entry itself holds no name.

As it travels, in base64::

    {"entry": <the entry>, "keys": [<proven entry>, ...], "proof": <a tlog-proof of it>}

``keys`` is there from the first change of the meta-log's own keys on: its key events, all of those that the
proof's checkpoint covers, under that checkpoint (``ledger.key_chain``).

Verifying one:

1. The entry parses, and is of the type ``tenant.checkpointed.v1``.
2. Its payload size and digest are those of the checkpoint's bytes.
3. It is filed under the label of a key of the checkpoint's ledger, and is of another log than that.
4. The proof is of the entry's index and of its log, and leads from the entry's leaf hash to the root of its
   checkpoint.  A checkpoint that covers a change of the meta-log's keys comes with them, and they hold.
5. Where the policy names the meta-log: that checkpoint is signed by it and cosigned as the policy asks; with
   key events, the policy's key is any of the meta-log's, and it is signed by those that rule there.

Without 5 nothing is known but that the parts fit together; what is told then says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from msgspec import Struct

from domain.errors import InvalidError
from domain.events import TenantCheckpointed
from ledger.checkpoint import parse_checkpoint
from ledger.entry import Entry, parse_entry
from ledger.judged_checkpoint import MissingKeyEventsError, judge_checkpoint
from ledger.key_chain import verify_key_chain
from ledger.merkle import leaf_hash, verify_inclusion
from ledger.notes import VerifierKey, format_verifier_key, parse_note
from ledger.policy import Policy, WitnessedCheckpoint
from ledger.proven_entry import ProvenEntry
from ledger.sealing_keys import names_keys
from ledger.spelling import format_base64, parse_base64
from ledger.tlog_proof import parse_tlog_proof

LABEL_PREFIX = "tallystick/meta/v1"


class InvalidMetaProofError(InvalidError):
    """The checkpoint is not in the meta-log as it is said to be; ``field`` names the step."""


class MetaProof(Struct, frozen=True, kw_only=True):
    """The entry whose body is a ledger's checkpoint, a tlog-proof of that entry, and the meta-log's key
    events if it has changed its keys; nothing is verified."""

    entry: bytes
    proof: bytes
    keys: tuple[ProvenEntry, ...] = ()

    @property
    def origin(self) -> str:
        """The meta-log that the entry says it is of.  Raises: MalformedEntryError."""
        return parse_entry(self.entry).origin


class WireMetaProof(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A ``MetaProof`` as it travels, ``entry`` and ``proof`` in base64."""

    entry: str
    proof: str
    keys: tuple[ProvenEntry, ...] = ()


class VerifiedMeta(Struct, frozen=True, kw_only=True):
    """Where a checkpoint stands in a meta-log.  ``witnessed`` is None where the policy does not name that
    log: the parts fit together, and nobody that is trusted has signed them."""

    entry: Entry
    size: int
    witnessed: WitnessedCheckpoint | None


def meta_subject(first_key: VerifierKey) -> str:
    """What a ledger's checkpoints are filed under in a meta-log."""
    label = hashlib.sha256(f"{LABEL_PREFIX}\n{format_verifier_key(first_key)}\n".encode()).hexdigest()
    return f"ledger/{label}"


def wire_meta(meta: MetaProof) -> WireMetaProof:
    """Spell one."""
    return WireMetaProof(entry=format_base64(meta.entry), proof=format_base64(meta.proof), keys=meta.keys)


def read_meta(wire: WireMetaProof) -> MetaProof:
    """Read one.  Raises: MalformedError."""
    return MetaProof(
        entry=parse_base64(wire.entry, "meta.entry"),
        proof=parse_base64(wire.proof, "meta.proof"),
        keys=wire.keys,
    )


def verify_meta_proof(
    meta: MetaProof, checkpoint: bytes, *, origin: str, keys: Sequence[VerifierKey], policy: Policy
) -> VerifiedMeta:
    """Check by the steps above that ``checkpoint`` (a signed note, verified by the caller) of the ledger
    ``origin`` with these keys is recorded in a meta-log.

    Raises: MalformedError, InvalidMetaProofError (1 to 4), InvalidInclusionProofError (4), and what
    ``judge_checkpoint`` and ``verify_key_chain`` raise (4 and 5).
    """
    entry = parse_entry(meta.entry)
    if entry.event_type != TenantCheckpointed.TYPE:
        raise _failed(1, "not a checkpoint's entry", TenantCheckpointed.TYPE, entry.event_type)
    digest = hashlib.sha256(checkpoint).hexdigest()
    if (entry.payload_size, entry.payload_sha256) != (len(checkpoint), digest):
        raise _failed(2, "commits to another checkpoint", digest, entry.payload_sha256)
    labels = [meta_subject(key) for key in keys]
    if entry.subject not in labels:
        raise _failed(3, "filed under another ledger", " or ".join(labels), entry.subject)
    if entry.origin == origin:
        raise _failed(3, "a ledger cannot vouch for itself", f"another log than {origin}", entry.origin)
    proof = parse_tlog_proof(meta.proof)
    if proof.index != entry.index:
        raise _failed(4, "the proof is of another entry", str(entry.index), str(proof.index))
    told = parse_checkpoint(parse_note(proof.checkpoint).text)
    if told.origin != entry.origin:
        raise _failed(4, "another log's checkpoint", entry.origin, told.origin)
    verify_inclusion(proof.index, told.size, leaf_hash(meta.entry), proof.path, told.root)
    witnessed = None
    if any(log.key.name == entry.origin for log in policy.logs):
        witnessed = judge_checkpoint(proof.checkpoint, policy, meta.keys).witnessed
    elif meta.keys:
        verify_key_chain(meta.keys, proof.checkpoint, None)
    elif names_keys(told):
        raise MissingKeyEventsError(
            "the meta-log's keys have changed, and its key events are not here", field="meta.keys"
        )
    return VerifiedMeta(entry=entry, size=told.size, witnessed=witnessed)


def _failed(step: int, what: str, expected: str, actual: str) -> InvalidMetaProofError:
    return InvalidMetaProofError(what, field=f"meta, step {step}", expected=expected, actual=actual)
