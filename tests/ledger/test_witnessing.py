"""Asking witnesses: what is sent, what is believed, what is an alarm."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import cosignature_store
from adapters.cosignature_store import SQLiteCosignatures
from domain.errors import InvalidError, MalformedError
from domain.events import DeviceRegistered
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.cosignature import cosign
from ledger.key_change import rotate_key
from ledger.ledger import Ledger, Proposal
from ledger.notes import format_signature_lines, parse_note
from ledger.policy import open_witnessed_checkpoint
from ledger.witness import admit, parse_add_checkpoint
from ledger.witness_exchange import (
    Alarming,
    AlarmKind,
    Cosigned,
    Elsewhere,
    Larger,
    Outcome,
    Refused,
    WitnessAlarm,
    WitnessReply,
    cosignature_in,
    read_reply,
)
from ledger.witnessing import ROUNDS_MAX, LogWitnessing
from tests.ledger.desk import ORIGIN, open_ledger
from tests.ledger.key_ring import KeyRing
from tests.ledger.signing_key import SigningKey
from tests.ledger.witnesses import NOW_S, LocalWitness, Witnesses, policy_of, says, size_answer

LOG = SigningKey(ORIGIN)
DONE = [Outcome.COSIGNED] * 3


class Scene:
    """A ledger, three witnesses of which two are enough, and what keeps their words."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.folder = folder
        self.ledger = ledger
        self.witnesses = [LocalWitness(folder, number, LOG.verifier_key) for number in range(3)]
        self.port = Witnesses(*self.witnesses)
        self.store = SQLiteCosignatures(folder / "cosignatures.sqlite")
        self.told: list[WitnessAlarm] = []
        self.witnessing = self.begin(ledger)

    def begin(
        self, ledger: Ledger, store: SQLiteCosignatures | None = None, interval_seconds: float = 0.01
    ) -> LogWitnessing:
        return LogWitnessing(
            ledger=ledger,
            policy=policy_of(*self.witnesses, threshold=2),
            witnesses=self.port,
            store=store or self.store,
            clock=lambda: NOW_S * 1_000_000_000,
            tell=self.told.append,
            interval_seconds=interval_seconds,
        )

    async def grow(self, count: int = 1) -> None:
        await self.ledger.record(*(device(self.ledger.size + number) for number in range(count)))

    async def turn(self) -> list[Outcome]:
        return [one.outcome for one in await self.witnessing.submit(is_urgent=True)]


def device(number: int) -> Proposal:
    event = DeviceRegistered(
        device_id=f"d{number}", manufacturer="m", model="m", serial_number=str(number), channels=()
    )
    return Proposal(event=event, actor="test", subject=f"device/d{number}")


@asynccontextmanager
async def scene(folder: Path, keys: KeyRing | None = None) -> AsyncIterator[Scene]:
    async with open_ledger(folder, keys=keys) as ledger:
        yield Scene(folder, ledger)


