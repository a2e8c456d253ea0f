"""Files of every format, as this version writes them, to be kept for ever and read by every later one.

    python -m tests.ledger.format_fixtures FOLDER      FOLDER must not exist: what is published is not edited

In the folder, all made by the real ledger from fixed seeds and a fixed clock:

    ledger.jsonl            a record a line: {"entry","event_type","index","payload","seal"}, bytes in base64
    keys                    vkeys, one a line: the first key, and the Ed25519 key that ruled at the end
    entry                   an entry's bytes
    receipt.dsse            an envelope with one signature
    bundle-v1.tally.json    a bundle from before the first change of keys
    bundle-v2.tally.json    the bundles of a receipt from before and of one from after the changes
    bundle-v2-after.tally.json
    report.html             the artifact that they name

Only ML-DSA-44 signatures differ from run to run.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from msgspec.structs import replace

from adapters.sqlite_log import SQLiteLog
from domain.contract import Contract, Gate
from domain.digests import digest_of
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
    GateTrack,
    NumericEnvironment,
    ProcedureDeployed,
    ReceiptIssued,
    ReceiptReplayed,
    Recorded,
    RunGatesDecided,
    RunStarted,
)
from domain.key_history import ML_DSA_44
from domain.metrics import MetricTrack, Window
from domain.outcomes import Outcome, Reason
from domain.procedures.procedure import ChannelCalibration
from ledger.bundle import bundle_of, format_bundle
from ledger.key_change import declare_compromised, revoke_key, rotate_key
from ledger.ledger import Ledger, Proposal
from ledger.notes import format_verifier_key
from ledger.receipt import build_receipt
from ledger.run import run_facts, run_id_of
from tests.ledger.desk import ORIGIN, START_NS, open_ledger
from tests.ledger.fixture_files import lines_of, write_fixtures
from tests.ledger.key_ring import KeyRing
from tests.ledger.signing_key import SigningKey

REPORT = b"<!doctype html><title>report</title>\n"
SECOND_NS = 1_000_000_000


async def put(ledger: Ledger, event: Event, subject: str, *causes: int) -> int:
    """Record one event and return where it stands."""
    proposal = Proposal(event=event, actor="fixture", subject=subject, causation=tuple(sorted(causes)))
    return (await ledger.record(proposal))[0].index


async def premises(ledger: Ledger) -> dict[str, int]:
    """A device, a connection, a contract and a procedure; where each of them stands."""
    gate = Gate(
        gate_id="clipping",
        metric="clipped_fraction",
        rule="at_most",
        pass_limit=0.001,
        fail_limit=0.01,
        unit="1",
        rule_id="fixture-1",
        reason=Reason.CLIPPED,
    )
    contract = Contract(contract_id="fixture", version=1, title="Fixture", gates=(gate,))
    channel = ChannelDeclaration(name="Z", unit="counts", sensor_serial="s-1", full_scale_counts=8_388_608.0)
    constants = ChannelCalibration(
        channel="Z",
        sensor_serial="s-1",
        sensitivity=1_500.0,
        sensitivity_unit="counts/(m/s)",
        uncertainty_relative=0.01,
    )
    events: dict[str, tuple[Event, str]] = {
        "source": (
            DeviceRegistered(
                device_id="logger-1", manufacturer="m", model="x", serial_number="1", channels=(channel,)
            ),
            "device/logger-1",
        ),
        "configuration": (
            DeviceConfigured(device_id="logger-1", firmware="1.0.0", configuration={"gain": "1"}),
            "device/logger-1",
        ),
        "calibration": (
            CalibrationSet(
                calibration_id="c-1",
                device_id="logger-1",
                certificate_id="DE-1",
                certificate_digest=digest_of(b"certificate"),
                laboratory="laboratory",
                issued_at_ns=START_NS,
                valid_from_ns=START_NS,
                valid_until_ns=2 * START_NS,
                channels=(constants,),
            ),
            "calibration/c-1",
        ),
        "contract": (ContractPublished(digest=contract.digest, contract=contract), "contract/fixture"),
        "deployment": (
            ProcedureDeployed(
                procedure="spectra",
                version="1.0.0",
                consumes="samples",
                source_digest=digest_of(b"source"),
                options={"segment_seconds": 10.0},
                contract_id="fixture",
                contract_version=1,
            ),
            "procedure/spectra",
        ),
        "connection": (
            ConnectionRegistered(connection_id="wearer-1", provider="oura", subject_key_id="demo.wearer-1"),
            "connection/wearer-1",
        ),
    }
    return {name: await put(ledger, event, subject) for name, (event, subject) in events.items()}


async def run(
    ledger: Ledger, where: dict[str, int], number: int, outcome: Outcome, *, supersedes: str = ""
) -> Recorded:
    """A batch, its dataset, a run, its decision and its receipt."""
    start_ns = START_NS + number * 60 * SECOND_NS
    batch_digest, dataset_digest = digest_of(b"batch %d" % number), digest_of(b"dataset %d" % number)
    batch = await put(
        ledger,
        BatchIngested(
            batch_id=f"b-{number}",
            source_id="logger-1",
            kind="samples",
            media_type="text/csv",
            byte_count=1_000,
            digest=batch_digest,
            is_encrypted=False,
            received_at_ns=start_ns,
            file_name="z.csv",
            sequence=number,
        ),
        f"batch/b-{number}",
    )
    channel = DatasetChannel(
        name="Z",
        unit="counts",
        dtype="int32",
        sample_count=12_000,
        sample_rate_hz=200.0,
        start_ns=start_ns,
        end_ns=start_ns + 60 * SECOND_NS,
    )
    dataset = await put(
        ledger,
        DatasetDerived(
            batch_id=f"b-{number}",
            source_id="logger-1",
            kind="samples",
            digest=dataset_digest,
            object_digest=digest_of(b"object %d" % number),
            parser="csv/1",
            channels=(channel,),
        ),
        f"batch/b-{number}",
        batch,
    )
    started = RunStarted(
        run_id="",
        source_id="logger-1",
        procedure="spectra",
        procedure_version="1.0.0",
        deployment_index=where["deployment"],
        contract_index=where["contract"],
        source_index=where["source"],
        configuration_index=where["configuration"],
        calibration_index=where["calibration"],
        datasets=(DatasetReference(digest=dataset_digest, index=dataset, batch_index=batch),),
        supersedes=supersedes,
    )
    started = replace(started, run_id=run_id_of(started))
    started_index = await put(
        ledger, started, f"run/{started.run_id}", *sorted({where["deployment"], dataset})
    )
    facts = await run_facts(ledger, started_index)
    decided = decision(started.run_id, start_ns, outcome)

    def decide(state):  # type: ignore[no-untyped-def]
        receipt = build_receipt(facts, decided, state.size, ledger.signers(state))
        return (
            Proposal(
                event=decided, actor="fixture", subject=f"run/{started.run_id}", causation=(started_index,)
            ),
            Proposal(
                event=ReceiptIssued(envelope=receipt.envelope),
                actor="fixture",
                subject=f"receipt/{receipt.receipt_id}",
                causation=(started_index, state.size),
            ),
        )

    return (await ledger.append(decide))[1]


def decision(run_id: str, start_ns: int, outcome: Outcome) -> RunGatesDecided:
    """One window and one gate with this outcome."""
    value, margin = {Outcome.PASS: (0.0, 1.0), Outcome.FAIL: (0.5, 0.0)}[outcome]
    reason = Reason.NONE if outcome is Outcome.PASS else Reason.CLIPPED
    return RunGatesDecided(
        run_id=run_id,
        windows=(Window(start_ns=start_ns, end_ns=start_ns + 60 * SECOND_NS),),
        window_scores=(margin,),
        metrics=(MetricTrack(name="clipped_fraction", unit="1", values=(value,)),),
        gates=(
            GateTrack(
                gate_id="clipping",
                metric="clipped_fraction",
                unit="1",
                outcomes=outcome[0],
                margins=(margin,),
                reasons=(reason,),
                outcome=outcome,
                reason=reason,
                value=value,
                margin=margin,
                window=0,
                required=True,
            ),
        ),
        verdict=outcome,
        is_presentable=outcome is Outcome.PASS,
        artifacts=(
            ArtifactReference(
                name="report.html",
                media_type="text/html",
                byte_count=len(REPORT),
                digest=digest_of(REPORT),
                quantised_digest=digest_of(b"rounded"),
            ),
        ),
        environment=NumericEnvironment(class_digest=digest_of(b"environment"), facts={"numpy": "2"}),
    )


async def fixtures() -> dict[str, bytes]:
    """Every file, by name."""
    first = SigningKey(ORIGIN)
    ring = KeyRing(first)
    files: dict[str, bytes] = {"report.html": REPORT}
    with tempfile.TemporaryDirectory() as name:
        log = SQLiteLog(Path(name) / "log")
        async with open_ledger(Path(name), log=log, keys=ring) as ledger:
            where = await premises(ledger)
            good = await run(ledger, where, 1, Outcome.PASS)
            assert isinstance(good.event, ReceiptIssued)
            files["entry"] = (await ledger.get(good.index))[0].entry
            files["receipt.dsse"] = good.event.envelope
            files["bundle-v1.tally.json"] = format_bundle(await bundle_of(ledger, good.index))
            await put(
                ledger,
                ReceiptReplayed(
                    receipt_id=good.subject.removeprefix("receipt/"),
                    receipt_index=good.index,
                    result="reproduced",
                    first_difference="",
                    environment=NumericEnvironment(class_digest=digest_of(b"environment"), facts={}),
                ),
                f"replay/{good.subject.removeprefix('receipt/')}",
                good.index,
            )
            quarantined = BatchIngested(
                batch_id="b-9",
                source_id="wearer-1",
                kind="oura.sleep",
                media_type="application/json",
                byte_count=10,
                digest=digest_of(b"ciphertext"),
                is_encrypted=True,
                received_at_ns=START_NS,
            )
            batch = await put(ledger, quarantined, "batch/b-9")
            await put(
                ledger,
                BatchQuarantined(
                    batch_id="b-9",
                    source_id="wearer-1",
                    stage="parse",
                    reason="MalformedError",
                    detail="not JSON",
                    remedy="Send it again.",
                ),
                "batch/b-9",
                batch,
            )
            await rotate_key(ledger, ring, reason="once a year", actor="fixture")
            await run(ledger, where, 2, Outcome.FAIL)
            await revoke_key(ledger, first.verifier_key.key_id.hex(), reason="rotated", actor="fixture")
            await rotate_key(ledger, ring, reason="quantum computers", actor="fixture", algorithm=ML_DSA_44)
            after = await run(ledger, where, 3, Outcome.PASS)
            await declare_compromised(
                ledger,
                first.verifier_key.key_id.hex(),
                from_index=ledger.size - 1,
                reason="a stolen laptop",
                actor="fixture",
            )
            files["bundle-v2.tally.json"] = format_bundle(await bundle_of(ledger, good.index))
            files["bundle-v2-after.tally.json"] = format_bundle(await bundle_of(ledger, after.index))
            vkeys = [format_verifier_key(key) for key in (first.verifier_key, ledger.verifier_key)]
            files["keys"] = "".join(f"{vkey}\n" for vkey in vkeys).encode()
            records = await ledger.read(0, 1_000)
        await log.close()
    files["ledger.jsonl"] = lines_of(records)
    return files


def main(folder: Path) -> None:
    """Write them all into a new folder."""
    files = asyncio.run(fixtures())
    write_fixtures(folder, files)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
