"""The OpenAPI document, and the same for people."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from litestar import Request, get
from litestar.response import Response

from api.documentation_page import render
from api.routes.console import POLICY

_CACHED = {"Cache-Control": "no-cache"}


@get("/openapi.json", summary="This document", tags=["operation"], media_type="application/json")
async def get_openapi(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
    """The OpenAPI 3.1 document of everything that is served here."""
    return Response(msgspec.json.encode(_document()), media_type="application/json", headers=_CACHED)  # type: ignore[arg-type]


@get("/docs", include_in_schema=False)
async def get_docs() -> Response[bytes]:
    """The document as a page, made here: no script, nothing from elsewhere."""
    headers = {**_CACHED, "Content-Security-Policy": POLICY}
    return Response(_page(), media_type="text/html", headers=headers)


@cache
def _document() -> dict[str, Any]:
    # Imported here, because the application's list of routes holds this one.
    from api.application import routes
    from api.openapi import describe

    return describe(routes())


@cache
def _page() -> bytes:
    return render(_document()).encode()
