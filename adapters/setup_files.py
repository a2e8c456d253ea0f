"""Setup files: devices, connections, calibrations, contracts and deployments declared in one YAML or JSON document.

Applying the same file twice changes nothing, so it can live in version control and be applied by a deployment.  Instants are ISO 8601 with
an offset (``2026-01-15T00:00:00Z``).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from adapters.plain_documents import parse_plain
from domain.digests import Digest
from domain.errors import MalformedError
from domain.events import CalibrationSet, ChannelDeclaration, DeviceConfigured, DeviceRegistered
from domain.procedures.procedure import ChannelCalibration

_NANOSECONDS_PER_SECOND = 1_000_000_000


class Channel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    unit: str
    sensor_serial: str | None = None
    full_scale_counts: float | None = None


class Device(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    device_id: str
    manufacturer: str
    model: str
    serial_number: str
    channels: tuple[Channel, ...]
    firmware: str = ""
    configuration: dict[str, str] = {}


class Connection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    connection_id: str
    provider: str


class CalibratedChannel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    channel: str
    sensitivity: float
    sensitivity_unit: str
    uncertainty_relative: float
    sensor_serial: str | None = None
    full_scale_counts: float | None = None


class Calibration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    calibration_id: str
    device_id: str
    certificate_id: str
    laboratory: str
    issued_at: str
    valid_from: str
    valid_until: str
    channels: tuple[CalibratedChannel, ...]
    certificate_digest: Digest | None = None


class DeploymentRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    procedure: str
    version: str
    consumes: str
    contract: str
    contract_version: int
    channels: tuple[str, ...] = ()
    options: dict[str, Any] = {}


class Setup(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A parsed setup; ``contracts`` are paths relative to the setup file."""

    devices: tuple[Device, ...] = ()
    connections: tuple[Connection, ...] = ()
    calibrations: tuple[Calibration, ...] = ()
    contracts: tuple[str, ...] = ()
    deployments: tuple[DeploymentRequest, ...] = ()


def parse_setup(data: bytes, name: str) -> Setup:
    """Parse a setup document; ``name`` is for messages.  Raises: MalformedError naming the path, LimitError."""
    document = parse_plain(data, name)
    try:
        setup = msgspec.convert(document.tree, Setup)
    except msgspec.ValidationError as error:
        raise MalformedError(
            "not a setup",
            field=name,
            actual=str(error),
            remedy="See docs/setup.md for what a setup file may hold.",
        ) from error
    for calibration in setup.calibrations:
        calibration_of(calibration)
    return setup


def device_of(device: Device) -> DeviceRegistered:
    """The registration that a declared device stands for."""
    return DeviceRegistered(
        device_id=device.device_id,
        manufacturer=device.manufacturer,
        model=device.model,
        serial_number=device.serial_number,
        channels=tuple(
            ChannelDeclaration(
                name=channel.name,
                unit=channel.unit,
                sensor_serial=channel.sensor_serial,
                full_scale_counts=channel.full_scale_counts,
            )
            for channel in device.channels
        ),
    )


def configuration_of(device: Device) -> DeviceConfigured:
    """Firmware and settings of a declared device."""
    return DeviceConfigured(
        device_id=device.device_id, firmware=device.firmware, configuration=device.configuration
    )


def calibration_of(calibration: Calibration) -> CalibrationSet:
    """The calibration that was declared.  Raises: MalformedError for an instant that is not one."""
    return CalibrationSet(
        calibration_id=calibration.calibration_id,
        device_id=calibration.device_id,
        certificate_id=calibration.certificate_id,
        certificate_digest=calibration.certificate_digest,
        laboratory=calibration.laboratory,
        issued_at_ns=instant_ns(calibration.issued_at, f"{calibration.calibration_id}.issued_at"),
        valid_from_ns=instant_ns(calibration.valid_from, f"{calibration.calibration_id}.valid_from"),
        valid_until_ns=instant_ns(calibration.valid_until, f"{calibration.calibration_id}.valid_until"),
        channels=tuple(
            ChannelCalibration(
                channel=channel.channel,
                sensor_serial=channel.sensor_serial,
                sensitivity=channel.sensitivity,
                sensitivity_unit=channel.sensitivity_unit,
                uncertainty_relative=channel.uncertainty_relative,
                full_scale_counts=channel.full_scale_counts,
            )
            for channel in calibration.channels
        ),
    )


def instant_ns(text: str, field: str) -> int:
    """Unix nanoseconds of an ISO 8601 instant with an offset.  Raises: MalformedError."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise MalformedError(
            "not an instant", field=field, expected="ISO 8601 with an offset", actual=text[:40]
        ) from error
    if instant.tzinfo is None:
        raise MalformedError(
            "an instant needs its offset", field=field, expected=f"{text}Z or {text}+01:00", actual=text[:40]
        )
    epoch = datetime.fromtimestamp(0, instant.tzinfo)
    delta = instant - epoch
    return (delta.days * 86_400 + delta.seconds) * _NANOSECONDS_PER_SECOND + delta.microseconds * 1_000
