"""Every fact the ledger can hold.

An event is past tense and carries a versioned type that is never edited once published; a change is a new
version and an upcaster.  Bodies hold no personal data: what is personal lives in the vault, encrypted under
the subject's key, and events name it by the digest of the ciphertext.  Fields at their default are left out
of the body.  All times are Unix nanoseconds, UTC.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

from msgspec import Struct

from domain.contract import Contract
from domain.digests import Digest
from domain.metrics import MetricTrack, Window
from domain.outcomes import Outcome, Reason
from domain.procedures.procedure import ChannelCalibration, RecordRevision


class LedgerOpened(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first entry of every ledger."""

    TYPE: ClassVar[str] = "ledger.opened.v1"
    tenant: str
    origin: str
    format_version: int


class KeyCreated(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A signing key came into force; ``verifier_key`` is a C2SP signed-note vkey (origin+id+base64)."""

    TYPE: ClassVar[str] = "key.created.v1"
    verifier_key: str
    algorithm: str


class KeySignature(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A signature under a key event; ``keyid`` is ``<key name>+<key id>``, the beginning of the key's
    vkey."""

    keyid: str
    signature: bytes


class KeyRotated(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A new signing key came into force, from this entry on and beside the older ones.

    ``previous`` is the digest of the body of the key event before.  ``signatures`` are by the keys that ruled
    before (``domain.key_history``), in their order, and then by the new key, which proves that it is held
    (``ledger.key_statement``).  ``algorithm`` is ``Ed25519`` or ``ML-DSA-44``.
    """

    TYPE: ClassVar[str] = "key.rotated.v1"
    verifier_key: str
    algorithm: str
    reason: str
    previous: Digest
    signatures: tuple[KeySignature, ...]


class KeyRevoked(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key retired: from this entry on it signs nothing; what it signed before stays valid.

    ``previous`` and ``signatures`` as in ``KeyRotated``, by the keys that ruled before.
    """

    TYPE: ClassVar[str] = "key.revoked.v1"
    verifier_key: str
    reason: str
    previous: Digest
    signatures: tuple[KeySignature, ...]


class KeyCompromised(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key is not believed from the entry at ``from_index`` on, which may be in the past; what it signed
    before that index stays valid.

    ``previous`` and ``signatures`` as in ``KeyRevoked``.
    """

    TYPE: ClassVar[str] = "key.compromised.v1"
    verifier_key: str
    from_index: int
    reason: str
    previous: Digest
    signatures: tuple[KeySignature, ...]


class ChannelDeclaration(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A channel as the device's maker describes it; ``sensor_serial`` is ``None`` where the identity is
    unknown."""

    name: str
    unit: str
    sensor_serial: str | None = None
    full_scale_counts: float | None = None


class DeviceRegistered(Struct, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "device.registered.v1"
    device_id: str
    manufacturer: str
    model: str
    serial_number: str
    channels: tuple[ChannelDeclaration, ...]


class DeviceConfigured(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Firmware and settings a device reported; the latest one before a run is the one in its receipt."""

    TYPE: ClassVar[str] = "device.configured.v1"
    device_id: str
    firmware: str
    configuration: dict[str, str]


class ConnectionRegistered(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person's link to a provider.  ``subject_key_id`` names the key that encrypts everything personal from
    it; destroying that key erases the person's data and leaves every proof valid."""

    TYPE: ClassVar[str] = "connection.registered.v1"
    connection_id: str
    provider: str
    subject_key_id: str


class CalibrationSet(Struct, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "calibration.set.v1"
    calibration_id: str
    device_id: str
    certificate_id: str
    certificate_digest: Digest | None
    laboratory: str
    issued_at_ns: int
    valid_from_ns: int
    valid_until_ns: int
    channels: tuple[ChannelCalibration, ...]


class ContractPublished(Struct, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "contract.published.v1"
    digest: Digest
    contract: Contract


class ProcedureDeployed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A procedure version came into force for everything it consumes, judged by a contract version.

    ``channels`` restricts a signal procedure to these channels, in this order (a coherence pair); empty means
    every channel of a dataset.
    """

    TYPE: ClassVar[str] = "procedure.deployed.v1"
    procedure: str
    version: str
    consumes: str
    source_digest: Digest
    options: dict[str, Any]
    contract_id: str
    contract_version: int
    channels: tuple[str, ...] = ()


class BatchIngested(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Raw bytes arrived and are safe.  ``kind`` is ``samples`` or a payload kind (``oura.sleep``).

    ``digest`` names the stored bytes: the upload itself, or its ciphertext when ``is_encrypted``.
    ``sequence`` is the sender's own running number, if it has one.
    """

    TYPE: ClassVar[str] = "batch.ingested.v1"
    batch_id: str
    source_id: str
    kind: str
    media_type: str
    byte_count: int
    digest: Digest
    is_encrypted: bool
    received_at_ns: int
    file_name: str = ""
    sequence: int | None = None
    provider_event_time_ns: int | None = None
    format_options: dict[str, Any] = {}
    """How the file is to be read, where it does not say so itself (channel names, units); part of what was
    promised at ingest."""


class DatasetChannel(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a dataset says of one channel without its samples."""

    name: str
    unit: str
    dtype: str
    sample_count: int
    sample_rate_hz: float
    start_ns: int
    end_ns: int
    gap_count: int = 0


class DatasetDerived(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A batch was turned into its canonical form; ``object_digest`` names the file in the vault, ``digest``
    the canonical content."""

    TYPE: ClassVar[str] = "dataset.derived.v1"
    batch_id: str
    source_id: str
    kind: str
    digest: Digest
    object_digest: Digest
    parser: str
    channels: tuple[DatasetChannel, ...] = ()


class BatchQuarantined(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A batch that cannot be used as it is; its bytes stay in the vault and can be reprocessed.

    ``stage`` is ``parse`` or ``map``; ``detail`` names fields and shapes, never a person's values.
    """

    TYPE: ClassVar[str] = "batch.quarantined.v1"
    batch_id: str
    source_id: str
    stage: str
    reason: str
    detail: str
    remedy: str
    procedure: str = ""
    procedure_version: str = ""


class DatasetReference(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A dataset by digest, and by the ledger index of the event that brought it."""

    digest: Digest
    index: int
    batch_index: int


class RunStarted(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run with everything it rests on, each part by the ledger index of the event that introduced it.

    ``run_id`` is derived from these inputs, so that starting the same run twice is the same fact.
    """

    TYPE: ClassVar[str] = "run.started.v1"
    run_id: str
    source_id: str
    procedure: str
    procedure_version: str
    deployment_index: int
    contract_index: int
    source_index: int
    configuration_index: int | None
    calibration_index: int | None
    datasets: tuple[DatasetReference, ...]
    supersedes: str = ""
    """Receipt id of the receipt this run's receipt will replace (reprocessing, correction), or empty."""
    withdrawn: str = ""
    """What the run rests on that had been recalled when it started; such a run abstains."""


class ArtifactReference(Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    media_type: str
    byte_count: int
    digest: Digest
    quantised_digest: Digest | None = None
    is_encrypted: bool = False


class GateTrack(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one gate said: per window and for the run.

    ``outcomes`` has one letter per window (``p`` pass, ``b`` borderline, ``f`` fail, ``a`` abstain);
    ``margins`` are in 0..1 (1 at the pass limit plus guard band or better, 0 at the fail limit or worse),
    ``None`` where the gate abstained; ``reasons`` per window, or empty when no window has one.  ``value`` is
    the metric in the window that decided, ``window`` its position.
    """

    gate_id: str
    metric: str
    unit: str
    outcomes: str
    margins: tuple[float | None, ...]
    reasons: tuple[Reason, ...]
    outcome: Outcome
    reason: Reason
    value: float | None
    margin: float | None
    window: int | None
    required: bool


class NumericEnvironment(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The settings and versions that can change bits of a numeric result, read back after import, not
    assumed."""

    class_digest: Digest
    facts: dict[str, str]


class RunGatesDecided(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run ended: what was measured in every window, what the gates said, what it may be presented as.

    ``window_scores`` is the validity of each window, the minimum of the margins of required gates (``None``
    where one abstained).
    """

    TYPE: ClassVar[str] = "run.gates_decided.v1"
    run_id: str
    windows: tuple[Window, ...]
    window_scores: tuple[float | None, ...]
    metrics: tuple[MetricTrack, ...]
    gates: tuple[GateTrack, ...]
    verdict: Outcome
    is_presentable: bool
    artifacts: tuple[ArtifactReference, ...]
    environment: NumericEnvironment
    revisions: tuple[RecordRevision, ...] = ()
    known_revisions: tuple[RecordRevision, ...] = ()
    """The newest revisions of the same records that were in force when this was decided; a replay judges
    against these."""
    failure: str = ""
    """Why the procedure produced nothing, when it failed; the run still gets its receipt."""


class ReceiptIssued(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A receipt was signed.  The body *is* the DSSE envelope, so that the entry commits to exactly what is
    handed out."""

    TYPE: ClassVar[str] = "receipt.issued.v1"
    envelope: bytes


class ReceiptReplayed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody ran a receipt again.  ``result`` is ``reproduced`` (same bytes), ``reproduced-quantised``
    (same numbers after rounding, in another numeric environment) or ``diverged``; ``first_difference`` says
    where."""

    TYPE: ClassVar[str] = "receipt.replayed.v1"
    receipt_id: str
    receipt_index: int
    result: str
    first_difference: str
    environment: NumericEnvironment


class RecallDeclared(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that receipts rest on turned out to be wrong.

    ``kind`` is ``calibration``, ``firmware`` or ``procedure``; ``target`` is ``<device>/<calibration id>``,
    ``<device>/<firmware>`` or ``<procedure>/<version>``.  What was withdrawn is not used by later runs;
    nothing old is changed.
    """

    TYPE: ClassVar[str] = "recall.declared.v1"
    recall_id: str
    kind: str
    target: str
    reason: str


class RecalledReceipt(Struct, frozen=True, kw_only=True):
    receipt_id: str
    index: int


class ReceiptsRecalled(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The receipts that a recall affects, all of them up to the recall's own entry, in as many parts as they
    need.

    ``part`` counts from 0; the last part has ``is_last`` and ``receipt_count`` is over all parts.
    """

    TYPE: ClassVar[str] = "receipts.recalled.v1"
    recall_id: str
    recall_index: int
    part: int
    is_last: bool
    receipt_count: int
    receipts: tuple[RecalledReceipt, ...]


class TopicsCommitted(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A commitment to everything that was recorded about every topic in the first ``size`` entries.

    ``root_sha256`` (hex) is the root of a Merkle tree whose leaves are sorted by topic (``ledger.topics``),
    so that both "these are all" and "there is none" can be proven.
    """

    TYPE: ClassVar[str] = "topics.committed.v1"
    size: int
    topic_count: int
    root_sha256: str


class TenantCheckpointed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tenant's ledger stood here; an event of a store's meta-log (``ledger.metalog``).

    The body *is* the checkpoint, a signed note, so that the entry commits to exactly what is handed out.
    """

    TYPE: ClassVar[str] = "tenant.checkpointed.v1"
    note: bytes


class StatementAdded(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody's bytes were put on record, whatever they are; the subject is ``statement/<media type>``.

    The body *is* the statement, so that the entry commits to exactly the bytes that came.  They stand in the
    ledger, readable, for as long as it does: personal data belongs in a batch, never here.
    """

    TYPE: ClassVar[str] = "statement.added.v1"
    statement: bytes


class SubjectErased(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person's data was erased: from this entry on nobody uses the key ``subject_key_id``, which encrypts
    everything personal from the connection, and the key is destroyed.

    ``reason`` is a code (``ledger.erasure.ErasureReason``); nothing about the person stands here.
    """

    TYPE: ClassVar[str] = "subject.erased.v1"
    connection_id: str
    subject_key_id: str
    reason: str


class LedgerRestored(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody accepted that this ledger goes on from another state than the newest one that was seen, such
    as an older one put back from a backup.

    ``seen`` is the newest checkpoint that the installation had seen, ``found`` the one that the store ended
    with; both are signed notes.  What ``seen`` covers and ``found`` does not is lost, and two checkpoints of
    one size may exist: here stands why.
    """

    TYPE: ClassVar[str] = "ledger.restored.v1"
    seen: str
    found: str
    reason: str


class CheckpointTimestamped(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A timestamp authority confirmed when a checkpoint existed (RFC 3161).

    The token is over the whole note of ``digest``, which is the seal of the entry at ``size - 1``.
    ``time_ns`` and ``accuracy_ns`` are what the token says; ``None`` where it says no accuracy.
    """

    TYPE: ClassVar[str] = "checkpoint.timestamped.v1"
    size: int
    digest: Digest
    authority: str
    time_ns: int
    accuracy_ns: int | None
    token: bytes


Event: TypeAlias = (
    LedgerOpened
    | KeyCreated
    | KeyRotated
    | KeyRevoked
    | KeyCompromised
    | DeviceRegistered
    | DeviceConfigured
    | ConnectionRegistered
    | CalibrationSet
    | ContractPublished
    | ProcedureDeployed
    | BatchIngested
    | DatasetDerived
    | BatchQuarantined
    | RunStarted
    | RunGatesDecided
    | ReceiptIssued
    | ReceiptReplayed
    | RecallDeclared
    | ReceiptsRecalled
    | TopicsCommitted
    | TenantCheckpointed
    | StatementAdded
    | SubjectErased
    | LedgerRestored
    | CheckpointTimestamped
)


class Recorded(Struct, frozen=True, kw_only=True):
    """An event with its place in the ledger; ``subject`` is what it is about, as ``kind/id``; ``causation``
    are the indices of the events that led to it."""

    index: int
    recorded_at_ns: int
    actor: str
    subject: str
    causation: tuple[int, ...]
    event: Event
