"""The console: our own page with our own files, and the reports that it shows."""

from __future__ import annotations

from typing import Any

from litestar import Request, get
from litestar.params import FromPath
from litestar.response import Response

from api.assets import Asset, assets
from api.premises import Premises
from api.report_links import PATH as REPORTS_PATH
from api.routes.receipts import report_of, report_response
from domain.errors import UnknownError

# Everything comes from here, nothing is inline, and nobody may frame it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'"
)
PAGE = "console.html"


@get("/", include_in_schema=False)
async def get_console(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The page; it holds no data, and asks for a key."""
    return asset_response(request, assets()[PAGE])


@get("/console/{name:str}", include_in_schema=False)
async def get_asset(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    """A file of our own pages."""
    asset = assets().get(name)
    if asset is None:
        raise UnknownError("no such file", field="name", actual=name[:80])
    return asset_response(request, asset)


@get(f"{REPORTS_PATH}/{{token:str}}", include_in_schema=False)
async def get_linked_report(request: Request[Any, Any, Any], token: FromPath[str]) -> Response[bytes]:
    """A report by a link that was made for it (``/v1/receipts/…/report-link``)."""
    premises: Premises = request.app.state.premises
    tenant, receipt_id = premises.report_links.open(token)
    return report_response(await report_of(premises, tenant, receipt_id))


def asset_response(request: Request[Any, Any, Any], asset: Asset) -> Response[bytes]:
    """A file, or 304 when the browser has it."""
    headers = {"ETag": asset.etag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers, media_type=asset.media_type)
    return Response(asset.data, headers=headers, media_type=asset.media_type)
