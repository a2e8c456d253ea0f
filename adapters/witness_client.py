"""Witnesses over HTTP: one request, one short answer, and nobody else's address.

Redirects are not followed, proxies of the environment are not used, cookies are not kept; a compressed answer
is not unpacked.  An answer is read up to a limit and within a time, both of which a witness keeps with ease.
"""

from __future__ import annotations

from types import TracebackType
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec
from msgspec import Struct

from domain.canonical import JSON_ERRORS
from domain.errors import MalformedError
from ledger.witness import ANSWER_BYTES_MAX
from ledger.witness_exchange import UnreachableWitnessError, WitnessReply

# A witness answers after one fsync; its way there may lead around the world.
TIMEOUT_SECONDS = 10.0
CONNECT_SECONDS = 5.0
# A page of a thousand checkpoints, each with its signatures.
EVIDENCE_PAGE_BYTES_MAX = 16 * 1024 * 1024
EVIDENCE_PAGES_MAX = 1_000


class _Shown(Struct, frozen=True, kw_only=True):
    note: str


class _Page(Struct, frozen=True, kw_only=True):
    origin: str
    checkpoints: list[_Shown]
    next_after: int


class WitnessClient:
    """A ``ledger.witness_exchange.WitnessPort``; connections are kept open between requests.  Use
    ``async with``."""

    def __init__(self, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        self._session: aiohttp.ClientSession | None = None

    async def add_checkpoint(self, url: str, body: bytes) -> WitnessReply:
        """See ``WitnessPort.add_checkpoint``."""
        address = f"{_checked(url)}/add-checkpoint"
        return await self._ask("POST", address, body, ANSWER_BYTES_MAX)

    async def evidence(self, url: str, origin: str) -> list[bytes]:
        """Every checkpoint of a log that a Tallystick witness was shown.

        Raises: UnreachableWitnessError, MalformedError for what is no such answer.
        """
        notes: list[bytes] = []
        after = 0
        for _ in range(EVIDENCE_PAGES_MAX):
            address = f"{_checked(url)}/evidence?origin={quote(origin, safe='')}&after={after}"
            reply = await self._ask("GET", address, b"", EVIDENCE_PAGE_BYTES_MAX)
            if reply.status != 200:
                told = reply.body[:200].decode("utf-8", "replace").strip()
                raise MalformedError("no evidence from this witness", field=url, actual=told)
            try:
                page = msgspec.json.decode(reply.body, type=_Page)
            except JSON_ERRORS as error:
                raise MalformedError("not a page of evidence", field=url, actual=str(error)) from error
            notes += [shown.note.encode() for shown in page.checkpoints]
            if page.next_after <= after:
                break
            after = page.next_after
        return notes

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def __aenter__(self) -> WitnessClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, method: str, address: str, body: bytes, bytes_max: int) -> WitnessReply:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout_seconds, sock_connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"Accept-Encoding": "identity", "User-Agent": "tallystick"},
            )
        try:
            async with self._session.request(
                method, address, data=body or None, allow_redirects=False
            ) as response:
                answer = bytearray()
                async for part in response.content.iter_chunked(65_536):
                    answer += part
                    if len(answer) > bytes_max:
                        raise UnreachableWitnessError(
                            "the answer is too long", field=address, expected=f"<= {bytes_max} bytes"
                        )
                return WitnessReply(
                    status=response.status,
                    # Some servers put a charset behind every text type.
                    media_type=response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
                    body=bytes(answer),
                )
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise UnreachableWitnessError(
                "no answer", field=address, actual=f"{type(error).__name__} {error}".strip()
            ) from error


def _checked(url: str) -> str:
    """The prefix without its last slash.  Raises: UnreachableWitnessError for what is no HTTP address."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query
        is_address = is_address and not parts.fragment and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise UnreachableWitnessError(
            "not the address of a witness", field=url[:200], expected="http://… or https://…"
        )
    return url.rstrip("/")
