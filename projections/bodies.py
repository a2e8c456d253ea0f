"""Event bodies as far as the view reads them.

Bodies name only what is stored; msgspec checks those fields and skips the rest.  ``Raw`` fields stay JSON
text on their way through Python: DuckDB turns them into lists and structs, or stores the text as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, get_type_hints

import msgspec
from msgspec import Raw, Struct


class Nested:
    """JSON of a ``Raw`` field as DuckDB reads it: ``structure`` as ``from_json_strict`` wants it,
    ``sql_type`` what comes out.

    Strict means that a missing key, another type or malformed JSON is an error, and the entry a poison.
    ``carry`` is what is done to the text on its way.
    """

    def __init__(self, structure: str, sql_type: str, carry: Callable[[Raw], bytes] = bytes) -> None:
        self.structure = structure
        self.sql_type = sql_type
        self.carry = carry

    @classmethod
    def list_of(cls, element: type[Struct], *, is_filled: bool = False) -> Nested:
        """A list of such objects.  Events leave defaults out, so they are filled in; ``is_filled`` says
        that there are none."""
        fields = {name: _SQL_TYPES[hint] for name, hint in get_type_hints(element).items()}
        structure = ",".join(f'"{name}":"{kind}"' for name, kind in fields.items())
        sql_type = ", ".join(f'"{name}" {kind}' for name, kind in fields.items())
        decode = msgspec.json.Decoder(tuple[element, ...]).decode  # type: ignore[valid-type]
        carry = bytes if is_filled else lambda raw: msgspec.json.encode(decode(raw))
        return cls(f"[{{{structure}}}]", f"STRUCT({sql_type})[]", carry)


_SQL_TYPES: Final = {str: "VARCHAR", int: "BIGINT", int | None: "BIGINT", float: "DOUBLE"}


class Window(Struct, frozen=True, gc=False):
    start_ns: int | None
    end_ns: int | None


class DatasetChannel(Struct, frozen=True, gc=False):
    name: str
    unit: str
    dtype: str
    sample_count: int
    sample_rate_hz: float
    start_ns: int
    end_ns: int
    gap_count: int = 0


class DatasetReference(Struct, frozen=True, gc=False):
    digest: str
    index: int
    batch_index: int


class RecalledReceipt(Struct, frozen=True, gc=False):
    receipt_id: str
    index: int


NUMBERS: Final = Nested('["DOUBLE"]', "DOUBLE[]")
WINDOWS: Final = Nested.list_of(Window, is_filled=True)
# What every metric has, as ``from_json_strict`` wants it; it may have reasons and guard bands as well.
METRICS: Final = '[{"name":"VARCHAR","unit":"VARCHAR","values":["DOUBLE"]}]'


class DeviceRegistered(Struct, frozen=True, gc=False):
    device_id: str
    manufacturer: str
    model: str
    serial_number: str
    channels: Raw


class DeviceConfigured(Struct, frozen=True, gc=False):
    device_id: str
    firmware: str
    configuration: Raw


class ConnectionRegistered(Struct, frozen=True, gc=False):
    connection_id: str
    provider: str
    subject_key_id: str


class SubjectErased(Struct, frozen=True, gc=False):
    connection_id: str
    reason: str


class CalibrationSet(Struct, frozen=True, gc=False):
    calibration_id: str
    device_id: str
    certificate_id: str
    certificate_digest: str | None
    laboratory: str
    issued_at_ns: int
    valid_from_ns: int
    valid_until_ns: int
    channels: Raw


class ContractPublished(Struct, frozen=True, gc=False):
    digest: str
    contract: Raw


class ProcedureDeployed(Struct, frozen=True, gc=False):
    procedure: str
    version: str
    consumes: str
    source_digest: str
    contract_id: str
    contract_version: int
    options: Raw
    channels: Raw = Raw(b"[]")


class BatchIngested(Struct, frozen=True, gc=False):
    batch_id: str
    source_id: str
    kind: str
    media_type: str
    byte_count: int
    digest: str
    is_encrypted: bool
    received_at_ns: int
    file_name: str = ""
    sequence: int | None = None
    provider_event_time_ns: int | None = None


class DatasetDerived(Struct, frozen=True, gc=False):
    batch_id: str
    source_id: str
    kind: str
    digest: str
    object_digest: str
    parser: str
    channels: Annotated[Raw, Nested.list_of(DatasetChannel)] = Raw(b"[]")


class BatchQuarantined(Struct, frozen=True, gc=False):
    batch_id: str
    source_id: str
    stage: str
    reason: str
    detail: str
    remedy: str
    procedure: str = ""
    procedure_version: str = ""


class RunStarted(Struct, frozen=True, gc=False):
    run_id: str
    source_id: str
    procedure: str
    procedure_version: str
    deployment_index: int
    contract_index: int
    source_index: int
    configuration_index: int | None
    calibration_index: int | None
    datasets: Annotated[Raw, Nested.list_of(DatasetReference, is_filled=True)]
    supersedes: str = ""


class Gate(Struct, frozen=True, gc=False):
    """What is needed of every gate at once; all of it is in the text that ``RunGatesDecided.gates``
    carries."""

    gate_id: str
    outcomes: str
    outcome: str
    reason: str
    required: bool


class RunGatesDecided(Struct, frozen=True, gc=False):
    run_id: str
    verdict: str
    is_presentable: bool
    windows: Raw
    window_scores: Raw
    gates: Raw
    artifacts: Raw
    metrics: Raw
    failure: str = ""


class RecallDeclared(Struct, frozen=True, gc=False):
    recall_id: str
    kind: str
    target: str
    reason: str


class ReceiptsRecalled(Struct, frozen=True, gc=False):
    recall_id: str
    recall_index: int
    part: int
    receipts: Annotated[Raw, Nested.list_of(RecalledReceipt, is_filled=True)]


class ReceiptReplayed(Struct, frozen=True, gc=False):
    receipt_id: str
    receipt_index: int
    result: str
    first_difference: str
