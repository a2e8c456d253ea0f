"""Keys in files: signing keys of ledgers (Ed25519, ML-DSA-44), and the keys that encrypt people's data.

    <root>/signing/<origin, percent-encoded>.pem      the first key: PKCS#8 PEM, as `openssl pkey` reads it
    <root>/signing/<origin, percent-encoded>+<n>.pem  the n-th one, from 2; no encoded origin holds a +
    <root>/subjects/<subject key id>.key              64 random bytes
    <root>/subjects/<subject key id>.destroyed        tombstone: this key existed and was destroyed
    <root>/staging/                                   files on their way

Folders have mode 0700 and keys 0600; a key that others may read is refused, because nobody can tell any more
who signed with it.

A key appears whole and only once (``adapters.durable_file``): of several processes that make the same key at
the same time, one publishes and all read what it published.  A tombstone is durable before the key is erased
and is never removed, so a destruction that a crash interrupted is finished when the store is next opened, and
a destroyed key cannot be made again.  Erasing overwrites and unlinks the file; copies in backups, snapshots
and worn flash cells are beyond a file store, so keep this folder out of both.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import threading
from collections.abc import Collection
from pathlib import Path
from urllib.parse import quote

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from adapters.durable_file import (
    PRIVATE_FOLDER_MODE,
    make_private_folder,
    publish_new,
    sweep_staging,
    sync_folder,
)
from domain.errors import InvalidError, LimitError, MalformedError, UnknownError
from domain.identifiers import parse_identifier
from domain.key_history import ED25519, KEY_EVENTS_MAX, ML_DSA_44
from ledger.errors import UnknownSubjectKeyError
from ledger.subject_cipher import SUBJECT_KEY_BYTES

# A key in PEM has 119 bytes (Ed25519) or 128 (ML-DSA-44, its seed); anything near this is not one.
KEY_FILE_BYTES_MAX = 4_096
# Percent-encoded, an origin has to fit in a file name of 255 bytes.
ORIGIN_FILE_NAME_MAX = 240

_KEY_MODE = 0o600
_NUMBERED = re.compile(r"\+([1-9][0-9]{0,3})\.pem\Z", re.ASCII)


class FileSigner:
    """``ledger.ports.Signer`` over a private key in memory."""

    is_remote = False

    def __init__(self, name: str, key: Ed25519PrivateKey | MLDSA44PrivateKey) -> None:
        self._name = name
        self._key = key
        self._public_key = key.public_key().public_bytes_raw()

    @property
    def name(self) -> str:
        """C2SP key name; the ledger's origin."""
        return self._name

    @property
    def algorithm(self) -> str:
        """``Ed25519`` or ``ML-DSA-44``."""
        return ED25519 if isinstance(self._key, Ed25519PrivateKey) else ML_DSA_44

    @property
    def public_key(self) -> bytes:
        """Raw bytes."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """See ``Signer.sign``."""
        return self._key.sign(message)


class FileKeyStore:
    """``ledger.ports.KeyStore`` under ``root``, which is made if it is missing.  Several processes may share
    it.

    Raises: InvalidError when the folders, or later a key, can be read by others.
    """

    def __init__(self, root: Path) -> None:
        self._signing = root / "signing"
        self._subjects = root / "subjects"
        self._staging = root / "staging"
        for folder in (self._signing, self._subjects, self._staging):
            make_private_folder(folder)
            _refuse_readable_by_others(folder, folder.stat())
        sweep_staging(self._staging)
        self._finish_destructions()
        self._signers: dict[Path, FileSigner] = {}
        self._signers_lock = threading.Lock()

    def signer(self, origin: str) -> FileSigner:
        """The first key of the ledger with this origin, made on first use.

        Raises: MalformedError when ``origin`` is no C2SP key name or the file holds no signing key,
        InvalidError when others may read it.
        """
        path = self._signing_path(origin, 1)
        self._make_signer(path, ED25519)
        return self._load_signer(origin, path)

    def signers(self, origin: str) -> tuple[FileSigner, ...]:
        """Every key of this origin, oldest first.  Raises as ``signer``."""
        return tuple(
            self._load_signer(origin, self._signing_path(origin, number)) for number in self._numbers(origin)
        )

    def next_signer(self, origin: str, known: Collection[bytes], algorithm: str) -> FileSigner:
        """See ``SigningKeys.next_signer``; of several processes that ask at once, all get the same key."""
        if algorithm not in (ED25519, ML_DSA_44):
            raise UnknownError(
                "files hold no such keys",
                field="algorithm",
                expected=f"{ED25519} or {ML_DSA_44}",
                actual=algorithm,
            )
        for _ in range(KEY_EVENTS_MAX):
            for signer in self.signers(origin):
                if signer.algorithm == algorithm and signer.public_key not in known:
                    return signer
            # Another process may take the number, for a key of another algorithm even; then look again.
            self._make_signer(
                self._signing_path(origin, max(self._numbers(origin), default=0) + 1), algorithm
            )
        raise LimitError("too many keys of one ledger", field=origin, expected=f"<= {KEY_EVENTS_MAX}")

    def subject_key(self, subject_key_id: str) -> bytes:
        """64 bytes.  Raises: UnknownSubjectKeyError when destroyed or never made, MalformedError for what is
        no identifier."""
        key_path, tombstone = self._subject_paths(subject_key_id)
        if tombstone.exists():
            raise UnknownSubjectKeyError(subject_key_id, is_destroyed=True)
        try:
            key = _read_private(key_path)
        except UnknownError:
            # Destroyed in this instant, or never there.
            raise UnknownSubjectKeyError(subject_key_id, is_destroyed=tombstone.exists()) from None
        if len(key) != SUBJECT_KEY_BYTES:
            raise MalformedError(
                "not a subject key",
                field=str(key_path),
                expected=f"{SUBJECT_KEY_BYTES} bytes",
                actual=f"{len(key)} bytes",
                remedy="Restore the file from a backup of the keys; without it the data cannot be read.",
            )
        return key

    def create_subject_key(self, subject_key_id: str) -> bytes:
        """Make the key, or return the one there is.  Raises: UnknownSubjectKeyError when it was destroyed."""
        key_path, tombstone = self._subject_paths(subject_key_id)
        if tombstone.exists():
            raise UnknownSubjectKeyError(subject_key_id, is_destroyed=True)
        if not key_path.exists():
            publish_new(
                key_path, secrets.token_bytes(SUBJECT_KEY_BYTES), staging=self._staging, mode=_KEY_MODE
            )
        if tombstone.exists():
            # It was destroyed while we were making it; the tombstone wins.
            _erase(key_path)
        return self.subject_key(subject_key_id)

    def destroy_subject_key(self, subject_key_id: str) -> None:
        """Erase the key for ever; doing it again changes nothing.  Raises: UnknownSubjectKeyError when it was
        never made."""
        key_path, tombstone = self._subject_paths(subject_key_id)
        if not tombstone.exists():
            if not key_path.exists():
                raise UnknownSubjectKeyError(subject_key_id, is_destroyed=False)
            publish_new(tombstone, b"", staging=self._staging, mode=_KEY_MODE)
        _erase(key_path)

    def _signing_path(self, origin: str, number: int) -> Path:
        return self._signing / f"{_origin_file_name(origin)}{f'+{number}' if number > 1 else ''}.pem"

    def _numbers(self, origin: str) -> list[int]:
        first = self._signing_path(origin, 1)
        numbers = {1} if first.exists() else set()
        for entry in os.scandir(self._signing):
            if entry.name.startswith(f"{first.stem}+") and (numbered := _NUMBERED.search(entry.name)):
                numbers.add(int(numbered[1]))
        return sorted(numbers)

    def _make_signer(self, path: Path, algorithm: str) -> None:
        if not path.exists():
            key = Ed25519PrivateKey.generate() if algorithm == ED25519 else MLDSA44PrivateKey.generate()
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            publish_new(path, pem, staging=self._staging, mode=_KEY_MODE)

    def _load_signer(self, origin: str, path: Path) -> FileSigner:
        with self._signers_lock:
            if path not in self._signers:
                self._signers[path] = FileSigner(origin, _parse_signing_key(_read_private(path), path))
            return self._signers[path]

    def _subject_paths(self, subject_key_id: str) -> tuple[Path, Path]:
        name = parse_identifier(subject_key_id, "subject_key_id")
        return self._subjects / f"{name}.key", self._subjects / f"{name}.destroyed"

    def _finish_destructions(self) -> None:
        for tombstone in self._subjects.glob("*.destroyed"):
            _erase(tombstone.with_suffix(".key"))


def _origin_file_name(origin: str) -> str:
    name = quote(origin, safe="")
    if not origin or len(name) > ORIGIN_FILE_NAME_MAX or "+" in origin or any(c.isspace() for c in origin):
        raise MalformedError(
            "not a key name",
            field="origin",
            expected="a C2SP origin without white space or +, such as example.org/ledger-acme",
            actual=repr(origin)[:80],
        )
    return name


def _parse_signing_key(pem: bytes, path: Path) -> Ed25519PrivateKey | MLDSA44PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MalformedError(
            "not a private key",
            field=str(path),
            expected="an Ed25519 or ML-DSA-44 key, PKCS#8 PEM, not encrypted",
            remedy="Restore the file from a backup of the keys.",
        ) from error
    if not isinstance(key, Ed25519PrivateKey | MLDSA44PrivateKey):
        raise MalformedError(
            "another kind of key",
            field=str(path),
            expected=f"{ED25519} or {ML_DSA_44}",
            actual=type(key).__name__,
        )
    return key


def _read_private(path: Path) -> bytes:
    """Raises: UnknownError when missing, InvalidError when it is not a private regular file."""
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
        data = file.read(KEY_FILE_BYTES_MAX + 1)
    if len(data) > KEY_FILE_BYTES_MAX:
        raise InvalidError("key file too large", field=str(path), expected=f"<= {KEY_FILE_BYTES_MAX} bytes")
    return data


def _refuse_readable_by_others(path: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        private = PRIVATE_FOLDER_MODE if stat.S_ISDIR(status.st_mode) else _KEY_MODE
        raise InvalidError(
            "others may read this key",
            field=str(path),
            expected=f"mode {private:04o}",
            actual=f"mode {mode:04o}",
            remedy=f"Find out who did; if nobody, run: chmod {private:o} '{path}'",
        )


def _erase(path: Path) -> None:
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
