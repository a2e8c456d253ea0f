"""Files that nobody but their owner may read: folders of mode 0700, files of mode 0600.

A secret that others may read is refused, because nobody can tell any more who knows it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from adapters.durable_file import PRIVATE_FOLDER_MODE, make_private_folder, sync_folder
from domain.errors import InvalidError, UnknownError

# Keys, wrapped keys and tokens have some hundred bytes; anything near this is none.
PRIVATE_FILE_BYTES_MAX = 4_096
PRIVATE_FILE_MODE = 0o600


def open_private_folder(folder: Path) -> None:
    """Make ``folder`` if it is missing.  Raises: InvalidError when others may look into it."""
    make_private_folder(folder)
    _refuse_readable_by_others(folder, folder.stat())


def read_private(path: Path) -> bytes:
    """The bytes of a private file.  Raises: UnknownError when missing, InvalidError when it is not a private
    regular file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UnknownError("no such key", field=str(path)) from None
    except OSError as error:
        raise InvalidError("key file cannot be read", field=str(path), actual=error.strerror or "") from error
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidError("key is not a regular file", field=str(path))
        _refuse_readable_by_others(path, status)
        data = file.read(PRIVATE_FILE_BYTES_MAX + 1)
    if len(data) > PRIVATE_FILE_BYTES_MAX:
        raise InvalidError(
            "key file too large", field=str(path), expected=f"<= {PRIVATE_FILE_BYTES_MAX} bytes"
        )
    return data


def erase(path: Path) -> None:
    """Overwrite and remove a file, durably; nothing happens where there is none."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.write(descriptor, bytes(os.fstat(descriptor).st_size))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def _refuse_readable_by_others(path: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        private = PRIVATE_FOLDER_MODE if stat.S_ISDIR(status.st_mode) else PRIVATE_FILE_MODE
        raise InvalidError(
            "others may read this key",
            field=str(path),
            expected=f"mode {private:04o}",
            actual=f"mode {mode:04o}",
            remedy=f"Find out who did; if nobody, run: chmod {private:o} '{path}'",
        )
