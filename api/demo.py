"""The demo: one real recording and one wearable's payloads become receipts that verify and replay.

The recording lies inside the obspy wheel (two co-located seismometers, 2 × 200 Hz × 1 h, miniSEED); it is
read from the installed files without importing obspy.  The payloads are invented and lie beside this file.
"""

from __future__ import annotations

import importlib.metadata
import mimetypes
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from adapters.plain_documents import parse_plain
from adapters.setup_files import instant_ns, parse_setup
from api.setup import apply_setup
from domain.errors import UnknownError
from domain.events import ReceiptIssued, ReceiptReplayed, Recorded
from ledger.bundle import FILE_SUFFIX, bundle_of, format_bundle
from ledger.desk import Desk
from ledger.ingest import SAMPLES, Upload, ingest
from ledger.notes import format_verifier_key
from ledger.policy import policy_of_log
from ledger.receipt import Predicate, parse_receipt
from ledger.recorded import event_of, recorded_of
from ledger.replay import Replay, record_replay, replay
from ledger.reprocess import artifact_of
from ledger.run import decided_of
from ledger.verify import VerifiedReceipt, verify_bundle
from ledger.worker import Stuck, settle

DATA = Path(__file__).parent / "demo_data"
DEVICE = "colocated-seismometers"
CONNECTION = "wearer-1-oura"
RECORDINGS = ("ref_STS2", "ref_unknown")
READ_BATCH = 1_024


class Delivery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One payload of the demo, and when it is said to have arrived."""

    file: str
    kind: str
    received_at: str
    provider_event_time: str


class Checked(Struct, frozen=True, kw_only=True):
    """One receipt, verified offline and replayed."""

    index: int
    receipt_id: str
    predicate: Predicate
    verified: VerifiedReceipt
    replayed: Replay
    bundle_path: Path
    report_path: Path | None


class DemoAccount(Struct, frozen=True, kw_only=True):
    """What the demo did, for printing."""

    setup: list[tuple[Recorded, bool]]
    batches: list[tuple[str, Recorded, bool]]
    stuck: tuple[Stuck, ...]
    checked: list[Checked]
    folder: Path
    key_path: Path
    size: int

    @property
    def is_new(self) -> bool:
        """Whether anything was recorded that was not there before."""
        return any(new for _, new in self.setup) or any(new for *_, new in self.batches)


Step = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and how much there is."""


