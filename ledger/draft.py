"""Drafts: one atomic append while it is being put together.

A draft starts where the ledger stands, takes in one caller after the other, and becomes records with a seal
on the last.  Nothing of the ledger changes until those are stored, so a draft that was overtaken is thrown
away.

It is the ledger's hot path, and split in two for that reason.  What the stored bytes need (bodies, digests,
entries, the chain) is made as events are taken in.  What follows from them (state, consequences, what they
are filed under) waits until somebody asks for it, which the ledger does while the store is writing.  Events
that change the state do not wait: one that does not fit the state must be refused before it is stored.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from domain.errors import InvalidError, LimitError
from domain.event_codec import encode_event
from domain.events import Event, Recorded
from domain.flow import FLOWING, Command, answered_key, next_commands
from domain.key_history import KEY_EVENT_TYPES, KeyEvent
from domain.lookups import unique_key
from domain.state import CHANGING, State, evolve
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.entry import CAUSATION_MAX, check_field, entry_bytes, entry_head, event_id, format_causation
from ledger.key_statement import check_key_event
from ledger.mentions import filed_under
from ledger.merkle import Frontier
from ledger.ports import APPEND_EVENTS_MAX, PAYLOAD_BYTES_MAX, Clock, Record, Signer
from ledger.sealing_keys import key_extensions

# Body bytes in one atomic append, below EventStoreDB's 1 MiB with its entries and seal.
APPEND_BYTES_MAX = 1_000_000
# What an entry adds to its body at most, short of causes by the hundred.
_ENTRY_BYTES = 1_024


class Proposal(Struct, frozen=True, kw_only=True):
    """An event that somebody wants recorded.  ``causation`` holds indices of earlier entries."""

    event: Event
    actor: str
    subject: str
    causation: tuple[int, ...] = ()


Decide = Callable[[State], Sequence[Proposal]]
"""A pure decision: from the state to the events that follow from it.  It may be called again after a
conflict."""


class Position(Struct, frozen=True, kw_only=True):
    """Where a ledger stands: its state and tree, the leaf hash (hex) and the time of its last entry."""

    state: State
    frontier: Frontier
    previous: str
    time_ns: int


class Caller:
    """Somebody who waits for an answer: to a decision, or to ``proposals`` that depend on nothing."""

    __slots__ = ("decide", "future", "proposals")

    def __init__(
        self,
        decide: Decide | None,
        proposals: Sequence[Proposal],
        future: asyncio.Future[tuple[Recorded, ...]],
    ) -> None:
        self.decide = decide
        self.proposals = proposals
        self.future = future


class Draft:
    """An append from ``start`` on, where the ledger has ``start_size`` entries.

    ``found`` says which unique keys the ledger has, and where; a key that is not in it is taken for new and
    listed in ``places``, for whoever stores the draft to look up first.
    """

    def __init__(self, origin: str, start: Position, clock: Clock, found: Mapping[str, int]) -> None:
        self.frontier = start.frontier
        self.previous = start.previous
        self.time_ns = start.time_ns
        self.records: list[Record] = []
        self.leaves: list[bytes] = []
        self.consequences: list[tuple[int, str, tuple[Command, ...]]] = []
        """Size after an event, the command it answers ("" for none), and the commands that follow from it."""
        self.answers: list[tuple[Caller, list[int]]] = []
        self.failures: list[tuple[Caller, Exception]] = []
        self.start_size = start.state.size
        self._origin = origin
        self._clock = clock
        self._found = found
        self._state = start.state
        self._proposals: list[Proposal] = []
        self._names: list[str] = []
        self._times: list[int] = []
        self._recorded: list[Recorded] = []
        self._keys: dict[str, int] = {}
        self._byte_count = 0

    @property
    def state(self) -> State:
        """The state after everything that was taken in."""
        self.fold()
        return self._state

    @property
    def settled_state(self) -> State:
        """The state as far as it has been folded: right in all but its size."""
        return self._state

    @property
    def size(self) -> int:
        """The ledger's size after this append."""
        return self.start_size + len(self.records)

    @property
    def places(self) -> Mapping[str, int]:
        """Unique keys that were taken for new, and the indices they were given."""
        return self._keys

    @property
    def end(self) -> Position:
        """Where the ledger stands after this append, once it is sealed."""
        return Position(
            state=self.state, frontier=self.frontier, previous=self.previous, time_ns=self.time_ns
        )

    def add(self, caller: Caller) -> bool:
        """Take one caller in; False when its events no longer fit and must wait for the next append."""
        mark = len(self.records)
        before = self.previous, self.time_ns
        try:
            proposals = caller.proposals if caller.decide is None else caller.decide(self.state)
            bodies = [encode_event(proposal.event) for proposal in proposals]
            byte_count = sum(map(len, bodies)) + _ENTRY_BYTES * len(bodies)
            if byte_count > PAYLOAD_BYTES_MAX or len(bodies) > APPEND_EVENTS_MAX:
                _check_sizes(bodies, byte_count)
            if mark and (
                mark + len(proposals) > APPEND_EVENTS_MAX or self._byte_count + byte_count > APPEND_BYTES_MAX
            ):
                return False
            folded, state = len(self._recorded), self._state
            try:
                answer = self._place(proposals, bodies)
                if any(type(proposal.event) in CHANGING for proposal in proposals):
                    self.fold()
            except Exception:
                # What was taken in before may have been folded with it; it is folded again.
                self._cut(mark, folded)
                self._state = state
                raise
        except Exception as error:  # the caller's decision failed; nobody else's did
            self.previous, self.time_ns = before
            self.failures.append((caller, error))
            return True
        self._byte_count += byte_count
        self.answers.append((caller, answer))
        return True

    def sealed(self, signers: Sequence[Signer]) -> list[Record]:
        """The records with the seal on the last."""
        frontier = self.frontier.copy()
        frontier.extend(self.leaves)
        checkpoint = Checkpoint(
            origin=self._origin,
            size=frontier.size,
            root=frontier.root(),
            extensions=key_extensions(self.settled_state.keys),
        )
        last = replace(self.records[-1], seal=sign_checkpoint(checkpoint, *signers))
        self.frontier = frontier
        return [*self.records[:-1], last]

    def fold(self) -> None:
        """Bring everything that follows from the events up to date."""
        done, index = len(self._recorded), self.start_size + len(self._recorded)
        if done == len(self.records):
            return
        state, recorded_so_far, consequences = self._state, self._recorded, self.consequences
        for proposal, time_ns in zip(self._proposals[done:], self._times[done:], strict=True):
            event = proposal.event
            recorded = Recorded(
                index=index,
                recorded_at_ns=time_ns,
                actor=proposal.actor,
                subject=proposal.subject,
                causation=proposal.causation,
                event=event,
            )
            index += 1
            recorded_so_far.append(recorded)
            kind = type(event)
            if kind in CHANGING:
                state = evolve(state, recorded)
            if kind in FLOWING:
                consequences.append((index, answered_key(recorded), next_commands(state, recorded)))
        self._state = state if state.size == index else replace(state, size=index)

    def topics(self) -> list[tuple[str, ...]]:
        """What each event is filed under."""
        self.fold()
        return [
            filed_under(recorded.event, recorded.subject, name)
            for recorded, name in zip(self._recorded, self._names, strict=True)
        ]

    def recorded(self, index: int) -> Recorded | None:
        """The event at ``index``, if it is one of this draft's."""
        return self._recorded[index - self.start_size] if index >= self.start_size else None

    def _place(self, proposals: Sequence[Proposal], bodies: Sequence[bytes]) -> list[int]:
        """Give each event its place, or name the place the same fact already has."""
        answer = []
        sha256, known_keys, records, leaves = hashlib.sha256, self._keys, self.records, self.leaves
        origin, clock, found = self._origin, self._clock, self._found
        index, previous, time_ns = self.size, self.previous, self.time_ns
        head, checked_actor = entry_head(origin), ""
        key_history = self._state.keys
        for proposal, body in zip(proposals, bodies, strict=True):
            event = proposal.event
            key = unique_key(event)
            if key:
                known = found.get(key)
                if known is None:
                    known = known_keys.setdefault(key, index)
                if known != index:
                    answer.append(known)
                    continue
            actor = proposal.actor
            if actor != checked_actor:
                checked_actor = check_field(actor, "actor")
            subject = check_field(proposal.subject, "subject")
            causation = _causation_line(proposal.causation, index) if proposal.causation else "-"
            event_type = event.TYPE
            if event_type in KEY_EVENT_TYPES:
                assert isinstance(event, KeyEvent)
                key_history = check_key_event(key_history, origin, index, event)
            now = clock()
            if now > time_ns:
                time_ns = now
            entry = entry_bytes(
                head,
                index,
                event_type,
                time_ns,
                actor,
                subject,
                causation,
                len(body),
                sha256(body).hexdigest(),
                previous,
            )
            leaf = sha256(b"\0" + entry).digest()
            previous = leaf.hex()
            records.append(
                Record(
                    index=index,
                    event_id=event_id(index, leaf),
                    event_type=event_type,
                    entry=entry,
                    payload=body,
                )
            )
            leaves.append(leaf)
            self._proposals.append(proposal)
            self._names.append(key)
            self._times.append(time_ns)
            answer.append(index)
            index += 1
        self.previous, self.time_ns = previous, time_ns
        return answer

    def _cut(self, mark: int, folded: int) -> None:
        """Forget all but the first ``mark`` events, and what followed from all but the first ``folded``."""
        parallel: tuple[list[Any], ...] = (
            self.records,
            self.leaves,
            self._proposals,
            self._names,
            self._times,
        )
        for some in parallel:
            del some[mark:]
        del self._recorded[folded:]
        self.consequences = [one for one in self.consequences if one[0] <= self.start_size + folded]
        for key in [key for key, index in self._keys.items() if index >= self.start_size + mark]:
            del self._keys[key]


