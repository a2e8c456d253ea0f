"""Events to fill ledgers with: small ones, and the mix that a ledger of devices and payloads really has.

*Small*: a batch was ingested; a body of 250 bytes, an entry of 330.  *Mixed*: what one upload leaves behind,
by the measure of the ledger that ``tally demo`` makes: batch, dataset, run, gates, receipt, replay; of ten
uploads four are recordings (60 windows, gates of 27 KB, receipts of 24 KB) and six are payloads (one window,
3 and 5 KB); 4 to 5 KB an event.  Bodies are made by the real codec from real structs; only the envelopes of
receipts are filled up with a statement that says nothing, since nobody opens them here.
"""

from __future__ import annotations

import hashlib
import random
from base64 import b64encode
from collections.abc import Sequence

from domain.contract import Contract, Gate
from domain.digests import digest_of
from domain.events import (
    ArtifactReference,
    BatchIngested,
    ChannelDeclaration,
    ContractPublished,
    DatasetChannel,
    DatasetDerived,
    DatasetReference,
    DeviceConfigured,
    DeviceRegistered,
    NumericEnvironment,
    ProcedureDeployed,
    ReceiptIssued,
    ReceiptReplayed,
    RunGatesDecided,
    RunStarted,
)
from domain.gates import decide
from domain.metrics import MetricTrack, Window
from domain.outcomes import Reason
from domain.state import State
from ledger.ledger import Proposal

DEVICE = "bench-device"
PROCEDURE = "spectra"
START_NS = 1_760_000_000_000_000_000
EVENTS_PER_UPLOAD = 6
_METRIC_COUNT = 18
_ENVIRONMENT = NumericEnvironment(
    class_digest=digest_of(b"environment"),
    facts={"numpy": "2.4", "scipy": "1.17", "blas": "OpenBLAS", "threads": "1", "cpu_dispatch": "X86_V2"},
)


def small_batch(number: int) -> BatchIngested:
    """The event that every upload begins with."""
    return BatchIngested(
        batch_id=f"b{number:024x}",
        source_id=DEVICE,
        kind="samples",
        media_type="application/vnd.fdsn.mseed",
        byte_count=1_048_576 + number,
        digest=f"sha256:{hashlib.sha256(b'%d' % number).hexdigest()}",
        is_encrypted=False,
        received_at_ns=START_NS + number,
    )


def small_proposals(start: int, count: int) -> list[Proposal]:
    """``count`` small events."""
    return [
        Proposal(event=small_batch(number), actor="bench", subject=f"batch/b{number:024x}")
        for number in range(start, start + count)
    ]


