"""Witnesses that a ledger can ask: real ones without HTTP between, and some that lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from adapters.witness_store import WitnessStore
from ledger.notes import VerifierKey, format_verifier_key
from ledger.policy import Policy, PolicyGroup, PolicyLog, PolicyWitness
from ledger.witness import SIZE_MEDIA_TYPE, Decision, admit
from ledger.witness_exchange import UnreachableWitnessError, WitnessReply
from tests.ledger.signing_key import SigningKey

NOW_S = 1_780_000_000
Answer = Callable[[bytes], WitnessReply]


class LocalWitness:
    """A witness with its own memory and key."""

    def __init__(self, folder: Path, number: int, *logs: VerifierKey, memory: str = "state") -> None:
        self.key = SigningKey(f"witness.example/w{number}")
        self.url = f"http://w{number}.example"
        self.store = WitnessStore.open(folder / f"w{number}-{memory}.sqlite", is_key_there=False)
        self.store.bind(format_verifier_key(self.key.cosigner_key))
        self.logs = Policy(logs=tuple(PolicyLog(key=key) for key in logs))

    def answer(self, body: bytes) -> WitnessReply:
        found = self.store.submit(admit(body, self.logs), NOW_S, self.key)
        if found.decision is Decision.STALE:
            return WitnessReply(status=409, media_type=SIZE_MEDIA_TYPE, body=f"{found.size}\n".encode())
        return WitnessReply(
            status=found.decision.status, media_type="text/plain", body=found.lines.encode() or b"no\n"
        )


class Witnesses:
    """A ``WitnessPort`` that knows these addresses; anything may be put behind one."""

    def __init__(self, *witnesses: LocalWitness) -> None:
        self.answers: dict[str, Answer] = {one.url: one.answer for one in witnesses}
        self.asked: list[tuple[str, bytes]] = []

    async def add_checkpoint(self, url: str, body: bytes) -> WitnessReply:
        self.asked.append((url, body))
        if url not in self.answers:
            raise UnreachableWitnessError("no answer", field=url)
        return self.answers[url](body)

    async def close(self) -> None:
        self.answers.clear()


def policy_of(*witnesses: LocalWitness, threshold: int) -> Policy:
    """So many of these witnesses; no log."""
    names = tuple(f"w{number}" for number in range(len(witnesses)))
    return Policy(
        logs=(),
        witnesses=tuple(
            PolicyWitness(name=name, key=one.key.cosigner_key, url=one.url)
            for name, one in zip(names, witnesses, strict=True)
        ),
        groups=(PolicyGroup(name="enough", threshold=threshold, members=names),),
        quorum="enough",
    )


def says(status: int, body: bytes, media_type: str = "text/plain") -> Answer:
    """A witness that always says this."""
    return lambda request: WitnessReply(status=status, media_type=media_type, body=body)


def size_answer(size: int) -> Answer:
    """A witness that says it is somewhere else."""
    return says(409, f"{size}\n".encode(), SIZE_MEDIA_TYPE)
