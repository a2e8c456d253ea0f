"""Settings of a persistent subscription group: from requests, checked, kept as JSON in the log, shown in
infos.
"""

from __future__ import annotations

from typing import Final

import msgspec
from esdbclient.protos.Grpc import persistent_pb2

from adapters.esdb_node.filters import matcher
from adapters.esdb_node.read_method import stream_name
from adapters.esdb_node.record import REVISION_MAX
from adapters.esdb_node.wire_errors import WireError, group_failed, invalid_argument

ALL: Final = "$all"
FROM_END: Final = -1

STRATEGIES: Final = ("DispatchToSingle", "RoundRobin", "Pinned", "PinnedByCorrelation")

#: A group name becomes part of stream names.
GROUP_NAME_CHARACTERS_MAX: Final = 1_000
#: Messages a group keeps in memory; each may be up to 1 MiB.
BUFFER_SIZE_MAX: Final = 100_000
_TICKS_PER_MS: Final = 10_000

Settings = persistent_pb2.CreateReq.Settings | persistent_pb2.UpdateReq.Settings


class GroupFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which records of $all the group gets."""

    by_stream: bool
    expression: str = ""
    prefixes: tuple[str, ...] = ()


class GroupSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One group; ``start_from`` is a revision or commit position (included), -1 for the end of the log.

    ``started_at`` is what -1 meant when the group was made, so that a restart does not skip what came since.
    A timeout of 0 means that messages are waited for without end.
    """

    stream: str
    group: str
    start_from: int = 0
    started_at: int | None = None
    filter: GroupFilter | None = None
    resolve_links: bool = False
    extra_statistics: bool = False
    message_timeout_ms: int = 30_000
    max_retry_count: int = 10
    checkpoint_after_ms: int = 2_000
    min_checkpoint_count: int = 10
    max_checkpoint_count: int = 1_000
    max_subscriber_count: int = 0
    live_buffer_size: int = 500
    read_batch_size: int = 20
    history_buffer_size: int = 500
    strategy: str = "RoundRobin"

    @property
    def key(self) -> tuple[str, str]:
        """Stream and group name together name the group."""
        return self.stream, self.group

    @property
    def to_all(self) -> bool:
        """Whether the group reads $all."""
        return self.stream == ALL

    @property
    def checkpoint_stream(self) -> str:
        """Where the group remembers how far it is."""
        return f"$persistentsubscription-{self.stream}::{self.group}-checkpoint"

    @property
    def parked_stream(self) -> str:
        """Where messages go that no consumer could handle."""
        return f"$persistentsubscription-{self.stream}::{self.group}-parked"

    def place(self, number: int) -> str:
        """A position as clients read it."""
        return f"C:{number}/P:{number}" if self.to_all else str(number)


def created_settings(request: persistent_pb2.CreateReq) -> GroupSettings:
    """The group a request wants made.

    Raises:
        WireError: INVALID_ARGUMENT, or INTERNAL with persistent-subscription-failed.
    """
    options = request.options
    settings = options.settings
    chosen: GroupFilter | None = None
    if options.WhichOneof("stream_option") == "all":
        name, start = ALL, _all_start(options.all)
        if options.all.WhichOneof("filter_option") == "filter":
            chosen = _filter(options.all.filter)
    elif options.WhichOneof("stream_option") == "stream":
        name, start = stream_name(options.stream.stream_identifier), _stream_start(options.stream)
    else:  # Clients from before version 21 name the stream here and the revision among the settings.
        name, start = stream_name(options.stream_identifier), settings.revision
    strategy = settings.consumer_strategy or STRATEGIES[settings.named_consumer_strategy]
    return _checked(name, options.group_name, start, chosen, settings, strategy)


def updated_settings(request: persistent_pb2.UpdateReq, before: GroupSettings) -> GroupSettings:
    """The group as it shall be from now on; its filter stays.

    Raises:
        WireError: As :func:`created_settings`.
    """
    options = request.options
    settings = options.settings
    if options.WhichOneof("stream_option") == "all":
        start = _all_start(options.all)
    elif options.WhichOneof("stream_option") == "stream":
        start = _stream_start(options.stream)
    else:
        start = settings.revision
    strategy = STRATEGIES[settings.named_consumer_strategy]
    if before.strategy == "PinnedByCorrelation" and settings.named_consumer_strategy == 0:
        strategy = before.strategy  # The request has no way to name it.
    return _checked(before.stream, before.group, start, before.filter, settings, strategy)


