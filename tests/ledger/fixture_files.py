"""Files that are kept for ever: how records stand in them, and how a new folder of them is written."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path

from domain.canonical import canonical_json
from ledger.ports import Record


def lines_of(records: Iterable[Record]) -> bytes:
    """Records as lines of JSON."""
    return b"".join(
        canonical_json(
            {
                "entry": b64encode(record.entry).decode(),
                "event_type": record.event_type,
                "index": record.index,
                "payload": b64encode(record.payload).decode(),
                "seal": b64encode(record.seal).decode(),
            }
        )
        + b"\n"
        for record in records
    )


def write_fixtures(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write them all into a new folder, and say what they are."""
    folder.mkdir(parents=True)
    for file, data in sorted(files.items()):
        (folder / file).write_bytes(data)
        print(f"{hashlib.sha256(data).hexdigest()[:16]}  {len(data):7}  {file}")
