"""Messages between parent and child: whole, limited, and never half believed."""

import io

import pytest

from adapters.executor.wire import READY, Ready, receive, send
from domain.errors import LimitError, MalformedError

MESSAGE = Ready(facts={"numpy": "2.4.6"}, deviations=("one",))


def sent() -> bytes:
    pipe = io.BytesIO()
    send(pipe, MESSAGE, 1_000)
    return pipe.getvalue()


def test_a_message_comes_back() -> None:
    data = receive(io.BytesIO(sent() + sent()), 1_000)
    assert data is not None
    assert READY.decode(data) == MESSAGE


def test_the_end_of_a_pipe_is_no_message() -> None:
    assert receive(io.BytesIO(b""), 1_000) is None


@pytest.mark.parametrize("size", [1, 7, 8, 9, -1])
def test_a_message_that_is_cut_off_is_refused(size: int) -> None:
    with pytest.raises(MalformedError):
        receive(io.BytesIO(sent()[:size]), 1_000)


def test_a_claim_above_the_limit_is_refused_before_it_is_read() -> None:
    pipe = io.BytesIO((10 * 1024**3).to_bytes(8, "big") + bytes(10))
    with pytest.raises(MalformedError):
        receive(pipe, 1024**3)
    assert pipe.tell() == 8


def test_nothing_of_a_message_above_the_limit_is_sent() -> None:
    pipe = io.BytesIO()
    with pytest.raises(LimitError):
        send(pipe, MESSAGE, 10)
    assert pipe.getvalue() == b""