def _check_sizes(bodies: Sequence[bytes], byte_count: int) -> None:
    longest = max(map(len, bodies), default=0)
    if longest > PAYLOAD_BYTES_MAX:
        raise LimitError("event too large", expected=f"<= {PAYLOAD_BYTES_MAX} bytes", actual=str(longest))
    if len(bodies) > APPEND_EVENTS_MAX or byte_count > APPEND_BYTES_MAX:
        raise LimitError(
            "too much for one atomic append",
            expected=f"<= {APPEND_EVENTS_MAX} events and {APPEND_BYTES_MAX} bytes",
            actual=f"{len(bodies)} events and {byte_count} bytes",
        )


def _causation_line(causes: tuple[int, ...], index: int) -> str:
    """The causation line of the entry at ``index``.  Raises: InvalidError."""
    if len(causes) > CAUSATION_MAX or any(a >= b for a, b in pairwise(causes)):
        raise InvalidError(
            "causes are earlier entries, ascending", field="causation", actual=format_causation(causes)[:80]
        )
    if not 0 <= causes[0] <= causes[-1] < index:
        raise InvalidError(
            "a cause comes later than its effect, or is none",
            field="causation",
            expected=f"0 to {index - 1}",
            actual=format_causation(causes)[:80],
        )
    return format_causation(causes)