class MixedHistory:
    """Uploads one after the other, as proposals for the ledger whose state is given."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        # Far from the numbers of small events, which are facts of their own.
        self._serial = 1_000_000_000
        self._contract = _contract()
        self._decided = {count: self._gates(count) for count in (1, 60)}
        self._registered: dict[str, int] = {}

    def opening(self, state: State) -> list[Proposal]:
        """A device, a contract and a deployment."""
        names = ("device", "configuration", "contract", "deployment")
        self._registered = {name: state.size + offset for offset, name in enumerate(names)}
        channels = tuple(ChannelDeclaration(name=name, unit="counts") for name in ("a", "b"))
        events = (
            DeviceRegistered(
                device_id=DEVICE, manufacturer="Bench", model="1", serial_number="1", channels=channels
            ),
            DeviceConfigured(device_id=DEVICE, firmware="1.0.0", configuration={"gain": "1"}),
            ContractPublished(digest=self._contract.digest, contract=self._contract),
            ProcedureDeployed(
                procedure=PROCEDURE,
                version="1.0.0",
                consumes="samples",
                source_digest=digest_of(b"source"),
                options={"segment_seconds": 5.0},
                contract_id=self._contract.contract_id,
                contract_version=1,
            ),
        )
        return [Proposal(event=event, actor="bench", subject=f"device/{DEVICE}") for event in events]

    def upload(self, index: int) -> list[Proposal]:
        """The six events of the next upload, the first of which gets this index."""
        self._serial += 1
        name = hashlib.sha256(b"%d" % self._serial).hexdigest()[:24]
        is_recording = self._serial % 5 < 2
        windows = 60 if is_recording else 1
        batch = small_batch(self._serial)
        receipt_id = f"r{hashlib.sha256(name.encode()).hexdigest()[:24]}"
        reference = DatasetReference(digest=digest_of(name.encode()), index=index + 1, batch_index=index)
        envelope = _envelope(name, 23_900 if is_recording else 5_300)
        events = (
            (batch, f"batch/{batch.batch_id}", ()),
            (_dataset(batch.batch_id, name, windows), f"batch/{batch.batch_id}", (index,)),
            (self._started(name, reference), f"run/run-{name}", (self._registered["deployment"], index + 1)),
            (self._finished(name, windows), f"run/run-{name}", (index + 2,)),
            (ReceiptIssued(envelope=envelope), f"receipt/{receipt_id}", (index + 3,)),
            (
                ReceiptReplayed(
                    receipt_id=receipt_id,
                    receipt_index=index + 4,
                    result="reproduced",
                    first_difference="",
                    environment=_ENVIRONMENT,
                ),
                f"receipt/{receipt_id}",
                (index + 4,),
            ),
        )
        return [
            Proposal(event=event, actor="worker", subject=subject, causation=causes)
            for event, subject, causes in events
        ]

    def _started(self, name: str, reference: DatasetReference) -> RunStarted:
        known = self._registered
        return RunStarted(
            run_id=f"run-{name}",
            source_id=DEVICE,
            procedure=PROCEDURE,
            procedure_version="1.0.0",
            deployment_index=known["deployment"],
            contract_index=known["contract"],
            source_index=known["device"],
            configuration_index=known["configuration"],
            calibration_index=None,
            datasets=(reference,),
        )

    def _finished(self, name: str, windows: int) -> RunGatesDecided:
        decided = self._decided[windows]
        artifacts = tuple(
            ArtifactReference(
                name=kind,
                media_type="application/octet-stream",
                byte_count=40_000,
                digest=digest_of(f"{kind} {name}".encode()),
                quantised_digest=digest_of(f"quantised {kind} {name}".encode()),
            )
            for kind in ("spectra.columns", "report.json", "report.html")
        )
        return RunGatesDecided(
            run_id=f"run-{name}",
            windows=decided.windows,
            window_scores=decided.window_scores,
            metrics=decided.metrics,
            gates=decided.gates,
            verdict=decided.verdict,
            is_presentable=decided.is_presentable,
            artifacts=artifacts,
            environment=_ENVIRONMENT,
        )

    def _gates(self, count: int) -> RunGatesDecided:
        windows = tuple(
            Window(
                start_ns=START_NS + 60_000_000_000 * at,
                end_ns=START_NS + 60_000_000_000 * (at + 1),
            )
            for at in range(count)
        )
        metrics = tuple(
            MetricTrack(
                name=f"quality.metric_{number}",
                unit="1",
                values=tuple(round(self._random.uniform(0, 0.9), 6) for _ in windows),
            )
            for number in range(_METRIC_COUNT)
        )
        decision = decide(self._contract, windows, metrics)
        return RunGatesDecided(
            run_id="",
            windows=windows,
            window_scores=decision.window_scores,
            metrics=metrics,
            gates=decision.gates,
            verdict=decision.verdict,
            is_presentable=decision.is_presentable,
            artifacts=(),
            environment=_ENVIRONMENT,
        )


def _contract() -> Contract:
    gates = tuple(
        Gate(
            gate_id=f"gate-{number}",
            metric=f"quality.metric_{number}",
            rule="at_most",
            pass_limit=0.95,
            fail_limit=0.99,
            unit="1",
            reason=Reason.LIMIT_EXCEEDED,
            rule_id="own: for a benchmark",
        )
        for number in range(_METRIC_COUNT)
    )
    return Contract(contract_id="bench", version=1, title="What is measured", gates=gates)


def _dataset(batch_id: str, name: str, windows: int) -> DatasetDerived:
    channels = tuple(
        DatasetChannel(
            name=channel,
            unit="counts",
            dtype="int32",
            sample_count=12_000 * windows,
            sample_rate_hz=200.0,
            start_ns=START_NS,
            end_ns=START_NS + 60_000_000_000 * windows,
        )
        for channel in ("a", "b")
    )
    return DatasetDerived(
        batch_id=batch_id,
        source_id=DEVICE,
        kind="samples",
        digest=digest_of(name.encode()),
        object_digest=digest_of(f"object {name}".encode()),
        parser="miniseed/v1",
        channels=channels if windows > 1 else (),
    )


def _envelope(name: str, byte_count: int) -> bytes:
    """Bytes that are as long as a receipt's envelope and different each time."""
    head = f'{{"payload":"{b64encode(name.encode()).decode()}'
    return (head + "A" * (byte_count - len(head) - 2) + '"}').encode()


def joined(proposals: Sequence[Sequence[Proposal]]) -> list[Proposal]:
    """Several uploads as one append."""
    return [proposal for some in proposals for proposal in some]
