"""Consumers of a group, and the strategies that say which of them gets a message."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Final

from adapters.esdb_node.call import Call

#: Consumers of a pinned group share this many buckets of source streams.
BUCKETS: Final = 1024


class Consumer:
    """One connected consumer; ``slots`` messages may be with it unanswered."""

    __slots__ = ("call", "in_flight", "name", "slots", "structured", "total")

    def __init__(self, call: Call, slots: int, structured: bool) -> None:
        self.call = call
        self.slots = slots
        self.structured = structured
        self.in_flight = 0
        self.total = 0
        self.name = call.headers.get("connection-name", "")

    @property
    def has_room(self) -> bool:
        """Whether another message may be sent."""
        return self.in_flight < self.slots


#: Given the consumers and what pins the message: a consumer, or None if this message has to wait for its own.
Strategy = Callable[[Callable[[], str]], Consumer | None]


class DispatchToSingle:
    """All to the first consumer that has room, in the order they came; the others stand by."""

    def __init__(self, consumers: list[Consumer]) -> None:
        self._consumers = consumers

    def __call__(self, pin: Callable[[], str]) -> Consumer | None:
        return next((consumer for consumer in self._consumers if consumer.has_room), None)


class RoundRobin:
    """To each in turn; one without room is passed over."""

    def __init__(self, consumers: list[Consumer]) -> None:
        self._consumers = consumers
        self._next = 0

    def __call__(self, pin: Callable[[], str]) -> Consumer | None:
        count = len(self._consumers)
        for step in range(count):
            index = (self._next + step) % count
            if self._consumers[index].has_room:
                self._next = index + 1
                return self._consumers[index]
        return None


class Pinned:
    """What comes from one source goes to one consumer, as long as it is connected."""

    def __init__(self, consumers: list[Consumer]) -> None:
        self._consumers = consumers
        self._buckets: list[Consumer | None] = [None] * BUCKETS

    def __call__(self, pin: Callable[[], str]) -> Consumer | None:
        bucket = zlib.crc32(pin().encode("utf-8", "surrogatepass")) % BUCKETS
        owner = self._buckets[bucket]
        if owner is None or owner not in self._consumers:
            owner = self._buckets[bucket] = self._least_charged()
        return owner if owner.has_room else None

    def _least_charged(self) -> Consumer:
        owned = [sum(1 for owner in self._buckets if owner is consumer) for consumer in self._consumers]
        return self._consumers[owned.index(min(owned))]


def strategy(name: str, consumers: list[Consumer]) -> Strategy:
    """The strategy of that name over a list of consumers that may change."""
    match name:
        case "DispatchToSingle":
            return DispatchToSingle(consumers)
        case "RoundRobin":
            return RoundRobin(consumers)
        case _:
            return Pinned(consumers)


def any_room(consumers: Sequence[Consumer]) -> bool:
    """Whether anybody can take a message."""
    return any(consumer.has_room for consumer in consumers)
