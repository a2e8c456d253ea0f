"""What the node tells a client that it cannot serve: gRPC status, sentence and the trailers clients look at.

Clients recognise errors by the ``exception`` trailer (Java, .NET, Node) or by words in the sentence (Python),
so both are kept exactly as EventStoreDB 24 sends them; see section 2.4 of ``reference/eventstoredb.md``.
"""

from __future__ import annotations

from enum import IntEnum

from domain.errors import TallystickError


class Status(IntEnum):
    """gRPC status codes (grpc.github.io/grpc/core/md_doc_statuscodes.html)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class WireError(TallystickError):
    """A call ends with ``status``; ``trailers`` are sent beside it."""

    def __init__(self, status: Status, sentence: str, *trailers: tuple[str, str]) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.trailers = trailers


def invalid_argument(sentence: str) -> WireError:
    """The request cannot be understood or is out of range."""
    return WireError(Status.INVALID_ARGUMENT, sentence)


def unknown_method(path: str) -> WireError:
    """The node does not offer this method."""
    why = " JavaScript projections need a real server." if ".projections." in path else ""
    return WireError(Status.UNIMPLEMENTED, f"The development node has no method {path[:200]}.{why}")


def unavailable(sentence: str) -> WireError:
    """The node cannot serve now; the client may try again."""
    return WireError(Status.UNAVAILABLE, sentence)


def unauthenticated() -> WireError:
    """User name or password is wrong."""
    return WireError(Status.UNAUTHENTICATED, "Unauthenticated")


def access_denied() -> WireError:
    """A call without credentials on a node that wants them."""
    return WireError(Status.PERMISSION_DENIED, "Access Denied", ("exception", "access-denied"))


def stream_deleted(stream_name: str) -> WireError:
    """The stream was tombstoned, or was deleted and the caller expects it to exist."""
    return WireError(
        Status.FAILED_PRECONDITION,
        f"Event stream '{stream_name}' is deleted.",
        ("exception", "stream-deleted"),
        ("stream-name", stream_name),
    )


def wrong_expected_version(operation: str, stream_name: str, expected: int, actual: int) -> WireError:
    """Delete and tombstone answer a version conflict this way; append has its own response field."""
    return WireError(
        Status.FAILED_PRECONDITION,
        f"{operation} failed due to WrongExpectedVersion."
        f" Stream: {stream_name}, Expected version: {expected}, Actual version: {actual}",
        ("exception", "wrong-expected-version"),
        ("stream-name", stream_name),
        ("expected-version", str(expected)),
        ("actual-version", str(actual)),
    )


def maximum_append_size(size_max: int) -> WireError:
    """One append may carry at most ``size_max`` bytes."""
    return WireError(
        Status.INVALID_ARGUMENT,
        f"Maximum Append Size of {size_max} Exceeded.",
        ("exception", "maximum-append-size-exceeded"),
        ("maximum-append-size", str(size_max)),
    )


def required_metadata(missing: str) -> WireError:
    """A proposed event must say its type and content type."""
    return WireError(
        Status.INVALID_ARGUMENT,
        f"Required Metadata Property '{missing}' is missing",
        ("exception", "missing-required-metadata-property"),
        ("required-metadata-properties", "type,content-type"),
    )


def invalid_read_position(result_kind: str) -> WireError:
    """A read of $all starts where no record starts."""
    return WireError(Status.UNKNOWN, f"Unexpected {result_kind}: InvalidPosition")


def invalid_subscription_position() -> WireError:
    """A subscription to $all starts where no record starts."""
    return WireError(Status.INVALID_ARGUMENT, "Trying to read from an invalid position.")


def operation_timeout(sentence: str) -> WireError:
    """The deadline the client put on an operation passed."""
    return WireError(Status.ABORTED, f"Operation timed out: {sentence}")


def group_missing(stream_name: str, group: str) -> WireError:
    """No such persistent subscription."""
    return _group_error(
        Status.NOT_FOUND,
        f"Subscription group {group} on stream {stream_name} does not exist.",
        "persistent-subscription-does-not-exist",
        stream_name,
        group,
    )


def group_exists(stream_name: str, group: str) -> WireError:
    """The persistent subscription was created before."""
    return _group_error(
        Status.ALREADY_EXISTS,
        f"Subscription group {group} on stream {stream_name} exists.",
        "persistent-subscription-exists",
        stream_name,
        group,
    )


def group_full(stream_name: str, group: str) -> WireError:
    """As many consumers as the group allows are connected."""
    return _group_error(
        Status.FAILED_PRECONDITION,
        f"Maximum subscriptions reached for subscription group {group} on stream {stream_name}.",
        "maximum-subscribers-reached",
        stream_name,
        group,
    )


def group_failed(stream_name: str, group: str, reason: str) -> WireError:
    """The settings of a persistent subscription are refused."""
    error = _group_error(
        Status.INTERNAL,
        f"Subscription group {group} on stream {stream_name} failed: '{reason}'",
        "persistent-subscription-failed",
        stream_name,
        group,
    )
    error.trailers = (*error.trailers, ("reason", reason))
    return error


def group_dropped(stream_name: str, group: str) -> WireError:
    """The persistent subscription was changed, deleted or restarted while a consumer was connected."""
    return _group_error(
        Status.CANCELLED,
        f"Subscription group {group} on stream {stream_name} was dropped.",
        "persistent-subscription-dropped",
        stream_name,
        group,
    )


def _group_error(status: Status, sentence: str, exception: str, stream_name: str, group: str) -> WireError:
    return WireError(
        status, sentence, ("exception", exception), ("stream-name", stream_name), ("group-name", group)
    )
