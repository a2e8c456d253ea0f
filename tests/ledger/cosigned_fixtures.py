"""What strangers are handed where witnesses cosign, as this version writes it, to be kept for ever.

    python -m tests.ledger.cosigned_fixtures FOLDER     FOLDER must not exist: what is published is not edited

In the folder, for each of three ways (the ledger is shown itself; through a meta-log; through one whose keys
have changed):

    <way>.tally.json            a receipt's bundle
    <way>.audit.json            an audit bundle of two receipts
    topics-<way>.json           a complete list

and beside them

    meta.jsonl                  the meta-log, a record a line, as in formats/
    meta-keys                   its vkeys, one a line, oldest first
    policy                      the first key of each log, and three witnesses of which two are enough
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from ledger.notes import format_verifier_key
from ledger.policy import format_policy
from ledger.sealing_keys import all_keys
from tests.ledger.fixture_files import lines_of, write_fixtures
from tests.ledger.test_witnessing import device
from tests.ledger.vouched import LOG, META, Vouched, vouched

FOLDERS = Path(__file__).parents[1] / "vectors" / "cosigned"
WAYS = ("itself", "meta", "meta-rotated")


async def hand(at: Vouched, way: str, files: dict[str, bytes]) -> None:
    """What is handed out now."""
    handed = await at.handed()
    files[f"{way}.tally.json"] = handed["receipt"]
    files[f"{way}.audit.json"] = handed["audit"]
    files[f"topics-{way}.json"] = handed["complete"]


async def fixtures() -> dict[str, bytes]:
    """Every file, by name."""
    files: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as name:
        async with vouched(Path(name) / "itself", is_itself=True) as at:
            files["policy"] = format_policy(at.policy(LOG.verifier_key, META.verifier_key))
            await hand(at, "itself", files)
        async with vouched(Path(name) / "meta") as at:
            await hand(at, "meta", files)
            await at.rotate_meta()
            await at.ledger.record(device(1))
            await at.topics.commit("test")
            await at.turn()
            await hand(at, "meta-rotated", files)
            meta = await at.meta_ledger()
            vkeys = [format_verifier_key(key) for key in all_keys(meta.state.keys)]
            files["meta-keys"] = "".join(f"{vkey}\n" for vkey in vkeys).encode()
            files["meta.jsonl"] = lines_of(await meta.read(0, 1_000))
    return files


def main(folder: Path) -> None:
    """Write them all into a new folder."""
    files = asyncio.run(fixtures())
    write_fixtures(folder, files)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
