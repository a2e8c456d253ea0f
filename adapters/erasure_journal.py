"""The erasure journal in a folder: one file per person who was erased.

    <root>/erased/<subject key id>.json    canonical JSON of ``ledger.ports.Erasure``
    <root>/staging/                        files on their way

A file appears whole, once, and is never replaced (``adapters.durable_file``), so journals of several machines
are put together by copying files, in any order.  Nothing in them is about a person but that they were erased.
The folder belongs outside the backups of ledger and keys: it is what a restored backup is held against.
"""

from __future__ import annotations

import os
from pathlib import Path

from adapters.durable_file import make_private_folder, publish_new, sweep_staging
from domain.canonical import canonical_json, parse_canonical
from domain.errors import InvalidError, UnknownError
from domain.identifiers import parse_identifier
from ledger.ports import Erasure

# An erasure has about 200 bytes; anything near this is not one.
ERASURE_BYTES_MAX = 4_096

_SUFFIX = ".json"
_MODE = 0o600


class FolderErasureJournal:
    """``ledger.ports.ErasureJournal`` under ``root``, which is made when there is something to keep."""

    def __init__(self, root: Path) -> None:
        self._erased = root / "erased"
        self._staging = root / "staging"

    def keep(self, erasure: Erasure) -> None:
        """See ``ErasureJournal.keep``."""
        for folder in (self._erased, self._staging):
            make_private_folder(folder)
        sweep_staging(self._staging)
        publish_new(
            self._path(erasure.subject_key_id), canonical_json(erasure), staging=self._staging, mode=_MODE
        )

    def subject_keys(self) -> frozenset[str]:
        """See ``ErasureJournal.subject_keys``."""
        try:
            names = os.listdir(self._erased)
        except FileNotFoundError:
            return frozenset()
        return frozenset(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))

    def erasure(self, subject_key_id: str) -> Erasure:
        """See ``ErasureJournal.erasure``."""
        path = self._path(subject_key_id)
        try:
            with path.open("rb") as file:
                data = file.read(ERASURE_BYTES_MAX + 1)
        except FileNotFoundError:
            raise UnknownError("no such erasure", field=str(path)) from None
        erasure = parse_canonical(data, Erasure)
        if erasure.subject_key_id != subject_key_id:
            raise InvalidError(
                "an erasure is filed under another key",
                field=str(path),
                expected=subject_key_id,
                actual=erasure.subject_key_id,
            )
        return erasure

    def _path(self, subject_key_id: str) -> Path:
        return self._erased / f"{parse_identifier(subject_key_id, 'subject_key_id')}{_SUFFIX}"
