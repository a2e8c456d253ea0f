"""Streams.Append, BatchAppend, Delete and Tombstone: requests in, verdicts of the store out, once they are
durable.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from esdbclient.protos.Grpc import code_pb2, shared_pb2, status_pb2, streams_pb2
from google.protobuf import any_pb2, empty_pb2
from google.protobuf.message import DecodeError, Message

from adapters.esdb_node import record
from adapters.esdb_node.call import Call, Collected, Receiver, frame
from adapters.esdb_node.flush import Flush
from adapters.esdb_node.read_method import stream_name
from adapters.esdb_node.record import field, varint
from adapters.esdb_node.store import Store
from adapters.esdb_node.streams import (
    ANY,
    NO_STREAM,
    STREAM_EXISTS,
    Appended,
    Deleted,
    Proposed,
    WrongVersion,
)
from adapters.esdb_node.wire_errors import (
    Status,
    WireError,
    invalid_argument,
    maximum_append_size,
    operation_timeout,
    required_metadata,
    stream_deleted,
    wrong_expected_version,
)

#: What one append may carry: data, metadata and type names of all its events, as EventStoreDB's default.
APPEND_BYTES_MAX: Final = 1024 * 1024
#: Batches a client may have begun and not finished on one call.
BATCHES_OPEN_MAX: Final = 1_000

_EXPECTED: Final = {"any": ANY, "no_stream": NO_STREAM, "stream_exists": STREAM_EXISTS}
_EXPECTED_BATCH: Final = {ANY: b"\x3a\x00", NO_STREAM: b"\x32\x00", STREAM_EXISTS: b"\x42\x00"}

M = TypeVar("M", bound=Message)

ProposedMessage = streams_pb2.AppendReq.ProposedMessage | streams_pb2.BatchAppendReq.ProposedMessage


class AppendMethods:
    """The writing methods of ``Streams``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def append(self, call: Call) -> Receiver:
        """One append: a message with options, then one message per event."""
        return Collected(call, self._append)

    def batch_append(self, call: Call) -> Receiver:
        """Many appends on one call, each in one or more messages, answered as they become durable."""
        return _Batches(self._store, call)

    def delete(self, call: Call) -> Receiver:
        """Soft delete."""
        return Collected(call, self._delete)

    def tombstone(self, call: Call) -> Receiver:
        """Delete for ever."""
        return Collected(call, self._tombstone)

    def _append(self, call: Call, messages: list[bytes]) -> None:
        if not messages:
            raise invalid_argument("Append needs a request with options.")
        try:
            requests = [streams_pb2.AppendReq.FromString(message) for message in messages]
        except DecodeError:
            raise invalid_argument("The request is not an AppendReq.") from None
        if requests[0].WhichOneof("content") != "options":
            raise invalid_argument("The first request of an append carries its options.")
        options = requests[0].options
        name = appendable(options.stream_identifier)
        which = options.WhichOneof("expected_stream_revision")
        expected = options.revision if which == "revision" else _EXPECTED[which or "any"]
        size = 0
        events = []
        for request in requests[1:]:
            if request.WhichOneof("content") != "proposed_message":
                raise invalid_argument("After the options only proposed messages follow.")
            event, event_bytes = proposed(request.proposed_message)
            size += event_bytes
            if size > APPEND_BYTES_MAX:
                raise maximum_append_size(APPEND_BYTES_MAX)
            events.append(event)
        verdict = self._store.append(name, expected, events)
        if isinstance(verdict, Appended):
            answer = _append_success(verdict)
            _when_durable(call, verdict.flush, lambda: call.finish(answer))
        elif isinstance(verdict, WrongVersion):
            refusal = _append_conflict(verdict)
            _when_durable(call, verdict.flush, lambda: call.finish(refusal))
        else:
            _when_durable(call, verdict.flush, lambda: call.fail(stream_deleted(name)))

    def _delete(self, call: Call, messages: list[bytes]) -> None:
        options = only(streams_pb2.DeleteReq, messages).options
        name = appendable(options.stream_identifier)
        which = options.WhichOneof("expected_stream_revision")
        expected = options.revision if which == "revision" else _EXPECTED[which or "any"]
        self._removed(call, "Delete", name, self._store.delete(name, expected))

    def _tombstone(self, call: Call, messages: list[bytes]) -> None:
        options = only(streams_pb2.TombstoneReq, messages).options
        name = appendable(options.stream_identifier)
        which = options.WhichOneof("expected_stream_revision")
        expected = options.revision if which == "revision" else _EXPECTED[which or "any"]
        self._removed(call, "Tombstone", name, self._store.tombstone(name, expected))

    @staticmethod
    def _removed(call: Call, operation: str, name: str, verdict: Appended | WrongVersion | Deleted) -> None:
        error: WireError | None = None
        answer = b""
        match verdict:
            case Appended(position=position):
                # DeleteResp and TombstoneResp have the same fields.
                place = streams_pb2.DeleteResp.Position(
                    commit_position=position or 0, prepare_position=position or 0
                )
                answer = frame(streams_pb2.DeleteResp(position=place).SerializeToString())
            case WrongVersion(current=current, expected=expected):
                error = wrong_expected_version(operation, name, expected, current)
            case Deleted():
                error = stream_deleted(name)
        if error is None:
            _when_durable(call, verdict.flush, lambda: call.finish(answer))
        else:
            _when_durable(call, verdict.flush, lambda: call.fail(error))


