"""A vault in a directory: one file per object, named by its digest.

    <root>/objects/ab/ab12…   the object whose digest is sha256:ab12…, mode 0400
    <root>/staging/           files on their way; swept when the vault is opened

Files are read-only because an object never changes, and unreadable to others because raw recordings belong to
one tenant.  256 folders keep each listing short up to tens of millions of objects.

*A damaged object is evidence, not something to tidy up.*  ``put`` compares what is stored with what it was
given; if they differ it raises CorruptObjectError and replaces nothing, so that the damage is seen, named and
repaired by a person from a backup.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import stat
from pathlib import Path

from adapters.durable_file import make_private_folder, publish_new, sweep_staging, sync_folder
from domain.digests import Digest, digest_from_bytes, digest_hex, digest_of, parse_digest
from domain.errors import InvalidError, LimitError
from ledger.errors import CorruptObjectError, UnknownObjectError

# An object is held in memory whole: the largest upload (512 MiB of Steim-compressed samples) unpacks to less
# than this.
OBJECT_BYTES_MAX = 4 * 1024 * 1024 * 1024

_OBJECT_MODE = 0o400


class DirectoryVault:
    """``ledger.ports.Vault`` under ``root``, which is made if it is missing.  Several processes may share
    it."""

    def __init__(self, root: Path) -> None:
        self._objects = root / "objects"
        self._staging = root / "staging"
        make_private_folder(self._objects)
        make_private_folder(self._staging)
        sweep_staging(self._staging)
        # Folders whose own name this process has seen to disk.  A folder another process made may not have
        # got there yet.
        self._durable_folders: set[Path] = set()

    async def put(self, data: bytes) -> Digest:
        """Store ``data``; storing it again changes nothing.

        Raises: LimitError for an object above OBJECT_BYTES_MAX or a full disk; CorruptObjectError when an
        object of this digest is stored and damaged.
        """
        return await asyncio.to_thread(self._put, data)

    async def get(self, digest: Digest) -> bytes:
        """The bytes, verified.  Raises: MalformedError for what is no digest, UnknownObjectError,
        CorruptObjectError."""
        return await asyncio.to_thread(self._get, parse_digest(digest))

    async def has(self, digest: Digest) -> bool:
        """Whether an object of this digest is stored (its content is not checked).  Raises: MalformedError
        for what is no digest."""
        return await asyncio.to_thread(os.path.lexists, self._path(parse_digest(digest)))

    def _put(self, data: bytes) -> Digest:
        if len(data) > OBJECT_BYTES_MAX:
            raise LimitError(
                "object too large", expected=f"<= {OBJECT_BYTES_MAX} bytes", actual=str(len(data))
            )
        digest = digest_of(data)
        path = self._path(digest)
        self._make_fan_out(path.parent)
        if os.path.lexists(path):
            # Whoever linked the name may not have synced the folder yet; an acknowledgement needs that done.
            sync_folder(path.parent)
        elif publish_new(path, data, staging=self._staging, mode=_OBJECT_MODE):
            return digest
        stored = self._stored_digest(path, digest)
        if stored != digest:
            raise CorruptObjectError(digest, stored)
        return digest

    def _get(self, digest: Digest) -> bytes:
        with _open_object(self._path(digest), digest) as file:
            if os.fstat(file.fileno()).st_size > OBJECT_BYTES_MAX:
                # Not ours, whatever it is; name its digest without holding it in memory.
                raise CorruptObjectError(digest, _digest_of_file(file))
            data = file.read()
        actual = digest_of(data)
        if actual != digest:
            raise CorruptObjectError(digest, actual)
        return data

    def _stored_digest(self, path: Path, digest: Digest) -> Digest:
        with _open_object(path, digest) as file:
            return _digest_of_file(file)

    def _make_fan_out(self, folder: Path) -> None:
        if folder not in self._durable_folders:
            if folder.is_dir():
                sync_folder(self._objects)
            else:
                make_private_folder(folder)
            self._durable_folders.add(folder)

    def _path(self, digest: Digest) -> Path:
        name = digest_hex(digest)
        return self._objects / name[:2] / name


def _open_object(path: Path, digest: Digest) -> io.FileIO:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UnknownObjectError(digest) from None
    except OSError as error:
        raise InvalidError(
            "vault object cannot be read", field=digest, actual=error.strerror or ""
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidError(
            "vault object is not a regular file", field=digest, remedy="Restore it from a backup."
        )
    return io.FileIO(descriptor)


def _digest_of_file(file: io.FileIO) -> Digest:
    return digest_from_bytes(hashlib.file_digest(file, "sha256").digest())
