"""Gossip and server features: a cluster of one leader, and the list of what it can do."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Final

from esdbclient.protos.Grpc import cluster_pb2, gossip_pb2, shared_pb2

from adapters.esdb_node.call import Call, Collected, Method, Receiver, frame
from adapters.esdb_node.record import field
from adapters.esdb_node.store import Store

#: The version whose behaviour the node follows; clients compare numbers, so nothing else may stand here.
SERVER_VERSION: Final = "24.10.0"

#: Features of methods that clients ask for by name.
_FEATURES: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("event_store.client.streams.Streams", "BatchAppend"): ("deadline_duration",),
    ("event_store.client.streams.Streams", "Read"): ("position", "events"),
    **{
        ("event_store.client.persistent_subscriptions.PersistentSubscriptions", method): ("stream", "all")
        for method in ("Create", "Update", "Delete", "Read", "GetInfo", "ReplayParked", "List")
    },
}


class GossipMethods:
    """``Gossip.Read`` for clients and for cluster members; the node is the only member and leads.

    ``address`` is asked for with each call, since the port is known only once the node listens.
    """

    def __init__(self, store: Store, address: Callable[[], tuple[str, int]]) -> None:
        self._store = store
        self._address = address
        self._instance = shared_pb2.UUID(string=str(uuid.uuid4()))

    def read(self, call: Call) -> Receiver:
        """For clients."""
        return Collected(call, self._client_view)

    def read_cluster(self, call: Call) -> Receiver:
        """For other members, which there are not."""
        return Collected(call, self._cluster_view)

    def _client_view(self, call: Call, _: list[bytes]) -> None:
        host, port = self._address()
        member = gossip_pb2.MemberInfo(
            instance_id=self._instance,
            time_stamp=_ticks(),
            state=gossip_pb2.MemberInfo.Leader,
            is_alive=True,
            http_end_point=gossip_pb2.EndPoint(address=host, port=port),
        )
        call.finish(frame(gossip_pb2.ClusterInfo(members=[member]).SerializeToString()))

    def _cluster_view(self, call: Call, _: list[bytes]) -> None:
        host, port = self._address()
        here = cluster_pb2.EndPoint(address=host, port=port)
        member = cluster_pb2.MemberInfo(
            instance_id=self._instance,
            time_stamp=_ticks(),
            state=cluster_pb2.MemberInfo.Leader,
            is_alive=True,
            http_end_point=here,
            last_commit_position=max(0, self._store.last_position),
            writer_checkpoint=self._store.next_position,
            chaser_checkpoint=self._store.next_position,
            es_version=SERVER_VERSION,
        )
        call.finish(frame(cluster_pb2.ClusterInfo(members=[member]).SerializeToString()))


class ServerFeatures:
    """``ServerFeatures.GetSupportedMethods``; esdbclient does not ship its messages, so they are written by
    hand.
    """

    def __init__(self, routes: Mapping[str, Method]) -> None:
        self._routes = routes

    def supported_methods(self, call: Call) -> Receiver:
        """Every route of the node."""
        return Collected(call, self._answer)

    def _answer(self, call: Call, messages: list[bytes]) -> None:
        out = b""
        for path in self._routes:
            service, method = path[1:].split("/")
            features = _FEATURES.get((service, method), ())
            out += field(
                b"\x0a",
                field(b"\x0a", method.lower().encode())
                + field(b"\x12", service.lower().encode())
                + b"".join(field(b"\x1a", feature.encode()) for feature in features),
            )
        call.finish(frame(out + field(b"\x12", SERVER_VERSION.encode())))


def _ticks() -> int:
    return time.time_ns() // 100
