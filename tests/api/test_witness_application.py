"""The protocol over real HTTP, as C2SP tlog-witness says it, byte for byte."""

from __future__ import annotations

import http.client
import json
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.command_line import main
from ledger.cosignature import verify_cosignature
from ledger.notes import format_verifier_key, parse_note, parse_signature_lines, parse_verifier_key
from ledger.witness import AddCheckpoint, format_add_checkpoint
from tests.ledger.signing_key import SigningKey
from tests.ledger.witnessed_log import WitnessedLog
from tests.witness_process import WitnessProcess

HONEST = WitnessedLog(60)
FORKED = WitnessedLog(60, forked_at=5)
ORIGIN = HONEST.key.name
VKEY = format_verifier_key(HONEST.key.verifier_key)


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[WitnessProcess]:
    started = WitnessProcess(tmp_path, "witness.example/w1", [VKEY]).start()
    yield started
    started.kill()


def test_the_answers_of_the_protocol(witness: WitnessProcess) -> None:
    stranger = WitnessedLog(3, key=SigningKey("log.example/stranger"))
    thief = WitnessedLog(3, key=SigningKey(ORIGIN, "thief"))
    above = format_add_checkpoint(AddCheckpoint(size_old=9, path=(), note=HONEST.note(3)))
    assert witness.post(b"old 0\n")[0] == 400
    assert witness.post(above)[0] == 400
    assert witness.post(stranger.request(0, 3))[0] == 404
    assert witness.post(thief.request(0, 3))[0] == 403
    assert witness.post(HONEST.request(3, 7)) == (409, "text/x.tlog.size", b"0\n")

    status, media_type, body = witness.post(HONEST.request(0, 7))
    assert (status, media_type) == (200, "text/plain; charset=utf-8")
    (line,) = parse_signature_lines(body.decode())
    text = parse_note(HONEST.note(7)).text
    verify_cosignature(text, line, parse_verifier_key(witness.vkey))

    assert witness.post(HONEST.request(0, 9)) == (409, "text/x.tlog.size", b"7\n")
    assert witness.post(HONEST.request(7, 9, (bytes(32),)))[0] == 422
    status, media_type, _ = witness.post(FORKED.request(7, 7))
    assert (status, media_type) == (409, "text/plain; charset=utf-8")
    assert witness.post(HONEST.request(7, 60))[0] == 200
    assert witness.post(HONEST.request(60, 60))[0] == 200
    assert witness.post(b"x" * 100_000)[0] == 413

    state = json.loads(witness.get("/"))
    assert (state["name"], state["verifier_key"]) == (witness.name, witness.vkey)
    (standing,) = state["logs"]
    assert (standing["origin"], standing["size"], standing["fork_sizes"]) == (ORIGIN, 60, [7])
    assert parse_note(witness.get(f"/checkpoint?origin={ORIGIN}")).text == parse_note(HONEST.note(60)).text
    evidence = json.loads(witness.get(f"/evidence?origin={ORIGIN}&size=7"))
    assert [one["decision"] for one in evidence["checkpoints"]] == ["cosigned", "another-root"]
    for path in ("/checkpoint?origin=another", "/evidence?origin=another", "/nothing"):
        with pytest.raises(OSError, match="404"):
            witness.get(path)
    for path in ("/evidence", f"/evidence?origin={ORIGIN}&after=-1", "/checkpoint"):
        with pytest.raises(OSError, match="400"):
            witness.get(path)


def tally(
    capsys: pytest.CaptureFixture[str], witness: WitnessProcess, *arguments: str
) -> tuple[int, str, str]:
    """Exit status, output and complaint of `tally witness` in the witness's home."""
    capsys.readouterr()
    status = main(["witness", *arguments, "--home", str(witness.home)])
    told = capsys.readouterr()
    return status, told.out.strip(), told.err.strip()