@pytest.mark.anyio
async def test_every_witness_cosigns_as_the_ledger_grows(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        assert await at.turn() == DONE
        assert await at.turn() == [Outcome.UP_TO_DATE] * 3
        await at.grow(300)
        assert await at.turn() == DONE
        note = await at.witnessing.cosigned_checkpoint(at.ledger.size)
        assert note is not None
        witnessed = open_witnessed_checkpoint(note, at.witnessing.policy)
        assert witnessed.checkpoint.size == at.ledger.size
        assert len(witnessed.cosignatures) == 3
        sizes = [parse_add_checkpoint(body).size_old for _, body in at.port.asked]
        assert sizes == [0] * 3 + [2] * 3
        assert at.told == []


@pytest.mark.anyio
async def test_two_of_three_are_enough_and_one_is_not(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        del at.port.answers[at.witnesses[2].url]
        assert await at.turn() == [Outcome.COSIGNED, Outcome.COSIGNED, Outcome.UNREACHABLE]
        assert await at.witnessing.cosigned_checkpoint(2) is not None
        del at.port.answers[at.witnesses[1].url]
        await at.grow()
        assert await at.turn() == [Outcome.COSIGNED, Outcome.UNREACHABLE, Outcome.UNREACHABLE]
        assert await at.witnessing.cosigned_checkpoint(3) is None
        kept = await at.witnessing.cosigned_checkpoint(2)
        assert kept is not None
        assert open_witnessed_checkpoint(kept, at.witnessing.policy).checkpoint.size == 2
        # Entries beyond it are proven under the seal.
        assert (await at.ledger.covering(2)).checkpoint == at.ledger.checkpoint
        at.ledger.coverer = at.witnessing
        assert (await at.ledger.covering(2)).checkpoint == at.ledger.checkpoint
        assert (await at.ledger.covering(1)).checkpoint == kept


@pytest.mark.anyio
async def test_a_witness_that_is_elsewhere_is_asked_again_from_there(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.grow(5)
        assert await at.turn() == DONE
        await at.grow(20)
        # Our memory of them is lost; theirs is not.
        again = at.begin(at.ledger, SQLiteCosignatures(tmp_path / "another.sqlite"))
        assert [one.outcome for one in await again.submit()] == DONE
        sizes = [parse_add_checkpoint(body).size_old for _, body in at.port.asked[3:]]
        assert sorted(sizes) == [0, 0, 0, 7, 7, 7]
        assert await again.cosigned_checkpoint(27) is not None


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "status", "body", "media_type"),
    [
        (AlarmKind.LARGER_TREE, 409, b"900\n", "text/x.tlog.size"),
        (AlarmKind.ANOTHER_ROOT, 409, b"another root\n", "text/plain"),
        (AlarmKind.ANOTHER_ROOT, 422, b"no\n", "text/plain"),
        (AlarmKind.WRONG_COSIGNATURE, 200, b"", "text/plain"),
        (AlarmKind.WRONG_COSIGNATURE, 200, b"\xff\n", "text/plain"),
        (AlarmKind.WRONG_COSIGNATURE, 200, "\u2014 witness.example/w0 AAAAAAAA\n".encode(), "text/plain"),
    ],
)
async def test_a_witness_that_cannot_be_right_is_an_alarm_and_gives_nothing(
    tmp_path: Path, kind: AlarmKind, status: int, body: bytes, media_type: str
) -> None:
    async with scene(tmp_path) as at:
        at.port.answers[at.witnesses[0].url] = says(status, body, media_type)
        assert await at.turn() == [Outcome.ALARM, Outcome.COSIGNED, Outcome.COSIGNED]
        await at.turn()
        (alarm,) = at.told
        assert at.store.alarms() == [alarm]
        assert (alarm.kind, alarm.witness, alarm.origin) == (kind, "w0", ORIGIN)
        assert (alarm.status, alarm.answer) == (status, body)
        assert parse_add_checkpoint(alarm.request).note == at.ledger.checkpoint
        assert at.store.last_of(ORIGIN, at.witnesses[0].key.cosigner_key) is None


@pytest.mark.anyio
async def test_a_cosignature_has_to_be_the_witnesss_own_over_what_was_sent_and_not_from_the_future(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as at:
        first, second = at.witnesses[0].key, at.witnesses[1].key
        text = parse_note(at.ledger.checkpoint).text
        other = parse_note(sign_checkpoint(Checkpoint(origin=ORIGIN, size=2, root=bytes(32)), LOG)).text
        for key, signed, time_s in (
            (second, text, NOW_S),
            (SigningKey(first.name, "thief"), text, NOW_S),
            (first, other, NOW_S),
            (first, text, NOW_S + 3_600),
        ):
            line = format_signature_lines((cosign(signed, time_s, key),))
            at.port.answers[at.witnesses[0].url] = says(200, line.encode())
            assert (await at.turn())[0] is Outcome.ALARM
        assert {alarm.kind for alarm in at.told} == {AlarmKind.WRONG_COSIGNATURE}
        good = format_signature_lines((cosign(text, NOW_S, second), cosign(text, NOW_S, first)))
        at.port.answers[at.witnesses[0].url] = says(200, good.encode())
        assert (await at.turn())[0] is Outcome.COSIGNED


@pytest.mark.anyio
async def test_a_witness_that_has_forgotten_is_an_alarm(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.grow(5)
        assert await at.turn() == DONE
        young = LocalWitness(tmp_path, 0, LOG.verifier_key, memory="restored")
        young.answer(at.port.asked[0][1])
        at.port.answers[young.url] = size_answer(3)
        await at.grow()
        assert await at.turn() == [Outcome.ALARM, Outcome.COSIGNED, Outcome.COSIGNED]
        assert [alarm.kind for alarm in at.told] == [AlarmKind.FORGOTTEN]


@pytest.mark.anyio
async def test_a_witness_that_never_agrees_on_a_size_is_left_alone(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        await at.grow(50)
        sizes = iter(range(1, 50))
        at.port.answers[at.witnesses[0].url] = lambda body: size_answer(next(sizes))(body)
        at.port.answers[at.witnesses[1].url] = size_answer(0)
        assert await at.turn() == [Outcome.REFUSED, Outcome.REFUSED, Outcome.COSIGNED]
        assert [url for url, _ in at.port.asked].count(at.witnesses[0].url) == ROUNDS_MAX
        assert at.told == []


@pytest.mark.anyio
@pytest.mark.parametrize("status", [301, 400, 403, 404, 429, 500, 503])
async def test_any_other_answer_is_a_refusal_and_told(tmp_path: Path, status: int) -> None:
    async with scene(tmp_path) as at:
        at.port.answers[at.witnesses[0].url] = says(status, b"go\naway\n")
        outcome = (await at.witnessing.submit())[0]
        assert (outcome.outcome, outcome.detail) == (Outcome.REFUSED, f"answered {status}: go away")


@pytest.mark.anyio
async def test_a_ledger_restored_from_an_older_backup_is_found_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    async with open_ledger(tmp_path / "ledger") as ledger:
        at = Scene(tmp_path, ledger)
        await at.grow(3)
    shutil.copytree(tmp_path / "ledger", tmp_path / "backup")
    async with open_ledger(tmp_path / "ledger") as ledger:
        at.ledger = ledger
        at.witnessing = at.begin(ledger)
        await at.grow(3)
        assert await at.turn() == DONE
    async with open_ledger(tmp_path / "backup") as ledger:
        at.ledger = ledger
        at.witnessing = at.begin(ledger)
        asked = len(at.port.asked)
        assert await at.turn() == [Outcome.ALARM] * 3
        assert await at.witnessing.cosigned_checkpoint(0) is None
        # Neither does appending something else make it whole again.
        await ledger.record(device(100), device(101), device(102), device(103))
        assert await at.turn() == [Outcome.ALARM] * 3
        assert await at.witnessing.cosigned_checkpoint(0) is None
        assert len(at.port.asked) == asked
        assert [alarm.kind for alarm in at.told] == [AlarmKind.OWN_HISTORY] * 2
        assert "older backup" in at.told[0].detail
        # With our memory of them lost too, they still know.
        forgetful = at.begin(ledger, SQLiteCosignatures(tmp_path / "another.sqlite"))
        assert {one.outcome for one in await forgetful.submit()} == {Outcome.ALARM}
        assert at.told[-1].kind is AlarmKind.ANOTHER_ROOT


@pytest.mark.anyio
async def test_the_witnesses_alone_notice_a_ledger_that_lost_its_end(tmp_path: Path) -> None:
    async with open_ledger(tmp_path / "ledger") as ledger:
        at = Scene(tmp_path, ledger)
        await at.grow(2)
    shutil.copytree(tmp_path / "ledger", tmp_path / "backup")
    async with open_ledger(tmp_path / "ledger") as ledger:
        at.ledger, at.witnessing = ledger, at.begin(ledger)
        await at.grow(3)
        assert await at.turn() == DONE
    async with open_ledger(tmp_path / "backup") as ledger:
        forgetful = at.begin(ledger, SQLiteCosignatures(tmp_path / "another.sqlite"))
        assert [one.outcome for one in await forgetful.submit()] == [Outcome.ALARM] * 3
        assert {alarm.kind for alarm in at.told} == {AlarmKind.LARGER_TREE}


@pytest.mark.anyio
async def test_two_processes_of_one_ledger_overtake_each_other(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger, open_ledger(tmp_path, index_name="second") as second:
        at = Scene(tmp_path, ledger)
        other = at.begin(second)
        await at.turn()
        await second.record(device(1), device(2))
        assert {one.outcome for one in await other.submit()} == {Outcome.COSIGNED}
        assert await at.turn() == [Outcome.UP_TO_DATE] * 3
        # And where each keeps its own memory of the witnesses.
        own = at.begin(ledger, SQLiteCosignatures(tmp_path / "another.sqlite"))
        overtaken = at.port.answers[at.witnesses[0].url]
        await second.record(device(3))

        def overtake(body: bytes) -> WitnessReply:
            # The other process is quicker by one request.
            at.witnesses[0].store.submit(admit(newer, at.witnesses[0].logs), NOW_S, at.witnesses[0].key)
            return overtaken(body)

        await second.record(device(4))
        at.port.asked.clear()
        await other.submit()
        newer = next(body for url, body in at.port.asked if url == at.witnesses[0].url)
        at.port.answers[at.witnesses[0].url] = overtake
        assert {one.outcome for one in await own.submit()} <= {Outcome.COSIGNED, Outcome.UP_TO_DATE}
        assert at.told == []


@pytest.mark.anyio
async def test_after_a_rotation_witnesses_that_know_either_key_go_on(tmp_path: Path) -> None:
    second = SigningKey(ORIGIN, "second")
    ring = KeyRing(LOG, second)
    async with scene(tmp_path, ring) as at:
        assert await at.turn() == DONE
        at.ledger.coverer = at.witnessing
        await rotate_key(at.ledger, ring, reason="routine", actor="cli")
        await at.grow()
        at.port.answers[at.witnesses[1].url] = LocalWitness(
            tmp_path, 1, second.verifier_key, memory="knows the new key"
        ).answer
        outcomes = await at.turn()
        assert outcomes == [Outcome.COSIGNED, Outcome.ALARM, Outcome.COSIGNED]
        covering = await at.ledger.covering(at.ledger.size - 1)
        assert covering.size == at.ledger.size
        assert open_witnessed_checkpoint(covering.checkpoint, at.witnessing.policy)


@pytest.mark.anyio
async def test_appending_does_not_wait_for_a_witness(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        asked, answer = asyncio.Event(), asyncio.Event()
        plain = at.port.add_checkpoint

        async def slow(url: str, body: bytes) -> WitnessReply:
            asked.set()
            await answer.wait()
            return await plain(url, body)

        at.port.add_checkpoint = slow  # type: ignore[method-assign]
        turn = asyncio.create_task(at.turn())
        await asked.wait()
        await at.grow(3)
        assert not turn.done()
        answer.set()
        # What was asked for is cosigned; what came since is the next turn's.
        assert await turn == DONE
        assert await at.witnessing.cosigned_checkpoint(3) is None
        assert await at.witnessing.cosigned_checkpoint(2) is not None


@pytest.mark.anyio
async def test_a_witness_that_fails_is_asked_less_and_less(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        del at.port.answers[at.witnesses[0].url]
        witnessing = at.begin(at.ledger, interval_seconds=3_600)
        first = await witnessing.submit()
        second = await witnessing.submit()
        assert [one[0].outcome for one in (first, second)] == [Outcome.UNREACHABLE, Outcome.WAITING]


@pytest.mark.anyio
async def test_only_so_many_checkpoints_are_kept_and_the_newest_witnessed_always(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cosignature_store, "CHECKPOINTS_KEPT_MAX", 3)
    async with scene(tmp_path) as at:
        assert await at.turn() == DONE
        for url in [one.url for one in at.witnesses[1:]]:
            del at.port.answers[url]
        for _ in range(8):
            await at.grow()
            await at.turn()
        note = await at.witnessing.cosigned_checkpoint(0)
        assert note is not None
        assert open_witnessed_checkpoint(note, at.witnessing.policy).checkpoint.size == 2
        for one in at.witnesses:
            at.port.answers[one.url] = one.answer
        assert await at.turn() == [Outcome.UP_TO_DATE, Outcome.COSIGNED, Outcome.COSIGNED]
        assert await at.witnessing.cosigned_checkpoint(10) is not None
        assert at.store.prune(ORIGIN, at.witnessing.policy.is_witnessed_by) == 0
        assert at.store.last_of(ORIGIN, at.witnesses[0].key.cosigner_key) is not None


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cosignatures.sqlite"
    path.write_bytes(b"nothing of the kind" * 99)
    with pytest.raises(InvalidError, match="not a file of cosignatures"):
        SQLiteCosignatures(path)


def test_the_readings_of_an_answer() -> None:
    def read(status: int, body: bytes = b"", media_type: str = "text/x.tlog.size") -> object:
        reply = WitnessReply(status=status, media_type=media_type, body=body)
        return read_reply(reply, size_old=10, size_new=30, size_cosigned=10)

    assert read(200, b"x") == Cosigned(b"x")
    assert read(409, b"20\n") == Elsewhere(20)
    assert read(409, b"30\n") == Elsewhere(30)
    assert read(409, b"31\n") == Larger(31)
    assert isinstance(read(409, b"10\n"), Refused)
    assert isinstance(read(409, b"ten\n"), Refused)
    for found, kind in ((read(409, b"9\n"), AlarmKind.FORGOTTEN), (read(422), AlarmKind.ANOTHER_ROOT)):
        assert isinstance(found, Alarming)
        assert found.kind is kind


@given(st.integers(100, 599), st.binary(max_size=60), st.sampled_from(["text/plain", "text/x.tlog.size", ""]))
def test_any_answer_is_read_as_something(status: int, body: bytes, media_type: str) -> None:
    reply = WitnessReply(status=status, media_type=media_type, body=body)
    found = read_reply(reply, size_old=1, size_new=2, size_cosigned=0)
    assert isinstance(found, Cosigned | Elsewhere | Larger | Alarming | Refused)
    if isinstance(found, Cosigned):
        with pytest.raises((MalformedError, InvalidError)):
            cosignature_in(body, "a\n1\nb\n", SigningKey("w").cosigner_key, NOW_S)
