"""Keys in a PKCS#11 device: an HSM, a smart card, or SoftHSM in tests.

What lies in the token, private, never to be read out::

    private and public key   label: the origin     id: 8 bytes big-endian nanoseconds || 8 random bytes
    AES-256 key              label: tallystick/subject-keys     id: 16 random bytes

Signing keys are Ed25519 (CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EDDSA without parameters, RFC 8032); their ids sort
by age.  People's keys are files (``adapters.subject_key_files``), wrapped with the AES key (CKM_AES_GCM)::

    id of the AES key (16) || nonce (12) || ciphertext and tag (80);  additional data: the subject key's id

A device has no "make it unless it is there".  Processes of one machine take turns by a lock beside the files.
Two machines that make the same key at once make two; then the ledger's event says which one is in force, and
the other is simply the next.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.pkcs11_uri import TokenPlace, parse_pkcs11_uri
from adapters.private_file import read_private
from adapters.remote_signing import check_makes, checked_signature
from adapters.subject_key_files import HoldsSubjectKeys, SubjectKeyFiles
from domain.errors import InvalidError, UnknownError
from domain.key_history import ED25519
from ledger.notes import check_key_name

if TYPE_CHECKING:
    from pkcs11 import Object, Session

WRAPPING_LABEL = "tallystick/subject-keys"

_ED25519_OID = bytes.fromhex("06032b6570")  # DER of 1.3.101.112 (RFC 8410)
_ID_BYTES = 16
_NONCE_BYTES = 12
_TAG_BITS = 128


class Pkcs11Signer:
    """``ledger.ports.Signer`` over a key that never leaves its device."""

    is_remote = True
    algorithm = ED25519

    def __init__(self, token: _Token, origin: str, key_id: bytes, public_key: bytes) -> None:
        self._token = token
        self._key_id = key_id
        self.name = origin
        self.public_key = public_key

    def sign(self, message: bytes) -> bytes:
        """See ``Signer.sign``.  Raises: InvalidError when the device refuses, or signs with another key."""
        signature = self._token.sign(self.name, self._key_id, message)
        return checked_signature(self, signature, message, "the device")


class Pkcs11KeyStore(HoldsSubjectKeys):
    """``ledger.ports.KeyStore`` in the token that ``uri`` names (RFC 7512); wrapped keys of people lie under
    ``root``, which is made if it is missing.

    Raises: MalformedError, UnknownError for a library or token that is not there, InvalidError for a wrong
    PIN and when others may read what lies under ``root``.
    """

    def __init__(self, uri: str, root: Path) -> None:
        self._token = _token(parse_pkcs11_uri(uri))
        self._lock_path = root / "pkcs11.lock"
        super().__init__(SubjectKeyFiles(root, self))

    def signer(self, origin: str) -> Pkcs11Signer:
        """See ``SigningKeys.signer``."""
        held = self.signers(origin)
        return held[0] if held else self.next_signer(origin, (), ED25519)

    def signers(self, origin: str) -> tuple[Pkcs11Signer, ...]:
        """See ``SigningKeys.signers``."""
        check_key_name(origin, "origin")
        return tuple(
            Pkcs11Signer(self._token, origin, key_id, public_key)
            for key_id, public_key in self._token.signing_keys(origin)
        )

    def next_signer(self, origin: str, known: Collection[bytes], algorithm: str) -> Pkcs11Signer:
        """See ``SigningKeys.next_signer``."""
        check_makes(algorithm)
        with self._one_at_a_time():
            for signer in self.signers(origin):
                if signer.public_key not in known:
                    return signer
            key_id = time.time_ns().to_bytes(8, "big") + secrets.token_bytes(8)
            self._token.make_signing_key(origin, key_id)
            return next(signer for signer in self.signers(origin) if signer.public_key not in known)

    def wrap(self, key: bytes, name: str) -> bytes:
        """See ``KeyWrapping.wrap``."""
        with self._one_at_a_time():
            key_id = self._token.wrapping_key_id() or self._token.make_wrapping_key()
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return key_id + nonce + self._token.encrypt(key_id, nonce, key, name.encode())

    def unwrap(self, wrapped: bytes, name: str) -> bytes:
        """See ``KeyWrapping.unwrap``."""
        key_id, nonce = wrapped[:_ID_BYTES], wrapped[_ID_BYTES : _ID_BYTES + _NONCE_BYTES]
        return self._token.decrypt(key_id, nonce, wrapped[_ID_BYTES + _NONCE_BYTES :], name.encode())

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class _Token:
    """One token with one session, which all stores of this process share: PKCS#11 logs a process in, not a
    session, and one session does one thing at a time."""

    def __init__(self, place: TokenPlace) -> None:
        self._place = place
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._keys: dict[tuple[str, bytes], Object] = {}

    def signing_keys(self, origin: str) -> list[tuple[bytes, bytes]]:
        """Ids and public keys of the Ed25519 keys with this label, oldest first."""
        from pkcs11 import Attribute, KeyType, ObjectClass

        with self._working() as session:
            wanted = {
                Attribute.CLASS: ObjectClass.PUBLIC_KEY,
                Attribute.KEY_TYPE: KeyType.EC_EDWARDS,
                Attribute.LABEL: origin,
            }
            # The point is an OCTET STRING (PKCS#11 v3.0 §6.3.5); some devices leave its two bytes out.
            return sorted(
                (key[Attribute.ID], key[Attribute.EC_POINT][-32:])
                for key in session.get_objects(wanted)
                if len(key[Attribute.ID]) == _ID_BYTES
            )

    def make_signing_key(self, origin: str, key_id: bytes) -> None:
        from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag

        with self._working() as session:
            parameters = session.create_domain_parameters(
                KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: _ED25519_OID}, local=True
            )
            parameters.generate_keypair(
                id=key_id,
                label=origin,
                store=True,
                capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
                mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
            )

    def sign(self, origin: str, key_id: bytes, message: bytes) -> bytes:
        from pkcs11 import Mechanism, ObjectClass

        with self._working() as session:
            key: Any = self._key(session, origin, key_id, ObjectClass.PRIVATE_KEY)
            return bytes(key.sign(message, mechanism=Mechanism.EDDSA))

    def wrapping_key_id(self) -> bytes | None:
        from pkcs11 import Attribute, ObjectClass

        with self._working() as session:
            wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: WRAPPING_LABEL}
            return min((bytes(key[Attribute.ID]) for key in session.get_objects(wanted)), default=None)

    def make_wrapping_key(self) -> bytes:
        from pkcs11 import Attribute, KeyType, MechanismFlag

        key_id = secrets.token_bytes(_ID_BYTES)
        with self._working() as session:
            session.generate_key(
                KeyType.AES,
                256,
                id=key_id,
                label=WRAPPING_LABEL,
                store=True,
                capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
                template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
            )
        return key_id

    def encrypt(self, key_id: bytes, nonce: bytes, plaintext: bytes, name: bytes) -> bytes:
        from pkcs11 import GCMParams, Mechanism, ObjectClass

        with self._working() as session:
            key: Any = self._key(session, WRAPPING_LABEL, key_id, ObjectClass.SECRET_KEY)
            sealed = key.encrypt(
                plaintext, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, name, _TAG_BITS)
            )
            return bytes(sealed)

    def decrypt(self, key_id: bytes, nonce: bytes, ciphertext: bytes, name: bytes) -> bytes:
        from pkcs11 import GCMParams, Mechanism, ObjectClass

        with self._working() as session:
            key: Any = self._key(session, WRAPPING_LABEL, key_id, ObjectClass.SECRET_KEY)
            opened = key.decrypt(
                ciphertext, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, name, _TAG_BITS)
            )
            return bytes(opened)

    def _key(self, session: Session, label: str, key_id: bytes, kind: Any) -> Object:
        from pkcs11 import Attribute

        found = self._keys.get((label, key_id))
        if found is None:
            wanted = {Attribute.CLASS: kind, Attribute.LABEL: label, Attribute.ID: key_id}
            found = next(iter(list(session.get_objects(wanted))), None)
            if found is None:
                raise UnknownError("the device has no such key", field=label, actual=key_id.hex())
            self._keys[label, key_id] = found
        return found

    @contextmanager
    def _working(self) -> Iterator[Session]:
        from pkcs11.exceptions import PKCS11Error

        with self._lock:
            try:
                if self._session is None:
                    self._session = _open_session(self._place)
                yield self._session
            except PKCS11Error as error:
                # Whatever it was, the next caller begins with a new session.
                broken, self._session, self._keys = self._session, None, {}
                if broken is not None:
                    with suppress(PKCS11Error):
                        broken.close()
                raise InvalidError(
                    "the key device refused",
                    field=self._place.token or str(self._place.module_path),
                    actual=f"{type(error).__name__} {error}".strip()[:200],
                    remedy="Look at the device, its PIN and the keys setting.",
                ) from None


_tokens: dict[str, _Token] = {}
_tokens_lock = threading.Lock()


def _token(place: TokenPlace) -> _Token:
    key = repr((place.module_path, place.token, place.serial, place.model, place.manufacturer, place.slot_id))
    with _tokens_lock:
        token = _tokens.setdefault(key, _Token(place))
    with token._working():
        return token


def _open_session(place: TokenPlace) -> Session:
    try:
        import pkcs11
    except ImportError:
        raise UnknownError(
            "PKCS#11 needs a package that is not installed",
            field="keys",
            expected="python-pkcs11",
            remedy="Run: pip install 'tallystick[pkcs11]'",
        ) from None
    if not place.module_path.is_file():
        raise UnknownError("no such PKCS#11 library", field="module-path", actual=str(place.module_path))
    found = [
        slot.get_token()
        for slot in pkcs11.lib(str(place.module_path)).get_slots(token_present=True)
        if place.slot_id in (None, slot.slot_id)
    ]
    matching = [
        token
        for token in found
        if place.token in ("", token.label)
        and place.serial in ("", token.serial.decode("ascii", "replace").strip())
        and place.manufacturer in ("", token.manufacturer_id)
        and place.model in ("", token.model)
    ]
    if len(matching) != 1:
        raise UnknownError(
            "no such token" if not matching else "more than one token fits",
            field="keys",
            expected=place.token or "one token",
            actual=", ".join(sorted(token.label for token in found)) or "no token",
        )
    try:
        return matching[0].open(rw=True, user_pin=_pin(place))
    except pkcs11.UserAlreadyLoggedIn:  # by another spelling of this token's URI
        return matching[0].open(rw=True)


def _pin(place: TokenPlace) -> str | None:
    if place.pin_source is not None:
        return read_private(place.pin_source).decode("utf-8", "replace").strip()
    return place.pin_value or None
