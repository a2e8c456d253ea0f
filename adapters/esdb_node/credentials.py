"""Who may call: one user name and password, asked for on TLS connections only, as a real server does."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from typing import Final

from adapters.esdb_node.wire_errors import access_denied, unauthenticated

#: What every EventStoreDB has until somebody changes it; enough for a development node.
DEFAULT_USERNAME: Final = "admin"
DEFAULT_PASSWORD: Final = "changeit"

#: Clients find and inspect nodes before they log in.
_OPEN_SERVICES: Final = (
    "/event_store.client.gossip.Gossip/",
    "/event_store.client.server_features.ServerFeatures/",
)


class Credentials:
    """``admit`` refuses calls that do not carry the user name and password in an ``authorization`` header."""

    def __init__(self, username: str, password: str) -> None:
        self._wanted = base64.b64encode(f"{username}:{password}".encode())

    def admit(self, headers: Mapping[str, str]) -> None:
        """Check a call's headers.

        Raises:
            WireError: UNAUTHENTICATED for wrong credentials, PERMISSION_DENIED for none.
        """
        given = headers.get("authorization")
        if given is None:
            if headers.get(":path", "").startswith(_OPEN_SERVICES):
                return
            raise access_denied()
        scheme, _, secret = given.partition(" ")
        if scheme.lower() != "basic" or not hmac.compare_digest(secret.strip().encode(), self._wanted):
            raise unauthenticated()


def admit_all(headers: Mapping[str, str]) -> None:
    """Without TLS nobody is asked; the node listens on loopback."""
