"""Files that appear whole or not at all, and are durable once they have appeared; objects are never replaced.

Publishing goes through these steps; a crash after any of them leaves what stands beside it:

1. create ``<staging>/<random>`` with O_EXCL, lock it     an empty staged file, swept by the next opener
2. write, set the mode, fsync                            a staged file, swept by the next opener
3. link it to its final name; fails if that is taken     the whole file, perhaps lost with the power
4. fsync the folder                                      the whole file, durable
5. unlink the staged name                                nothing else

After 3 and 4 the staged name is a second link to the file, and is swept too.

``link`` is used and not ``rename``, because rename replaces what is there.  The lock tells a writer at work
from one that died: a sweeper removes only files that nobody locks, so it needs no clock and no process table.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from pathlib import Path

from domain.errors import InvalidError, LimitError

PRIVATE_FOLDER_MODE = 0o700
# A sweeper can take a staged file in the instant between its creation and its lock; twice in a row is not
# chance.
STAGING_ATTEMPTS_MAX = 5

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK})


def publish_new(path: Path, data: bytes, *, staging: Path, mode: int) -> bool:
    """Make ``path`` hold exactly ``data``, durably; ``staging`` is a folder on the same file system.

    Returns: False if something of that name exists already, which is left as it is.
    Raises: LimitError when the disk is full, InvalidError when the file system has no hard links.
    """
    try:
        for _ in range(STAGING_ATTEMPTS_MAX):
            try:
                return _publish_once(path, data, staging, mode)
            except FileNotFoundError:
                if not staging.is_dir() or not path.parent.is_dir():
                    raise
        raise InvalidError("staged files vanish while they are written", field=str(staging))
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise LimitError(
                "no room left on the disk",
                field=str(path.parent),
                actual=f"{len(data)} bytes to write",
                remedy="Free some space or move the folder; nothing was stored.",
            ) from error
        if error.errno in _NO_LINKS:
            raise InvalidError(
                "this file system cannot publish a file without overwriting",
                field=str(path.parent),
                expected="hard links",
                remedy="Use a local POSIX file system (ext4, XFS, Btrfs, ZFS, APFS).",
            ) from error
        raise


def replace_file(path: Path, data: bytes, *, mode: int) -> None:
    """Make ``path`` hold exactly ``data``, durably, whatever stood there; for files that follow one another.

    After a crash it is the old file or the new one, whole.  Only one writer at a time: it goes through
    ``<path>.new``.
    """
    staged = path.with_name(path.name + ".new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(staged, flags, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)
    sync_folder(path.parent)


def make_private_folder(folder: Path) -> None:
    """Make ``folder`` and its missing parents with mode 0700, each of them durable in its parent."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for made in reversed(missing):
        made.mkdir(mode=PRIVATE_FOLDER_MODE, exist_ok=True)
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_staging(staging: Path) -> int:
    """Remove what writers that died left in ``staging``; returns how many files.  Writers at work are not
    disturbed."""
    swept = 0
    for entry in list(os.scandir(staging)):
        try:
            descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(entry.path)
            swept += 1
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            os.close(descriptor)
    return swept


def _publish_once(path: Path, data: bytes, staging: Path, mode: int) -> bool:
    staged = staging / secrets.token_hex(16)
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
        try:
            os.link(staged, path)
        except FileExistsError:
            # Somebody else's name may still be on its way to the disk; our caller relies on it from now on.
            sync_folder(path.parent)
            return False
        sync_folder(path.parent)
        return True
    finally:
        staged.unlink(missing_ok=True)
        os.close(descriptor)
