"""External time: a timestamp authority (RFC 3161) confirms when a checkpoint existed.

A ledger's own times are what its machine said.  A token over a checkpoint shows that everything under it, the
signature included, existed at the time that somebody else's clock showed; so a receipt under a stamped
checkpoint is older than a later compromise of the key, whatever the one who has the key claims.

1. The newest checkpoint is taken: a signed note over ``size`` entries, the seal of the entry before ``size``.
2. The authority signs its SHA-256 and the time; the token is verified against certificates that are trusted.
3. ``checkpoint.timestamped.v1`` records the token.  It does not stand under its own checkpoint, but under the
   next.

Nothing depends on it: a ledger without tokens is as whole as one with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from domain.digests import digest_of
from domain.errors import InvalidError
from domain.events import CheckpointTimestamped, Recorded
from ledger.checkpoint import parse_checkpoint
from ledger.ledger import Ledger, Proposal
from ledger.notes import parse_note
from ledger.ports import EventLog
from ledger.recorded import event_of, record_at, recorded_of

# A token with a chain of certificates has 2 to 8 kB.
TOKEN_BYTES_MAX = 64 * 1024
READ_BATCH = 2_048


class Timestamp(Struct, frozen=True, kw_only=True):
    """What a verified token says.  ``authority`` is the subject of the certificate that signed it (RFC 4514),
    ``time_ns`` Unix time, ``accuracy_ns`` how far off it may be either way (``None``: not said); ``token`` is
    the authority's answer as it came (TimeStampResp, DER)."""

    authority: str
    time_ns: int
    accuracy_ns: int | None
    token: bytes


class TimestampAuthority(Protocol):
    """Somebody with a clock and a key, and the certificates by which the key is trusted."""

    async def stamp(self, data: bytes) -> Timestamp:
        """Have ``data`` stamped, and verify the answer.  Raises: MalformedError, InvalidError, LimitError."""

    def verify(self, token: bytes, data: bytes) -> Timestamp:
        """What a token says about ``data``.  Raises: MalformedError, InvalidError."""


class StampedCheckpoint(Struct, frozen=True, kw_only=True):
    """A recorded token with the note it is over."""

    recorded: Recorded
    event: CheckpointTimestamped
    note: bytes


async def timestamp_checkpoint(ledger: Ledger, authority: TimestampAuthority, actor: str) -> Recorded:
    """Have the newest checkpoint stamped and record the token.  Raises as ``TimestampAuthority.stamp``."""
    note = ledger.checkpoint
    stamped = await authority.stamp(note)
    size = parse_checkpoint(parse_note(note).text).size
    event = CheckpointTimestamped(
        size=size,
        digest=digest_of(note),
        authority=stamped.authority,
        time_ns=stamped.time_ns,
        accuracy_ns=stamped.accuracy_ns,
        token=stamped.token,
    )
    proposal = Proposal(event=event, actor=actor, subject=f"checkpoint/{size}", causation=(size - 1,))
    return (await ledger.record(proposal))[0]


async def stamped_checkpoints(log: EventLog, ledger: str) -> list[StampedCheckpoint]:
    """Every recorded token with its note, oldest first.  Raises: InvalidError for one that is over another
    note than it says."""
    found, position = [], 0
    while records := await log.read(ledger, position, READ_BATCH):
        for record in records:
            if record.event_type == CheckpointTimestamped.TYPE:
                found.append(await _stamped(log, ledger, recorded_of(record)))
        position = records[-1].index + 1
    return found


def verify_timestamps(stamped: Sequence[StampedCheckpoint], authority: TimestampAuthority) -> None:
    """Verify each token by trusted certificates.  Raises: MalformedError, InvalidError naming the entry."""
    for one in stamped:
        told = authority.verify(one.event.token, one.note)
        if (told.authority, told.time_ns, told.accuracy_ns) != (
            one.event.authority,
            one.event.time_ns,
            one.event.accuracy_ns,
        ):
            raise InvalidError(
                "an entry says something else than its token",
                field=f"[{one.recorded.index}]",
                expected=f"{told.time_ns} by {told.authority}",
                actual=f"{one.event.time_ns} by {one.event.authority}",
            )


async def _stamped(log: EventLog, ledger: str, recorded: Recorded) -> StampedCheckpoint:
    event = event_of(recorded, CheckpointTimestamped)
    note = (await record_at(log, ledger, event.size - 1)).seal if event.size else b""
    if event.size > recorded.index or digest_of(note) != event.digest:
        raise InvalidError(
            "a token is over another checkpoint than the one it names",
            field=f"[{recorded.index}]",
            expected=event.digest,
            actual=digest_of(note),
        )
    return StampedCheckpoint(recorded=recorded, event=event, note=note)
