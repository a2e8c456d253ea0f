"""PKCS#11 URIs (RFC 7512), as far as they name a token: ``pkcs11:token=tally?module-path=/usr/lib/…/hsm.so``.

    path      token, serial, manufacturer, model, slot-id; what is given has to match, and one token matches
    query     module-path (the library of the device), pin-source (a file, also as file:…) or pin-value

Values are percent-encoded.  What names a single object (object, id, type) has no place here: a key store
makes its own.  A PIN in the URI is visible to whoever sees the setting; pin-source is not.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from domain.errors import MalformedError

SCHEME = "pkcs11:"
URI_LENGTH_MAX = 4_096

_PATH = frozenset({"token", "serial", "manufacturer", "model", "slot-id"})
_QUERY = frozenset({"module-path", "pin-source", "pin-value"})
_SAFE = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&/?|]|%[0-9A-Fa-f]{2})*")


class TokenPlace(Struct, frozen=True, kw_only=True):
    """Which token, through which library, and where its PIN is; what is empty was not given."""

    module_path: Path
    token: str = ""
    serial: str = ""
    manufacturer: str = ""
    model: str = ""
    slot_id: int | None = None
    pin_source: Path | None = None
    pin_value: str = ""

    def __repr__(self) -> str:
        return f"TokenPlace(token={self.token!r}, module_path={str(self.module_path)!r})"


def parse_pkcs11_uri(uri: str) -> TokenPlace:
    """Read a URI.  Raises: MalformedError, which never repeats a PIN."""
    if not uri.startswith(SCHEME) or len(uri) > URI_LENGTH_MAX:
        raise _malformed("not a PKCS#11 URI", expected="pkcs11:token=…?module-path=…")
    path, _, query = uri.removeprefix(SCHEME).partition("?")
    found = {**_attributes(path, ";", _PATH), **_attributes(query, "&", _QUERY)}
    if "module-path" not in found:
        raise _malformed("no library named", expected="module-path=/path/to/library.so")
    if {"pin-source", "pin-value"} <= set(found):
        raise _malformed("two PINs", expected="pin-source or pin-value")
    slot_id = found.get("slot-id")
    if slot_id is not None and not re.fullmatch("[0-9]{1,10}", slot_id, re.ASCII):
        raise _malformed("not a slot", expected="slot-id=<decimal>")
    pin_source = found.get("pin-source", "").removeprefix("file://").removeprefix("file:")
    return TokenPlace(
        module_path=Path(found["module-path"]),
        token=found.get("token", ""),
        serial=found.get("serial", ""),
        manufacturer=found.get("manufacturer", ""),
        model=found.get("model", ""),
        slot_id=None if slot_id is None else int(slot_id),
        pin_source=Path(pin_source) if pin_source else None,
        pin_value=found.get("pin-value", ""),
    )


def _attributes(text: str, separator: str, known: frozenset[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if name not in known or not equals or name in found:
            raise _malformed(
                "an attribute that is not known, has no value, or comes twice",
                expected=", ".join(sorted(known)),
                actual=name[:40],
            )
        if not _SAFE.fullmatch(value):
            raise _malformed("a value that is not percent-encoded", actual=name)
        try:
            found[name] = unquote_to_bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            raise _malformed("a value that is not UTF-8", actual=name) from None
        if not found[name] or "\0" in found[name]:
            raise _malformed("an empty value", actual=name)
    return found


def _malformed(what: str, *, expected: str = "", actual: str = "") -> MalformedError:
    return MalformedError(what, field="keys", expected=expected, actual=actual)