class _Batch:
    """An append whose last message has not come yet."""

    __slots__ = ("correlation", "error", "events", "expected", "name", "pass_after", "size")

    def __init__(self, correlation: bytes, options: streams_pb2.BatchAppendReq.Options) -> None:
        self.correlation = correlation
        self.events: list[Proposed] = []
        self.size = 0
        self.error: WireError | None = None
        self.name = ""
        which = options.WhichOneof("expected_stream_position")
        self.expected = options.stream_position if which == "stream_position" else _EXPECTED[which or "any"]
        self.pass_after: float | None = None
        deadline = options.WhichOneof("deadline_option")
        if deadline == "deadline":
            self.pass_after = time.time() + options.deadline.seconds + options.deadline.nanos / 1e9
        elif deadline == "deadline_21_10_0":
            self.pass_after = options.deadline_21_10_0.seconds + options.deadline_21_10_0.nanos / 1e9
        try:
            self.name = appendable(options.stream_identifier)
        except WireError as error:
            self.error = error

    def add(self, message: streams_pb2.BatchAppendReq.ProposedMessage) -> None:
        """One more event; what is wrong with it is answered when the batch is complete."""
        if self.error is not None:
            return
        try:
            event, event_bytes = proposed(message)
            self.size += event_bytes
            if self.size > APPEND_BYTES_MAX:
                self.events.clear()
                raise maximum_append_size(APPEND_BYTES_MAX)
            self.events.append(event)
        except WireError as error:
            self.error = error


