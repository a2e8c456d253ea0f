"""The memory of idempotency keys: the same request again, another one, and after a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.answered_requests import KEPT_SECONDS, Answer, AnsweredRequests, ReusedKeyError

NOW = 1_774_850_000_000_000_000
ONE, OTHER = b"\1" * 32, b"\2" * 32
ANSWER = Answer(status=201, location="/v1/batches/b1", body=b"{}")


def test_a_new_key_has_no_answer_yet(tmp_path: Path) -> None:
    assert AnsweredRequests(tmp_path / "a.sqlite").begin("k", ONE, NOW) is None


def test_the_same_request_gets_the_same_answer_also_after_a_restart(tmp_path: Path) -> None:
    first = AnsweredRequests(tmp_path / "a.sqlite")
    first.begin("k", ONE, NOW)
    first.finish("k", ANSWER)
    assert first.begin("k", ONE, NOW) == ANSWER
    first.close()
    assert AnsweredRequests(tmp_path / "a.sqlite").begin("k", ONE, NOW) == ANSWER


def test_another_request_under_the_same_key_is_refused_also_before_the_first_is_answered(
    tmp_path: Path,
) -> None:
    memory = AnsweredRequests(tmp_path / "a.sqlite")
    memory.begin("k", ONE, NOW)
    with pytest.raises(ReusedKeyError):
        memory.begin("k", OTHER, NOW)
    memory.finish("k", ANSWER)
    with pytest.raises(ReusedKeyError):
        memory.begin("k", OTHER, NOW)


def test_a_request_that_was_not_answered_may_be_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    AnsweredRequests(path).begin("k", ONE, NOW)  # and then the process died
    assert AnsweredRequests(path).begin("k", ONE, NOW) is None


def test_a_key_is_forgotten_when_its_time_is_over(tmp_path: Path) -> None:
    memory = AnsweredRequests(tmp_path / "a.sqlite")
    memory.begin("k", ONE, NOW)
    memory.finish("k", ANSWER)
    later = NOW + KEPT_SECONDS * 1_000_000_000
    assert memory.begin("k", ONE, later) == ANSWER
    assert memory.begin("k", OTHER, later + 1) is None


def test_the_first_answer_stays(tmp_path: Path) -> None:
    memory = AnsweredRequests(tmp_path / "a.sqlite")
    memory.begin("k", ONE, NOW)
    memory.finish("k", ANSWER)
    memory.finish("k", Answer(status=200, location="", body=b"later"))
    assert memory.begin("k", ONE, NOW) == ANSWER


def test_two_processes_share_it(tmp_path: Path) -> None:
    one, other = (AnsweredRequests(tmp_path / "a.sqlite") for _ in range(2))
    one.begin("k", ONE, NOW)
    one.finish("k", ANSWER)
    assert other.begin("k", ONE, NOW) == ANSWER


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"this is no database, and long enough to be told from an empty one" * 20)
    assert AnsweredRequests(path).begin("k", ONE, NOW) is None
    assert path.with_name("a.sqlite.damaged").exists()
