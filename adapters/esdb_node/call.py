"""One gRPC call on the server side: its messages in, its messages and final status out.

A method of the node is a function from a :class:`Call` to a :class:`Receiver`, which is told about each
request message.  Three receivers cover all of the protocol: :class:`Collected` for methods that need every
request message before they answer (:class:`CollectedTask` if answering takes time), :class:`Conversation` for
those that talk while they listen, and whatever a hot path brings along.

Framing follows "gRPC over HTTP2" (github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md): each message is
preceded by one flag byte (compressed or not) and its length as four bytes, big endian.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from adapters.esdb_node.wire_errors import Status, WireError

logger = logging.getLogger(__name__)

#: A request message may be this large: the append limit of 1 MiB counts payload only, and real servers take
#: 16 MiB.
MESSAGE_BYTES_MAX = 17 * 1024 * 1024
#: All request messages of one collected call together.
COLLECTED_BYTES_MAX = 20 * 1024 * 1024
#: A conversation that does not read its inbox is cut off here.
INBOX_MESSAGES_MAX = 10_000
#: A sender waits while more than this is queued for a client that does not read.
UNSENT_BYTES_HIGH = 256 * 1024


class Transport(Protocol):
    """What a call needs of its connection."""

    peer: str

    def send_headers(self, stream_id: int, extra: tuple[tuple[str, str], ...]) -> None: ...
    def send_data(self, call: Call, data: bytes) -> None: ...
    def send_whole(self, call: Call, data: bytes) -> bool: ...
    def send_trailers(
        self, call: Call, status: int, sentence: str, extra: tuple[tuple[str, str], ...]
    ) -> None: ...
    def saturated(self, call: Call) -> bool: ...
    def forget(self, call: Call) -> None: ...


class Receiver(Protocol):
    """Told what the client does during a call."""

    def message(self, payload: bytes) -> None: ...
    def half_closed(self) -> None: ...
    def closed(self) -> None: ...


Method = Callable[["Call"], Receiver]


class CallClosed(Exception):
    """The client went away or the call was finished; there is nobody to send to."""


class Call:
    """One call; created by the connection when request headers are complete."""

    __slots__ = (
        "_drained",
        "_encoding",
        "_need",
        "_partial",
        "done",
        "half_closed",
        "headers",
        "headers_sent",
        "received_unacknowledged",
        "receiver",
        "stream_id",
        "trailer_block",
        "transport",
        "unsent",
        "unsent_bytes",
        "window",
    )

    def __init__(self, transport: Transport, stream_id: int, headers: Mapping[str, str], window: int) -> None:
        self.transport = transport
        self.stream_id = stream_id
        self.headers = headers
        self.window = window
        self.receiver: Receiver | None = None
        self.headers_sent = False
        self.half_closed = False
        self.done = False
        self.unsent: deque[bytes | memoryview] = deque()
        self.unsent_bytes = 0
        self.received_unacknowledged = 0
        self.trailer_block: bytes | None = None
        self._encoding = headers.get("grpc-encoding", "identity")
        self._partial = bytearray()
        self._need = 0
        self._drained: asyncio.Future[None] | None = None

    @property
    def peer(self) -> str:
        """Address of the client, for people."""
        return self.transport.peer

    # -- out

    def send(self, frames: bytes) -> None:
        """Queue one or more framed messages (see :func:`frame`); ignored once the call is done."""
        if self.done:
            return
        if not self.headers_sent:
            self.headers_sent = True
            self.transport.send_headers(self.stream_id, ())
        self.transport.send_data(self, frames)

    async def drain(self) -> None:
        """Wait until the client has taken most of what was sent, and let other calls run.

        Raises:
            CallClosed: The call is over.
        """
        if not self.transport.saturated(self):
            await asyncio.sleep(0)
        while not self.done and self.transport.saturated(self):
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
        if self.done:
            raise CallClosed

    def wake(self) -> None:
        """The connection can take more."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def finish(self, frames: bytes = b"") -> None:
        """End the call well, optionally with last messages."""
        if self.done:
            return
        if frames:
            if self.half_closed and not self.headers_sent and self.transport.send_whole(self, frames):
                self.done = True
                if self.receiver is not None:
                    self.receiver.closed()
                return
            self.send(frames)
        self._end(Status.OK, "", ())

    def fail(self, error: WireError) -> None:
        """End the call with an error."""
        if not self.done:
            self._end(error.status, error.sentence, error.trailers)

    def fail_unexpectedly(self, error: BaseException) -> None:
        """End the call for a reason that is a bug of the node: logged whole, told to the client in short."""
        logger.error("call %s failed", self.headers.get(":path"), exc_info=error)
        self.fail(WireError(Status.UNKNOWN, f"Exception was thrown by handler. {type(error).__name__}"))

    def _end(self, status: int, sentence: str, trailers: tuple[tuple[str, str], ...]) -> None:
        self.done = True
        self.wake()
        self.transport.send_trailers(self, status, sentence, trailers)
        self.transport.forget(self)
        if self.receiver is not None:
            self.receiver.closed()

    # -- in

    def feed(self, data: bytes) -> None:
        """Take bytes of DATA frames; hands whole messages to the receiver."""
        receiver = self.receiver
        if self.done or receiver is None:
            return
        if self._partial:
            self._partial += data
            if len(self._partial) < self._need:
                return
            data = bytes(self._partial)
            self._partial.clear()
        position, end = 0, len(data)
        while end - position >= 5:
            length = int.from_bytes(data[position + 1 : position + 5], "big")
            if length > MESSAGE_BYTES_MAX:
                sentence = f"Received message larger than max ({length} vs. {MESSAGE_BYTES_MAX})"
                self.fail(WireError(Status.RESOURCE_EXHAUSTED, sentence))
                return
            if end - position - 5 < length:
                break
            payload = data[position + 5 : position + 5 + length]
            if data[position]:
                payload = self._decompressed(payload)
                if self.done:
                    return
            position += 5 + length
            try:
                receiver.message(payload)
            except WireError as error:
                self.fail(error)
            except Exception as error:
                self.fail_unexpectedly(error)
            if self.done:
                return
        if position < end:
            self._partial += data[position:]
            rest = end - position
            self._need = 5 if rest < 5 else 5 + int.from_bytes(data[position + 1 : position + 5], "big")

    def feed_end(self) -> None:
        """The client will send no more messages."""
        self.half_closed = True
        if self.done or self.receiver is None:
            return
        try:
            self.receiver.half_closed()
        except WireError as error:
            self.fail(error)
        except Exception as error:
            self.fail_unexpectedly(error)

    def abandon(self) -> None:
        """The client cancelled the call or the connection broke."""
        if self.done:
            return
        self.done = True
        self.wake()
        if self.receiver is not None:
            self.receiver.closed()

    def _decompressed(self, payload: bytes) -> bytes:
        if self._encoding != "gzip":
            self.fail(WireError(Status.UNIMPLEMENTED, f"Compression {self._encoding} is not supported."))
            return b""
        unpacker = zlib.decompressobj(31)
        try:
            plain = unpacker.decompress(payload, MESSAGE_BYTES_MAX)
        except zlib.error:
            self.fail(WireError(Status.INTERNAL, "Compressed message is damaged."))
            return b""
        if unpacker.unconsumed_tail:
            self.fail(WireError(Status.RESOURCE_EXHAUSTED, "Decompressed message is too large."))
        return plain


