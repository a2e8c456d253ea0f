"""External time: a real authority stamps a checkpoint, openssl agrees, and every lie about it is found."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rfc3161_client", reason="the extra tsa is not installed")

from adapters.timestamp_authority import HttpTimestampAuthority, parse_certificates
from api.command_line import main
from api.commands.command import CHECK_FAILED, DONE
from domain.errors import InvalidError, LimitError, MalformedError, TallystickError
from domain.events import CheckpointTimestamped
from ledger.audit import audit
from ledger.ledger import Proposal
from ledger.recorded import event_of
from ledger.timestamping import (
    TOKEN_BYTES_MAX,
    stamped_checkpoints,
    timestamp_checkpoint,
    verify_timestamps,
)
from tests.adapters.timestamping import Authority, needs_openssl
from tests.story.told import at_desk

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with Authority(tmp_path_factory.mktemp("authority")).serving() as authority:
        yield authority


@pytest.fixture
def authority(served: Authority) -> Authority:
    return honest(served)


def honest(served: Authority) -> Authority:
    """The authority as it is when no test has told it to lie."""
    served.kept, served.status, served.kind = None, 200, "application/timestamp-reply"
    return served


def client(authority: Authority, *, root: Authority | None = None) -> HttpTimestampAuthority:
    return HttpTimestampAuthority([(root or authority).root], authority.url)


@pytest.mark.anyio
async def test_a_stamp_is_recorded_and_openssl_takes_it(
    home: Path, authority: Authority, tmp_path: Path
) -> None:
    async with at_desk(home) as (_, desk):
        note, size = desk.ledger.checkpoint, desk.ledger.size
        before = time.time_ns()
        recorded = await timestamp_checkpoint(desk.ledger, client(authority), "test")
        event = event_of(recorded, CheckpointTimestamped)
        assert (event.size, recorded.index) == (size, size)
        assert event.authority == "CN=Test Authority"
        assert event.accuracy_ns == 1_500_000_000
        # openssl cuts its time to whole seconds.
        assert before - 1_000_000_000 <= event.time_ns <= time.time_ns()
        (stamped,) = await stamped_checkpoints(desk.ledger.log, desk.ledger.name)
        assert stamped.note == note
        verify_timestamps([stamped], HttpTimestampAuthority([authority.root]))
        assert (await audit(desk.ledger.log, desk.ledger.name)).is_clean
    (tmp_path / "note").write_bytes(note)
    (tmp_path / "token").write_bytes(event.token)
    assert await asyncio.to_thread(openssl_takes_it, tmp_path, authority)


def openssl_takes_it(folder: Path, authority: Authority) -> bool:
    command = ["openssl", "ts", "-verify", "-in", "token", "-data", "note", "-CAfile"]
    certificate = str(authority.folder / "ca.pem")
    return (
        subprocess.run([*command, certificate], cwd=folder, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.anyio
async def test_an_answer_to_another_question_is_refused(authority: Authority) -> None:
    first = await client(authority).stamp(b"one checkpoint")
    authority.kept = first.token
    with pytest.raises(InvalidError, match="does not verify"):
        await client(authority).stamp(b"one checkpoint")  # an old answer: the nonce is another
    with pytest.raises(InvalidError, match="does not verify"):
        client(authority).verify(first.token, b"another checkpoint")


@pytest.mark.anyio
async def test_another_root_is_not_believed(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    with pytest.raises(InvalidError, match="does not verify"):
        await client(authority, root=stranger).stamp(b"a checkpoint")


@pytest.mark.anyio
async def test_a_refusal_says_why(tmp_path: Path) -> None:
    with Authority(tmp_path / "only sha512", digests="sha512").serving() as authority:
        with pytest.raises(InvalidError, match="refused") as refused:
            await client(authority).stamp(b"a checkpoint")
        assert "algorithm" in refused.value.actual


@pytest.mark.anyio
async def test_answers_that_are_none_are_refused(authority: Authority) -> None:
    authority.kept = b"<html>welcome</html>"
    with pytest.raises(MalformedError, match="not a timestamp"):
        await client(authority).stamp(b"a checkpoint")
    authority.kept = bytes(TOKEN_BYTES_MAX + 1)
    with pytest.raises(LimitError):
        await client(authority).stamp(b"a checkpoint")
    authority.kept, authority.kind = b"", "text/html"
    with pytest.raises(MalformedError, match="answer"):
        await client(authority).stamp(b"a checkpoint")
    authority.kind, authority.status = "application/timestamp-reply", 503
    with pytest.raises(MalformedError, match="answer"):
        await client(authority).stamp(b"a checkpoint")
    gone = HttpTimestampAuthority([authority.root], "http://127.0.0.1:1/")
    with pytest.raises(InvalidError, match="cannot be reached"):
        await gone.stamp(b"a checkpoint")


@pytest.fixture(scope="module")
def token(served: Authority) -> bytes:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, client(honest(served)).stamp(b"a checkpoint")).result().token


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_changed_token_is_refused_or_says_the_same(
    served: Authority, token: bytes, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(token) - 1))
    changed = bytearray(token)
    changed[place] ^= data.draw(st.integers(1, 255))
    good = client(served).verify(token, b"a checkpoint")
    try:
        told = client(served).verify(bytes(changed), b"a checkpoint")
    except TallystickError:
        return
    assert (told.time_ns, told.accuracy_ns) == (good.time_ns, good.accuracy_ns)


@pytest.mark.anyio
async def test_a_token_that_is_over_something_else_is_found(home: Path, authority: Authority) -> None:
    async with at_desk(home) as (_, desk):
        stamped = await client(authority).stamp(b"not a checkpoint")
        event = CheckpointTimestamped(
            size=2,
            digest="sha256:" + "0" * 64,
            authority=stamped.authority,
            time_ns=stamped.time_ns,
            accuracy_ns=None,
            token=stamped.token,
        )
        await desk.ledger.record(Proposal(event=event, actor="test", subject="checkpoint/2"))
        with pytest.raises(InvalidError, match="another checkpoint"):
            await stamped_checkpoints(desk.ledger.log, desk.ledger.name)
        report = await audit(desk.ledger.log, desk.ledger.name)
        assert [finding.check for finding in report.findings] == ["timestamp"]


def test_the_command_stamps_checks_and_exports(
    home: Path, authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ca = ["--ca", str(authority.folder / "ca.pem"), "--home", str(home)]
    assert main(["timestamp", *ca, "--url", authority.url]) == DONE
    assert "CN=Test Authority" in capsys.readouterr().out
    out = tmp_path / "out"
    assert main(["timestamp", *ca, "--export", str(out)]) == DONE
    (note,) = out.glob("*.checkpoint")
    assert note.with_suffix(".tsr").exists()
    stranger = Authority(tmp_path / "stranger")
    elsewhere = ["--ca", str(stranger.folder / "ca.pem"), "--home", str(home)]
    assert main(["timestamp", *elsewhere]) == CHECK_FAILED


def test_certificates_that_are_none_are_refused(authority: Authority) -> None:
    with pytest.raises(MalformedError):
        parse_certificates(b"-----BEGIN CERTIFICATE-----\nnot one\n-----END CERTIFICATE-----\n")
    with pytest.raises(InvalidError, match="root"):
        HttpTimestampAuthority([authority.certificate])
    for url in ("ftp://x", "http://", "http://user@x/", "x"):
        with pytest.raises(MalformedError):
            HttpTimestampAuthority([authority.root], url)