def test_its_key_and_memory_are_for_it_alone(
    witness: WitnessProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [path for path in (witness.home / "witness").rglob("*") if path != witness.logs_path]
    assert {"keys", "signing", "state.sqlite"} < {path.name for path in made}
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert tally(capsys, witness, "key") == (0, witness.vkey, "")
    status, _, complaint = tally(capsys, witness, "key", "--name", "witness.example/w2")
    assert status == 2
    assert "one name" in complaint


def test_racing_requests_over_http_get_one_root(witness: WitnessProcess) -> None:
    assert witness.post(HONEST.request(0, 5))[0] == 200
    rivals = [WitnessedLog(60, forked_at=5, fork=f"fork {number}").request(5, 33) for number in range(24)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(witness.post, rivals))
    assert sorted(status for status, _, _ in answers) == [200] + [409] * 23
    assert {body for status, _, body in answers if status == 409} == {b"33\n"}
    evidence = json.loads(witness.get(f"/evidence?origin={ORIGIN}&size=33"))
    assert len(evidence["checkpoints"]) == 24


def test_after_a_kill_it_goes_on_from_what_it_signed(witness: WitnessProcess) -> None:
    assert witness.post(HONEST.request(0, 20))[0] == 200
    witness.kill()
    witness.start()
    assert witness.post(FORKED.request(20, 20))[0] == 409
    assert witness.post(FORKED.request(0, 30)) == (409, "text/x.tlog.size", b"20\n")
    assert witness.post(HONEST.request(20, 30))[0] == 200


def test_killed_while_it_works_it_never_signs_two_roots(witness: WitnessProcess) -> None:
    """Three histories compete for every size while the witness is killed again and again."""
    histories = [WitnessedLog(60, forked_at=2, fork=f"fork {number}") for number in range(3)]
    signed: dict[int, bytes] = {}
    assert witness.post(HONEST.request(0, 2))[0] == 200
    size = 2
    for round_ in range(3):

        def ask(log: WitnessedLog, size: int = size) -> tuple[WitnessedLog, int]:
            try:
                return log, witness.post(log.request(size, size + 1))[0]
            except (OSError, http.client.HTTPException):
                return log, 0

        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(ask, log) for log in histories]
            if round_ < 2:
                witness.kill()
            for one in asked:
                log, status = one.result()
                if status == 200:
                    root = log.checkpoint(size + 1).root
                    assert signed.setdefault(size + 1, root) == root
        if round_ < 2:
            witness.start()
        size = json.loads(witness.get("/"))["logs"][0]["size"]
        if size in signed:
            kept = parse_note(witness.get(f"/checkpoint?origin={ORIGIN}")).text
            assert any(parse_note(log.note(size)).text == kept for log in histories)
    assert size >= 3


def test_two_requests_share_a_connection(witness: WitnessProcess) -> None:
    """ "Clients SHOULD use, and witnesses SHOULD support, HTTP keep-alive HTTP connections"."""
    connection = http.client.HTTPConnection("127.0.0.1", witness.port, timeout=30)
    connection.connect()
    assert isinstance(connection.sock, socket.socket)
    port = connection.sock.getsockname()[1]
    for size_old, size in ((0, 5), (5, 9)):
        connection.request("POST", "/add-checkpoint", HONEST.request(size_old, size))
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()
    assert connection.sock.getsockname()[1] == port
    connection.close()


def test_a_witness_without_its_memory_does_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = WitnessProcess(tmp_path, "witness.example/w1", [VKEY])
    (tmp_path / "witness" / "state.sqlite").unlink()
    status, _, complaint = tally(capsys, stopped)
    assert status == 2
    assert "not known any more" in complaint
    assert len(complaint.splitlines()) == 1


def test_a_witness_keeps_its_key_where_the_setting_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("TALLY_KEYS", str(elsewhere))
    stopped = WitnessProcess(tmp_path, "witness.example/w1", [VKEY], keys=str(elsewhere))
    assert [path.suffix for path in (elsewhere / "signing").iterdir()] == [".pem"]
    assert not (tmp_path / "witness" / "keys").exists()
    assert tally(capsys, stopped, "key") == (0, stopped.vkey, "")
    try:
        assert stopped.start().post(HONEST.request(0, 7))[0] == 200
    finally:
        stopped.kill()

    monkeypatch.setenv("TALLY_KEYS", str(tmp_path / "empty"))
    status, _, complaint = tally(capsys, stopped, "key")
    assert (status, "does not hold the key" in complaint) == (2, True)

    monkeypatch.setenv("TALLY_KEYS", str(elsewhere))
    (tmp_path / "witness" / "state.sqlite").unlink()
    status, _, complaint = tally(capsys, stopped, "key")
    assert (status, "one name" in complaint) == (2, True)
    assert not (tmp_path / "witness" / "state.sqlite").exists(), "or a forgotten key could be taken up again"
    status, _, complaint = tally(capsys, stopped, "key", "--name", stopped.name)
    assert (status, "not known any more" in complaint) == (2, True)


@pytest.mark.parametrize("text", ["", "log nonsense\nquorum none\n", "quorum none\n", None])
def test_a_list_of_logs_that_is_none_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    stopped = WitnessProcess(tmp_path, "witness.example/w1", [VKEY])
    stopped.logs_path.unlink()
    if text is not None:
        stopped.logs_path.write_text(text)
    for action in ("serve", "evidence"):
        status, _, complaint = tally(capsys, stopped, action)
        assert status == 2
        assert len(complaint.splitlines()) == 1
