"""Links to reports: a path that a browser can open, because it sends no API key by itself.

A link names the key it was made with and the receipt, ends after a minute, and is signed.  A key that has
been revoked meanwhile opens nothing.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import time

import msgspec
from msgspec import Struct

from adapters.api_key_file import ApiKey, ApiKeyFile
from domain.canonical import JSON_ERRORS
from domain.errors import UnknownError

LINK_SECONDS = 60
PATH = "/reports"
_SIGNATURE_BYTES = 32


class ReportLink(Struct, frozen=True, kw_only=True):
    """Where the report is shown until ``expires_at_ns``."""

    path: str
    expires_at_ns: int


class _Ticket(Struct, frozen=True, array_like=True):
    tenant: str
    key_id: str
    receipt_id: str
    expires_at_ns: int


class ReportLinks:
    """Makes links and opens them."""

    def __init__(self, api_keys: ApiKeyFile) -> None:
        self._api_keys = api_keys
        self._secret = api_keys.secret_for("report links")

    def link(self, key: ApiKey, receipt_id: str) -> ReportLink:
        """A link for the holder of ``key``."""
        expires_at_ns = time.time_ns() + LINK_SECONDS * 1_000_000_000
        body = msgspec.json.encode(_Ticket(key.tenant, key.key_id, receipt_id, expires_at_ns))
        signed = hmac.digest(self._secret, body, "sha256") + body
        token = base64.urlsafe_b64encode(signed).decode().rstrip("=")
        return ReportLink(path=f"{PATH}/{token}", expires_at_ns=expires_at_ns)

    def open(self, token: str) -> tuple[str, str]:
        """Tenant and receipt of a link that holds now.  Raises: UnknownError for every other."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
            if not hmac.compare_digest(signature, hmac.digest(self._secret, body, "sha256")):
                raise ValueError
            ticket = msgspec.json.decode(body, type=_Ticket)
        except (ValueError, binascii.Error, *JSON_ERRORS):
            raise _over() from None
        now_ns = time.time_ns()
        keys = {key.key_id: key for key in self._api_keys.keys(ticket.tenant)}
        key = keys.get(ticket.key_id)
        if key is None or key.is_revoked or ticket.expires_at_ns <= now_ns:
            raise _over()
        if key.expires_at_ns is not None and key.expires_at_ns <= now_ns:
            raise _over()
        return ticket.tenant, ticket.receipt_id


def _over() -> UnknownError:
    return UnknownError("this link is over", remedy="Open the report again from the console.")
