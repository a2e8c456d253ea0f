"""API keys: who may call, for which tenant, and for what.

A key is ``tl_<key id>_<secret><checksum>``: 12 characters of id, 43 of secret (256 random bits, base62), 6 of CRC-32 in base62, so that a
mistyped or cut key is told from a revoked one without a look-up, and secret scanners can recognise it.  Only HMAC-SHA256(pepper, secret)
is stored; the secret is shown once.  A key has 256 bits of its own, so a slow hash would add nothing but time.

The file is JSON, mode 0600, replaced atomically.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
import zlib
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from adapters.durable_file import publish_new
from domain.canonical import JSON_ERRORS
from domain.errors import InvalidError, LimitError, MalformedError, UnknownError
from domain.identifiers import parse_identifier

PREFIX = "tl"
SCOPES = ("ingest", "read", "audit", "admin")
KEYS_MAX = 10_000
FILE_BYTES_MAX = 16 * 1024 * 1024
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH, _SECRET_LENGTH, _CHECKSUM_LENGTH = 12, 43, 6


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key without its secret; times are Unix nanoseconds, ``expires_at_ns`` is ``None`` for no end."""

    key_id: str
    tenant: str
    scopes: tuple[str, ...]
    label: str
    created_at_ns: int
    expires_at_ns: int | None
    secret_hmac: str
    is_revoked: bool = False


class ApiKeyFile:
    """The keys in a folder.  Another process's changes are seen at the next call."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / "api-keys.json"
        self._pepper = _load_pepper(folder / "api-keys.pepper")
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._keys: dict[str, ApiKey] = {}

    def create(
        self,
        tenant: str,
        scopes: tuple[str, ...],
        *,
        label: str,
        now_ns: int,
        expires_at_ns: int | None = None,
    ) -> tuple[str, ApiKey]:
        """Make a key; returns the text to hand over (it is not kept) and the record.  Raises: MalformedError, LimitError."""
        parse_identifier(tenant, "tenant")
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            raise MalformedError("unknown scope", field="scopes", expected=", ".join(SCOPES), actual=", ".join(unknown))
        secret = _random(_SECRET_LENGTH)
        key = ApiKey(
            key_id=_random(_ID_LENGTH),
            tenant=tenant,
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            label=label[:80],
            created_at_ns=now_ns,
            expires_at_ns=expires_at_ns,
            secret_hmac=self._hmac(secret),
        )
        with self._lock:
            keys = self._read()
            if len(keys) >= KEYS_MAX:
                raise LimitError("too many API keys", expected=f"<= {KEYS_MAX}", remedy="Revoke some.")
            self._write({**keys, key.key_id: key})
        body = f"{PREFIX}_{key.key_id}_{secret}"
        return body + _checksum(body), key

    def keys(self, tenant: str) -> list[ApiKey]:
        """A tenant's keys, oldest first."""
        with self._lock:
            found = [key for key in self._read().values() if key.tenant == tenant]
        return sorted(found, key=lambda key: (key.created_at_ns, key.key_id))

    def revoke(self, tenant: str, key_id: str) -> ApiKey:
        """End a key for ever.  Raises: UnknownError."""
        with self._lock:
            keys = self._read()
            key = keys.get(key_id)
            if key is None or key.tenant != tenant:
                raise UnknownError("no such API key", field="key_id", actual=key_id[:40])
            revoked = replace(key, is_revoked=True)
            self._write({**keys, key_id: revoked})
        return revoked

    def authenticate(self, text: str, now_ns: int) -> ApiKey:
        """The key that ``text`` is.  Raises: MalformedError when it cannot be one, InvalidError when it is not or no longer valid."""
        prefix, _, rest = text.partition("_")
        key_id, _, tail = rest.partition("_")
        body, checksum = text[:-_CHECKSUM_LENGTH], text[-_CHECKSUM_LENGTH:]
        if (
            prefix != PREFIX
            or len(key_id) != _ID_LENGTH
            or len(tail) != _SECRET_LENGTH + _CHECKSUM_LENGTH
            or not text.isascii()
            or _checksum(body) != checksum
        ):
            raise MalformedError("not an API key", remedy="It was cut or mistyped; copy it again.")
        with self._lock:
            key = self._read().get(key_id)
        secret_hmac = self._hmac(tail[:_SECRET_LENGTH])
        # Compared also when there is no such key, so that the time taken says nothing.
        is_right = hmac.compare_digest(secret_hmac, key.secret_hmac if key else "0" * 64)
        if key is None or not is_right or key.is_revoked:
            raise InvalidError("unknown or revoked API key")
        if key.expires_at_ns is not None and key.expires_at_ns <= now_ns:
            raise InvalidError("expired API key")
        return key

    def _hmac(self, secret: str) -> str:
        return hmac.new(self._pepper, secret.encode(), hashlib.sha256).hexdigest()

    def _read(self) -> dict[str, ApiKey]:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._keys, self._stamp = {}, None
            return self._keys
        stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            if status.st_size > FILE_BYTES_MAX:
                raise LimitError("API key file too large", field=self._path.name, expected=f"<= {FILE_BYTES_MAX} bytes")
            try:
                keys = msgspec.json.decode(self._path.read_bytes(), type=list[ApiKey])
            except JSON_ERRORS as error:
                raise MalformedError("the API key file is damaged", field=self._path.name, actual=str(error)) from error
            self._keys, self._stamp = {key.key_id: key for key in keys}, stamp
        return self._keys

    def _write(self, keys: dict[str, ApiKey]) -> None:
        temporary = self._path.with_suffix(f".{os.getpid()}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(list(keys.values()))))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        self._stamp = None


def _load_pepper(path: Path) -> bytes:
    # Whoever publishes first decides; everybody reads what is there then.
    if not path.exists():
        publish_new(path, secrets.token_bytes(32), staging=path.parent, mode=0o600)
    return path.read_bytes()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode("utf-8", "replace"))
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits
