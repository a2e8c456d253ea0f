"""Which key store a setting names."""

from __future__ import annotations

from pathlib import Path

from adapters.key_store_file import FileKeyStore
from domain.errors import MalformedError
from ledger.ports import KeyStore


def open_key_store(keys: str, folder: Path) -> KeyStore:
    """The key store in a folder, in a PKCS#11 token (``pkcs11:…``, RFC 7512) or in a transit engine
    (``https+vault://…``).

    ``folder`` is private; it is the store itself where ``keys`` is empty, and holds people's wrapped keys
    where the keys that wrap them are elsewhere.  Raises: MalformedError, UnknownError, InvalidError.
    """
    scheme = keys.partition(":")[0] if ":" in keys else ""
    # Whoever keeps keys in files waits neither for a device's library nor for TLS.
    if scheme == "pkcs11":
        from adapters.key_store_pkcs11 import Pkcs11KeyStore

        return Pkcs11KeyStore(keys, folder)
    if scheme in ("https+vault", "http+vault"):
        from adapters.key_store_transit import TransitKeyStore

        return TransitKeyStore(keys, folder)
    if "://" in keys:
        raise MalformedError(
            "unknown kind of key store",
            field="keys",
            expected="a path, pkcs11:… or https+vault://…",
            actual=f"{scheme}://…",
        )
    return FileKeyStore(Path(keys) if keys else folder)
