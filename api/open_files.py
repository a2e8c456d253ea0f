"""How many files a serving process may have open: a dozen for each tenant that is open (log, index, views),
and one for each connection.

Shells and service managers hand out a soft limit of 1,024 and a far higher hard one, so that old programs
which keep descriptors in bit sets do not break; one that does not do that is expected to raise its own.
"""

from __future__ import annotations

import logging
import resource

# Most of what walks through every possible descriptor is quick up to here; Linux allows no more by default.
OPEN_FILES_MAX = 1_048_576

_log = logging.getLogger("tallystick.open_files")


def raise_open_file_limit() -> int:
    """Raise the soft limit of this process to the hard one, and say so in the log; returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        _log.info("up to %d files may be open (it was %d)", wanted, soft)
        return wanted
    _log.info("up to %d files may be open", soft)
    return soft
