"""Our own pages' files: read once when the process starts, named, typed, and with an ETag each.

Nothing is looked up in a folder by what a request says.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from msgspec import Struct

FOLDER = Path(__file__).parent / "console"
_MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


class Asset(Struct, frozen=True, kw_only=True):
    """A file as it is served."""

    data: bytes
    media_type: str
    etag: str


@cache
def assets() -> dict[str, Asset]:
    """Every file by its name."""
    found = {}
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in _MEDIA_TYPES:
            data = path.read_bytes()
            etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
            found[path.name] = Asset(data=data, media_type=_MEDIA_TYPES[path.suffix], etag=etag)
    return found