class _Batches:
    """Receiver of BatchAppend."""

    __slots__ = ("_batches", "_call", "_ended", "_store", "_unanswered")

    def __init__(self, store: Store, call: Call) -> None:
        self._store = store
        self._call = call
        self._batches: dict[bytes, _Batch] = {}
        self._unanswered = 0
        self._ended = False

    def message(self, payload: bytes) -> None:
        try:
            request = streams_pb2.BatchAppendReq.FromString(payload)
        except DecodeError:
            raise invalid_argument("The request is not a BatchAppendReq.") from None
        correlation = request.correlation_id.SerializeToString()
        batch = self._batches.get(correlation)
        if batch is None:
            if len(self._batches) >= BATCHES_OPEN_MAX:
                raise WireError(Status.RESOURCE_EXHAUSTED, f"{BATCHES_OPEN_MAX} batches are open.")
            batch = self._batches[correlation] = _Batch(correlation, request.options)
        for message in request.proposed_messages:
            batch.add(message)
        if request.is_final:
            del self._batches[correlation]
            self._append(batch)

    def half_closed(self) -> None:
        self._ended = True
        if not self._unanswered:
            self._call.finish()

    def closed(self) -> None:
        self._batches.clear()

    def _append(self, batch: _Batch) -> None:
        if batch.error is None and batch.pass_after is not None and time.time() > batch.pass_after:
            batch.error = operation_timeout("the deadline of the append passed.")
        if batch.error is not None:
            self._call.send(frame(_batch_answer(batch, _batch_refusal(batch.error))))
            return
        verdict = self._store.append(batch.name, batch.expected, batch.events)
        result = _batch_result(batch, verdict)
        if verdict.flush is None:
            self._call.send(frame(_batch_answer(batch, result)))
            return
        self._unanswered += 1

        def answer(error: Exception | None) -> None:
            self._unanswered -= 1
            final = result if error is None else _batch_refusal(error)
            self._call.send(frame(_batch_answer(batch, final)))
            if self._ended and not self._unanswered:
                self._call.finish()

        verdict.flush.when_done(answer)


def appendable(identifier: shared_pb2.StreamIdentifier) -> str:
    """The name of a stream that can be written.

    Raises:
        WireError: INVALID_ARGUMENT for $all and for settings of settings.
    """
    name = stream_name(identifier)
    if name == "$all" or name.startswith("$$$$"):
        raise invalid_argument(f"'{name[:200]}' cannot be written.")
    return name


def proposed(message: ProposedMessage) -> tuple[Proposed, int]:
    """The event in a request and the bytes it counts for.

    Raises:
        WireError: INVALID_ARGUMENT if type, content type or a proper id is missing.
    """
    metadata = message.metadata
    event_type = metadata.get("type")
    if not event_type:
        raise required_metadata("type")
    content_type = metadata.get("content-type")
    if content_type is None:
        raise required_metadata("content-type")
    data, custom = message.data, message.custom_metadata
    event = Proposed(record.canonical_id(message.id), event_type, content_type, custom, data)
    return event, len(data) + len(custom) + 2 * len(event_type)


def only(kind: type[M], messages: list[bytes]) -> M:
    """The one request of a unary call.

    Raises:
        WireError: INVALID_ARGUMENT if there is none, more than one, or it does not parse.
    """
    if len(messages) != 1:
        raise invalid_argument("The call takes one request.")
    try:
        request: M = kind.FromString(messages[0])
    except DecodeError:
        raise invalid_argument(f"The request is not a {kind.DESCRIPTOR.full_name}.") from None
    return request


def _when_durable(call: Call, flush: Flush | None, answer: Callable[[], None]) -> None:
    """Answer now, or when what the verdict rests on is on disk."""
    if flush is None:
        answer()
        return

    def settled(error: Exception | None) -> None:
        if error is None:
            answer()
        elif isinstance(error, WireError):
            call.fail(error)
        else:
            call.fail_unexpectedly(error)

    flush.when_done(settled)


def _append_success(verdict: Appended) -> bytes:
    if verdict.position is None:
        success = b"\x12\x00" if verdict.revision < 0 else b"\x08" + varint(verdict.revision)
        return frame(field(b"\x0a", success + b"\x22\x00"))
    at = varint(verdict.position)
    success = b"\x08" + varint(verdict.revision) + field(b"\x1a", b"\x08" + at + b"\x10" + at)
    return frame(field(b"\x0a", success))


