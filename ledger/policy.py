"""Trust policies, as C2SP tlog-policy has them: which logs, which witnesses, and how many of them are enough.

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> <k | any | all> <member> ...
    quorum <name | none>

- One definition a line, each line ended by a newline, items separated by spaces and tabs.  Empty lines, and
  lines whose first item begins with ``#``, say nothing.  Bytes are 0x09, 0x0A, 0x20-0x7E and 0x80-0xFF;
  beyond ASCII they are opaque.
- A log's key is of type 0x01 and named as the log's origin; a witness's key is of type 0x04.  No two logs
  and no two witnesses have the same public key.
- Witnesses and groups share one space of names, in which ``none`` is taken.  A group's members and the
  quorum are defined on lines before.  A name is a member of at most one group, and once in it.
- A group is satisfied if at least k of its members are (``any`` is 1, ``all`` is as many as there are); a
  witness is satisfied if it has cosigned.
- There is exactly one quorum line; ``none`` asks for no cosignature.

Comments and white space are free, so a policy has many spellings; ``format_policy`` writes one of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from msgspec import Struct

from domain.errors import InvalidError, MalformedError
from ledger.checkpoint import Checkpoint, checkpoint_of
from ledger.cosignature import Cosignature, cosignatures_of
from ledger.notes import Algorithm, VerifierKey, format_verifier_key, open_note, parse_verifier_key
from ledger.spelling import parse_decimal

# The specification asks for at least 32 of each.
LOGS_MAX = WITNESSES_MAX = GROUPS_MAX = 64
# All of these with long names, addresses and comments.
POLICY_BYTES_MAX = 262_144
NO_QUORUM = "none"

_FORBIDDEN = re.compile(rb"[^\x09\x0a\x20-\x7e\x80-\xff]")
_ITEM = re.compile(r"[^\x00-\x20\x7f]+")
_BETWEEN_ITEMS = re.compile("[ \t]+")


class MalformedPolicyError(MalformedError):
    """This is not a policy; ``field`` names the line where it stops being one."""


class InvalidQuorumError(InvalidError):
    """The log has signed, but too few of the witnesses have cosigned."""


class PolicyLog(Struct, frozen=True, kw_only=True):
    """A log whose checkpoints are accepted."""

    key: VerifierKey
    url: str = ""


class PolicyWitness(Struct, frozen=True, kw_only=True):
    """A witness, under the name that the policy gives it."""

    name: str
    key: VerifierKey
    url: str = ""


class PolicyGroup(Struct, frozen=True, kw_only=True):
    """Witnesses or groups of which ``threshold`` are enough."""

    name: str
    threshold: int
    members: tuple[str, ...]


class Policy(Struct, frozen=True, kw_only=True):
    """What makes a checkpoint trusted; groups in order of definition.  Raises: MalformedPolicyError."""

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...] = ()
    groups: tuple[PolicyGroup, ...] = ()
    quorum: str = NO_QUORUM

    def __post_init__(self) -> None:
        _check_keys("log", [log.key for log in self.logs], Algorithm.ED25519, LOGS_MAX)
        _check_keys(
            "witness", [witness.key for witness in self.witnesses], Algorithm.COSIGNATURE, WITNESSES_MAX
        )
        if len(self.groups) > GROUPS_MAX:
            raise MalformedPolicyError(
                "too many groups", expected=f"<= {GROUPS_MAX}", actual=str(len(self.groups))
            )
        defined: set[str] = set()
        placed: set[str] = set()
        for witness in self.witnesses:
            _define(witness.name, defined)
        for group in self.groups:
            for member in group.members:
                if member not in defined:
                    raise MalformedPolicyError(
                        "a member that is not defined before", field=f"group {group.name}", actual=member
                    )
                if member in placed:
                    raise MalformedPolicyError(
                        "a name is a member more than once", field=f"group {group.name}", actual=member
                    )
                placed.add(member)
            if not 1 <= group.threshold <= len(group.members):
                raise MalformedPolicyError(
                    "a threshold that cannot be",
                    field=f"group {group.name}",
                    expected=f"1 to {len(group.members)}",
                    actual=str(group.threshold),
                )
            _define(group.name, defined)
        if self.quorum != NO_QUORUM and self.quorum not in defined:
            raise MalformedPolicyError("the quorum is not defined", field="quorum", actual=self.quorum)
        for url in (*(log.url for log in self.logs), *(witness.url for witness in self.witnesses)):
            if url and not _ITEM.fullmatch(url):
                raise MalformedPolicyError("an address is one item", field="url", actual=repr(url[:80]))

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """Every known key."""
        return (*(log.key for log in self.logs), *(witness.key for witness in self.witnesses))

    def is_witnessed_by(self, cosigners: Collection[VerifierKey]) -> bool:
        """Whether these witnesses' cosignatures are enough."""
        satisfied = {witness.name for witness in self.witnesses if witness.key in cosigners}
        for group in self.groups:
            if sum(member in satisfied for member in group.members) >= group.threshold:
                satisfied.add(group.name)
        return self.quorum == NO_QUORUM or self.quorum in satisfied


