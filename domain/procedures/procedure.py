"""What a procedure is: a named, versioned, pure function from inputs to artifacts and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from domain.metrics import MetricTrack, Window

if TYPE_CHECKING:
    # Whoever only verifies receipts reads what runs recorded, and does not wait for numpy.
    from domain.dataset import Dataset


class ChannelCalibration(Struct, frozen=True, kw_only=True):
    """Constants of one channel: ``sensitivity`` in ``sensitivity_unit`` (for example ``counts/(m/s)``), its
    relative standard uncertainty, and the serial number of the sensor it was measured on (``None``: identity
    unknown)."""

    channel: str
    sensor_serial: str | None
    sensitivity: float
    sensitivity_unit: str
    uncertainty_relative: float
    full_scale_counts: float | None = None


class CalibrationInForce(Struct, frozen=True, kw_only=True):
    """The calibration that applied to the source when the data were recorded; times are Unix nanoseconds."""

    calibration_id: str
    certificate_id: str
    issued_at_ns: int
    valid_from_ns: int
    valid_until_ns: int
    channels: tuple[ChannelCalibration, ...]


class ProcedureInput(Struct, frozen=True, kw_only=True, eq=False):
    """Everything a procedure may look at.  Signal procedures read ``datasets``, mappers read ``payload``."""

    options: Mapping[str, Any]
    datasets: tuple[Dataset, ...] = ()
    payload: bytes = b""
    calibration: CalibrationInForce | None = None
    received_at_ns: int = 0
    """When the batch arrived (recorded by the ingest event), for freshness."""
    provider_event_time_ns: int | None = None
    """The time in the provider's notification, where there was one (recorded by the ingest event); orders
    revisions whose documents carry no time of their own."""
    record_key_secret: bytes = b""
    """Key for the keyed digests that name a person's records without revealing them; mappers only."""


class Artifact(Struct, frozen=True, kw_only=True):
    """Bytes a run produced.  ``quantised`` holds the same numbers rounded as documented (1e-6 for scores in
    [0, 1], nine significant digits for spectra, 1e-9 s for delays), so that results can be compared across
    numeric environments; ``None`` where the bytes hold no computed floats."""

    name: str
    media_type: str
    data: bytes
    quantised: bytes | None = None


class RecordRevision(Struct, frozen=True, kw_only=True):
    """Where one mapped record stands in the order of its revisions.

    ``record_key`` is a keyed digest of the record's natural key; ``rank`` orders revision states (0
    tentative, 1 final, 2 corrected, 3 deleted); ``ordering_ns`` is the provider's own time of the revision.
    """

    record_key: str
    rank: int
    ordering_ns: int


class ProcedureResult(Struct, frozen=True, kw_only=True):
    """What a procedure returns: windows, one metric value per window and metric, artifacts, and (mappers)
    record revisions, one per window."""

    windows: tuple[Window, ...]
    metrics: tuple[MetricTrack, ...]
    artifacts: tuple[Artifact, ...]
    revisions: tuple[RecordRevision, ...] = ()


class Procedure(Struct, frozen=True, kw_only=True):
    """A version of an algorithm or mapper.

    ``consumes`` is ``samples`` or a payload kind such as ``oura.sleep``.  ``numeric`` procedures run in the
    pinned child process. ``run`` raises MalformedError when the input cannot be processed at all (the batch
    is then quarantined).
    """

    name: str
    version: str
    consumes: str
    numeric: bool
    run: Callable[[ProcedureInput], ProcedureResult]
