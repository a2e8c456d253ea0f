"""Receipts: the signed statement that closes a run.

The body is an in-toto Statement v1; its subjects are the run's artifacts by digest, and its predicate (type
``PREDICATE_TYPE``) names everything the run rests on, by digest and by the ledger index of the event that
introduced it.  The statement is a pure function of recorded events: building it again from the same events
gives the same bytes.  It is signed as a DSSE envelope, and the envelope is the body of a
``receipt.issued.v1`` entry, so the ledger commits to exactly what is handed out.

A receipt's id is ``r`` and the first 24 hex digits of the statement's SHA-256; anybody who holds the receipt
can derive it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from domain.digests import Digest, digest_hex
from domain.errors import InvalidError, MalformedError
from domain.events import (
    ArtifactReference,
    BatchIngested,
    CalibrationSet,
    ConnectionRegistered,
    ContractPublished,
    DatasetDerived,
    DeviceConfigured,
    DeviceRegistered,
    GateTrack,
    NumericEnvironment,
    ProcedureDeployed,
    Recorded,
    RunGatesDecided,
    RunStarted,
)
from domain.metrics import Window
from domain.outcomes import Outcome
from ledger.dsse import format_envelope, parse_envelope, sign_envelope
from ledger.ports import Signer
from ledger.recorded import event_of
from ledger.run_facts import RunFacts
from ledger.statement import (
    PAYLOAD_TYPE,
    ResourceDescriptor,
    format_statement,
    parse_statement,
    statement_about,
)

PREDICATE_TYPE = "urn:tallystick:receipt:v1"


class SourcePart(Struct, frozen=True, kw_only=True):
    index: int
    source_id: str
    kind: str
    provider: str = ""
    manufacturer: str = ""
    model: str = ""
    serial_number: str = ""


class BatchPart(Struct, frozen=True, kw_only=True):
    index: int
    batch_id: str
    digest: Digest
    kind: str
    byte_count: int
    received_at_ns: int
    is_encrypted: bool


class DatasetPart(Struct, frozen=True, kw_only=True):
    index: int
    digest: Digest
    parser: str
    batch_index: int


class ConfigurationPart(Struct, frozen=True, kw_only=True):
    index: int
    firmware: str
    configuration: dict[str, str]


class CalibrationPart(Struct, frozen=True, kw_only=True):
    index: int
    calibration: CalibrationSet


class ContractPart(Struct, frozen=True, kw_only=True):
    index: int
    contract_id: str
    version: int
    digest: Digest


class ProcedurePart(Struct, frozen=True, kw_only=True):
    index: int
    name: str
    version: str
    source_digest: Digest
    options: dict[str, Any]
    channels: tuple[str, ...]


class RunPart(Struct, frozen=True, kw_only=True):
    run_id: str
    started_index: int
    started_at_ns: int
    decided_index: int


class Predicate(Struct, frozen=True, kw_only=True):
    """What a receipt says; every ``*index`` is a position in ``ledger``."""

    tenant: str
    ledger: str
    run: RunPart
    source: SourcePart
    batches: tuple[BatchPart, ...]
    datasets: tuple[DatasetPart, ...]
    configuration: ConfigurationPart | None
    calibration: CalibrationPart | None
    contract: ContractPart
    procedure: ProcedurePart
    environment: NumericEnvironment
    windows: tuple[Window, ...]
    window_scores: tuple[float | None, ...]
    gates: tuple[GateTrack, ...]
    abstentions: tuple[str, ...]
    failures: tuple[str, ...]
    failure: str
    verdict: Outcome
    is_presentable: bool
    supersedes: str


class Receipt(Struct, frozen=True, kw_only=True):
    """A signed receipt; ``envelope`` are the bytes that are recorded and handed out."""

    receipt_id: str
    statement: bytes
    envelope: bytes


def receipt_id_of(statement: bytes) -> str:
    """The id of the receipt with this statement."""
    return "r" + hashlib.sha256(statement).hexdigest()[:24]


def build_receipt(
    facts: RunFacts, decided: RunGatesDecided, decided_index: int, signers: Sequence[Signer]
) -> Receipt:
    """Sign the statement over a decided run, with every key in force."""
    statement = build_statement(facts, decided, decided_index)
    envelope = sign_envelope(PAYLOAD_TYPE, statement, signers)
    return Receipt(
        receipt_id=receipt_id_of(statement), statement=statement, envelope=format_envelope(envelope)
    )


def build_statement(facts: RunFacts, decided: RunGatesDecided, decided_index: int) -> bytes:
    """The statement's bytes; a pure function of recorded events.  Raises: InvalidError when events are not of
    the kind they must be."""
    subject = tuple(_subject(artifact) for artifact in decided.artifacts)
    predicate = _predicate(facts, decided, decided_index)
    return format_statement(statement_about(subject, PREDICATE_TYPE, predicate))


def parse_receipt(envelope: bytes) -> tuple[str, Predicate]:
    """The receipt's id and what it says, from envelope bytes; signatures are not checked here.

    Raises: MalformedError when it is not a receipt in its one spelling.
    """
    payload = parse_envelope(envelope).payload
    statement = parse_statement(payload)
    if statement.predicate_type != PREDICATE_TYPE:
        raise MalformedError(
            "not a receipt", field="predicateType", expected=PREDICATE_TYPE, actual=statement.predicate_type
        )
    return receipt_id_of(payload), statement.predicate_as(Predicate)


def _predicate(facts: RunFacts, decided: RunGatesDecided, decided_index: int) -> Predicate:
    started = event_of(facts.started, RunStarted)
    contract = event_of(facts.contract, ContractPublished)
    deployment = event_of(facts.deployment, ProcedureDeployed)
    return Predicate(
        tenant=facts.tenant,
        ledger=facts.origin,
        run=RunPart(
            run_id=started.run_id,
            started_index=facts.started.index,
            started_at_ns=facts.started.recorded_at_ns,
            decided_index=decided_index,
        ),
        source=_source_part(facts.source),
        batches=tuple(_batch_part(batch) for batch in facts.batches),
        datasets=tuple(
            _dataset_part(dataset, reference.batch_index)
            for dataset, reference in zip(facts.datasets, started.datasets, strict=True)
        ),
        configuration=None if facts.configuration is None else _configuration_part(facts.configuration),
        calibration=None
        if facts.calibration is None
        else CalibrationPart(
            index=facts.calibration.index, calibration=event_of(facts.calibration, CalibrationSet)
        ),
        contract=ContractPart(
            index=facts.contract.index,
            contract_id=contract.contract.contract_id,
            version=contract.contract.version,
            digest=contract.digest,
        ),
        procedure=ProcedurePart(
            index=facts.deployment.index,
            name=deployment.procedure,
            version=deployment.version,
            source_digest=deployment.source_digest,
            options=deployment.options,
            channels=deployment.channels,
        ),
        environment=decided.environment,
        windows=decided.windows,
        window_scores=decided.window_scores,
        gates=decided.gates,
        abstentions=tuple(gate.gate_id for gate in decided.gates if gate.outcome is Outcome.ABSTAIN),
        failures=tuple(gate.gate_id for gate in decided.gates if gate.outcome is Outcome.FAIL),
        failure=decided.failure,
        verdict=decided.verdict,
        is_presentable=decided.is_presentable,
        supersedes=started.supersedes,
    )


def _source_part(recorded: Recorded) -> SourcePart:
    match recorded.event:
        case DeviceRegistered() as event:
            return SourcePart(
                index=recorded.index,
                source_id=event.device_id,
                kind="device",
                manufacturer=event.manufacturer,
                model=event.model,
                serial_number=event.serial_number,
            )
        case ConnectionRegistered() as event:
            return SourcePart(
                index=recorded.index,
                source_id=event.connection_id,
                kind="connection",
                provider=event.provider,
            )
        case _:
            raise InvalidError(
                "not a source", field="index", actual=f"{recorded.index}: {recorded.event.TYPE}"
            )


def _batch_part(recorded: Recorded) -> BatchPart:
    event = event_of(recorded, BatchIngested)
    return BatchPart(
        index=recorded.index,
        batch_id=event.batch_id,
        digest=event.digest,
        kind=event.kind,
        byte_count=event.byte_count,
        received_at_ns=event.received_at_ns,
        is_encrypted=event.is_encrypted,
    )


def _dataset_part(recorded: Recorded, batch_index: int) -> DatasetPart:
    event = event_of(recorded, DatasetDerived)
    return DatasetPart(
        index=recorded.index, digest=event.digest, parser=event.parser, batch_index=batch_index
    )


def _configuration_part(recorded: Recorded) -> ConfigurationPart:
    event = event_of(recorded, DeviceConfigured)
    return ConfigurationPart(index=recorded.index, firmware=event.firmware, configuration=event.configuration)


def _subject(artifact: ArtifactReference) -> ResourceDescriptor:
    annotations = {"byte_count": str(artifact.byte_count), "is_encrypted": str(artifact.is_encrypted).lower()}
    if artifact.quantised_digest is not None:
        annotations["quantised_digest"] = artifact.quantised_digest
    return ResourceDescriptor(
        name=artifact.name,
        digest={"sha256": digest_hex(artifact.digest)},
        media_type=artifact.media_type,
        annotations=annotations,
    )
