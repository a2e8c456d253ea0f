"""Receipts: the signed statement that closes a run.

The body is an in-toto Statement v1; its subjects are the run's artifacts by digest, and its predicate (type ``PREDICATE_TYPE``) names
everything the run rests on, by digest and by the ledger index of the event that introduced it.  The statement is a pure function of
recorded events: building it again from the same events gives the same bytes.  It is signed as a DSSE envelope, and the envelope is the
body of a ``receipt.issued.v1`` entry, so the ledger commits to exactly what is handed out.

A receipt's id is ``r`` and the first 24 hex digits of the statement's SHA-256; anybody who holds the receipt can derive it.
"""

from __future__ import annotations

import hashlib
from typing import Any

from msgspec import Struct

from domain.canonical import canonical_json
from domain.contract import Contract
from domain.digests import Digest, digest_hex
from domain.errors import InvalidError
from domain.events import (
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
from ledger.dsse import Envelope, format_envelope, sign_envelope
from ledger.ports import Signer

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "urn:tallystick:receipt:v1"


class Named(Struct, frozen=True, kw_only=True):
    """Something by digest and by the index of the event that brought it."""

    index: int
    digest: Digest


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


class Subject(Struct, frozen=True, kw_only=True):
    """An artifact in in-toto's terms; ``annotations`` carry media type, size, encryption and the quantised digest."""

    name: str
    digest: dict[str, str]
    annotations: dict[str, str]


class Statement(Struct, frozen=True, kw_only=True):
    """in-toto Statement v1 with our predicate."""

    type_: str
    subject: tuple[Subject, ...]
    predicate_type: str
    predicate: Predicate


class RunFacts(Struct, frozen=True, kw_only=True):
    """The recorded events a run rests on, each with its index."""

    origin: str
    tenant: str
    started: Recorded
    source: Recorded
    configuration: Recorded | None
    calibration: Recorded | None
    contract: Recorded
    deployment: Recorded
    batches: tuple[Recorded, ...]
    datasets: tuple[Recorded, ...]


class Receipt(Struct, frozen=True, kw_only=True):
    """A signed receipt; ``envelope`` are the bytes that are recorded and handed out."""

    receipt_id: str
    statement: bytes
    envelope: bytes


def receipt_id_of(statement: bytes) -> str:
    """The id of the receipt with this statement."""
    return "r" + hashlib.sha256(statement).hexdigest()[:24]
