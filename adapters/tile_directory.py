"""A folder of tiles, laid out as C2SP tlog-tiles asks.

    <folder>/checkpoint
    <folder>/tile/<level>/<number>[.p/<width>]
    <folder>/tile/entries/<number>[.p/<width>]

Whoever reads the checkpoint finds every tile under it: tiles are written first, each under another name and
then renamed, all are made durable, and only then is the checkpoint replaced, by a rename too.  A crash leaves
the older checkpoint with some tiles more than it needs; those are written again.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from domain.errors import ConflictError, InvalidError, UnknownError
from ledger.notes import NOTE_BYTES_MAX
from ledger.tiles import ENTRY_BYTES_MAX, TILE_WIDTH, Tile, tile_path

CHECKPOINT_NAME = "checkpoint"
# A bundle of entries of the greatest length; a tile of hashes is far smaller.
TILE_FILE_BYTES_MAX = TILE_WIDTH * (2 + ENTRY_BYTES_MAX)
SYNCS_AT_ONCE = 16
_LOCK_NAME = ".mirror.lock"
_STAGED = ".staged"


class TileDirectory:
    """Tiles in a folder.  Calling it reads a tile, so it is a ``TileReader``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written: set[Path] = set()

    def __call__(self, tile: Tile, /) -> bytes:
        """A tile's bytes; for a partial one that is gone, the full one.  Raises: UnknownError."""
        for wanted in (tile, Tile(tile.level, tile.number)):
            path = self.folder / tile_path(*wanted)
            try:
                return _read(path, TILE_FILE_BYTES_MAX)
            except FileNotFoundError:
                continue
        raise UnknownError("this folder has no such tile", field=tile_path(*tile), actual=str(self.folder))

    def expect(self, tiles: Iterable[Tile]) -> None:
        """Nothing to fetch ahead."""

    def close(self) -> None:
        """Nothing to end."""

    def checkpoint(self) -> bytes:
        """The published checkpoint.  Raises: UnknownError."""
        try:
            return _read(self.folder / CHECKPOINT_NAME, NOTE_BYTES_MAX)
        except FileNotFoundError as error:
            raise UnknownError(
                "no checkpoint here",
                field=str(self.folder),
                expected="a folder of tiles",
                remedy="`tally mirror` makes one.",
            ) from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder for writing.  Raises: ConflictError when another process does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConflictError(
                    "another process is writing this mirror",
                    field=str(self.folder),
                    remedy="Try again later.",
                ) from error
            yield
        finally:
            os.close(descriptor)

    def write(self, tile: Tile, data: bytes) -> bool:
        """Put a tile in place, not yet durable; False when these bytes are there already.

        Other bytes can only be those of a copy that was never published, and are replaced.
        """
        path = self.folder / tile_path(*tile)
        # Equal bytes may be of a copy that ended before it made them durable, so they count as written.
        self._written.add(path)
        try:
            if _read(path, TILE_FILE_BYTES_MAX) == data:
                return False
        except FileNotFoundError:
            pass
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(path.name + _STAGED)
        staged.write_bytes(data)
        staged.rename(path)
        return True

    def publish(self, checkpoint: bytes) -> None:
        """Make what was written durable, then the checkpoint; then drop partial tiles that became full."""
        folders = {self.folder}
        for path in self._written:
            folders |= {parent for parent in path.parents if parent.is_relative_to(self.folder)}
        # Side by side, because the file system makes those that wait together durable together.
        with ThreadPoolExecutor(SYNCS_AT_ONCE) as pool:
            list(pool.map(_sync, self._written))
            list(pool.map(_sync, sorted(folders, reverse=True)))
        staged = self.folder / (CHECKPOINT_NAME + _STAGED)
        staged.write_bytes(checkpoint)
        _sync(staged)
        staged.rename(self.folder / CHECKPOINT_NAME)
        _sync(self.folder)
        for path in self._written:
            partial = path.with_name(path.name + ".p")
            if partial.is_dir():
                for one in partial.iterdir():
                    one.unlink()
                partial.rmdir()
        self._written.clear()


def _read(path: Path, bytes_max: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise InvalidError("file too large", field=str(path), expected=f"<= {bytes_max} bytes")
    return data


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
