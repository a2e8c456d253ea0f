"""The guard in conftest.py: a test that reaches past this machine fails at once, not by a time-out."""

import socket
import threading

import pytest

from tests.conftest import NetworkRefusedError


def test_connecting_past_this_machine_is_refused() -> None:
    with socket.socket() as connection, pytest.raises(NetworkRefusedError):
        connection.connect(("192.0.2.1", 80))


def test_sending_a_datagram_past_this_machine_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, pytest.raises(NetworkRefusedError):
        sender.sendto(b"?", ("192.0.2.1", 53))


@pytest.mark.parametrize("host", ["ledger.example", "2001:db8::1"])
def test_looking_up_a_foreign_host_is_refused(host: str) -> None:
    with pytest.raises(NetworkRefusedError):
        socket.create_connection((host, 443))


def test_loopback_is_reached_by_address_and_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            answering = threading.Thread(target=lambda: server.accept()[0].close())
            answering.start()
            socket.create_connection((host, port)).close()
            answering.join()


def test_unix_sockets_are_left_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = str(tmp_path_factory.mktemp("s") / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