async def run_demo(desk: Desk, folder: Path, on_step: Step) -> DemoAccount:
    """Do the main job; doing it again finds everything there.

    Raises: UnknownError when obspy's files are not installed.
    """
    recordings = recording_paths()
    setup = parse_setup((DATA / "setup.yaml").read_bytes(), "setup.yaml")
    applied = await apply_setup(desk, setup, lambda name: (DATA / name).read_bytes(), "demo")
    uploads = [(path.name, _recording(desk, path)) for path in recordings]
    uploads += [(delivery.file, _payload(delivery)) for delivery in deliveries()]
    batches: list[tuple[str, Recorded, bool]] = []
    stuck: tuple[Stuck, ...] = ()
    for count, (name, upload) in enumerate(uploads):
        on_step("ingest and run", count, len(uploads))
        recorded, is_new = await ingest(desk, upload, "demo")
        batches.append((name, recorded, is_new))
        # Payloads are worked off one by one, as they would arrive; a recording waits for its partner.
        stuck = await settle(desk)
    on_step("ingest and run", len(uploads), len(uploads))
    for name in ("receipts", "reports"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    key_path = folder / "ledger.vkey"
    key_path.write_text(format_verifier_key(desk.ledger.verifier_key) + "\n")
    return DemoAccount(
        setup=applied,
        batches=batches,
        stuck=stuck,
        checked=await _check_receipts(desk, folder, on_step),
        folder=folder,
        key_path=key_path,
        size=desk.ledger.size,
    )


def recording_paths() -> list[Path]:
    """The two recordings among obspy's installed files.  Raises: UnknownError with what to do."""
    try:
        files = importlib.metadata.files("obspy") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = {Path(file).name: Path(str(file.locate())) for file in files if Path(file).name in RECORDINGS}
    missing = [name for name in RECORDINGS if name not in found or not found[name].is_file()]
    if missing:
        raise UnknownError(
            "the demo's recording is not installed",
            field=", ".join(missing),
            remedy="It comes inside the obspy wheel: run `make demo`, which installs it.",
        )
    return [found[name] for name in RECORDINGS]


def deliveries() -> list[Delivery]:
    """The payloads in the order they arrive."""
    document = parse_plain((DATA / "oura" / "deliveries.yaml").read_bytes(), "deliveries.yaml")
    return msgspec.convert(document.tree, dict[str, list[Delivery]])["deliveries"]


async def receipts_of(desk: Desk) -> list[Recorded]:
    """Every receipt in the ledger, in order."""
    return await _events(desk, ReceiptIssued.TYPE)


async def _events(desk: Desk, event_type: str) -> list[Recorded]:
    found, position = [], 0
    while records := await desk.ledger.read(position, READ_BATCH):
        found += [recorded_of(record) for record in records if record.event_type == event_type]
        position = records[-1].index + 1
    return found


async def _check_receipts(desk: Desk, folder: Path, on_step: Step) -> list[Checked]:
    policy = policy_of_log(desk.ledger.verifier_key)
    replayed_before = {
        event_of(r, ReceiptReplayed).receipt_id for r in await _events(desk, ReceiptReplayed.TYPE)
    }
    receipts = await receipts_of(desk)
    checked = []
    for count, recorded in enumerate(receipts):
        on_step("verify and replay", count, len(receipts))
        receipt_id, predicate = parse_receipt(event_of(recorded, ReceiptIssued).envelope)
        bundle_path = folder / "receipts" / f"{receipt_id}{FILE_SUFFIX}"
        bundle_path.write_bytes(format_bundle(await bundle_of(desk.ledger, recorded.index)))
        # Verified from the file, with nothing but the public key, as a stranger would.
        verified = verify_bundle(bundle_path.read_bytes(), policy)
        outcome = await replay(desk, receipt_id)
        if receipt_id not in replayed_before:
            await record_replay(desk, outcome, "demo")
        checked.append(
            Checked(
                index=recorded.index,
                receipt_id=receipt_id,
                predicate=predicate,
                verified=verified,
                replayed=outcome,
                bundle_path=bundle_path,
                report_path=await _write_report(desk, predicate, receipt_id, folder),
            )
        )
    on_step("verify and replay", len(receipts), len(receipts))
    return checked


async def _write_report(desk: Desk, predicate: Predicate, receipt_id: str, folder: Path) -> Path | None:
    decided = await decided_of(desk.ledger, predicate.run.decided_index)
    report = await artifact_of(desk, predicate.source.source_id, decided, "report.html")
    if report is None:
        return None
    path = folder / "reports" / f"{predicate.procedure.name}-{receipt_id}.html"
    path.write_bytes(report)
    return path


def _recording(desk: Desk, path: Path) -> Upload:
    return Upload(
        source_id=DEVICE,
        kind=SAMPLES,
        data=path.read_bytes(),
        media_type="application/vnd.fdsn.mseed",
        file_name=path.name,
        received_at_ns=desk.clock(),
    )


def _payload(delivery: Delivery) -> Upload:
    path = DATA / "oura" / delivery.file
    return Upload(
        source_id=CONNECTION,
        kind=delivery.kind,
        data=path.read_bytes(),
        media_type=mimetypes.guess_type(path.name)[0] or "application/json",
        received_at_ns=instant_ns(delivery.received_at, "received_at"),
        provider_event_time_ns=instant_ns(delivery.provider_event_time, "provider_event_time"),
    )
