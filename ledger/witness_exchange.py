"""One exchange with a witness, seen from the log: what its answer says, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from domain.errors import InvalidError, MalformedError, TallystickError
from ledger.checkpoint import Checkpoint
from ledger.cosignature import verify_cosignature
from ledger.notes import NoteSignature, VerifierKey, parse_signature_lines
from ledger.witness import SIZE_MEDIA_TYPE, parse_size_answer

# How far a witness's clock may be ahead of ours.
CLOCK_AHEAD_SECONDS_MAX = 300
_TOLD_MAX = 200


class UnreachableWitnessError(TallystickError):
    """No answer, or one that is too long or too slow."""


class WitnessReply(Struct, frozen=True, kw_only=True):
    """What a witness answered, as it came."""

    status: int
    media_type: str
    body: bytes


class AlarmKind(StrEnum):
    """Why an exchange with a witness needs a person."""

    LARGER_TREE = "larger-tree"
    ANOTHER_ROOT = "another-root"
    FORGOTTEN = "forgotten"
    WRONG_COSIGNATURE = "wrong-cosignature"
    OWN_HISTORY = "own-history"


class WitnessAlarm(Struct, frozen=True, kw_only=True):
    """An exchange that needs a person, whole; ``witness`` is its name in the policy."""

    at_ns: int
    origin: str
    witness: str
    kind: AlarmKind
    detail: str
    request: bytes = b""
    status: int = 0
    answer: bytes = b""


class Outcome(StrEnum):
    """How a turn with one witness ended."""

    COSIGNED = "cosigned"
    UP_TO_DATE = "up-to-date"
    WAITING = "waiting"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    ALARM = "alarm"


class WitnessOutcome(Struct, frozen=True, kw_only=True):
    """What came of asking one witness."""

    witness: str
    outcome: Outcome
    detail: str = ""

    @property
    def is_done(self) -> bool:
        """The witness has what it was to be sent."""
        return self.outcome in (Outcome.COSIGNED, Outcome.UP_TO_DATE)


class StoredCosignature(Struct, frozen=True, kw_only=True):
    """A cosignature that was verified: the log's own signed note, and the witness's line on it."""

    note: bytes
    checkpoint: Checkpoint
    witness: VerifierKey
    line: NoteSignature


class WitnessPort(Protocol):
    """How witnesses are reached."""

    async def add_checkpoint(self, url: str, body: bytes) -> WitnessReply:
        """POST a request to the witness at ``url`` (its submission prefix).

        Raises: UnreachableWitnessError.
        """

    async def close(self) -> None:
        """Close the connections."""


class CosignatureStore(Protocol):
    """Cosignatures that were verified, and alarms: durable, and not derivable from any ledger.

    Calls wait for a disk and may come from any thread.
    """

    def add(self, cosignature: StoredCosignature) -> None:
        """Keep a cosignature; durable when it returns."""

    def last_of(self, origin: str, witness: VerifierKey) -> Checkpoint | None:
        """The largest checkpoint of a log that this witness has cosigned."""

    def newest(
        self, origin: str, size_min: int, is_enough: Callable[[Sequence[VerifierKey]], bool]
    ) -> bytes | None:
        """The newest checkpoint of at least this size whose cosigners are enough, with their lines."""

    def prune(self, origin: str, is_enough: Callable[[Sequence[VerifierKey]], bool]) -> int:
        """Forget the oldest checkpoints beyond a limit, but never the newest whose cosigners are enough, nor
        what is younger; returns how many went."""

    def raise_alarm(self, alarm: WitnessAlarm) -> bool:
        """Keep an alarm; false if it is known already (all but time, request and answer the same)."""

    def alarms(self) -> Sequence[WitnessAlarm]:
        """Every alarm, oldest first."""

    def close(self) -> None:
        """Release the file."""


class Cosigned(Struct, frozen=True):
    """The answer is said to hold cosignatures; ``cosignature_in`` says whether it does."""

    body: bytes


class Elsewhere(Struct, frozen=True):
    """The witness is at this size; ask again from there."""

    size: int


class Larger(Struct, frozen=True):
    """The witness says that it has cosigned more entries than it was shown."""

    size: int


class Alarming(Struct, frozen=True):
    """The answer cannot be, if both sides have told the truth so far."""

    kind: AlarmKind
    detail: str


class Refused(Struct, frozen=True):
    """The witness does not want to, or does not speak the protocol."""

    detail: str


Reading = Cosigned | Elsewhere | Larger | Alarming | Refused


def read_reply(reply: WitnessReply, *, size_old: int, size_new: int, size_cosigned: int) -> Reading:
    """What an answer to a request from ``size_old`` to ``size_new`` says.

    ``size_cosigned`` is the largest size that this witness is known to have cosigned, 0 for none.  The path
    in the request led from this log's own root to its own root, so a witness that does not follow it has
    another root.
    """
    match reply.status:
        case 200:
            return Cosigned(reply.body)
        case 409 if reply.media_type == SIZE_MEDIA_TYPE:
            try:
                size = parse_size_answer(reply.body)
            except MalformedError as error:
                return Refused(str(error))
            if size > size_new:
                return Larger(size)
            if size < size_cosigned:
                detail = f"says that it is at {size} entries, and it has cosigned {size_cosigned}"
                return Alarming(AlarmKind.FORGOTTEN, detail)
            if size == size_old:
                return Refused(f"is at {size} entries, and does not go on from there")
            return Elsewhere(size)
        case 409 | 422:
            detail = f"has another root than this ledger at {size_old} entries"
            return Alarming(AlarmKind.ANOTHER_ROOT, detail)
        case _:
            told = " ".join(reply.body[:_TOLD_MAX].decode("utf-8", "replace").split())
            return Refused(f"answered {reply.status}: {told}")


def cosignature_in(body: bytes, text: str, witness: VerifierKey, now_s: int) -> NoteSignature:
    """The witness's line over the checkpoint ``text`` in an answer's body, verified; other lines are passed
    over.  ``now_s`` is Unix seconds.

    Raises: MalformedError, InvalidError when there is none, or it is wrong, or from the future.
    """
    try:
        lines = parse_signature_lines(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise MalformedError("an answer is UTF-8", field=f"byte {error.start}") from error
    identity = (witness.name, witness.key_id)
    own = next((line for line in lines if (line.name, line.key_id) == identity), None)
    if own is None:
        raise InvalidError(
            "no cosignature of this witness",
            expected=f"{witness.name}+{witness.key_id.hex()}",
            actual=", ".join(f"{line.name}+{line.key_id.hex()}" for line in lines)[:_TOLD_MAX],
        )
    verify_cosignature(text, own, witness, time_s_max=now_s + CLOCK_AHEAD_SECONDS_MAX)
    return own
