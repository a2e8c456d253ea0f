"""A ledger's history, told by a seed: devices and connections whose batches become runs, receipts,
quarantines and replays.

Entries are real (``ledger.entry`` formats and chains them), bodies are what ``domain.event_codec`` writes;
only the envelopes of receipts are short, because a view never opens them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from random import Random

from domain.contract import Contract, Gate
from domain.digests import digest_of
from domain.event_codec import encode_event
from domain.events import (
    ArtifactReference,
    BatchIngested,
    BatchQuarantined,
    CalibrationSet,
    ChannelDeclaration,
    ConnectionRegistered,
    ContractPublished,
    DatasetChannel,
    DatasetDerived,
    DatasetReference,
    DeviceConfigured,
    DeviceRegistered,
    Event,
    KeyCreated,
    LedgerOpened,
    NumericEnvironment,
    ProcedureDeployed,
    RecallDeclared,
    RecalledReceipt,
    ReceiptIssued,
    ReceiptReplayed,
    ReceiptsRecalled,
    RunGatesDecided,
    RunStarted,
    SubjectErased,
)
from domain.gates import decide
from domain.metrics import MetricTrack, Window
from domain.outcomes import Reason
from domain.procedures.procedure import ChannelCalibration
from ledger.entry import PREVIOUS_OF_FIRST, Entry, event_id, format_entry
from ledger.merkle import leaf_hash
from ledger.ports import Record

LEDGER = "ledger-acme"
ORIGIN = "tallystick.example/acme"
START_NS = 1_760_000_000_000_000_000
SECOND_NS = 1_000_000_000
ENVIRONMENT = NumericEnvironment(
    class_digest=digest_of(b"environment"),
    facts={
        "numpy": "2.4.6",
        "scipy": "1.17.1",
        "blas": "OpenBLAS 0.3.31",
        "threads": "1",
        "cpu_dispatch": "X86_V2",
    },
)
SIGNAL_PROCEDURES = ("spectra", "coherence", "delay-track")
SIGNAL_METRICS = (
    "gap_ratio",
    "clip_ratio",
    "flat_run_seconds",
    "drift_ppm",
    "jitter_p99_ratio",
    "coherence_median",
    "coherence_p10",
    "delay_psr",
)
MAPPER_METRICS = (
    "schema_unknown_fields",
    "schema_missing_fields",
    "implausible_fields",
    "freshness_seconds",
    "revision_rank",
)


class Story:
    """Appends events to a growing, chained list of records."""

    def __init__(self, seed: int, *, origin: str = ORIGIN, hole_share: float = 0.1) -> None:
        self.random = Random(seed)
        self._hole_share = hole_share
        self.records: list[Record] = []
        self._origin = origin
        self._previous = PREVIOUS_OF_FIRST
        self._time_ns = START_NS
        self._serial = 0

    def add(self, event: Event, subject: str, causation: tuple[int, ...] = ()) -> int:
        """Record ``event``; returns its index."""
        return self.add_bytes(event.TYPE, encode_event(event), subject, causation)

    def add_bytes(
        self, event_type: str, payload: bytes, subject: str, causation: tuple[int, ...] = ()
    ) -> int:
        """Record a body as it is, also one that no codec would write; returns its index."""
        index = len(self.records)
        self._time_ns += self.random.randrange(1, 5 * SECOND_NS)
        entry = format_entry(
            Entry(
                origin=self._origin,
                index=index,
                event_type=event_type,
                recorded_at_ns=self._time_ns,
                actor="worker",
                subject=subject,
                causation=causation,
                payload_size=len(payload),
                payload_sha256=hashlib.sha256(payload).hexdigest(),
                previous=self._previous,
            )
        )
        leaf = leaf_hash(entry)
        self._previous = leaf.hex()
        self.records.append(
            Record(
                index=index,
                event_id=event_id(index, leaf),
                event_type=event_type,
                entry=entry,
                payload=payload,
                seal=b"",
            )
        )
        return index

    def opening(self) -> None:
        """What every ledger begins with."""
        self.add(LedgerOpened(tenant="acme", origin=self._origin, format_version=1), "ledger/acme")
        self.add(KeyCreated(verifier_key="acme+00000000+AA==", algorithm="ed25519"), "key/acme")

    def device(self, device_id: str) -> tuple[int, int, int]:
        """Register, configure and calibrate a device; returns the three indices."""
        declared = tuple(
            ChannelDeclaration(name=name, unit="counts", sensor_serial=f"s-{name}") for name in ("a", "b")
        )
        source = self.add(
            DeviceRegistered(
                device_id=device_id,
                manufacturer="Acme",
                model="Logger 3",
                serial_number=f"sn-{device_id}",
                channels=declared,
            ),
            f"device/{device_id}",
        )
        configuration = self.configure(device_id, "1.0.0")
        calibration = self.add(
            CalibrationSet(
                calibration_id=f"cal-{device_id}",
                device_id=device_id,
                certificate_id="K-1",
                certificate_digest=None,
                laboratory="Lab",
                issued_at_ns=START_NS - 90 * 86_400 * SECOND_NS,
                valid_from_ns=START_NS - 90 * 86_400 * SECOND_NS,
                valid_until_ns=START_NS + 275 * 86_400 * SECOND_NS,
                channels=tuple(
                    ChannelCalibration(
                        channel=each.name,
                        sensor_serial=each.sensor_serial,
                        sensitivity=6.0e8,
                        sensitivity_unit="counts/(m/s)",
                        uncertainty_relative=0.01,
                    )
                    for each in declared
                ),
            ),
            f"device/{device_id}",
        )
        return source, configuration, calibration

    def configure(self, device_id: str, firmware: str) -> int:
        """The device reports firmware and settings."""
        return self.add(
            DeviceConfigured(
                device_id=device_id, firmware=firmware, configuration={"gain": "1", "rate": "200"}
            ),
            f"device/{device_id}",
        )

    def connection(self, connection_id: str, provider: str = "oura") -> int:
        """A person's link to a provider."""
        return self.add(
            ConnectionRegistered(
                connection_id=connection_id, provider=provider, subject_key_id=f"key-{connection_id}"
            ),
            f"connection/{connection_id}",
        )

    def erase(self, connection_id: str) -> int:
        """The person behind a connection is erased."""
        return self.add(
            SubjectErased(
                connection_id=connection_id,
                subject_key_id=f"key-{connection_id}",
                reason="consent-withdrawn",
            ),
            f"connection/{connection_id}",
        )

    def deployment(
        self, procedure: str, consumes: str, metrics: tuple[str, ...]
    ) -> tuple[int, int, Contract]:
        """Publish a contract over ``metrics`` and deploy the procedure with it; returns both indices and
        the contract."""
        contract = Contract(
            contract_id=f"{procedure}-contract",
            version=1,
            title=f"What {procedure} promises",
            gates=tuple(
                Gate(
                    gate_id=f"{name.replace('_', '-')}-limit",
                    metric=name,
                    rule="at_most",
                    pass_limit=0.9,
                    fail_limit=0.97,
                    guard_band=0.02,
                    unit="1",
                    rule_id="ILAC-G8:09/2019 4.2.3",
                    required=position != 1,
                    reason=Reason.SCHEMA_DRIFT if name.startswith("schema") else Reason.LIMIT_EXCEEDED,
                    window_pass_fraction_min=0.8,
                )
                for position, name in enumerate(metrics)
            ),
        )
        published = self.add(
            ContractPublished(digest=contract.digest, contract=contract), f"contract/{contract.contract_id}"
        )
        deployed = self.add(
            ProcedureDeployed(
                procedure=procedure,
                version="1.0.0",
                consumes=consumes,
                source_digest=digest_of(procedure.encode()),
                options={"segment_seconds": 5.0},
                contract_id=contract.contract_id,
                contract_version=1,
            ),
            f"procedure/{procedure}",
            (published,),
        )
        return published, deployed, contract

    def batch(self, source_id: str, kind: str, *, delay_ns: int = 40 * SECOND_NS) -> tuple[str, int]:
        """A batch arrives; returns its id and index."""
        batch_id = self.name("b")
        received = self._time_ns
        is_payload = kind != "samples"
        index = self.add(
            BatchIngested(
                batch_id=batch_id,
                source_id=source_id,
                kind=kind,
                media_type="application/json" if is_payload else "application/vnd.fdsn.mseed",
                byte_count=self.random.randrange(500, 5_000_000),
                digest=digest_of(batch_id.encode()),
                is_encrypted=is_payload,
                received_at_ns=received,
                file_name="" if is_payload else f"{batch_id}.mseed",
                sequence=None if is_payload else len(self.records),
                provider_event_time_ns=received - delay_ns if is_payload else None,
            ),
            f"batch/{batch_id}",
        )
        return batch_id, index

    def dataset(self, batch_id: str, batch_index: int, source_id: str, kind: str) -> DatasetReference:
        """The batch becomes a dataset."""
        digest = digest_of(b"dataset" + batch_id.encode())
        channels = tuple(
            DatasetChannel(
                name=name,
                unit="counts",
                dtype="int32",
                sample_count=720_000 - 2_000 * gaps,
                sample_rate_hz=200.0,
                start_ns=self._time_ns - 3_600 * SECOND_NS,
                end_ns=self._time_ns,
                gap_count=gaps,
            )
            for name, gaps in (("a", 0), ("b", self.random.randrange(2)))
        )
        index = self.add(
            DatasetDerived(
                batch_id=batch_id,
                source_id=source_id,
                kind=kind,
                digest=digest,
                object_digest=digest_of(b"object" + batch_id.encode()),
                parser="miniseed/v1" if kind == "samples" else "payload/v1",
                channels=channels if kind == "samples" else (),
            ),
            f"batch/{batch_id}",
            (batch_index,),
        )
        return DatasetReference(digest=digest, index=index, batch_index=batch_index)

    def start(
        self,
        source_id: str,
        procedure: str,
        dataset: DatasetReference,
        indices: tuple[int, int, int, int | None, int | None],
        supersedes: str = "",
    ) -> tuple[str, int]:
        """A run starts; ``indices`` are those of deployment, contract, source, configuration, calibration.
        Returns its id and index."""
        run_id = self.name("r")
        deployment_index, contract_index, source_index, configuration_index, calibration_index = indices
        index = self.add(
            RunStarted(
                run_id=run_id,
                source_id=source_id,
                procedure=procedure,
                procedure_version="1.0.0",
                deployment_index=deployment_index,
                contract_index=contract_index,
                source_index=source_index,
                configuration_index=configuration_index,
                calibration_index=calibration_index,
                datasets=(dataset,),
                supersedes=supersedes,
            ),
            f"run/{run_id}",
            (deployment_index, dataset.index),
        )
        return run_id, index

    def finish(
        self,
        run_id: str,
        started_index: int,
        contract: Contract,
        window_count: int,
        *,
        worst_value: float | None = None,
        is_personal: bool = False,
        failure: str = "",
    ) -> str:
        """The run is decided and gets its receipt; returns the receipt's id.

        ``worst_value`` is put into the first window of the first metric (limits are 0.9 and 0.97; ``None``
        leaves it as it comes).
        """
        event = self.decision(
            run_id, contract, window_count, worst_value=worst_value, is_personal=is_personal, failure=failure
        )
        decided = self.add(event, f"run/{run_id}", (started_index,))
        return self.receipt(started_index, decided)

    def decision(
        self,
        run_id: str,
        contract: Contract,
        window_count: int,
        *,
        worst_value: float | None = None,
        is_personal: bool = False,
        failure: str = "",
    ) -> RunGatesDecided:
        """What the gates of ``contract`` make of made-up metrics."""
        minute_ns = 60 * SECOND_NS
        first_ns = self._time_ns - window_count * minute_ns
        windows = tuple(
            Window(start_ns=None, end_ns=None)
            if is_personal
            else Window(start_ns=first_ns + i * minute_ns, end_ns=first_ns + (i + 1) * minute_ns)
            for i in range(window_count)
        )
        metrics = tuple(self._metric(gate.metric, window_count) for gate in contract.gates)
        if worst_value is not None and metrics and window_count:
            first = metrics[0]
            values = (worst_value,) * window_count
            metrics = (
                MetricTrack(name=first.name, unit="1", values=values, reasons=first.reasons),
                *metrics[1:],
            )
        decision = decide(contract, windows, metrics)
        return RunGatesDecided(
            run_id=run_id,
            windows=windows,
            window_scores=decision.window_scores,
            metrics=metrics,
            gates=decision.gates,
            verdict=decision.verdict,
            is_presentable=decision.is_presentable,
            artifacts=(
                ArtifactReference(
                    name="features",
                    media_type="application/json",
                    byte_count=4_096,
                    digest=digest_of(run_id.encode()),
                ),
                ArtifactReference(
                    name="report",
                    media_type="text/html",
                    byte_count=90_000,
                    digest=digest_of(b"report" + run_id.encode()),
                ),
            ),
            environment=ENVIRONMENT,
            failure=failure,
        )

    def receipt(self, started_index: int, decided_index: int) -> str:
        """The receipt of a decided run."""
        receipt_id = self.name("t")
        envelope = (
            b'{"payload":"'
            + b"QUJD" * 300
            + b'","payloadType":"application/vnd.in-toto+json","signatures":[]}'
        )
        self.add(ReceiptIssued(envelope=envelope), f"receipt/{receipt_id}", (started_index, decided_index))
        return receipt_id

    def replay(self, receipt_id: str, receipt_index: int, result: str = "reproduced") -> int:
        """Somebody ran a receipt again."""
        difference = "artifact features: byte 17" if result == "diverged" else ""
        event = ReceiptReplayed(
            receipt_id=receipt_id,
            receipt_index=receipt_index,
            result=result,
            first_difference=difference,
            environment=ENVIRONMENT,
        )
        return self.add(event, f"receipt/{receipt_id}", (receipt_index,))

    def quarantine(
        self,
        batch_id: str,
        batch_index: int,
        source_id: str,
        reason: str = "MalformedError",
        stage: str = "parse",
    ) -> int:
        """A batch cannot be used."""
        return self.add(
            BatchQuarantined(
                batch_id=batch_id,
                source_id=source_id,
                stage=stage,
                reason=reason,
                detail="record 3 ends early",
                remedy="Send it again.",
            ),
            f"batch/{batch_id}",
            (batch_index,),
        )

    def recall(self, kind: str, target: str, receipts: tuple[tuple[str, int], ...]) -> str:
        """Something that receipts rest on is withdrawn; returns the recall's id."""
        recall_id = self.name("w")
        declared = self.add(
            RecallDeclared(
                recall_id=recall_id, kind=kind, target=target, reason="The certificate was wrong."
            ),
            f"recall/{recall_id}",
        )
        self.add(
            ReceiptsRecalled(
                recall_id=recall_id,
                recall_index=declared,
                part=0,
                is_last=True,
                receipt_count=len(receipts),
                receipts=tuple(RecalledReceipt(receipt_id=name, index=index) for name, index in receipts),
            ),
            f"recall/{recall_id}",
            (declared,),
        )
        return recall_id

    def name(self, prefix: str) -> str:
        """A new identifier."""
        self._serial += 1
        return prefix + hashlib.sha256(f"{prefix}{self._serial}".encode()).hexdigest()[:24]

    def _metric(self, name: str, window_count: int) -> MetricTrack:
        # Most runs measure everything; some tracks have a hole, and then say why.
        values: list[float | None] = [round(self.random.random() * 0.88, 6) for _ in range(window_count)]
        if window_count and self.random.random() < self._hole_share:
            hole = self.random.randrange(window_count)
            values[hole] = None
            reasons = tuple(
                Reason.LACK_OF_DATA_SAMPLES if i == hole else Reason.NONE for i in range(window_count)
            )
            return MetricTrack(name=name, unit="1", values=tuple(values), reasons=reasons)
        return MetricTrack(name=name, unit="1", values=tuple(values))


