"""The newest checkpoint that was seen, in a file of its own.

    <folder>/checkpoint         the signed note, as `tally audit --checkpoint` takes it
    <folder>/checkpoint.new     the next one on its way
    <folder>/checkpoint.lock    locked by whoever changes the two

It is replaced whole (``adapters.durable_file.replace_file``), under the lock, so that of two processes the
one with the smaller checkpoint does not come last.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters.durable_file import make_private_folder, replace_file
from domain.errors import MalformedError
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.notes import NOTE_BYTES_MAX, parse_note

_MODE = 0o600


class FileCheckpointMemory:
    """``ledger.ports.CheckpointMemory`` in ``folder``, which is made when there is something to keep."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "checkpoint"
        self._lock_path = folder / "checkpoint.lock"

    def last(self) -> bytes:
        """See ``CheckpointMemory.last``.  Raises: MalformedError when it cannot be read as a checkpoint."""
        try:
            with self.path.open("rb") as file:
                note = file.read(NOTE_BYTES_MAX + 1)
        except FileNotFoundError:
            return b""
        self._checkpoint(note)
        return note

    def keep(self, note: bytes) -> None:
        """See ``CheckpointMemory.keep``."""
        size = self._checkpoint(note).size
        with self._changing():
            last = self.last()
            if not last or self._checkpoint(last).size < size:
                replace_file(self.path, note, mode=_MODE)

    def give_up(self, forgone: bytes, note: bytes) -> None:
        """See ``CheckpointMemory.give_up``."""
        self._checkpoint(note)
        with self._changing():
            if self.last() == forgone:
                replace_file(self.path, note, mode=_MODE)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        make_private_folder(self.path.parent)
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _checkpoint(self, note: bytes) -> Checkpoint:
        try:
            return parse_checkpoint(parse_note(note).text)
        except MalformedError as error:
            raise MalformedError(
                "the newest checkpoint that was seen cannot be read",
                field=str(self.path),
                actual=str(error),
                remedy="Compare the ledger with a checkpoint that was kept elsewhere (tally audit "
                "--checkpoint) or with a witness. If it is whole, remove this file.",
            ) from error
