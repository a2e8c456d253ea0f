"""One hour of two seismic sensors (200 Hz, miniSEED), from files to receipts, by the whole product.

Three procedures run on it with the demo's contracts: spectra of each sensor's file, coherence and delay of
the pair, sixty windows each, every one gated, reported and closed by a signed receipt.  It is a whole run in
a fresh folder, children and durable writes included.  The real-time factor is 3,600 s over the time from the
first upload to the last receipt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapters.setup_files import parse_setup
from api.bench.child import in_child
from api.bench.places import folder
from api.bench.row import Row, Scale, alone
from api.demo import DATA, DEVICE, receipts_of, recording_paths
from api.settings import settings_from
from api.setup import apply_setup
from api.workplace import open_workplace
from domain.errors import InvalidError, UnknownError
from ledger.ingest import SAMPLES, Upload, ingest
from ledger.worker import settle

RECORDED_SECONDS = 3_600


def rows(scale: Scale) -> Iterator[Row]:
    """The hour, in processes of its own."""
    try:
        recording_paths()
    except UnknownError as error:
        yield Row(work="one hour, ingest to receipts", note=f"skipped: {error.what}: {error.field}")
        return
    taken, peaks, count = [], [], 0
    for _ in range(scale.of(3, 1)):
        with folder() as place:
            measured = in_child("api.bench.recording", "run_once", str(place))
        taken.append(measured.result["seconds"])
        peaks.append(measured.peak_bytes / 1e6)
        count = measured.result["receipts"]
    yield alone("one hour, ingest to receipts", "seconds", taken, note=f"{count} receipts")
    yield alone("times faster than it was recorded", "factor", [RECORDED_SECONDS / one for one in taken])
    yield alone("peak memory, both processes", "megabytes", peaks)


def run_once(place: str) -> dict[str, Any]:
    """In a child: set up, then take the time from the first upload to the last receipt."""

    async def run() -> dict[str, Any]:
        settings = settings_from({}, home=place, tenant="bench")
        async with open_workplace(settings) as workplace:
            desk = await workplace.desk()
            setup = parse_setup((DATA / "setup.yaml").read_bytes(), "setup.yaml")
            await apply_setup(desk, setup, lambda name: (DATA / name).read_bytes(), "bench")
            paths = recording_paths()
            began = time.perf_counter()
            for path in paths:
                await ingest(desk, _upload(path, desk.clock()), "bench")
                stuck = await settle(desk)
                if stuck:
                    raise InvalidError("a run is stuck", actual=str(stuck[0].error))
            taken = time.perf_counter() - began
            return {"seconds": taken, "receipts": len(await receipts_of(desk))}

    return asyncio.run(run())


def _upload(path: Path, received_at_ns: int) -> Upload:
    return Upload(
        source_id=DEVICE,
        kind=SAMPLES,
        data=path.read_bytes(),
        media_type="application/vnd.fdsn.mseed",
        file_name=path.name,
        received_at_ns=received_at_ns,
    )
