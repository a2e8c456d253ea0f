"""What every test stands on: hypothesis profiles, the async backend, no network but loopback, shared data."""

import os
import socket
import sys
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# The same examples on every run, so that what CI refuses a desk refuses too; no deadline: cores are shared.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    max_examples=60,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# New examples on every run: `HYPOTHESIS_PROFILE=search pytest tests/domain`.
settings.register_profile("search", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


class NetworkRefusedError(RuntimeError):
    """A test reached for an address that is not on this machine."""


def _is_local(host: object) -> bool:
    """Say whether a host, as `socket` takes it, is this machine's loopback or a name for it."""
    if isinstance(host, bytes | bytearray):
        host = bytes(host).decode("ascii", errors="replace")
    if not isinstance(host, str) or host in {"", "localhost"}:
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse_the_network(event: str, arguments: tuple[object, ...]) -> None:
    """Audit hook. It sees Python's own sockets, and neither uvloop's, gRPC's nor a child process's."""
    if event in {"socket.connect", "socket.sendto"}:
        connection, address = arguments
        inet = {socket.AF_INET, socket.AF_INET6}
        if isinstance(connection, socket.SocketType) and connection.family not in inet:
            return
        host = address[0] if isinstance(address, tuple) else address
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if not _is_local(host):
        raise NetworkRefusedError(f"tests reach loopback only, not {host!r}")


sys.addaudithook(_refuse_the_network)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run `@pytest.mark.anyio` tests on asyncio, the loop that the product runs on."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
async def one_event_loop(anyio_backend: str) -> AsyncIterator[None]:
    """Keep one event loop for all `anyio` tests of a process, as the product has one.

    gRPC's asyncio client has one queue per process; what it still holds for a loop that has been closed would
    fail in the next test's loop.
    """
    yield  # noqa: PT022 - only a generator holds on to the loop


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Open folder of sample payloads beside the repository; not part of it, so a clone alone skips."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no shared/data beside this checkout")
    return folder
