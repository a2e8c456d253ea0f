"""Tiles over HTTP: reading another log, or this one from outside, with nothing but its address.

Requests go out ahead of what is asked for, over a few kept connections.  Redirects are not followed: a key
that was given for one host is sent to that host only.
"""

from __future__ import annotations

import http.client
import ssl
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from urllib.parse import urlsplit

from adapters.tile_directory import TILE_FILE_BYTES_MAX
from domain.errors import InvalidError, LimitError, MalformedError, UnknownError
from ledger.notes import NOTE_BYTES_MAX
from ledger.tiles import Tile, tile_path

TIMEOUT_SECONDS = 30.0
CONNECTIONS_MAX = 4
# Tiles held at most; a bundle of usual entries has 90 kB.
AHEAD_MAX = 32
# A connection that the server closed in between is opened again; more than that is the server's trouble.
ATTEMPTS_MAX = 3


class TileWeb:
    """A log's tiles at ``url``, the address that ``/checkpoint`` and ``/tile/…`` follow; a ``TileReader``.

    Raises: MalformedError for what is no HTTP address.
    """

    def __init__(self, url: str, *, api_key: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise MalformedError("not the address of a log", expected="http(s)://host/path", actual=url[:200])
        try:
            self._port = parts.port
        except ValueError as error:
            raise MalformedError("not the address of a log", expected="a port", actual=url[:200]) from error
        self._scheme = parts.scheme
        self._host = parts.hostname
        self._prefix = parts.path.rstrip("/")
        self._headers = {"User-Agent": "tallystick", "Accept": "*/*"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(CONNECTIONS_MAX, thread_name_prefix="tiles")
        self._coming: Iterator[Tile] = iter(())
        self._fetched: deque[tuple[Tile, Future[bytes]]] = deque()

    def __call__(self, tile: Tile, /) -> bytes:
        """A tile's bytes; for a partial one that is gone, the full one.

        Raises: UnknownError, InvalidError, LimitError.
        """
        while self._fetched and self._fetched[0][0] != tile:
            self._fetched.popleft()[1].cancel()
        future = self._fetched.popleft()[1] if self._fetched else self._pool.submit(self._tile, tile)
        self._fetch()
        return future.result()

    def expect(self, tiles: Iterable[Tile]) -> None:
        """Fetch these ahead, in the order in which they will be asked for."""
        self._coming = iter(tiles)
        self._fetch()

    def checkpoint(self) -> bytes:
        """The newest checkpoint.  Raises: UnknownError, InvalidError."""
        return self._get("checkpoint", NOTE_BYTES_MAX)

    def close(self) -> None:
        """End the connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _fetch(self) -> None:
        while len(self._fetched) < AHEAD_MAX and (tile := next(self._coming, None)) is not None:
            self._fetched.append((tile, self._pool.submit(self._tile, tile)))

    def _tile(self, tile: Tile) -> bytes:
        try:
            return self._get(tile_path(*tile), TILE_FILE_BYTES_MAX)
        except UnknownError:
            full = Tile(tile.level, tile.number)
            if tile == full:
                raise
            return self._get(tile_path(*full), TILE_FILE_BYTES_MAX)

    def _get(self, path: str, bytes_max: int) -> bytes:
        address = f"{self._scheme}://{self._host}{self._prefix}/{path}"
        for attempt in range(1, ATTEMPTS_MAX + 1):
            connection = self._connection()
            try:
                connection.request("GET", f"{self._prefix}/{path}", headers=self._headers)
                response = connection.getresponse()
                data = response.read(bytes_max + 1)
                break
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if attempt == ATTEMPTS_MAX:
                    raise InvalidError(
                        "the log does not answer",
                        field=address,
                        actual=f"{type(error).__name__}: {error}"[:200],
                        remedy="Check the address, and that the log is served there.",
                    ) from error
        if len(data) > bytes_max:
            connection.close()
            raise LimitError("answer too large", field=address, expected=f"<= {bytes_max} bytes")
        if response.status == 404:
            raise UnknownError("the log has no such file", field=address)
        if response.status != 200:
            raise InvalidError(
                "the log refused",
                field=address,
                expected="200",
                actual=str(response.status),
                remedy="A key of the log's operator may be needed: TALLY_API_KEY."
                if response.status in (401, 403)
                else "",
            )
        return data

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            if self._scheme == "https":
                connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context()
                )
            else:
                connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
            self._local.connection = connection
        return connection
