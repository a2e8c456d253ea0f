"""``tally verify`` is for people who have nothing of ours but a file: it starts without what runs need."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from ledger.bundle import bundle_of, format_bundle
from ledger.notes import format_verifier_key
from tests.story.told import at_desk

#: What takes long to import, and has no part in checking a signature.
HEAVY = {
    "aiohttp",
    "duckdb",
    "esdbclient",
    "eventsourcing",
    "granian",
    "grpc",
    "litestar",
    "numpy",
    "pyarrow",
    "pydantic",
    "scipy",
    "sqlite3",
    "yaml",
}
VERIFY = """
import json, sys
from api.command_line import main
status = main(["--json", "verify", *sys.argv[1:]])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
sys.exit(status)
"""


def test_a_receipt_is_verified_without_importing_what_runs_need(told: Path, tmp_path: Path) -> None:
    async def make() -> tuple[bytes, str]:
        async with at_desk(told) as (_, desk):
            index = next(
                record.index
                for record in await desk.ledger.read(0, 1_000)
                if record.event_type == "receipt.issued.v1"
            )
            bundle = format_bundle(await bundle_of(desk.ledger, index))
            return bundle, format_verifier_key(desk.ledger.verifier_key)

    bundle, vkey = asyncio.run(make())
    path = tmp_path / "receipt.tally.json"
    path.write_bytes(bundle)
    said = subprocess.run(
        [sys.executable, "-c", VERIFY, str(path), "--key", vkey],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["verified"] is True
    imported = set(json.loads(said.stderr))
    assert "msgspec" in imported
    assert imported & HEAVY == set()