def tell(
    seed: int,
    *,
    rounds: int,
    devices: int = 2,
    connections: int = 3,
    window_count: int = 6,
    hole_share: float = 0.1,
) -> Story:
    """A whole history: in each round one device uploads an hour and every connection sends a payload; some
    go wrong."""
    story = Story(seed, hole_share=hole_share)
    story.opening()
    signal = [(name, story.deployment(name, "samples", SIGNAL_METRICS)) for name in SIGNAL_PROCEDURES]
    mapper = story.deployment("oura.sleep", "oura.sleep", MAPPER_METRICS)
    sources = [(f"logger-{i}", story.device(f"logger-{i}")) for i in range(devices)]
    links = [(f"link-{i}", story.connection(f"link-{i}")) for i in range(connections)]
    for _ in range(rounds):
        if sources:
            device_id, places = sources[story.random.randrange(devices)]
            _device_round(story, device_id, places, signal, window_count)
        for connection_id, source in links:
            _payload_run(story, connection_id, source, mapper)
    if sources:
        _endings(story, sources[0], signal[0])
    if links:
        story.erase(links[-1][0])
    return story


def _endings(
    story: Story, source: tuple[str, tuple[int, int, int]], deployment: tuple[str, tuple[int, int, Contract]]
) -> None:
    """What chance may have left out: a quarantine, a replay, a recall, a run that still runs."""
    (device_id, places), (procedure, (published, deployed, contract)) = source, deployment
    batch_id, batch_index = story.batch(device_id, "samples")
    story.quarantine(batch_id, batch_index, device_id)
    batch_id, batch_index = story.batch(device_id, "samples")
    dataset = story.dataset(batch_id, batch_index, device_id, "samples")
    indices = (deployed, published, *places)
    run_id, started = story.start(device_id, procedure, dataset, indices)
    receipt_id = story.finish(run_id, started, contract, 2, worst_value=0.95)
    receipt_index = len(story.records) - 1
    story.replay(receipt_id, receipt_index)
    story.recall("firmware", f"{device_id}/1.0.0", ((receipt_id, receipt_index),))
    story.start(device_id, procedure, dataset, indices)