class WitnessedCheckpoint(Struct, frozen=True, kw_only=True):
    """A checkpoint that a policy accepts, and the cosignatures of known witnesses under it."""

    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]


def policy_of_log(key: VerifierKey) -> Policy:
    """One log and no witness: what a public key alone says."""
    return Policy(logs=(PolicyLog(key=key),))


def logs_of(keys: Iterable[VerifierKey]) -> tuple[PolicyLog, ...]:
    """These keys as logs of a policy, which names Ed25519 keys; others only ever sign beside them."""
    return tuple(PolicyLog(key=key) for key in keys if key.algorithm is Algorithm.ED25519)


def open_witnessed_checkpoint(note: bytes, policy: Policy) -> WitnessedCheckpoint:
    """Read a checkpoint and verify it by a policy.

    1. The note opens with the policy's keys: every line of a known log or witness verifies
       (``ledger.notes.open_note``).
    2. The text is a checkpoint whose origin is one of the policy's logs, and that log has signed it
       (``ledger.checkpoint.checkpoint_of``).
    3. The witnesses who have cosigned satisfy the quorum.

    The times of cosignatures are told, not judged.

    Raises: MalformedNoteError, InvalidNoteError (1), MalformedCheckpointError, InvalidCheckpointError (2),
    InvalidQuorumError (3).
    """
    opened = open_note(note, policy.keys)
    checkpoint = checkpoint_of(opened)
    cosignatures = cosignatures_of(opened)
    if not policy.is_witnessed_by([cosignature.key for cosignature in cosignatures]):
        raise InvalidQuorumError(
            "too few witnesses have cosigned",
            field="step 3",
            expected=f"quorum {policy.quorum}",
            actual=", ".join(cosignature.key.name for cosignature in cosignatures) or "no known witness",
        )
    return WitnessedCheckpoint(checkpoint=checkpoint, cosignatures=cosignatures)


def format_policy(policy: Policy) -> bytes:
    """Spell a policy: logs, witnesses, groups, quorum; one space between items, no comments."""
    lines = [f"log {format_verifier_key(log.key)} {log.url}" for log in policy.logs]
    lines += [
        f"witness {witness.name} {format_verifier_key(witness.key)} {witness.url}"
        for witness in policy.witnesses
    ]
    for group in policy.groups:
        everyone = {len(group.members): "all", 1: "any"}
        threshold = everyone.get(group.threshold, str(group.threshold))
        lines.append(f"group {group.name} {threshold} {' '.join(group.members)}")
    lines.append(f"quorum {policy.quorum}")
    return "".join(f"{line.rstrip(' ')}\n" for line in lines).encode("utf-8", "surrogateescape")


