"""Copies of key files: signing keys of one ledger, and people's keys without those who were erased.

The copy has the layout of the key store itself (``adapters.key_store_file``, ``adapters.subject_key_files``),
so that it is put back by copying.  Who was erased is erased in the copy too: a key that an earlier copy held
is destroyed there, and its tombstone stands in its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from adapters.durable_file import publish_new
from adapters.private_file import PRIVATE_FILE_MODE, erase, open_private_folder, read_private
from domain.errors import ConflictError, UnknownError

_SUBJECT_SUFFIXES = (".key", ".wrapped")


def copy_keys(
    source: Path, target: Path, *, origin: str, subject_keys: Iterable[str], erased_keys: Iterable[str]
) -> int:
    """Bring ``target`` up to date; returns how many keys are in it now.

    Raises: ConflictError when ``target`` holds another key of the same name, InvalidError when others may
    read it.
    """
    signing, subjects, staging = (target / name for name in ("signing", "subjects", "staging"))
    for folder in (target, signing, subjects, staging):
        open_private_folder(folder)
    first = quote(origin, safe="")
    # A percent-encoded origin holds no +, and later keys of it are numbered behind one.
    names = [path for path in (source / "signing").glob("*.pem") if path.stem.partition("+")[0] == first]
    count = sum(_copy(path, signing / path.name, staging) for path in sorted(names))
    for subject_key_id in subject_keys:
        for suffix in _SUBJECT_SUFFIXES:
            name = f"{subject_key_id}{suffix}"
            count += _copy(source / "subjects" / name, subjects / name, staging)
    for subject_key_id in erased_keys:
        publish_new(subjects / f"{subject_key_id}.destroyed", b"", staging=staging, mode=PRIVATE_FILE_MODE)
        for suffix in _SUBJECT_SUFFIXES:
            erase(subjects / f"{subject_key_id}{suffix}")
    return count


def _copy(source: Path, target: Path, staging: Path) -> int:
    try:
        key = read_private(source)
    except UnknownError:
        return 0
    if not publish_new(target, key, staging=staging, mode=PRIVATE_FILE_MODE) and read_private(target) != key:
        raise ConflictError(
            "the copy holds another key of this name", field=str(target), remedy="Copy to an empty folder."
        )
    return 1
