"""Getting a ledger's checkpoints cosigned: which to send to whom, what to believe of the answers.

The newest seal is sent to every witness of a policy (``ledger.policy``) that has an address, with the
consistency path from what that witness cosigned last; ``ledger.witness`` describes request and answers.  Of
an answer nothing is believed that is not verified:

- A cosignature counts when it is the witness's over exactly the checkpoint that was sent, and not from the
  future.  It is stored durably before it is used.
- A witness that is at another size, no larger than ours, is asked again from there.
- A witness that claims a larger tree, or another root, or that has forgotten what it cosigned, is an *alarm*:
  either it is wrong, or this ledger was rolled back or forked.  The whole exchange is kept as evidence, and
  nothing is taken from it.
- This ledger's own history is checked first: what a witness has cosigned has to be the beginning of what it
  is sent.  If it is not, nothing is sent to anybody.

Appending never waits for any of this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import assert_never

from msgspec.structs import replace

from domain.errors import InvalidError, MalformedError
from ledger.checkpoint import Checkpoint, open_checkpoint
from ledger.covering import Covering
from ledger.ledger import Ledger
from ledger.merkle import verify_consistency
from ledger.notes import Algorithm, VerifierKey, parse_note
from ledger.policy import Policy, PolicyWitness, logs_of, open_witnessed_checkpoint
from ledger.ports import Clock
from ledger.sealing_keys import all_keys
from ledger.tiles import prove_consistency, root_from_tiles
from ledger.witness import AddCheckpoint, format_add_checkpoint
from ledger.witness_exchange import (
    Alarming,
    AlarmKind,
    CosignatureStore,
    Cosigned,
    Elsewhere,
    Larger,
    Outcome,
    Refused,
    StoredCosignature,
    UnreachableWitnessError,
    WitnessAlarm,
    WitnessOutcome,
    WitnessPort,
    WitnessReply,
    cosignature_in,
    read_reply,
)

# At most one submission to a witness in this time; receipts are witnessed about that much later.
INTERVAL_SECONDS_DEFAULT = 10.0
# A witness that does not answer is asked again after twice the time, up to this.
RETRY_SECONDS_MAX = 600.0
# 409s in a row before the next turn; two nodes of one ledger can overtake each other.
ROUNDS_MAX = 4


class DisownedHistoryError(InvalidError):
    """This ledger does not continue what witnesses have cosigned: it was rolled back, or forked."""


class LogWitnessing:
    """One ledger and the witnesses of a policy; a ``ledger.covering.Coverer`` of that ledger."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        policy: Policy,
        witnesses: WitnessPort,
        store: CosignatureStore,
        clock: Clock,
        tell: Callable[[WitnessAlarm], None] = lambda alarm: None,
        interval_seconds: float = INTERVAL_SECONDS_DEFAULT,
    ) -> None:
        self.ledger = ledger
        self._given = policy
        self._witnesses = witnesses
        self._store = store
        self._clock = clock
        self._tell = tell
        self._interval_seconds = interval_seconds
        self._turn = asyncio.Lock()
        self._failures: dict[str, tuple[int, float]] = {}

    @property
    def policy(self) -> Policy:
        """The policy with this ledger as its only log, known by every key it has had."""
        return replace(self._given, logs=logs_of(self._own_keys()))

    async def submit(self, *, is_urgent: bool = False) -> tuple[WitnessOutcome, ...]:
        """One turn: the newest seal to every witness that does not have it.

        A witness that failed lately is left alone for a while unless it is urgent.  What a witness does is in
        the outcomes.  Raises: TallystickError, OSError for what the ledger's own store does.
        """
        async with self._turn:
            await self.ledger.catch_up()
            note = self.ledger.checkpoint
            checkpoint = open_checkpoint(note, self._own_keys(), origin=self.ledger.origin)
            asked = [witness for witness in self._given.witnesses if witness.url]
            for witness in asked:
                try:
                    await self._check_history(witness)
                except DisownedHistoryError as error:
                    await self._alarm(witness, Alarming(AlarmKind.OWN_HISTORY, str(error)), request=note)
                    return tuple(_ended(one, Outcome.ALARM, str(error)) for one in asked)
            turns = [self._ask(witness, note, checkpoint, is_urgent=is_urgent) for witness in asked]
            outcomes = tuple(await asyncio.gather(*turns))
            if any(one.outcome is Outcome.COSIGNED for one in outcomes):
                is_enough = self.policy.is_witnessed_by
                await asyncio.to_thread(self._store.prune, self.ledger.origin, is_enough)
            return outcomes

    async def cosigned_checkpoint(self, size_min: int) -> bytes | None:
        """The newest checkpoint of at least this size that satisfies the policy, with its cosignatures.

        None while there is none, and where this ledger no longer has what was cosigned (``submit`` alarms).
        """
        found = await self.cosigned(size_min)
        return None if found is None else found.checkpoint

    async def cosigned(self, size_min: int) -> Covering | None:
        """As ``cosigned_checkpoint``, with who has cosigned it; also None where no witness of the policy has,
        although it asks for none."""
        policy = self.policy
        note = await asyncio.to_thread(
            self._store.newest, self.ledger.origin, size_min, policy.is_witnessed_by
        )
        if note is None:
            return None
        witnessed = open_witnessed_checkpoint(note, policy)
        size = witnessed.checkpoint.size
        if size > self.ledger.size:
            await self.ledger.catch_up()
        cosigners = tuple(one.key for one in witnessed.cosignatures)
        if not cosigners or not self._continues(witnessed.checkpoint):
            return None
        return Covering(checkpoint=note, size=size, cosigners=cosigners)

    async def covering(self, index: int) -> Covering | None:
        """The newest witnessed checkpoint that covers the entry at ``index``; None while there is none."""
        return await self.cosigned(index + 1)

    # -- one witness

    async def _ask(
        self, witness: PolicyWitness, note: bytes, checkpoint: Checkpoint, *, is_urgent: bool
    ) -> WitnessOutcome:
        now = asyncio.get_running_loop().time()
        count, again_at = self._failures.get(witness.name, (0, 0.0))
        if now < again_at and not is_urgent:
            return _ended(witness, Outcome.WAITING)
        found = await self._converse(witness, note, checkpoint)
        if found.is_done:
            self._failures.pop(witness.name, None)
        else:
            wait_seconds = min(RETRY_SECONDS_MAX, self._interval_seconds * 2 ** min(count + 1, 16))
            self._failures[witness.name] = (count + 1, now + wait_seconds)
        return found

    async def _converse(self, witness: PolicyWitness, note: bytes, checkpoint: Checkpoint) -> WitnessOutcome:
        last = await self._last_of(witness)
        if last is not None and (last.size > checkpoint.size or last == checkpoint):
            return _ended(witness, Outcome.UP_TO_DATE)
        size_old = size_cosigned = 0 if last is None else last.size
        text = parse_note(note).text
        for _ in range(ROUNDS_MAX):
            body = self._request(size_old, note, checkpoint)
            try:
                reply = await self._witnesses.add_checkpoint(witness.url, body)
            except UnreachableWitnessError as error:
                return _ended(witness, Outcome.UNREACHABLE, str(error))
            reading = read_reply(
                reply, size_old=size_old, size_new=checkpoint.size, size_cosigned=size_cosigned
            )
            if isinstance(reading, Cosigned):
                try:
                    line = cosignature_in(reading.body, text, witness.key, self._clock() // 1_000_000_000)
                except (MalformedError, InvalidError) as error:
                    reading = Alarming(AlarmKind.WRONG_COSIGNATURE, str(error))
                else:
                    kept = StoredCosignature(note=note, checkpoint=checkpoint, witness=witness.key, line=line)
                    await asyncio.to_thread(self._store.add, kept)
            elif isinstance(reading, Larger):
                # Another process of this ledger may have appended, and asked, since.
                await self.ledger.catch_up()
                if reading.size > self.ledger.size:
                    detail = f"says that it has cosigned {reading.size} entries of {self.ledger.size}"
                    reading = Alarming(AlarmKind.LARGER_TREE, detail)
            match reading:
                case Cosigned():
                    return _ended(witness, Outcome.COSIGNED)
                case Larger():
                    return _ended(witness, Outcome.UP_TO_DATE, "another process was first")
                case Elsewhere(size):
                    size_old = size
                case Refused(detail):
                    return _ended(witness, Outcome.REFUSED, detail)
                case Alarming(_, detail):
                    await self._alarm(witness, reading, request=body, reply=reply)
                    return _ended(witness, Outcome.ALARM, detail)
                case _:
                    assert_never(reading)
        return _ended(witness, Outcome.REFUSED, "is at another size each time it is asked")

    def _request(self, size_old: int, note: bytes, checkpoint: Checkpoint) -> bytes:
        path: Sequence[bytes] = ()
        if 0 < size_old < checkpoint.size:
            path = prove_consistency(self.ledger.tile, size_old, checkpoint.size)
            root = root_from_tiles(self.ledger.tile, size_old)
            verify_consistency(size_old, checkpoint.size, root, checkpoint.root, path)
        return format_add_checkpoint(AddCheckpoint(size_old=size_old, path=tuple(path), note=note))

    async def _check_history(self, witness: PolicyWitness) -> None:
        """Raises: DisownedHistoryError when what the witness cosigned is not the beginning of this ledger."""
        last = await self._last_of(witness)
        if last is None:
            return
        if last.size > self.ledger.size:
            # Another process of this ledger may have appended, and asked, since.
            await self.ledger.catch_up()
        if last.size > self.ledger.size:
            raise DisownedHistoryError(
                "this ledger has fewer entries than a witness has cosigned",
                field=self.ledger.origin,
                expected=f"{last.size} cosigned by {witness.name}",
                actual=str(self.ledger.size),
                remedy="It was restored from an older backup: restore a newer one, and append nothing here.",
            )
        if not self._continues(last):
            raise DisownedHistoryError(
                "this ledger is not the one that a witness has cosigned",
                field=self.ledger.origin,
                expected=f"{last.root.hex()} over {last.size} entries, cosigned by {witness.name}",
                actual="another root",
                remedy="Its entries were changed, or another ledger took its name. Run tally audit.",
            )

    def _continues(self, checkpoint: Checkpoint) -> bool:
        """Whether this ledger, as it is now, begins with what the checkpoint covers."""
        if checkpoint.size > self.ledger.size:
            return False
        return root_from_tiles(self.ledger.tile, checkpoint.size) == checkpoint.root

    async def _last_of(self, witness: PolicyWitness) -> Checkpoint | None:
        return await asyncio.to_thread(self._store.last_of, self.ledger.origin, witness.key)

    def _own_keys(self) -> tuple[VerifierKey, ...]:
        keys = all_keys(self.ledger.state.keys)
        return tuple(key for key in keys if key.algorithm is Algorithm.ED25519)

    async def _alarm(
        self, witness: PolicyWitness, why: Alarming, *, request: bytes, reply: WitnessReply | None = None
    ) -> None:
        alarm = WitnessAlarm(
            at_ns=self._clock(),
            origin=self.ledger.origin,
            witness=witness.name,
            kind=why.kind,
            detail=why.detail,
            request=request,
            status=0 if reply is None else reply.status,
            answer=b"" if reply is None else reply.body,
        )
        if await asyncio.to_thread(self._store.raise_alarm, alarm):
            self._tell(alarm)


def _ended(witness: PolicyWitness, outcome: Outcome, detail: str = "") -> WitnessOutcome:
    return WitnessOutcome(witness=witness.name, outcome=outcome, detail=detail)