def parse_policy(data: bytes) -> Policy:
    """Read a policy.  Raises: MalformedPolicyError naming the line."""
    if len(data) > POLICY_BYTES_MAX:
        raise MalformedPolicyError(
            "policy too long", expected=f"<= {POLICY_BYTES_MAX} bytes", actual=str(len(data))
        )
    if forbidden := _FORBIDDEN.search(data):
        raise MalformedPolicyError(
            "a policy has no such character", field=f"byte {forbidden.start()}", actual=repr(forbidden[0])
        )
    if not data.endswith(b"\n"):
        raise MalformedPolicyError("the last line has no end", remedy="End it with a newline.")
    reader = _Reader()
    # Names are opaque octets: those that are no UTF-8 survive as surrogates and are written as they came.
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), start=1):
        items = [item for item in _BETWEEN_ITEMS.split(line) if item]
        if not items or items[0].startswith("#"):
            continue
        try:
            reader.read(items)
        except MalformedError as error:
            raise MalformedPolicyError(
                error.what,
                field=f"line {number}",
                expected=error.expected,
                actual=error.actual,
                remedy=error.remedy,
            ) from error
    if reader.quorum is None:
        raise MalformedPolicyError(
            "a policy has a quorum line", remedy="Write `quorum none` to ask for none."
        )
    return Policy(
        logs=tuple(reader.logs),
        witnesses=tuple(reader.witnesses),
        groups=tuple(reader.groups),
        quorum=reader.quorum,
    )


class _Reader:
    """The definitions so far, line by line; what only the whole policy can tell is ``Policy``'s to check."""

    def __init__(self) -> None:
        self.logs: list[PolicyLog] = []
        self.witnesses: list[PolicyWitness] = []
        self.groups: list[PolicyGroup] = []
        self.quorum: str | None = None
        self._defined: set[str] = set()

    def read(self, items: list[str]) -> None:
        match items:
            case ["log", vkey, *url] if len(url) <= 1:
                self.logs.append(PolicyLog(key=parse_verifier_key(vkey), url="".join(url)))
            case ["witness", name, vkey, *url] if len(url) <= 1:
                _define(name, self._defined)
                self.witnesses.append(
                    PolicyWitness(name=name, key=parse_verifier_key(vkey), url="".join(url))
                )
            case ["group", name, threshold, *members] if members:
                self._know(members)
                _define(name, self._defined)
                self.groups.append(
                    PolicyGroup(name=name, threshold=_threshold(threshold, members), members=tuple(members))
                )
            case ["quorum", name]:
                if self.quorum is not None:
                    raise MalformedPolicyError("a second quorum line", actual=name)
                if name != NO_QUORUM:
                    self._know([name])
                self.quorum = name
            case _:
                raise MalformedPolicyError(
                    "not a line of a policy",
                    expected="log, witness, group or quorum with its items",
                    actual=repr(" ".join(items)[:80]),
                )

    def _know(self, names: list[str]) -> None:
        for name in names:
            if name not in self._defined:
                raise MalformedPolicyError(
                    "a name that is not defined on a line before", actual=repr(name[:80])
                )


def _threshold(text: str, members: list[str]) -> int:
    return {"any": 1, "all": len(members)}.get(text) or parse_decimal(text, "threshold")


def _define(name: str, defined: set[str]) -> None:
    if not _ITEM.fullmatch(name):
        raise MalformedPolicyError("a name is one item", field="name", actual=repr(name[:80]))
    if name == NO_QUORUM or name in defined:
        raise MalformedPolicyError("a name that is already taken", field="name", actual=repr(name[:80]))
    defined.add(name)


def _check_keys(kind: str, keys: list[VerifierKey], algorithm: Algorithm, count_max: int) -> None:
    if len(keys) > count_max:
        raise MalformedPolicyError(
            f"too many {kind} lines", expected=f"<= {count_max}", actual=str(len(keys))
        )
    for key in keys:
        if key.algorithm is not algorithm:
            raise MalformedPolicyError(
                f"a {kind} has a key of another type",
                field=key.name,
                expected=f"0x{algorithm:02x}",
                actual=f"0x{key.algorithm:02x}",
            )
    if len({key.public_key for key in keys}) != len(keys):
        raise MalformedPolicyError(f"the same public key on two {kind} lines")