def _device_round(
    story: Story,
    device_id: str,
    places: tuple[int, int, int],
    deployments: list[tuple[str, tuple[int, int, Contract]]],
    window_count: int,
) -> None:
    batch_id, batch_index = story.batch(device_id, "samples")
    if story.random.random() < 0.05:
        story.quarantine(batch_id, batch_index, device_id)
        return
    dataset = story.dataset(batch_id, batch_index, device_id, "samples")
    for procedure, (published, deployed, contract) in deployments:
        run_id, started = story.start(device_id, procedure, dataset, (deployed, published, *places))
        if story.random.random() < 0.03:
            continue  # still running
        receipt_id = story.finish(run_id, started, contract, window_count)
        if story.random.random() < 0.05:
            result = "diverged" if story.random.random() < 0.2 else "reproduced"
            story.replay(receipt_id, len(story.records) - 1, result)


def _payload_run(story: Story, connection_id: str, source: int, mapper: tuple[int, int, Contract]) -> None:
    published, deployed, contract = mapper
    batch_id, batch_index = story.batch(
        connection_id, "oura.sleep", delay_ns=story.random.randrange(1, 7_200) * SECOND_NS
    )
    dataset = story.dataset(batch_id, batch_index, connection_id, "oura.sleep")
    indices = (deployed, published, source, None, None)
    run_id, started = story.start(connection_id, "oura.sleep", dataset, indices)
    if story.random.random() < 0.04:
        receipt_id = story.finish(run_id, started, contract, 1, worst_value=1.0, is_personal=True)
        story.quarantine(batch_id, batch_index, connection_id, "schema_drift", "map")
        if story.random.random() < 0.5:
            again, restarted = story.start(
                connection_id, "oura.sleep", dataset, indices, supersedes=receipt_id
            )
            story.finish(again, restarted, contract, 1, is_personal=True)
        return
    story.finish(run_id, started, contract, 1, is_personal=True)


def pieces(records: list[Record], sizes: Iterator[int]) -> Iterator[list[Record]]:
    """Cut records into consecutive pieces of these sizes; the rest is one piece."""
    start = 0
    for size in sizes:
        if start >= len(records):
            return
        yield records[start : start + size]
        start += size
    if start < len(records):
        yield records[start:]
