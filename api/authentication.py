"""Who is calling: an API key in ``Authorization: Bearer``, resolved to a tenant and scopes before any handler runs.

Every route below ``/v1`` has a caller; the tenant is the key's, never a parameter, so another tenant's id is simply not there (404).
"""

from __future__ import annotations

import time
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from adapters.api_key_file import ApiKey, ApiKeyFile
from api.problems import ApiError
from domain.errors import TallystickError

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="tallystick"'}


class KeyAuthentication(AbstractAuthenticationMiddleware):
    """Resolves the bearer key; no key, a wrong one and a revoked one look the same from outside."""

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """The caller.  Raises: ApiError 401."""
        header = connection.headers.get("authorization", "")
        kind, _, text = header.partition(" ")
        if kind.lower() != "bearer" or not text:
            raise _unauthorised("An API key is needed.", "Send the header: Authorization: Bearer tl_…")
        keys: ApiKeyFile = connection.app.state.api_keys
        try:
            key = keys.authenticate(text.strip(), time.time_ns())
        except TallystickError as error:
            raise _unauthorised(error.what, error.remedy) from error
        return AuthenticationResult(user=key, auth=None)


def needs(scope: str) -> Any:
    """A guard for a route: the caller's key must have ``scope`` (``admin`` has all)."""

    def guard(connection: ASGIConnection[Any, ApiKey, Any, Any], handler: BaseRouteHandler) -> None:
        scopes = connection.user.scopes
        if scope not in scopes and "admin" not in scopes:
            raise ApiError(
                403,
                "scope",
                "This key may not do that",
                f"The scope '{scope}' is needed; this key has: {', '.join(scopes)}.",
                remedy="Ask the operator for a key with that scope.",
            )

    return guard


def _unauthorised(detail: str, remedy: str) -> ApiError:
    return ApiError(401, "unauthorised", "Who are you?", detail, remedy=remedy, headers=_CHALLENGE)
