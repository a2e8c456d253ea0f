"""A lease: the promise that one runner at a time folds into a view file.

The lock is the operating system's (``flock`` on a file beside the view), so it ends with the process that
held it, however that ended; the file itself stays and says who held it last.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from projections.errors import ViewInUseError, ViewStorageError

_HOLDER_BYTES_MAX = 100


class Lease:
    """Held from its creation until ``release``.

    Raises: ViewInUseError when somebody else holds it, ViewStorageError when there is no place for it.
    """

    def __init__(self, view: Path) -> None:
        path = view.with_name(view.name + ".lock")
        try:
            view.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ViewStorageError(view, str(error)) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, _HOLDER_BYTES_MAX, 0).decode(errors="replace")
            os.close(self._descriptor)
            raise ViewInUseError(view, holder or "another process") from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"process {os.getpid()}".encode(), 0)

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)
