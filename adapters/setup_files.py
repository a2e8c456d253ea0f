"""Setup files: devices, connections, calibrations, contracts and deployments declared in one YAML or JSON
document.

Applying the same file twice changes nothing, so it can live in version control and be applied by a
deployment.  Instants are ISO 8601 with an offset (``2026-01-15T00:00:00Z``).  Contracts are files of their
own (``adapters.contract_files``), named by a path below the setup file's folder.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from adapters.plain_documents import PlainDocument, parse_plain
from domain.digests import Digest
from domain.errors import MalformedError, TallystickError
from domain.events import CalibrationSet, ChannelDeclaration, DeviceConfigured, DeviceRegistered
from domain.procedures.procedure import ChannelCalibration

# One installation's devices; more of them are several files.
ENTRIES_MAX = 1_000
CHANNELS_MAX = 64
SETTINGS_MAX = 256
# A label; every one of them stands in receipts and reports.
TEXT_LENGTH_MAX = 200
_NANOSECONDS_PER_SECOND = 1_000_000_000
_PATH = re.compile(r"(?s)(?P<what>.*?)(?: - at `(?P<key>key in )?\$(?P<path>[^`]*)`)?")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+$"

Text = Annotated[str, Meta(min_length=1, max_length=TEXT_LENGTH_MAX, pattern=_PRINTABLE)]
Identifier = Annotated[str, Meta(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$")]
Positive = Annotated[float, Meta(gt=0, le=1e300)]


class Channel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel as the device's maker describes it."""

    name: Text
    unit: Text
    sensor_serial: Text | None = None
    full_scale_counts: Positive | None = None


class Device(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device with its firmware and settings."""

    device_id: Identifier
    manufacturer: Text
    model: Text
    serial_number: Text
    channels: Annotated[tuple[Channel, ...], Meta(min_length=1, max_length=CHANNELS_MAX)]
    firmware: Text | None = None
    configuration: Annotated[dict[Text, Text], Meta(max_length=SETTINGS_MAX)] = {}


class Connection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person's link to a provider."""

    connection_id: Identifier
    provider: Identifier


class CalibratedChannel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Constants of one channel."""

    channel: Text
    sensitivity: Positive
    sensitivity_unit: Text
    uncertainty_relative: Annotated[float, Meta(ge=0, le=1)]
    sensor_serial: Text | None = None
    full_scale_counts: Positive | None = None


class Calibration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Constants of a device's channels with their certificate and the time they are valid."""

    calibration_id: Identifier
    device_id: Identifier
    certificate_id: Text
    laboratory: Text
    issued_at: Text
    valid_from: Text
    valid_until: Text
    channels: Annotated[tuple[CalibratedChannel, ...], Meta(min_length=1, max_length=CHANNELS_MAX)]
    certificate_digest: Digest | None = None


class DeploymentRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A procedure version to put in force, judged by a contract version."""

    procedure: Identifier
    version: Text
    consumes: Identifier
    contract: Identifier
    contract_version: Annotated[int, Meta(ge=1, le=1_000_000)]
    channels: Annotated[tuple[Text, ...], Meta(max_length=CHANNELS_MAX)] = ()
    options: dict[str, Any] = {}


class Setup(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A parsed setup; ``contracts`` are paths relative to the setup file."""

    devices: Annotated[tuple[Device, ...], Meta(max_length=ENTRIES_MAX)] = ()
    connections: Annotated[tuple[Connection, ...], Meta(max_length=ENTRIES_MAX)] = ()
    calibrations: Annotated[tuple[Calibration, ...], Meta(max_length=ENTRIES_MAX)] = ()
    contracts: Annotated[tuple[Text, ...], Meta(max_length=ENTRIES_MAX)] = ()
    deployments: Annotated[tuple[DeploymentRequest, ...], Meta(max_length=ENTRIES_MAX)] = ()


def parse_setup(data: bytes, name: str) -> Setup:
    """Parse a setup document; ``name`` is for messages.

    Raises: MalformedError, LimitError; their ``field`` says file, path and line.
    """
    document = parse_plain(data, name)
    if document.tree is None:
        raise MalformedError("the setup is empty", field=name, remedy=_REMEDY)
    try:
        setup = msgspec.convert(document.tree, Setup)
    except msgspec.ValidationError as error:
        raise _not_a_setup(document, str(error)) from error
    for index, contract in enumerate(setup.contracts):
        _check_path(contract, document.place(("contracts", index)))
    for index, calibration in enumerate(setup.calibrations):
        place = document.place(("calibrations", index))
        try:
            calibration_of(calibration)
        except TallystickError as error:
            raise MalformedError(
                error.what,
                field=f"{place}: {error.field}",
                expected=error.expected,
                actual=error.actual,
                remedy=error.remedy,
            ) from error
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
        device_id=device.device_id, firmware=device.firmware or "", configuration=device.configuration
    )


def calibration_of(calibration: Calibration) -> CalibrationSet:
    """The calibration that was declared.

    Raises: MalformedError for an instant that is not one, or an empty span.
    """
    valid_from_ns = instant_ns(calibration.valid_from, "valid_from")
    valid_until_ns = instant_ns(calibration.valid_until, "valid_until")
    if valid_from_ns >= valid_until_ns:
        raise MalformedError(
            "a calibration is valid for a span of time",
            field="valid_until",
            expected=f"later than {calibration.valid_from}",
            actual=calibration.valid_until,
        )
    return CalibrationSet(
        calibration_id=calibration.calibration_id,
        device_id=calibration.device_id,
        certificate_id=calibration.certificate_id,
        certificate_digest=calibration.certificate_digest,
        laboratory=calibration.laboratory,
        issued_at_ns=instant_ns(calibration.issued_at, "issued_at"),
        valid_from_ns=valid_from_ns,
        valid_until_ns=valid_until_ns,
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
    """Unix nanoseconds of an ISO 8601 instant with an offset, from 1970 on.  Raises: MalformedError."""
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
    delta = instant - datetime.fromtimestamp(0, instant.tzinfo)
    time_ns = (delta.days * 86_400 + delta.seconds) * _NANOSECONDS_PER_SECOND + delta.microseconds * 1_000
    if not 0 <= time_ns < 1 << 63:
        raise MalformedError(
            "an instant outside the time that is counted here",
            field=field,
            expected="from 1970 to 2262",
            actual=text[:40],
        )
    return time_ns


_REMEDY = "See docs/setup.md for what a setup may hold."


def _not_a_setup(document: PlainDocument, message: str) -> MalformedError:
    """msgspec's sentence, with the place where a person finds it."""
    match = _PATH.fullmatch(message)
    what = match["what"] if match else message
    path: list[str | int] = []
    for step in _STEP.finditer(match["path"] or "" if match else ""):
        if step[2] == "...":
            break
        path.append(int(step[2]) if step[2] else step[1])
    what = what[:1].lower() + what[1:300]
    return MalformedError(f"not a setup, {what}", field=document.place(tuple(path)), remedy=_REMEDY)


def _check_path(text: str, place: str) -> None:
    """A setup says which files are read, so it may name only those beside it."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\\" in text or not path.parts:
        raise MalformedError(
            "not a path of a contract",
            field=place,
            expected="a relative path below the setup file's folder",
            actual=text[:80],
        )