def updated_key(request: persistent_pb2.UpdateReq) -> tuple[str, str]:
    """Which group an update is for."""
    options = request.options
    if options.WhichOneof("stream_option") == "all":
        return ALL, options.group_name
    if options.WhichOneof("stream_option") == "stream":
        return stream_name(options.stream.stream_identifier), options.group_name
    return stream_name(options.stream_identifier), options.group_name


def _checked(
    name: str, group: str, start: int, chosen: GroupFilter | None, settings: Settings, strategy: str
) -> GroupSettings:
    if not group or len(group) > GROUP_NAME_CHARACTERS_MAX:
        raise invalid_argument(f"A group name has 1 to {GROUP_NAME_CHARACTERS_MAX} characters.")
    if strategy not in STRATEGIES:
        raise group_failed(name, group, f"Consumer strategy {strategy} does not exist.")
    if settings.read_batch_size >= settings.history_buffer_size:
        raise group_failed(name, group, "readBatchSize may not be greater than or equal to bufferSize")
    if not 0 < settings.read_batch_size < settings.history_buffer_size <= BUFFER_SIZE_MAX:
        raise group_failed(name, group, f"buffer sizes are between 1 and {BUFFER_SIZE_MAX}")
    if settings.WhichOneof("message_timeout") == "message_timeout_ticks":
        timeout_ms = settings.message_timeout_ticks // _TICKS_PER_MS
    else:
        timeout_ms = settings.message_timeout_ms
    if settings.WhichOneof("checkpoint_after") == "checkpoint_after_ticks":
        after_ms = settings.checkpoint_after_ticks // _TICKS_PER_MS
    else:
        after_ms = settings.checkpoint_after_ms
    counts = (timeout_ms, after_ms, settings.max_retry_count, settings.max_subscriber_count)
    if min(counts) < 0 or settings.min_checkpoint_count < 0 or settings.max_checkpoint_count < 0:
        raise group_failed(name, group, "counts and times are not negative")
    return GroupSettings(
        stream=name,
        group=group,
        start_from=start,
        filter=chosen,
        resolve_links=settings.resolve_links,
        extra_statistics=settings.extra_statistics,
        message_timeout_ms=timeout_ms,
        max_retry_count=settings.max_retry_count,
        checkpoint_after_ms=after_ms,
        min_checkpoint_count=settings.min_checkpoint_count,
        max_checkpoint_count=settings.max_checkpoint_count,
        max_subscriber_count=settings.max_subscriber_count,
        live_buffer_size=settings.live_buffer_size,
        read_batch_size=settings.read_batch_size,
        history_buffer_size=settings.history_buffer_size,
        strategy=strategy,
    )


def _all_start(options: persistent_pb2.CreateReq.AllOptions | persistent_pb2.UpdateReq.AllOptions) -> int:
    match options.WhichOneof("all_option"):
        case "end":
            return FROM_END
        case "position":
            return min(options.position.commit_position, REVISION_MAX)
        case _:
            return 0


def _stream_start(
    options: persistent_pb2.CreateReq.StreamOptions | persistent_pb2.UpdateReq.StreamOptions,
) -> int:
    match options.WhichOneof("revision_option"):
        case "end":
            return FROM_END
        case "revision":
            return min(options.revision, REVISION_MAX)
        case _:
            return 0


def _filter(options: persistent_pb2.CreateReq.AllOptions.FilterOptions) -> GroupFilter | None:
    which = options.WhichOneof("filter")
    if which is None:
        return None
    expression = options.stream_identifier if which == "stream_identifier" else options.event_type
    try:
        matcher(expression.regex, expression.prefix)
    except WireError as error:
        raise invalid_argument(error.sentence) from None
    return GroupFilter(
        by_stream=which == "stream_identifier",
        expression=expression.regex,
        prefixes=tuple(expression.prefix),
    )
