"""Keys in the transit engine of OpenBao or HashiCorp Vault, over HTTPS.

    https+vault://<host>[:<port>]/<mount>?token-file=<path>[&ca-file=<path>][&namespace=<name>]

``http+vault`` does the same without TLS and is for loopback only.  The token is read from its file for each
request, so that whoever renews it only has to replace the file; without ``token-file`` it is VAULT_TOKEN.

What lies in the engine, not exportable::

    tally-<first 32 hex digits of SHA-256(origin)>-<n>    ed25519, from n = 1; version 1 of it and no other
    tally-subject-keys                                    aes256-gcm96

People's keys are files (``adapters.subject_key_files``) that hold what ``encrypt`` answered for them, with
the subject key's id as associated data.  Creating a key that is there changes nothing, so stores that make
the same key at once agree on it.  The policy that a token needs is in ``docs/keys.md``.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Struct

from adapters.private_file import read_private
from adapters.remote_signing import check_makes, checked_signature
from adapters.subject_key_files import HoldsSubjectKeys, SubjectKeyFiles
from domain.errors import InvalidError, MalformedError, TallystickError, UnknownError
from domain.key_history import ED25519, KEY_EVENTS_MAX
from ledger.errors import UnreachableStoreError
from ledger.notes import check_key_name
from ledger.spelling import format_base64, parse_base64

SCHEMES = ("https+vault", "http+vault")
WRAPPING_KEY = "tally-subject-keys"
TIMEOUT_SECONDS = 10.0
# A list of a thousand key names has a tenth of this.
ANSWER_BYTES_MAX = 1_048_576

_QUERY = frozenset({"token-file", "ca-file", "namespace"})
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SIGNATURE_PREFIX = "vault:v1:"


class UnreachableKeyServerError(UnreachableStoreError):
    """The key server did not answer; nothing can be signed or decrypted until it does."""


class TransitPlace(Struct, frozen=True, kw_only=True):
    """Where the engine is and how to get in."""

    is_tls: bool
    host: str
    port: int
    mount: str
    token_file: Path | None = None
    ca_file: Path | None = None
    namespace: str = ""


class TransitSigner:
    """``ledger.ports.Signer`` over a key that never leaves its server."""

    is_remote = True
    algorithm = ED25519

    def __init__(self, server: _Server, origin: str, key_name: str, public_key: bytes) -> None:
        self._server = server
        self._key_name = key_name
        self.name = origin
        self.public_key = public_key

    def sign(self, message: bytes) -> bytes:
        """See ``Signer.sign``.  Raises: UnreachableKeyServerError; InvalidError when the server refuses, or
        signs with another key."""
        answer = self._server.post(
            f"sign/{self._key_name}", {"input": format_base64(message), "key_version": 1}
        )
        text = _text(answer, "signature")
        signature = parse_base64(text.removeprefix(_SIGNATURE_PREFIX), "signature")
        return checked_signature(self, signature, message, "the key server")


class TransitKeyStore(HoldsSubjectKeys):
    """``ledger.ports.KeyStore`` in a transit engine; wrapped keys of people lie under ``root``, which is made
    if it is missing.

    Raises: MalformedError for what is no such address, InvalidError when others may read what lies under
    ``root``.  Nothing is asked of the server before a key is.
    """

    def __init__(self, address: str, root: Path) -> None:
        self._server = _Server(parse_transit_address(address))
        self._has_wrapping_key = False
        super().__init__(SubjectKeyFiles(root, self))

    def signer(self, origin: str) -> TransitSigner:
        """See ``SigningKeys.signer``."""
        return self._made(origin, 1)

    def signers(self, origin: str) -> tuple[TransitSigner, ...]:
        """See ``SigningKeys.signers``."""
        return tuple(self._made(origin, number) for number in self._numbers(origin))

    def next_signer(self, origin: str, known: Collection[bytes], algorithm: str) -> TransitSigner:
        """See ``SigningKeys.next_signer``."""
        check_makes(algorithm)
        numbers = self._numbers(origin)
        for number in numbers:
            signer = self._made(origin, number)
            if signer.public_key not in known:
                return signer
        return self._made(origin, max(numbers, default=0) + 1)

    def wrap(self, key: bytes, name: str) -> bytes:
        """See ``KeyWrapping.wrap``."""
        if not self._has_wrapping_key:
            self._server.post(f"keys/{WRAPPING_KEY}", {"type": "aes256-gcm96"})
            self._has_wrapping_key = True
        body = {"plaintext": format_base64(key), "associated_data": format_base64(name.encode())}
        return _text(self._server.post(f"encrypt/{WRAPPING_KEY}", body), "ciphertext").encode()

    def unwrap(self, wrapped: bytes, name: str) -> bytes:
        """See ``KeyWrapping.unwrap``."""
        body = {
            "ciphertext": wrapped.decode("utf-8", "replace"),
            "associated_data": format_base64(name.encode()),
        }
        return parse_base64(
            _text(self._server.post(f"decrypt/{WRAPPING_KEY}", body), "plaintext"), "plaintext"
        )

    def _made(self, origin: str, number: int) -> TransitSigner:
        """The key with this number, made if it is missing; creating answers with what is there."""
        name = f"{_key_prefix(origin)}{number}"
        answer = self._server.post(f"keys/{name}", {"type": "ed25519"})
        versions = answer.get("keys")
        version = versions.get("1") if isinstance(versions, dict) else None
        if answer.get("type") != "ed25519" or not isinstance(version, dict):
            raise InvalidError(
                "a key of another type has this name, or its first version is gone",
                field=name,
                expected="ed25519 with version 1",
                actual=str(answer.get("type"))[:40],
            )
        return TransitSigner(
            self._server, origin, name, parse_base64(_text(version, "public_key"), "public_key")
        )

    def _numbers(self, origin: str) -> list[int]:
        prefix = _key_prefix(origin)
        names = self._server.list("keys")
        numbers = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        return sorted(int(number) for number in numbers if number.isascii() and number.isdigit())[
            :KEY_EVENTS_MAX
        ]


def parse_transit_address(address: str) -> TransitPlace:
    """Read an address.  Raises: MalformedError."""
    try:
        parts = urlsplit(address)
        port = parts.port
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise _malformed("not an address") from None
    found = dict(query)
    is_tls = parts.scheme == SCHEMES[0]
    if parts.scheme not in SCHEMES or not parts.hostname or parts.fragment:
        raise _malformed("not the address of a transit engine")
    if parts.username is not None or parts.password is not None:
        raise _malformed("a token has no place in an address", remedy="Put it into a file: token-file=<path>")
    if not is_tls and parts.hostname not in _LOOPBACK:
        raise _malformed("keys travel over TLS", expected=f"{SCHEMES[0]}://…, or loopback")
    mount = parts.path.strip("/")
    if not mount or ".." in mount or not all(c.isalnum() or c in "-_./" for c in mount):
        raise _malformed("no mount named", expected="/<mount>, such as /transit")
    if len(found) != len(query) or not set(found) <= _QUERY or not all(found.values()):
        raise _malformed(
            "a parameter that is not known, is empty, or comes twice", expected=", ".join(sorted(_QUERY))
        )
    return TransitPlace(
        is_tls=is_tls,
        host=parts.hostname,
        port=port or 8200,
        mount=mount,
        token_file=Path(found["token-file"]) if "token-file" in found else None,
        ca_file=Path(found["ca-file"]) if "ca-file" in found else None,
        namespace=found.get("namespace", ""),
    )


class _Server:
    """One connection, kept open, one request at a time.  A request that met a dead connection is sent once
    more: everything asked here may be asked twice."""

    def __init__(self, place: TransitPlace) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """The answer's data.  Raises: UnreachableKeyServerError, InvalidError, MalformedError."""
        status, answer = self._ask("POST", path, msgspec.json.encode(body))
        if status not in (200, 204):
            raise self._refused(path, status, answer)
        return answer

    def list(self, path: str) -> list[str]:
        """The names under a path; none when there is nothing."""
        status, answer = self._ask("GET", f"{path}?list=true", b"")
        if status == 404:
            return []
        if status != 200:
            raise self._refused(path, status, answer)
        names = answer.get("keys")
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    def _ask(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        headers = {"X-Vault-Token": self._token(), "X-Vault-Request": "true"}
        if self._place.namespace:
            headers["X-Vault-Namespace"] = self._place.namespace
        with self._lock:
            for is_last in (False, True):
                try:
                    connection = self._connection or self._connect()
                    connection.request(method, f"/v1/{self._place.mount}/{path}", body or None, headers)
                    response = connection.getresponse()
                    data = response.read(ANSWER_BYTES_MAX + 1)
                    break
                except (OSError, http.client.HTTPException) as error:
                    if self._connection is not None:
                        self._connection.close()
                    self._connection = None
                    if is_last or isinstance(error, TimeoutError):
                        raise UnreachableKeyServerError(
                            "the key server does not answer",
                            field=f"{self._place.host}:{self._place.port}",
                            actual=f"{type(error).__name__}: {error}"[:200],
                            remedy="Nothing was lost; try again when it is back.",
                        ) from None
        return response.status, self._data(data, response.status)

    def _connect(self) -> http.client.HTTPConnection:
        place = self._place
        if place.is_tls:
            context = ssl.create_default_context(cafile=None if place.ca_file is None else str(place.ca_file))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._connection = http.client.HTTPSConnection(
                place.host, place.port, timeout=TIMEOUT_SECONDS, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(place.host, place.port, timeout=TIMEOUT_SECONDS)
        return self._connection

    def _token(self) -> str:
        if self._place.token_file is not None:
            token = read_private(self._place.token_file).decode("utf-8", "replace").strip()
        else:
            token = os.environ.get("VAULT_TOKEN", "")
        if not token or not token.isascii() or not token.isprintable():
            raise UnknownError(
                "no token for the key server",
                field="keys",
                remedy="Set VAULT_TOKEN, or name a file of mode 0600 with token-file=<path>.",
            )
        return token

    def _data(self, data: bytes, status: int) -> dict[str, Any]:
        if len(data) > ANSWER_BYTES_MAX:
            raise MalformedError("the key server's answer is too long", actual=f"> {ANSWER_BYTES_MAX} bytes")
        if not data:
            return {}
        try:
            answer = msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedError(
                "the key server answered with something else than JSON", actual=f"status {status}: {error}"
            ) from None
        found = answer.get("data") if status == 200 else answer
        return found if isinstance(found, dict) else {}

    def _refused(self, path: str, status: int, answer: Mapping[str, Any]) -> TallystickError:
        errors = answer.get("errors")
        told = "; ".join(str(error) for error in errors) if isinstance(errors, list) else ""
        return InvalidError(
            "the key server refused",
            field=f"{self._place.mount}/{path.partition('?')[0]}",
            actual=f"status {status} {' '.join(told.split())}".strip()[:300],
            remedy="Look at the token's policy and lease, and whether the server is sealed.",
        )


def _key_prefix(origin: str) -> str:
    digest = hashlib.sha256(check_key_name(origin, "origin").encode()).hexdigest()
    return f"tally-{digest[:32]}-"


def _text(answer: Mapping[str, Any], member: str) -> str:
    found = answer.get(member)
    if not isinstance(found, str):
        raise MalformedError("the key server's answer lacks a member", field=member)
    return found


def _malformed(what: str, *, expected: str = "", remedy: str = "") -> MalformedError:
    return MalformedError(
        what,
        field="keys",
        expected=expected or f"{SCHEMES[0]}://<host>:<port>/<mount>?token-file=<path>",
        remedy=remedy,
    )
