"""Who is calling: an API key in ``Authorization: Bearer``, resolved to tenant and scopes before any handler.

Every route below ``/v1`` has a caller.  The tenant is the key's, never a parameter, so another tenant's id is
simply not there (404).
"""

from __future__ import annotations

import time
from typing import Any

from litestar.connection import ASGIConnection
from litestar.enums import HttpMethod
from litestar.handlers.base import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from adapters.api_key_file import SCOPES, ApiKey, ApiKeyFile, RefusedKeyError
from api.problems import ApiError

# What a route needs, given as its ``opt``.
INGEST, READ, AUDIT, ADMIN = ({"scope": scope} for scope in SCOPES)
ANY = {"scope": ""}
_INCLUDED = {"audit": frozenset({"read"}), "admin": frozenset(SCOPES)}


class KeyAuthentication(AbstractAuthenticationMiddleware):
    """Resolves the bearer key, once, before the body is read."""

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """The caller.  Raises: ApiError 401, DamagedKeyFileError."""
        headers = connection.headers.getall("authorization", [])
        kind, _, text = (headers[0] if len(headers) == 1 else "").partition(" ")
        if kind.lower() != "bearer" or not text.strip():
            raise ApiError("unauthorised", "an API key is needed")
        keys: ApiKeyFile = connection.app.state.api_keys
        try:
            key = keys.authenticate(text.strip(), time.time_ns())
        except RefusedKeyError as error:
            raise ApiError("unauthorised", error.what, remedy=error.remedy) from None
        return AuthenticationResult(user=key, auth=None)


def check_scope(connection: ASGIConnection[Any, ApiKey, Any, Any], handler: BaseRouteHandler) -> None:
    """The guard of every route: the key must have the route's scope.

    A route that forgot to say which one it needs is open to ``admin`` only.  Which methods there are
    (OPTIONS) is no secret.  Raises: ApiError 403.
    """
    if connection.scope["method"] == HttpMethod.OPTIONS:  # type: ignore[typeddict-item]
        return
    needed = handler.opt.get("scope", "admin")
    if needed and not may(connection.user, needed):
        scopes = ", ".join(connection.user.scopes)
        raise ApiError("scope", f"the scope {needed} is needed; this key has {scopes}")


def may(key: ApiKey, scope: str) -> bool:
    """Whether a key has a scope; ``audit`` includes ``read``, and ``admin`` everything."""
    return any(scope == own or scope in _INCLUDED.get(own, ()) for own in key.scopes)
