"""Keys in files: signing keys of ledgers (Ed25519, ML-DSA-44), and the keys that encrypt people's data.

    <root>/signing/<origin, percent-encoded>.pem      the first key: PKCS#8 PEM, as `openssl pkey` reads it
    <root>/signing/<origin, percent-encoded>+<n>.pem  the n-th one, from 2; no encoded origin holds a +
    <root>/subjects/                                  see ``adapters.subject_key_files``
    <root>/staging/                                   files on their way

Folders have mode 0700 and keys 0600 (``adapters.private_file``).  A key appears whole and only once
(``adapters.durable_file``): of several processes that make the same key at the same time, one publishes and
all read what it published.
"""

from __future__ import annotations

import os
import re
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

from adapters.durable_file import publish_new
from adapters.private_file import PRIVATE_FILE_MODE, open_private_folder, read_private
from adapters.subject_key_files import HoldsSubjectKeys, SubjectKeyFiles
from domain.errors import LimitError, MalformedError, UnknownError
from domain.key_history import ED25519, KEY_EVENTS_MAX, ML_DSA_44
from ledger.notes import check_key_name

# Percent-encoded, an origin has to fit in a file name of 255 bytes.
ORIGIN_FILE_NAME_MAX = 240

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


class FileKeyStore(HoldsSubjectKeys):
    """``ledger.ports.KeyStore`` under ``root``, which is made if it is missing.  Several processes may share
    it.

    Raises: InvalidError when the folders, or later a key, can be read by others.
    """

    def __init__(self, root: Path) -> None:
        self._signing = root / "signing"
        self._staging = root / "staging"
        open_private_folder(self._signing)
        super().__init__(SubjectKeyFiles(root))
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
            numbers = self._numbers(origin)
            for number in numbers:
                signer = self._load_signer(origin, self._signing_path(origin, number))
                if signer.algorithm == algorithm and signer.public_key not in known:
                    return signer
            # Another process may take the number, for a key of another algorithm even; then look again.
            self._make_signer(self._signing_path(origin, max(numbers, default=0) + 1), algorithm)
        raise LimitError("too many keys of one ledger", field=origin, expected=f"<= {KEY_EVENTS_MAX}")

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
            publish_new(path, pem, staging=self._staging, mode=PRIVATE_FILE_MODE)

    def _load_signer(self, origin: str, path: Path) -> FileSigner:
        with self._signers_lock:
            if path not in self._signers:
                self._signers[path] = FileSigner(origin, _parse_signing_key(read_private(path), path))
            return self._signers[path]


def _origin_file_name(origin: str) -> str:
    name = quote(check_key_name(origin, "origin"), safe="")
    if len(name) > ORIGIN_FILE_NAME_MAX:
        raise MalformedError(
            "an origin too long for the name of a file",
            field="origin",
            expected=f"<= {ORIGIN_FILE_NAME_MAX} bytes, percent-encoded",
            actual=str(len(name)),
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
