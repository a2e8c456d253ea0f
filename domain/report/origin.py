"""Origin: the inputs of a run as rows, each with its digest and its ledger entry."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from domain.canonical import canonical_json
from domain.events import CalibrationSet, ConnectionRegistered, DatasetChannel, DeviceRegistered
from domain.procedures.procedure import ChannelCalibration
from domain.report.model import ReportInput
from domain.report.tables import Table
from domain.report.wording import counted, instant, number, plain, quantity, span, unit_name, whole

# A device has at most 64 channels; more rows than this of one kind are counted.
ROWS_PER_KIND_MAX = 24
UNKNOWN = "unknown"


class Fact(Struct, frozen=True, kw_only=True):
    """One cell of the overview."""

    label: str
    value: str
    detail: str = ""
    index: int | None = None


class OriginRow(Struct, frozen=True, kw_only=True):
    """``text`` is for people, ``code`` a digest or identifier to copy, ``index`` the entry in the ledger."""

    what: str
    text: str = ""
    code: str = ""
    index: int | None = None

    @property
    def described(self) -> str:
        """Text and code, each on its line."""
        return "\n".join(plain(part, 1_000) for part in (self.text, self.code) if part)


def short_facts(report: ReportInput) -> tuple[Fact, ...]:
    """What a person asks first."""
    run, deployment, contract = report.run, report.deployment, report.contract
    version = f"{contract.contract_id} version {contract.version}"
    facts = [
        _source_fact(report),
        Fact(
            label="Procedure",
            value=f"{run.procedure} {run.procedure_version}",
            detail=", ".join(deployment.channels),
            index=run.deployment_index,
        ),
        Fact(
            label="Contract",
            value=version,
            detail=f"{counted(len(contract.gates), 'gate')}, presentable: {', '.join(contract.presentable)}",
            index=run.contract_index,
        ),
    ]
    if isinstance(report.source, DeviceRegistered):
        firmware = report.configuration.firmware if report.configuration else ""
        facts.append(Fact(label="Firmware", value=firmware or UNKNOWN, index=run.configuration_index))
        facts.append(_calibration_fact(report))
    recorded = sum(channel.sample_count for dataset in report.datasets for channel in dataset.channels)
    brought = counted(len(report.datasets), "dataset")
    facts.append(
        Fact(
            label="Data",
            value=brought,
            detail=f"{whole(recorded)} samples" if recorded else "one payload each",
        )
    )
    if run.supersedes:
        facts.append(Fact(label="Replaces receipt", value=run.supersedes))
    return tuple(facts)


def origin_table(report: ReportInput) -> Table:
    """Everything the run rests on."""
    return Table(
        caption="Origin",
        head=("What", "Which", "Ledger entry"),
        rows=tuple(
            (plain(row.what), row.described, "–" if row.index is None else whole(row.index))
            for row in _rows(report)
        ),
    )


def artifact_table(report: ReportInput) -> Table:
    """What the run produced, by digest."""
    note = "withheld" if report.is_withheld else ""
    return Table(
        caption="Artifacts of the procedure" + (" (kept as evidence, withheld)" if note else ""),
        head=("Name", "Bytes", "Digest of the bytes", "Digest of the rounded numbers"),
        rows=tuple(
            (plain(one.name, 80), whole(one.byte_count), one.digest, one.quantised_digest or "–")
            for one in report.artifacts
        ),
    )


def environment_line(report: ReportInput) -> str:
    """The numeric environment in a sentence; empty when the run computed no floats."""
    if not report.environment.facts:
        return ""
    facts = "; ".join(
        f"{plain(key, 60)} {plain(value, 120)}" for key, value in sorted(report.environment.facts.items())
    )
    return f"Numeric environment {report.environment.class_digest}: {facts}."


def _rows(report: ReportInput) -> tuple[OriginRow, ...]:
    rows = [
        *_source_rows(report),
        *_configuration_rows(report),
        *_calibration_rows(report),
        *_limited("Batch", _batch_rows(report)),
        *_limited("Dataset", _dataset_rows(report)),
        OriginRow(
            what="Procedure",
            text=f"{report.run.procedure} {report.run.procedure_version}, source code",
            code=report.deployment.source_digest,
            index=report.run.deployment_index,
        ),
    ]
    if report.deployment.options:
        rows.append(
            OriginRow(
                what="Options",
                code=canonical_json(report.deployment.options).decode(),
                index=report.run.deployment_index,
            )
        )
    contract = report.contract
    rows.append(
        OriginRow(
            what="Contract",
            text=f"{contract.contract_id} version {contract.version}: {contract.title}",
            code=contract.digest,
            index=report.run.contract_index,
        )
    )
    return tuple(rows)


def _source_fact(report: ReportInput) -> Fact:
    match report.source:
        case DeviceRegistered() as device:
            return Fact(
                label="Device",
                value=device.device_id,
                detail=f"{device.manufacturer} {device.model}, "
                f"serial number {device.serial_number or UNKNOWN}",
                index=report.run.source_index,
            )
        case ConnectionRegistered() as connection:
            return Fact(
                label="Connection",
                value=connection.connection_id,
                detail=f"provider {connection.provider}; the person is not named here",
                index=report.run.source_index,
            )


def _calibration_fact(report: ReportInput) -> Fact:
    calibration = report.calibration
    if calibration is None:
        return Fact(label="Calibration", value="none in force")
    return Fact(
        label="Calibration",
        value=calibration.certificate_id,
        detail=f"{calibration.laboratory}, valid until {instant(calibration.valid_until_ns)[:10]}",
        index=report.run.calibration_index,
    )


def _source_rows(report: ReportInput) -> Iterator[OriginRow]:
    fact = _source_fact(report)
    yield OriginRow(what=fact.label, text=fact.detail, code=fact.value, index=fact.index)
    if isinstance(report.source, DeviceRegistered):
        for channel in report.source.channels[:ROWS_PER_KIND_MAX]:
            serial = channel.sensor_serial or UNKNOWN
            full = (
                f", full scale {quantity(channel.full_scale_counts, 'counts')}"
                if channel.full_scale_counts
                else ""
            )
            yield OriginRow(
                what=f"Channel {channel.name}",
                text=f"in {unit_name(channel.unit)}, sensor serial number {serial}{full}",
                index=fact.index,
            )


def _configuration_rows(report: ReportInput) -> Iterator[OriginRow]:
    if report.configuration is None:
        return
    yield OriginRow(
        what="Firmware", text=report.configuration.firmware or UNKNOWN, index=report.run.configuration_index
    )
    if report.configuration.configuration:
        code = canonical_json(report.configuration.configuration).decode()
        yield OriginRow(what="Configuration", code=code, index=report.run.configuration_index)


def _calibration_rows(report: ReportInput) -> Iterator[OriginRow]:
    calibration = report.calibration
    if calibration is None:
        if isinstance(report.source, DeviceRegistered):
            yield OriginRow(what="Calibration", text="none in force when the data were recorded")
        return
    yield OriginRow(
        what="Calibration",
        text=_certificate(calibration),
        code=calibration.certificate_digest or "",
        index=report.run.calibration_index,
    )
    for channel in calibration.channels[:ROWS_PER_KIND_MAX]:
        yield OriginRow(
            what=f"Constants of {channel.channel}",
            text=_constants(channel),
            index=report.run.calibration_index,
        )


def _certificate(calibration: CalibrationSet) -> str:
    lacking = "" if calibration.certificate_digest else "; the certificate itself is not in the vault"
    return (
        f"{calibration.calibration_id}, certificate {calibration.certificate_id} of "
        f"{calibration.laboratory}, issued "
        f"{instant(calibration.issued_at_ns)}, valid "
        f"{span(calibration.valid_from_ns, calibration.valid_until_ns)}{lacking}"
    )


def _constants(channel: ChannelCalibration) -> str:
    return (
        f"sensitivity {quantity(channel.sensitivity, channel.sensitivity_unit)}, relative standard "
        "uncertainty "
        f"{number(100 * channel.uncertainty_relative)} %, sensor serial number "
        f"{channel.sensor_serial or UNKNOWN}"
    )


def _batch_rows(report: ReportInput) -> Iterator[OriginRow]:
    references = {reference.digest: reference.batch_index for reference in report.run.datasets}
    indices = {dataset.batch_id: references.get(dataset.digest) for dataset in report.datasets}
    for batch in report.batches:
        name = batch.file_name or batch.batch_id
        hidden = ", encrypted" if batch.is_encrypted else ""
        yield OriginRow(
            what="Batch",
            text=f"{plain(name)}, {batch.media_type}, {whole(batch.byte_count)} bytes{hidden}, received "
            f"{instant(batch.received_at_ns)}",
            code=batch.digest,
            index=indices.get(batch.batch_id),
        )


def _dataset_rows(report: ReportInput) -> Iterator[OriginRow]:
    indices = {reference.digest: reference.index for reference in report.run.datasets}
    for dataset in report.datasets:
        channels = "; ".join(_channel(channel) for channel in dataset.channels[:4])
        more = f"; {counted(len(dataset.channels) - 4, 'more channel')}" if len(dataset.channels) > 4 else ""
        yield OriginRow(
            what="Dataset",
            text=f"{channels}{more}" if channels else f"payload {dataset.kind}, read by {dataset.parser}",
            code=dataset.digest,
            index=indices.get(dataset.digest),
        )


def _channel(channel: DatasetChannel) -> str:
    gaps = f", {counted(channel.gap_count, 'gap')}" if channel.gap_count else ""
    return (
        f"{channel.name}: {whole(channel.sample_count)} samples in {unit_name(channel.unit)} at "
        f"{quantity(channel.sample_rate_hz, 'Hz')}, {span(channel.start_ns, channel.end_ns)}{gaps}"
    )


def _limited(kind: str, rows: Iterator[OriginRow]) -> Iterator[OriginRow]:
    left = 0
    for count, row in enumerate(rows):
        if count < ROWS_PER_KIND_MAX:
            yield row
        else:
            left += 1
    if left:
        yield OriginRow(what=kind, text=f"and {whole(left)} more, in the receipt")
