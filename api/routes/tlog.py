"""The ledger as C2SP tlog-tiles: checkpoint, tiles of hashes, bundles of entries; for anybody's tools.

    /v1/tlog/checkpoint, /v1/tlog/tile/…              the caller's own ledger, with a key
    /tlog/<tenant>/checkpoint, /tlog/<tenant>/tile/…  without one, for tenants named in TALLY_PUBLIC_TLOG

A public ledger shows its entries: who recorded what about which subject, when, and digests.  It shows no
bodies.  A ledger that is not public is not told from one that does not exist.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from typing import Annotated, Any

from litestar import Request, get
from litestar.params import Parameter
from litestar.response import Response

from api.authentication import READ
from api.openapi import documented
from api.parameters import refuse_unknown_parameters
from api.premises import Premises
from api.tenancy import ApiRequest, Caller
from domain.errors import UnknownError
from ledger.ledger import Ledger
from ledger.tile_serving import published_checkpoint, published_tile
from ledger.tiles import ENTRIES_LEVEL, MalformedTileError, Tile, parse_tile_path

# The framework adds the charset.
NOTE_MEDIA_TYPE = "text/plain"
TILE_MEDIA_TYPE = "application/octet-stream"
YEAR_SECONDS = 31_536_000
# Digests do not shrink; beyond this level more time buys next to nothing.
GZIP_LEVEL = 1

AnyRequest = Request[Any, Any, Any]
TilePath = Annotated[str, Parameter(description="`<level>/<number>[.p/<width>]`, level 0 to 63 or entries")]
Tenant = Annotated[str, Parameter(description="A tenant whose ledger is public")]


@get(
    "/tlog/checkpoint",
    opt=READ,
    summary="The newest cosigned checkpoint (tlog-tiles)",
    tags=["ledger"],
    media_type=NOTE_MEDIA_TYPE,
    responses=documented(),
)
async def get_tlog_checkpoint(request: ApiRequest, caller: Caller) -> Response[bytes]:
    """The newest seal that enough witnesses have cosigned, with their lines, a C2SP signed note; the newest
    seal where none are asked, where they see a meta-log, and until they first have.

    Every tile under it can be read, however fast the ledger grows. `/v1/checkpoint` is always the newest.
    """
    return await _checkpoint(request, caller.desk.ledger)


@get(
    "/tlog/tile/{path:path}",
    opt=READ,
    summary="A tile of hashes or a bundle of entries (tlog-tiles)",
    tags=["ledger"],
    media_type=TILE_MEDIA_TYPE,
    responses=documented("unknown"),
)
async def get_tlog_tile(request: ApiRequest, caller: Caller, path: TilePath) -> Response[bytes]:
    """`<level>/<number>[.p/<width>]` or `entries/<number>[.p/<width>]`, the number as in x001/x234/067.

    What is found once never changes; what the newest checkpoint does not cover yet is a 404.
    """
    return await _tile(request, caller.desk.ledger, "/v1/tlog/", is_public=False)


@get("/tlog/{tenant:str}/checkpoint", include_in_schema=False, before_request=refuse_unknown_parameters)
async def get_public_checkpoint(request: AnyRequest, tenant: Tenant) -> Response[bytes]:
    """The newest checkpoint of a public ledger that enough witnesses have cosigned; see
    ``published_checkpoint``."""
    return await _checkpoint(request, await _public_ledger(request, tenant))


@get("/tlog/{tenant:str}/tile/{path:path}", include_in_schema=False, before_request=refuse_unknown_parameters)
async def get_public_tile(request: AnyRequest, tenant: Tenant, path: TilePath) -> Response[bytes]:
    """A tile or bundle of a public ledger."""
    return await _tile(request, await _public_ledger(request, tenant), f"/tlog/{tenant}/", is_public=True)


async def _public_ledger(request: AnyRequest, tenant: str) -> Ledger:
    premises: Premises = request.app.state.premises
    workplace = premises.workplace
    if tenant not in workplace.settings.public_ledgers or tenant not in await workplace.tenants():
        raise UnknownError("no such public ledger", field="tenant")
    return (await premises.desk(tenant)).ledger


async def _checkpoint(request: AnyRequest, ledger: Ledger) -> Response[bytes]:
    note = await published_checkpoint(ledger)
    return _answer(request, note, NOTE_MEDIA_TYPE, {"Cache-Control": "no-cache"})


async def _tile(request: AnyRequest, ledger: Ledger, prefix: str, *, is_public: bool) -> Response[bytes]:
    tile = _asked_for(request, prefix)
    data = await published_tile(ledger, tile)
    who = "public" if is_public else "private"
    headers = {"Cache-Control": f"{who}, max-age={YEAR_SECONDS}, immutable"}
    if tile.level == ENTRIES_LEVEL:
        headers["Vary"] = "Accept-Encoding"
        if _takes_gzip(request):
            data = await asyncio.to_thread(gzip.compress, data, GZIP_LEVEL, mtime=0)
            headers["Content-Encoding"] = "gzip"
    return _answer(request, data, TILE_MEDIA_TYPE, headers)


def _answer(request: AnyRequest, data: bytes, media_type: str, headers: dict[str, str]) -> Response[bytes]:
    # Over the bytes that are sent, so that the two codings of a bundle have tags of their own.
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers["ETag"] = tag
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if tag in known or "*" in known:
        headers.pop("Content-Encoding", None)
        return Response(b"", status_code=304, headers=headers, media_type=media_type)
    return Response(data, media_type=media_type, headers=headers)


def _asked_for(request: AnyRequest, prefix: str) -> Tile:
    """The tile that the path names, as it was sent: one tile has one address.  Raises: UnknownError."""
    path = request.scope.get("raw_path") or request.scope["path"].encode()
    text = path.partition(b"?")[0].decode("ascii", "replace")
    try:
        return parse_tile_path(text.removeprefix(prefix))
    except MalformedTileError:
        raise UnknownError(
            "no log has such a file",
            field="path",
            expected="tile/<level or entries>/<number>[.p/<width>]",
            actual=repr(text[:80]),
        ) from None


def _takes_gzip(request: AnyRequest) -> bool:
    for coding in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = coding.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
