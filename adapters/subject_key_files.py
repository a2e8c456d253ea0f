"""The keys that encrypt people's data, one file each, in the clear or wrapped by a key that lives elsewhere.

    <root>/subjects/<subject key id>.key          64 random bytes
    <root>/subjects/<subject key id>.wrapped      the same, encrypted by a key that never leaves its store
    <root>/subjects/<subject key id>.destroyed    tombstone: this key existed and was destroyed
    <root>/staging/                               files on their way

A key appears whole and only once (``adapters.durable_file``): of several processes that make the same key at
the same time, one publishes and all read what it published.  A tombstone is durable before the key is erased
and is never removed, so a destruction that a crash interrupted is finished when the folder is next opened,
and a destroyed key cannot be made again.  A store that wraps takes over the keys that lie here in the clear.
Erasing overwrites and unlinks the file; copies in backups, snapshots and worn flash cells are out of its
reach, so keep this folder out of the first two.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Protocol

from adapters.durable_file import publish_new, sweep_staging
from adapters.private_file import PRIVATE_FILE_MODE, erase, open_private_folder, read_private
from domain.errors import MalformedError, UnknownError
from domain.identifiers import parse_identifier
from ledger.errors import UnknownSubjectKeyError
from ledger.subject_cipher import SUBJECT_KEY_BYTES

# Unwrapped keys kept in memory, so that a batch does not ask a far store for each of its artifacts.
UNWRAPPED_MAX = 256

_TOMBSTONE = ".destroyed"
_SUFFIXES = (".key", ".wrapped")


class KeyWrapping(Protocol):
    """A key that encrypts keys, and never leaves where it is."""

    def wrap(self, key: bytes, name: str) -> bytes:
        """What may be stored of the ``key`` with this name."""

    def unwrap(self, wrapped: bytes, name: str) -> bytes:
        """The key again.  Raises: InvalidError when these are not the bytes that ``wrap`` gave for it."""


class SubjectKeyFiles:
    """The subject keys under ``root``, which is made if it is missing.  Several processes may share it.

    Raises: InvalidError when the folders, or later a key, can be read by others.
    """

    def __init__(self, root: Path, wrapping: KeyWrapping | None = None) -> None:
        self._subjects = root / "subjects"
        self._staging = root / "staging"
        self._wrapping = wrapping
        self._suffix = _SUFFIXES[wrapping is not None]
        self._unwrapped: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()
        self._lock = Lock()
        for folder in (self._subjects, self._staging):
            open_private_folder(folder)
        sweep_staging(self._staging)
        for tombstone in self._subjects.glob(f"*{_TOMBSTONE}"):
            for suffix in _SUFFIXES:
                erase(tombstone.with_suffix(suffix))
        if wrapping is not None:
            self._wrap_plain_keys(wrapping)

    def read(self, subject_key_id: str) -> bytes:
        """See ``KeyStore.subject_key``."""
        path, tombstone = self._paths(subject_key_id)
        if tombstone.exists():
            raise UnknownSubjectKeyError(subject_key_id, is_destroyed=True)
        try:
            stored = read_private(path)
        except UnknownError:
            # Destroyed in this instant, or never there.
            raise UnknownSubjectKeyError(subject_key_id, is_destroyed=tombstone.exists()) from None
        key = self._unwrap(stored, subject_key_id)
        if len(key) != SUBJECT_KEY_BYTES:
            raise MalformedError(
                "not a subject key",
                field=str(path),
                expected=f"{SUBJECT_KEY_BYTES} bytes",
                actual=f"{len(key)} bytes",
                remedy="Restore the file from a backup of the keys; without it the data cannot be read.",
            )
        return key

    def create(self, subject_key_id: str) -> bytes:
        """See ``KeyStore.create_subject_key``."""
        path, tombstone = self._paths(subject_key_id)
        if tombstone.exists():
            raise UnknownSubjectKeyError(subject_key_id, is_destroyed=True)
        if not path.exists():
            key = secrets.token_bytes(SUBJECT_KEY_BYTES)
            stored = key if self._wrapping is None else self._wrapping.wrap(key, subject_key_id)
            publish_new(path, stored, staging=self._staging, mode=PRIVATE_FILE_MODE)
        if tombstone.exists():
            # It was destroyed while we were making it; the tombstone wins.
            erase(path)
        return self.read(subject_key_id)

    def destroy(self, subject_key_id: str) -> None:
        """See ``KeyStore.destroy_subject_key``; doing it again changes nothing.  Raises:
        UnknownSubjectKeyError when it was never made."""
        path, tombstone = self._paths(subject_key_id)
        if not tombstone.exists():
            if not path.exists():
                raise UnknownSubjectKeyError(subject_key_id, is_destroyed=False)
            publish_new(tombstone, b"", staging=self._staging, mode=PRIVATE_FILE_MODE)
        with self._lock:
            self._unwrapped.clear()
        erase(path)

    def _wrap_plain_keys(self, wrapping: KeyWrapping) -> None:
        """Take over what lay here in the clear, each key wrapped before its clear copy is erased."""
        for plain in self._subjects.glob(f"*{_SUFFIXES[0]}"):
            wrapped = plain.with_suffix(self._suffix)
            if not wrapped.exists():
                stored = wrapping.wrap(read_private(plain), plain.stem)
                publish_new(wrapped, stored, staging=self._staging, mode=PRIVATE_FILE_MODE)
            erase(plain)

    def _unwrap(self, stored: bytes, name: str) -> bytes:
        if self._wrapping is None:
            return stored
        with self._lock:
            if (name, stored) in self._unwrapped:
                self._unwrapped.move_to_end((name, stored))
                return self._unwrapped[name, stored]
        key = self._wrapping.unwrap(stored, name)
        with self._lock:
            self._unwrapped[name, stored] = key
            if len(self._unwrapped) > UNWRAPPED_MAX:
                self._unwrapped.popitem(last=False)
        return key

    def _paths(self, subject_key_id: str) -> tuple[Path, Path]:
        name = parse_identifier(subject_key_id, "subject_key_id")
        return self._subjects / f"{name}{self._suffix}", self._subjects / f"{name}{_TOMBSTONE}"


class HoldsSubjectKeys:
    """The half of ``ledger.ports.KeyStore`` that is about people's keys, which every store keeps in files."""

    def __init__(self, subjects: SubjectKeyFiles) -> None:
        self._subjects = subjects

    def subject_key(self, subject_key_id: str) -> bytes:
        """See ``KeyStore.subject_key``.  Raises: MalformedError for what is no identifier."""
        return self._subjects.read(subject_key_id)

    def create_subject_key(self, subject_key_id: str) -> bytes:
        """See ``KeyStore.create_subject_key``."""
        return self._subjects.create(subject_key_id)

    def destroy_subject_key(self, subject_key_id: str) -> None:
        """See ``KeyStore.destroy_subject_key``."""
        self._subjects.destroy(subject_key_id)
