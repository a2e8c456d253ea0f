"""What an outsider does: audit a log from its tiles, and get proofs out of a large one.

The audit is ``ledger.tile_audit`` over a ledger's bundles and tiles, read from files as from a mirror; beside
it, one SHA-256 pass over the same entries.  Proofs are inclusion proofs of random leaves of a tree whose
tiles lie in the derived index, as the API makes them.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapters.sqlite_index import SQLiteIndex
from adapters.sqlite_log import SQLiteLog
from api.bench.appends import PER_APPEND
from api.bench.child import in_child
from api.bench.history import small_proposals
from api.bench.places import folder, open_ledger
from api.bench.row import Aim, Row, Scale, alone, compared
from ledger.checkpoint import open_checkpoint
from ledger.merkle import HASH_BYTES, UnknownLeafError, verify_inclusion
from ledger.notes import format_verifier_key, parse_verifier_key
from ledger.tile_audit import audit_tiles
from ledger.tiles import ENTRIES_LEVEL, TILE_WIDTH, Tile, format_bundle, prove_inclusion

ENTRIES, LEAVES = 1_000_000, 10_000_000
PROOFS = 2_000


def rows(scale: Scale) -> Iterator[Row]:
    """Both."""
    with folder() as place:
        asyncio.run(_fill(place, scale.of(ENTRIES, 50_000)))
        results, peaks = [], []
        for _ in range(scale.of(3, 2)):
            measured = in_child("api.bench.tiles", "audit_once", str(place))
            results.append(measured.result)
            peaks.append(measured.peak_bytes / 1e6)
    size, each = results[0]["size"], results[0]["byte_count"] / results[0]["size"]
    yield compared(
        "audit from tiles",
        "seconds",
        [(one["seconds"], one["hashed"]) for one in results],
        beside="one SHA-256 pass",
        aim=Aim("≤", 5, "ours", "s") if not scale.is_quick else None,
        note=f"{size:,} entries of {each:,.0f} bytes",
    )
    yield alone(
        "its peak memory",
        "megabytes",
        peaks,
        aim=Aim("≤", 500, "ours", "MB"),
    )
    with folder() as place:
        result = in_child("api.bench.tiles", "prove_often", str(place), str(scale.of(LEAVES, 200_000))).result
    yield alone(
        "inclusion proof of a random leaf, 99th percentile",
        "seconds",
        [result["p99"]],
        aim=Aim("≤", 0.005, "ours", "s"),
        note=f"of {result['size']:,} leaves; median {result['median'] * 1e6:,.0f} µs",
    )


async def _fill(place: Path, count: int) -> None:
    """A ledger of so many small events, and its bundles one after the other in a file."""
    async with open_ledger(place) as ledger:
        while ledger.size < count:
            await ledger.record(*small_proposals(ledger.size, PER_APPEND))
        (place / "checkpoint").write_bytes(ledger.checkpoint)
        (place / "key").write_text(format_verifier_key(ledger.verifier_key))
        reader = SQLiteLog(place / "ledgers").column_reader(ledger.name)
        with (place / "bundles").open("wb") as file:
            ends = [0]
            for start in range(0, ledger.size, TILE_WIDTH):
                entries = [
                    entry
                    for columns in reader.columns(start, min(start + TILE_WIDTH, ledger.size))
                    for entry in columns.entries
                ]
                ends.append(ends[-1] + file.write(format_bundle(entries)))
    (place / "ends").write_bytes(b"".join(end.to_bytes(8, "big") for end in ends))


def audit_once(place: str) -> dict[str, Any]:
    """In a child: audit the ledger there from its tiles, and hash its entries in one pass."""
    files = Path(place)
    key = parse_verifier_key((files / "key").read_text())
    checkpoint = open_checkpoint((files / "checkpoint").read_bytes(), [key])
    index = SQLiteIndex(files / "index.sqlite")
    ends = array("Q")
    ends.frombytes((files / "ends").read_bytes())
    ends.byteswap()
    with (files / "bundles").open("rb") as file:

        def read(tile: Tile) -> bytes:
            if tile.level == ENTRIES_LEVEL:
                file.seek(ends[tile.number])
                return file.read(ends[tile.number + 1] - ends[tile.number])
            return (index.tile_hashes(tile.level, tile.number) or b"")[: tile.width * HASH_BYTES]

        began = time.perf_counter()
        report = audit_tiles(read, checkpoint)
        taken = time.perf_counter() - began
        file.seek(0)
        digest, hashed = hashlib.sha256(), 0.0
        while data := file.read(1 << 24):
            began = time.perf_counter()
            digest.update(data)
            hashed += time.perf_counter() - began
    index.close()
    return {"seconds": taken, "hashed": hashed, "size": report.size, "byte_count": report.byte_count}


def prove_often(place: str, leaves: str) -> dict[str, Any]:
    """In a child: a tree of so many leaves, and the times of some proofs from it."""
    size, step = int(leaves), 8_192
    index = SQLiteIndex(Path(place) / "index.sqlite")
    for start in range(0, size, step):
        count = min(step, size - start)
        hashes = [hashlib.sha256(b"%d" % (start + at)).digest() for at in range(count)]
        index.advance(start, hashes, index.filings([()] * count))
    index.flush()
    root = index.frontier()[0].root()

    def tile(asked: Tile) -> bytes:
        hashes = index.tile_hashes(asked.level, asked.number)
        if hashes is None or len(hashes) < asked.width * HASH_BYTES:
            raise UnknownLeafError("no such tile", field="tile", actual=str(asked))
        return hashes[: asked.width * HASH_BYTES]

    chance = random.Random(size)
    times = []
    for _ in range(PROOFS):
        at = chance.randrange(size)
        began = time.perf_counter()
        path = prove_inclusion(tile, at, size)
        times.append(time.perf_counter() - began)
        verify_inclusion(at, size, hashlib.sha256(b"%d" % at).digest(), path, root)
    index.close()
    times.sort()
    return {"size": size, "median": times[PROOFS // 2], "p99": times[PROOFS * 99 // 100]}
