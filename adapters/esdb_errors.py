"""What can go wrong between us and EventStoreDB, in words a person can act on.

esdbclient raises some thirty classes, several of which say only "GrpcError".  ``explain`` turns each into one
of ours; what callers decide on (``WrongCurrentVersion``, ``NotFound``, ``AlreadyExists``) is left alone by
``Connection.call``.
"""

from __future__ import annotations

from typing import Final

import grpc
from esdbclient import exceptions
from esdbclient.common import handle_rpc_error

from domain.errors import LimitError, TallystickError
from ledger.errors import RefusedByStoreError, UnreachableStoreError

#: Details of a gRPC error can quote whole certificates.
_DETAIL_CHARACTERS_MAX: Final = 300
_CERTIFICATE_WORDS: Final = ("SSL", "TLS", "ertificate", "CERTIFICATE", "handshake")
_REPEAT: Final = "Repeat it then: nothing is stored twice."


class UntrustedStoreError(RefusedByStoreError):
    """The server's certificate or our credentials were refused."""


def explain(error: BaseException, target: str, seconds_max: float) -> TallystickError:
    """``error`` of the client, said as ours.  ``target`` is where the server was looked for."""
    if isinstance(error, TallystickError):
        return error
    if isinstance(error, grpc.RpcError):
        error = handle_rpc_error(error)
    detail = _detail(error)
    match error:
        case exceptions.StreamIsDeleted():
            return RefusedByStoreError(
                "the stream was deleted for ever (tombstone)",
                field=target,
                actual=detail,
                remedy="Restore the ledger from a backup, or migrate it back from a copy.",
            )
        case exceptions.MaximumAppendSizeExceededError():
            return LimitError(
                "too much for one atomic append",
                field=target,
                actual=detail,
                remedy="The server's MaxAppendSize must be at least 1 MiB, its default.",
            )
        case exceptions.MaximumSubscriptionsReached():
            return LimitError("too many workers for one destination", field=target, actual=detail)
        case exceptions.DeadlineExceeded() | exceptions.AbortedByServer():
            return UnreachableStoreError(
                "EventStoreDB did not answer in time",
                field=target,
                expected=f"<= {seconds_max:g} s",
                actual=detail,
                remedy=f"Look at the server's load and disk; defaultDeadline sets this time. {_REPEAT}",
            )
        case exceptions.NodeIsNotLeader():
            return UnreachableStoreError(
                "this node is not the leader of its cluster",
                field=target,
                remedy="Use esdb+discover:// with the cluster's name, or list all its nodes.",
            )
        case exceptions.AccessDeniedError():
            return _refused(target, detail)
    if _status(error) in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return _refused(target, detail)
    if isinstance(error, exceptions.SSLError) or any(word in detail for word in _CERTIFICATE_WORDS):
        return UntrustedStoreError(
            "the server's certificate is not trusted",
            field=target,
            actual=detail,
            remedy="Give the CA that signed it with tlsCaFile=<pem>, and connect by a name that is in it.",
        )
    if isinstance(error, exceptions.ServiceUnavailable | exceptions.DiscoveryFailed | exceptions.GrpcError):
        return UnreachableStoreError(
            "EventStoreDB is not reachable",
            field=target,
            actual=detail,
            remedy=f"Start it or correct the address; a node without TLS needs ?tls=false. {_REPEAT}",
        )
    return RefusedByStoreError("EventStoreDB refused", field=target, actual=detail)


def is_passing(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    return isinstance(error, UnreachableStoreError)


def _refused(target: str, detail: str) -> UntrustedStoreError:
    return UntrustedStoreError(
        "EventStoreDB refused the credentials",
        field=target,
        actual=detail,
        remedy="Correct user name and password in the connection string (percent-encode what is no letter "
        "or digit); the user needs to read and write streams named ledger-*.",
    )


def _status(error: BaseException) -> grpc.StatusCode | None:
    cause = error.args[0] if error.args else None
    return cause.code() if isinstance(cause, grpc.RpcError) and hasattr(cause, "code") else None


def _detail(error: BaseException) -> str:
    cause = error.args[0] if error.args else None
    if isinstance(cause, grpc.RpcError) and hasattr(cause, "details"):
        text = f"{cause.code().name}: {cause.details()}"
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())[:_DETAIL_CHARACTERS_MAX]