class Collected:
    """Receiver that hands all request messages at once to ``answer``, when the client has sent its last."""

    __slots__ = ("_answer", "_messages", "_size", "call")

    def __init__(self, call: Call, answer: Callable[[Call, list[bytes]], None]) -> None:
        self.call = call
        self._answer = answer
        self._messages: list[bytes] = []
        self._size = 0

    def message(self, payload: bytes) -> None:
        self._size += len(payload)
        if self._size > COLLECTED_BYTES_MAX:
            raise WireError(Status.RESOURCE_EXHAUSTED, f"A request may have {COLLECTED_BYTES_MAX} bytes.")
        self._messages.append(payload)

    def half_closed(self) -> None:
        self._answer(self.call, self._messages)

    def closed(self) -> None:
        self._messages.clear()


class CollectedTask(Collected):
    """The same for an ``answer`` that waits; it is cancelled when the client goes away."""

    __slots__ = ("_task", "_work")

    def __init__(self, call: Call, answer: Callable[[Call, list[bytes]], Awaitable[None]]) -> None:
        super().__init__(call, self._begin)
        self._work = answer
        self._task: asyncio.Task[None] | None = None

    def closed(self) -> None:
        _cancel_other(self._task)

    def _begin(self, call: Call, messages: list[bytes]) -> None:
        self._task = asyncio.ensure_future(_guarded(call, lambda: self._work(call, messages)))


class Conversation:
    """Receiver for methods that read requests one by one with :meth:`receive` while they answer."""

    __slots__ = ("_call", "_ended", "_inbox", "_task", "_waiting")

    def __init__(self, call: Call, talk: Callable[[Call, Conversation], Awaitable[None]]) -> None:
        self._call = call
        self._inbox: deque[bytes] = deque()
        self._ended = False
        self._waiting: asyncio.Future[None] | None = None
        self._task = asyncio.ensure_future(_guarded(call, lambda: talk(call, self)))

    async def receive(self) -> bytes | None:
        """The next request message, or None after the last."""
        while not self._inbox:
            if self._ended:
                return None
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._inbox.popleft()

    def message(self, payload: bytes) -> None:
        if len(self._inbox) >= INBOX_MESSAGES_MAX:
            raise WireError(
                Status.RESOURCE_EXHAUSTED, f"More than {INBOX_MESSAGES_MAX} requests wait to be read."
            )
        self._inbox.append(payload)
        self._wake()

    def half_closed(self) -> None:
        self._ended = True
        self._wake()

    def closed(self) -> None:
        _cancel_other(self._task)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def frame(message: bytes) -> bytes:
    """The message with its gRPC prefix."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def _cancel_other(task: asyncio.Task[None] | None) -> None:
    """Cancel the task unless it is the one that ends its own call: that one still has to tidy up."""
    if task is not None and task is not asyncio.current_task():
        task.cancel()


async def _guarded(call: Call, work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except CallClosed:
        pass
    except WireError as error:
        call.fail(error)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        call.fail_unexpectedly(error)