def _append_conflict(verdict: WrongVersion) -> bytes:
    conflict = streams_pb2.AppendResp.WrongExpectedVersion()
    if verdict.current < 0:
        conflict.current_no_stream.SetInParent()
        conflict.no_stream_20_6_0.SetInParent()
    else:
        conflict.current_revision = conflict.current_revision_20_6_0 = verdict.current
    if verdict.expected >= 0:
        conflict.expected_revision = conflict.expected_revision_20_6_0 = verdict.expected
    elif verdict.expected == STREAM_EXISTS:
        conflict.expected_stream_exists.SetInParent()
        conflict.stream_exists_20_6_0.SetInParent()
    elif verdict.expected == NO_STREAM:
        conflict.expected_no_stream.SetInParent()
    else:
        conflict.expected_any.SetInParent()
        conflict.any_20_6_0.SetInParent()
    return frame(streams_pb2.AppendResp(wrong_expected_version=conflict).SerializeToString())


def _batch_answer(batch: _Batch, result: bytes) -> bytes:
    expected = _EXPECTED_BATCH.get(batch.expected) or b"\x28" + varint(batch.expected)
    return (
        field(b"\x0a", batch.correlation)
        + result
        + field(b"\x22", field(b"\x1a", batch.name.encode()))
        + expected
    )


def _batch_result(batch: _Batch, verdict: Appended | WrongVersion | Deleted) -> bytes:
    """The ``result`` field of the answer."""
    match verdict:
        case Appended(revision=revision, position=None):
            success = b"\x12\x00" if revision < 0 else b"\x08" + varint(revision)
            return field(b"\x1a", success + b"\x22\x00")
        case Appended(revision=revision, position=int(position)):
            at = varint(position)
            return field(b"\x1a", b"\x08" + varint(revision) + field(b"\x1a", b"\x08" + at + b"\x10" + at))
        case WrongVersion(current=current, expected=expected):
            details = shared_pb2.WrongExpectedVersion()
            if current < 0:
                details.current_no_stream.SetInParent()
            else:
                details.current_stream_revision = current
            if expected >= 0:
                details.expected_stream_position = expected
            elif expected == STREAM_EXISTS:
                details.expected_stream_exists.CopyFrom(empty_pb2.Empty())
            elif expected == NO_STREAM:
                details.expected_no_stream.CopyFrom(empty_pb2.Empty())
            else:
                details.expected_any.CopyFrom(empty_pb2.Empty())
            return _batch_error(code_pb2.FAILED_PRECONDITION, "WrongExpectedVersion", details)
        case Deleted(stream_name=name):
            identifier = shared_pb2.StreamIdentifier(stream_name=name.encode())
            deleted = shared_pb2.StreamDeleted(stream_identifier=identifier)
            return _batch_error(code_pb2.FAILED_PRECONDITION, stream_deleted(name).sentence, deleted)
    raise AssertionError(verdict)


def _batch_refusal(error: Exception) -> bytes:
    if not isinstance(error, WireError):
        return _batch_error(code_pb2.UNKNOWN, "Unknown", shared_pb2.Unknown())
    if ("exception", "maximum-append-size-exceeded") in error.trailers:
        size = shared_pb2.MaximumAppendSizeExceeded(maxAppendSize=APPEND_BYTES_MAX)
        return _batch_error(code_pb2.INVALID_ARGUMENT, error.sentence, size)
    if error.status is Status.ABORTED:
        return _batch_error(code_pb2.DEADLINE_EXCEEDED, error.sentence, shared_pb2.Timeout())
    if error.status is Status.INVALID_ARGUMENT:
        bad = shared_pb2.BadRequest(message=error.sentence)
        return _batch_error(code_pb2.INVALID_ARGUMENT, error.sentence, bad)
    return _batch_error(code_pb2.UNKNOWN, error.sentence, shared_pb2.Unknown())


def _batch_error(code: code_pb2.Code.ValueType, sentence: str, details: Message) -> bytes:
    packed = any_pb2.Any()
    packed.Pack(details)
    status = status_pb2.Status(code=code, message=sentence, details=packed)
    return field(b"\x12", status.SerializeToString())
