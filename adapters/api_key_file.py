"""API keys: who may call, for which tenant, and for what.

A key is ``tl_<key id>_<secret><checksum>``: 12 characters of id, 43 of secret (256 random bits, base62), 6 of
CRC-32 in base62, so that a mistyped or cut key is told from a revoked one without a look-up, and secret
scanners can recognise it.  Only HMAC-SHA256(pepper, secret) is stored; the secret is shown once.  A key has
256 bits of its own, so a slow hash would add nothing but time.

The file is JSON, mode 0600, replaced atomically.  Whoever changes it holds a lock on ``api-keys.lock`` from
reading to replacing, over all processes: of two changes at once neither is lost, and a revoked key never
comes back.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from adapters.durable_file import make_private_folder, publish_new, sync_folder
from domain.canonical import JSON_ERRORS
from domain.errors import InvalidError, LimitError, MalformedError, UnknownError
from domain.identifiers import parse_identifier

PREFIX = "tl"
SCOPES = ("ingest", "read", "audit", "admin")
KEYS_MAX = 10_000
FILE_BYTES_MAX = 16 * 1024 * 1024
LABEL_CHARACTERS_MAX = 80
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH, _SECRET_LENGTH, _CHECKSUM_LENGTH = 12, 43, 6
_PEPPER_BYTES = 32


class RefusedKeyError(InvalidError):
    """This text is no key that is in force; it says no more than its holder may know."""


class DamagedKeyFileError(InvalidError):
    """The stored keys cannot be used: our own trouble, not the caller's."""


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
        make_private_folder(folder)
        self._path = folder / "api-keys.json"
        self._lock_path = folder / "api-keys.lock"
        self._pepper = _load_pepper(folder / "api-keys.pepper")
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, ApiKey] = {}

    def secret_for(self, purpose: str) -> bytes:
        """32 bytes derived from the pepper, the same after a restart; each purpose has its own."""
        return hmac.new(self._pepper, f"purpose\n{purpose}".encode(), hashlib.sha256).digest()

    def create(
        self,
        tenant: str,
        scopes: tuple[str, ...],
        *,
        label: str,
        now_ns: int,
        expires_at_ns: int | None = None,
    ) -> tuple[str, ApiKey]:
        """Make a key; returns the text to hand over (it is not kept) and the record.

        Raises: MalformedError, LimitError.
        """
        _check(tenant, scopes, label)
        with self._changing() as keys:
            return self._add(keys, tenant, scopes, label, now_ns, expires_at_ns)

    def create_first(self, tenant: str, *, label: str, now_ns: int) -> tuple[str, ApiKey] | None:
        """A key with every scope for a tenant that never had one; ``None`` when it had."""
        _check(tenant, ("admin",), label)
        with self._changing() as keys:
            if any(key.tenant == tenant for key in keys.values()):
                return None
            return self._add(keys, tenant, ("admin",), label, now_ns, None)

    def keys(self, tenant: str) -> list[ApiKey]:
        """A tenant's keys, oldest first."""
        with self._lock:
            found = [key for key in self._read().values() if key.tenant == tenant]
        return sorted(found, key=lambda key: (key.created_at_ns, key.key_id))

    def revoke(self, tenant: str, key_id: str) -> ApiKey:
        """End a key for ever.  Raises: UnknownError."""
        with self._changing() as keys:
            key = keys.get(key_id)
            if key is None or key.tenant != tenant:
                raise UnknownError(
                    "no such API key", field="key_id", actual=key_id[:40], remedy="`tally keys` lists them."
                )
            keys[key_id] = replace(key, is_revoked=True)
            return keys[key_id]

    def authenticate(self, text: str, now_ns: int) -> ApiKey:
        """The key that ``text`` is.

        Raises: RefusedKeyError when it is none in force, DamagedKeyFileError.
        """
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
            raise RefusedKeyError("not an API key", remedy="It was cut or mistyped; copy it again.")
        with self._lock:
            key = self._read().get(key_id)
        secret_hmac = self._hmac(tail[:_SECRET_LENGTH])
        # Compared also when there is no such key, so that the time taken says nothing.
        is_right = hmac.compare_digest(secret_hmac, key.secret_hmac if key else "0" * 64)
        if key is None or not is_right or key.is_revoked:
            raise RefusedKeyError("unknown or revoked API key", remedy="Ask the operator for a new one.")
        if key.expires_at_ns is not None and key.expires_at_ns <= now_ns:
            raise RefusedKeyError("expired API key", remedy="Ask the operator for a new one.")
        return key

    def _add(
        self,
        keys: dict[str, ApiKey],
        tenant: str,
        scopes: tuple[str, ...],
        label: str,
        now_ns: int,
        expires_at_ns: int | None,
    ) -> tuple[str, ApiKey]:
        if len(keys) >= KEYS_MAX:
            raise LimitError(
                "too many API keys", expected=f"<= {KEYS_MAX}", remedy="Remove revoked ones from the file."
            )
        secret = _random(_SECRET_LENGTH)
        key = ApiKey(
            key_id=_random(_ID_LENGTH),
            tenant=tenant,
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            label=label,
            created_at_ns=now_ns,
            expires_at_ns=expires_at_ns,
            secret_hmac=self._hmac(secret),
        )
        keys[key.key_id] = key
        body = f"{PREFIX}_{key.key_id}_{secret}"
        return body + _checksum(body), key

    def _hmac(self, secret: str) -> str:
        return hmac.new(self._pepper, secret.encode(), hashlib.sha256).hexdigest()

    @contextmanager
    def _changing(self) -> Iterator[dict[str, ApiKey]]:
        """The keys, to be changed in place; written when the block ends without an error.

        One at a time, over all threads and processes.
        """
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with self._lock:
                keys = dict(self._read())
            yield keys
            with self._lock:
                if keys != self._keys:
                    self._write(keys)
        finally:
            os.close(descriptor)

    def _read(self) -> dict[str, ApiKey]:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._keys, self._stamp = {}, None
            return self._keys
        # Each change makes a new file, so one of these moves with it.
        stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        if stamp != self._stamp:
            if status.st_mode & 0o077:
                raise DamagedKeyFileError(
                    "others can read the API keys",
                    field=str(self._path),
                    remedy="Make new keys after `chmod 600`.",
                )
            if status.st_size > FILE_BYTES_MAX:
                raise DamagedKeyFileError(
                    "API key file too large", field=str(self._path), expected=f"<= {FILE_BYTES_MAX} bytes"
                )
            try:
                keys = msgspec.json.decode(self._path.read_bytes(), type=list[ApiKey])
            except JSON_ERRORS as error:
                raise DamagedKeyFileError(
                    "the API key file is damaged",
                    field=str(self._path),
                    actual=str(error),
                    remedy="Restore it, or remove it and make new keys.",
                ) from error
            self._keys, self._stamp = {key.key_id: key for key in keys}, stamp
        return self._keys

    def _write(self, keys: dict[str, ApiKey]) -> None:
        # Only who holds the lock writes, so one name is enough; what a crash leaves is replaced.
        temporary = self._path.with_suffix(".json.new")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(list(keys.values()))))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        sync_folder(self._path.parent)
        self._stamp = None


def _check(tenant: str, scopes: tuple[str, ...], label: str) -> None:
    parse_identifier(tenant, "tenant")
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise MalformedError(
            "unknown scope", field="scopes", expected=", ".join(SCOPES), actual=", ".join(unknown)[:80]
        )
    if len(label) > LABEL_CHARACTERS_MAX or not label.isprintable():
        raise MalformedError(
            "not a label",
            field="label",
            expected=f"up to {LABEL_CHARACTERS_MAX} printable characters",
            actual=repr(label)[:80],
        )


def _load_pepper(path: Path) -> bytes:
    # Whoever publishes first decides; everybody reads what is there then.
    if not path.exists():
        publish_new(path, secrets.token_bytes(_PEPPER_BYTES), staging=path.parent, mode=0o600)
    pepper = path.read_bytes()
    if len(pepper) != _PEPPER_BYTES:
        raise DamagedKeyFileError(
            "the pepper of the API keys is damaged",
            field=str(path),
            expected=f"{_PEPPER_BYTES} bytes",
            actual=f"{len(pepper)} bytes",
            remedy="Restore it, or remove it and make new keys.",
        )
    return pepper


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode("utf-8", "replace"))
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits
