"""PersistentSubscriptions: groups are made, changed, listed, read and removed; they survive restarts.

All groups' settings are one JSON document, the newest event of ``$persistentSubscriptionConfig``; a change is
answered when that event is durable.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import uuid
from typing import Final

import msgspec
from esdbclient.protos.Grpc import persistent_pb2, shared_pb2
from google.protobuf.message import DecodeError

from adapters.esdb_node import record
from adapters.esdb_node.append_methods import only
from adapters.esdb_node.call import Call, Collected, CollectedTask, Conversation, Receiver, frame
from adapters.esdb_node.consumers import Consumer
from adapters.esdb_node.group import Group
from adapters.esdb_node.group_settings import (
    ALL,
    FROM_END,
    GroupSettings,
    created_settings,
    updated_key,
    updated_settings,
)
from adapters.esdb_node.read_method import stream_name
from adapters.esdb_node.record import JSON, canonical_id
from adapters.esdb_node.store import Store
from adapters.esdb_node.streams import ANY, Appended, Proposed
from adapters.esdb_node.wire_errors import (
    Status,
    WireError,
    group_exists,
    group_missing,
    invalid_argument,
)

logger = logging.getLogger(__name__)

CONFIG_STREAM: Final = "$persistentSubscriptionConfig"
CONFIG_TYPE: Final = "PersistentConfig1"
#: Their settings are rewritten whole with each change.
GROUPS_MAX: Final = 1_000
#: Unanswered messages a consumer may ask for.
CONSUMER_SLOTS_MAX: Final = 100_000


class _Config(msgspec.Struct, frozen=True, kw_only=True):
    version: str = "tallystick-1"
    updated: str = ""
    entries: tuple[GroupSettings, ...] = ()


class GroupMethods:
    """The persistent subscriptions of a node."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._groups: dict[tuple[str, str], Group] = {}
        self._changing = asyncio.Lock()

    async def start(self) -> None:
        """Take up the groups that the log knows."""
        stream = self._store.stream(CONFIG_STREAM)
        row = None if stream.stream_id is None else self._store.file.last_of_stream(stream.stream_id)
        if row is None:
            return
        try:
            config = msgspec.json.decode(record.parse(row[5]).data, type=_Config)
        except msgspec.DecodeError as error:
            logger.error("the settings of persistent subscriptions cannot be read: %s", error)
            return
        for settings in config.entries:
            self._run(settings)

    async def stop(self) -> None:
        """Drop all consumers and write last checkpoints."""
        for group in list(self._groups.values()):
            await group.stop()
        self._groups.clear()

    # -- methods

    def create(self, call: Call) -> Receiver:
        """Make a group."""
        return CollectedTask(call, self._create)

    def update(self, call: Call) -> Receiver:
        """Change a group's settings; its consumers are dropped."""
        return CollectedTask(call, self._update)

    def delete(self, call: Call) -> Receiver:
        """Remove a group, its checkpoint and what it parked."""
        return CollectedTask(call, self._delete)

    def read(self, call: Call) -> Receiver:
        """Be a consumer."""
        return Conversation(call, self._read)

    def get_info(self, call: Call) -> Receiver:
        """Look at one group."""
        return Collected(call, self._get_info)

    def list_groups(self, call: Call) -> Receiver:
        """Look at all groups, or those of a stream."""
        return Collected(call, self._list)

    def replay_parked(self, call: Call) -> Receiver:
        """Bring back what a group parked."""
        return Collected(call, self._replay_parked)

    def restart(self, call: Call) -> Receiver:
        """Stop and start all groups."""
        return CollectedTask(call, self._restart)

    async def _create(self, call: Call, messages: list[bytes]) -> None:
        settings = created_settings(only(persistent_pb2.CreateReq, messages))
        async with self._changing:
            if settings.key in self._groups:
                raise group_exists(*settings.key)
            if len(self._groups) >= GROUPS_MAX:
                raise WireError(Status.RESOURCE_EXHAUSTED, f"A node has at most {GROUPS_MAX} groups.")
            settings = self._with_end(settings)
            self._run(settings)
            await self._save()
        call.finish(frame(persistent_pb2.CreateResp().SerializeToString()))

    async def _update(self, call: Call, messages: list[bytes]) -> None:
        request = only(persistent_pb2.UpdateReq, messages)
        async with self._changing:
            group = self._group(updated_key(request))
            settings = self._with_end(updated_settings(request, group.settings))
            await group.stop()
            self._run(settings)
            await self._save()
        call.finish(frame(persistent_pb2.UpdateResp().SerializeToString()))

    async def _delete(self, call: Call, messages: list[bytes]) -> None:
        options = only(persistent_pb2.DeleteReq, messages).options
        key = _key(options.WhichOneof("stream_option"), options.stream_identifier, options.group_name)
        async with self._changing:
            group = self._group(key)
            await group.stop(remember=False)
            del self._groups[key]
            for name in (group.settings.checkpoint_stream, group.settings.parked_stream):
                self._store.delete(name, ANY)
            await self._save()
        call.finish(frame(persistent_pb2.DeleteResp().SerializeToString()))

    async def _read(self, call: Call, conversation: Conversation) -> None:
        request = _read_request(await conversation.receive())
        if request.WhichOneof("content") != "options":
            raise invalid_argument("The first request of a subscription carries its options.")
        options = request.options
        key = _key(options.WhichOneof("stream_option"), options.stream_identifier, options.group_name)
        group = self._group(key)
        slots = options.buffer_size
        if not 0 < slots <= CONSUMER_SLOTS_MAX:
            raise invalid_argument(f"'buffer_size' is 1 to {CONSUMER_SLOTS_MAX}.")
        consumer = Consumer(call, slots, options.uuid_option.WhichOneof("content") == "structured")
        group.join(consumer)
        try:
            confirmed = persistent_pb2.ReadResp.SubscriptionConfirmation(subscription_id="::".join(key))
            confirmation = persistent_pb2.ReadResp(subscription_confirmation=confirmed)
            call.send(frame(confirmation.SerializeToString()))
            while (message := await conversation.receive()) is not None:
                request = _read_request(message)
                match request.WhichOneof("content"):
                    case "ack":
                        group.acknowledge([canonical_id(one) for one in request.ack.ids])
                    case "nack":
                        nack = request.nack
                        group.refuse([canonical_id(one) for one in nack.ids], nack.action, nack.reason)
                    case _:
                        raise invalid_argument("After the options only ack and nack follow.")
        finally:
            group.leave(consumer)
        call.finish()

    def _get_info(self, call: Call, messages: list[bytes]) -> None:
        options = only(persistent_pb2.GetInfoReq, messages).options
        group = self._group(
            _key(options.WhichOneof("stream_option"), options.stream_identifier, options.group_name)
        )
        call.finish(frame(persistent_pb2.GetInfoResp(subscription_info=group.info()).SerializeToString()))

    def _list(self, call: Call, messages: list[bytes]) -> None:
        options = only(persistent_pb2.ListReq, messages).options
        stream = ""
        if options.WhichOneof("list_option") == "list_for_stream":
            wanted = options.list_for_stream
            stream = ALL if wanted.WhichOneof("stream_option") == "all" else stream_name(wanted.stream)
        infos = [
            group.info() for group in self._groups.values() if not stream or group.settings.stream == stream
        ]
        if not infos:
            raise group_missing(stream, "")
        call.finish(frame(persistent_pb2.ListResp(subscriptions=infos).SerializeToString()))

    def _replay_parked(self, call: Call, messages: list[bytes]) -> None:
        options = only(persistent_pb2.ReplayParkedReq, messages).options
        group = self._group(
            _key(options.WhichOneof("stream_option"), options.stream_identifier, options.group_name)
        )
        count = options.stop_at if options.WhichOneof("stop_at_option") == "stop_at" else None
        if count is not None and count < 0:
            raise invalid_argument("'stop_at' is not negative.")
        group.replay_parked(count)
        call.finish(frame(persistent_pb2.ReplayParkedResp().SerializeToString()))

    async def _restart(self, call: Call, messages: list[bytes]) -> None:
        only(shared_pb2.Empty, messages)
        async with self._changing:
            for group in list(self._groups.values()):
                await group.stop()
                await self._store.settled()
                self._run(group.settings)
        call.finish(frame(shared_pb2.Empty().SerializeToString()))

    # -- groups

    def _group(self, key: tuple[str, str]) -> Group:
        group = self._groups.get(key)
        if group is None:
            raise group_missing(*key)
        return group

    def _run(self, settings: GroupSettings) -> None:
        group = self._groups[settings.key] = Group(self._store, settings)
        group.start()

    def _with_end(self, settings: GroupSettings) -> GroupSettings:
        """Pin "from the end" to where the end is now."""
        if settings.start_from != FROM_END:
            return settings
        end = self._store.stream(settings.stream).durable_revision + 1
        if settings.to_all:
            end = self._store.last_position + 1
        return msgspec.structs.replace(settings, started_at=end)

    async def _save(self) -> None:
        config = _Config(
            updated=datetime.datetime.now(datetime.UTC).isoformat(),
            entries=tuple(group.settings for group in self._groups.values()),
        )
        event = Proposed(str(uuid.uuid4()), CONFIG_TYPE, JSON, b"", msgspec.json.encode(config))
        taken = self._store.append(CONFIG_STREAM, ANY, (event,))
        if isinstance(taken, Appended) and taken.flush is not None:
            await taken.flush.wait()


def _key(which: str | None, identifier: shared_pb2.StreamIdentifier, group: str) -> tuple[str, str]:
    return (ALL if which == "all" else stream_name(identifier)), group


def _read_request(message: bytes | None) -> persistent_pb2.ReadReq:
    if message is None:
        raise invalid_argument("A subscription begins with its options.")
    try:
        request: persistent_pb2.ReadReq = persistent_pb2.ReadReq.FromString(message)
    except DecodeError:
        raise invalid_argument("The request is not a ReadReq.") from None
    return request
