"""The story: one logger with two sensors and one wearable, told once a session into a folder that tests copy.

Ingests run through the real executor, vault, key store and store; only the recording is made here (two
sensors that feel the same motion), so that the tests need no download.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from adapters.setup_files import parse_setup
from api.demo import CONNECTION, DATA, DEVICE
from api.settings import Settings, settings_from
from api.setup import apply_setup
from api.workplace import Workplace, open_workplace
from ledger.desk import Desk
from ledger.ingest import SAMPLES, Upload, ingest
from ledger.worker import settle

START_S = 1_297_765_260
RATE_HZ = 200
SECONDS = 180
TENANT = "demo"
CHANNELS = ("CA.STS2..EHZ", "CA.0438..EHZ")


def settings(home: Path) -> Settings:
    """Settings of the story in ``home``, whatever the environment says."""
    return settings_from({}, home=str(home), tenant=TENANT)


@asynccontextmanager
async def at_desk(home: Path) -> AsyncIterator[tuple[Workplace, Desk]]:
    """The story's workplace and desk."""
    async with open_workplace(settings(home)) as workplace:
        yield workplace, await workplace.desk()


def recording(channel: int, seconds: int = SECONDS) -> bytes:
    """CSV of one sensor: common ground motion and its own small noise, int counts."""
    rng = np.random.default_rng(7)
    count = seconds * RATE_HZ
    motion = np.convolve(rng.normal(size=count + 40), np.hanning(41), "valid") * 3_000
    own = np.random.default_rng(100 + channel).normal(size=count) * 20
    samples = np.rint(motion[:count] + own).astype(int)
    times = START_S * 1_000_000_000 + np.arange(count) * (1_000_000_000 // RATE_HZ)
    rows = "\n".join(f"{time},{value}" for time, value in zip(times, samples, strict=True))
    return f"time,{CHANNELS[channel]} [counts]\n{rows}\n".encode()


def recording_upload(desk: Desk, channel: int, data: bytes | None = None) -> Upload:
    """The upload of one sensor's file."""
    return Upload(
        source_id=DEVICE,
        kind=SAMPLES,
        data=recording(channel) if data is None else data,
        media_type="text/csv",
        file_name=f"sensor-{channel}.csv",
        received_at_ns=desk.clock(),
        format_options={"time_unit": "ns", "sample_rate_hz": RATE_HZ},
    )


def payload_upload(name: str, kind: str = "oura.sleep") -> Upload:
    """The upload of one of the demo's payloads."""
    return Upload(
        source_id=CONNECTION,
        kind=kind,
        data=(DATA / "oura" / name).read_bytes(),
        media_type="application/json",
        received_at_ns=1_774_850_000_000_000_000,
    )


async def tell(desk: Desk) -> None:
    """Set everything up, ingest, run, and issue receipts."""
    setup = parse_setup((DATA / "setup.yaml").read_bytes(), "setup.yaml")
    await apply_setup(desk, setup, lambda name: (DATA / name).read_bytes(), "story")
    uploads = [recording_upload(desk, 0), recording_upload(desk, 1)]
    uploads += [payload_upload("sleep_2026-03-29_final.json"), payload_upload("sleep_unmappable.json")]
    for upload in uploads:
        await ingest(desk, upload, "story")
        assert await settle(desk) == ()


def tell_into(home: Path) -> None:
    """Tell the story into an empty folder."""

    async def run() -> None:
        async with at_desk(home) as (_, desk):
            await tell(desk)

    asyncio.run(run())
