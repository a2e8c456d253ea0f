"""Asking witnesses over real HTTP: limits, patience, and no way to be sent elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from adapters import witness_client
from adapters.witness_client import WitnessClient
from domain.errors import MalformedError
from ledger.witness import ANSWER_BYTES_MAX
from ledger.witness_exchange import UnreachableWitnessError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    """A server on a free port of this machine that answers everything with ``handler``."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@pytest.mark.anyio
async def test_a_request_is_posted_below_the_prefix_and_the_answer_comes_as_it_is() -> None:
    seen: list[tuple[str, str, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.method, request.path, await request.read()))
        return web.Response(
            body=b"7\n", status=409, headers={"Content-Type": "Text/X.tlog.size; charset=utf-8"}
        )

    async with server(answer) as url, WitnessClient() as client:
        for prefix in (url, f"{url}/", f"{url}/a/b"):
            reply = await client.add_checkpoint(prefix, b"old 0\n\nx\n")
            assert (reply.status, reply.media_type, reply.body) == (409, "text/x.tlog.size", b"7\n")
    path = "/add-checkpoint"
    assert seen == [("POST", one, b"old 0\n\nx\n") for one in (path, path, f"/a/b{path}")]


@pytest.mark.anyio
async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/elsewhere":
            raise AssertionError("followed")
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with server(answer) as url, WitnessClient() as client:
        assert (await client.add_checkpoint(url, b"x")).status == 307


@pytest.mark.anyio
async def test_an_answer_without_end_is_cut_and_one_that_never_comes_given_up() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    async def silent(request: web.Request) -> web.Response:
        await asyncio.sleep(3_600)
        return web.Response()

    async def dripping(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.01)

    async with server(endless) as url, WitnessClient() as client:
        with pytest.raises(UnreachableWitnessError, match="too long"):
            await client.add_checkpoint(url, b"x")
    for handler in (silent, dripping):
        async with server(handler) as url, WitnessClient(timeout_seconds=0.2) as client:
            with pytest.raises(UnreachableWitnessError, match="no answer"):
                await client.add_checkpoint(url, b"x")


@pytest.mark.anyio
async def test_an_answer_at_the_limit_is_taken_and_a_compressed_one_not_unpacked() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        if request.path.startswith("/packed"):
            return web.Response(body=b"\x1f\x8bno gzip", headers={"Content-Encoding": "gzip"})
        return web.Response(body=b"x" * ANSWER_BYTES_MAX)

    async with server(answer) as url, WitnessClient() as client:
        assert len((await client.add_checkpoint(url, b"x")).body) == ANSWER_BYTES_MAX
        assert (await client.add_checkpoint(f"{url}/packed", b"x")).body == b"\x1f\x8bno gzip"


@pytest.mark.anyio
async def test_cookies_are_not_kept() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert not request.cookies
        response = web.Response()
        response.set_cookie("who", "you")
        return response

    async with server(answer) as url, WitnessClient() as client:
        for _ in range(2):
            assert (await client.add_checkpoint(url, b"x")).status == 200


@pytest.mark.anyio
async def test_nobody_there_and_no_address_are_told() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response()

    async with server(answer) as url:
        gone = url
    async with WitnessClient() as client:
        with pytest.raises(UnreachableWitnessError, match="no answer"):
            await client.add_checkpoint(gone, b"x")
        for evil in (
            "",
            "file:///etc/passwd",
            "ftp://host/",
            "http://",
            "http:///path",
            "//host",
            "http://host:0",
            "http://host:99999",
            "http://[::1",
            "http://host/?query",
            "http://host/#fragment",
        ):
            with pytest.raises(UnreachableWitnessError, match="not the address"):
                await client.add_checkpoint(evil, b"x")


@pytest.mark.anyio
async def test_noise_instead_of_http_is_no_answer() -> None:
    async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"\x00\xff\x00 nothing that anybody speaks\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(noise, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with WitnessClient() as client:
            with pytest.raises(UnreachableWitnessError):
                await client.add_checkpoint(f"http://127.0.0.1:{port}", b"x")


@pytest.mark.anyio
async def test_evidence_is_read_page_by_page_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness_client, "EVIDENCE_PAGES_MAX", 5)

    async def answer(request: web.Request) -> web.Response:
        assert request.query["origin"] == "log.example/a b+c"
        after = int(request.query["after"])
        match request.path:
            case "/good/evidence":
                following = after + 1 if after < 2 else 0
            case "/endless/evidence":
                following = after + 1
            case "/circling/evidence":
                following = 1
            case _:
                return web.Response(body=b"nothing here", status=404)
        page = {"origin": "o", "checkpoints": [{"note": f"n{after}", "more": 1}], "next_after": following}
        return web.Response(body=json.dumps(page).encode())

    async with server(answer) as url, WitnessClient() as client:
        origin = "log.example/a b+c"
        assert await client.evidence(f"{url}/good", origin) == [b"n0", b"n1", b"n2"]
        assert len(await client.evidence(f"{url}/endless", origin)) == 5
        assert len(await client.evidence(f"{url}/circling", origin)) == 2
        with pytest.raises(MalformedError, match="no evidence"):
            await client.evidence(url, origin)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"\xff", b'{"origin":"o","checkpoints":[1],"next_after":0}']
)
async def test_evidence_that_is_none_is_malformed(body: bytes) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body)

    async with server(answer) as url, WitnessClient() as client:
        with pytest.raises(MalformedError):
            await client.evidence(url, "o")
