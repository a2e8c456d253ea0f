"""The directory vault: its contract, its files, and what every crash and every damage leaves."""

import asyncio
import contextlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from adapters import vault_directory
from adapters.vault_directory import DirectoryVault
from domain.digests import Digest, digest_hex, digest_of
from domain.errors import InvalidError, LimitError
from ledger.errors import CorruptObjectError, UnknownObjectError
from tests.adapters.killed_process import needs_strace, run_and_kill
from tests.contracts.vault_contract import VaultContract

ROOT = Path(__file__).resolve().parents[2]
DATA = b"an hour of ground motion"


class TestDirectoryVault(VaultContract):
    @pytest.fixture
    def vault(self, tmp_path: Path) -> DirectoryVault:
        return DirectoryVault(tmp_path / "tenant" / "vault")


def object_path(root: Path, digest: Digest) -> Path:
    name = digest_hex(digest)
    return root / "objects" / name[:2] / name


def damage(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(0o400)


def test_objects_can_be_read_by_their_owner_and_changed_by_nobody(tmp_path: Path) -> None:
    digest = asyncio.run(DirectoryVault(tmp_path / "vault").put(DATA))
    path = object_path(tmp_path / "vault", digest)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    for folder in (path.parent, path.parent.parent, tmp_path / "vault" / "staging", tmp_path / "vault"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert path.stat().st_nlink == 1


@pytest.mark.parametrize("changed", [b"", DATA[:-1], DATA + b"\0", b"another" + DATA[7:]])
def test_a_damaged_object_is_never_handed_out(tmp_path: Path, changed: bytes) -> None:
    vault = DirectoryVault(tmp_path)
    digest = asyncio.run(vault.put(DATA))
    damage(object_path(tmp_path, digest), changed)
    with pytest.raises(CorruptObjectError) as caught:
        asyncio.run(vault.get(digest))
    assert caught.value.digest == digest
    assert caught.value.actual_digest == digest_of(changed)


def test_a_damaged_object_is_found_when_put_again_and_kept_as_evidence(tmp_path: Path) -> None:
    vault = DirectoryVault(tmp_path)
    digest = asyncio.run(vault.put(DATA))
    damage(object_path(tmp_path, digest), b"damaged")
    with pytest.raises(CorruptObjectError):
        asyncio.run(vault.put(DATA))
    assert object_path(tmp_path, digest).read_bytes() == b"damaged"


def test_an_object_too_large_to_be_ours_is_named_without_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = DirectoryVault(tmp_path)
    digest = asyncio.run(vault.put(DATA))
    monkeypatch.setattr(vault_directory, "OBJECT_BYTES_MAX", 100)
    damage(object_path(tmp_path, digest), bytes(101))
    with pytest.raises(CorruptObjectError) as caught:
        asyncio.run(vault.get(digest))
    assert caught.value.actual_digest == digest_of(bytes(101))
    with pytest.raises(LimitError):
        asyncio.run(vault.put(bytes(101)))


def test_a_symbolic_link_in_place_of_an_object_is_not_followed(tmp_path: Path) -> None:
    vault = DirectoryVault(tmp_path / "vault")
    digest = asyncio.run(vault.put(DATA))
    path = object_path(tmp_path / "vault", digest)
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(DATA)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidError):
        asyncio.run(vault.get(digest))
    with pytest.raises(InvalidError):
        asyncio.run(vault.put(DATA))


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path, make: object) -> None:
    vault = DirectoryVault(tmp_path)
    digest = asyncio.run(vault.put(DATA))
    object_path(tmp_path, digest).unlink()
    make(object_path(tmp_path, digest))  # type: ignore[operator]
    with pytest.raises(InvalidError):
        asyncio.run(vault.get(digest))


def test_opening_sweeps_what_a_dead_writer_left(tmp_path: Path) -> None:
    DirectoryVault(tmp_path)
    (tmp_path / "staging" / "left-behind").write_bytes(b"half of an obj")
    DirectoryVault(tmp_path)
    assert not list((tmp_path / "staging").iterdir())


def test_opening_leaves_a_writer_at_work_alone(tmp_path: Path) -> None:
    DirectoryVault(tmp_path)
    code = (
        "import fcntl, os, sys\n"
        "descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)\n"
        "fcntl.flock(descriptor, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    staged = tmp_path / "staging" / "at-work"
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(staged)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"locked\n"
        DirectoryVault(tmp_path)
        assert staged.exists()
    finally:
        writer.kill()
        writer.communicate()
    DirectoryVault(tmp_path)
    assert not staged.exists()


def test_two_processes_that_open_and_put_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from adapters.vault_directory import DirectoryVault\n"
        "for i in range(60):\n"
        "    asyncio.run(DirectoryVault(Path(sys.argv[1])).put(b'object %d' % i))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    vault = DirectoryVault(tmp_path)
    for i in range(60):
        assert asyncio.run(vault.get(digest_of(b"object %d" % i))) == b"object %d" % i
    assert not list((tmp_path / "staging").iterdir())


PUT_ONE = (
    "import os, sys\n"
    "from pathlib import Path\n"
    "from adapters.vault_directory import DirectoryVault\n"
    "vault = DirectoryVault(Path(sys.argv[1]))\n"
    "vault._put(sys.argv[2].encode())\n"
    "os.write(1, b'acknowledged')\n"
)


@needs_strace
@pytest.mark.parametrize(
    ("system_call", "nth"),
    # Every call that changes the disk, at every occurrence there is, before it takes effect.
    [
        ("mkdir", 1),
        ("mkdir", 2),
        ("mkdir", 3),
        ("mkdir", 4),
        ("fsync", 1),
        ("fsync", 2),
        ("fsync", 3),
        ("fsync", 4),
        ("fsync", 5),
        ("fsync", 6),
        ("flock", 1),
        ("fchmod", 1),
        ("link", 1),
        ("unlink", 1),
    ],
)
def test_killed_at_any_step_a_put_leaves_all_of_the_object_or_nothing(
    tmp_path: Path, system_call: str, nth: int
) -> None:
    root = tmp_path / "vault"
    killed = run_and_kill(PUT_ONE, [str(root), DATA.decode()], system_call=system_call, nth=nth)
    assert killed.stdout == b"", "nothing was acknowledged before the crash"

    vault = DirectoryVault(root)
    digest = digest_of(DATA)
    # Whole, or not there; CorruptObjectError would be neither.
    with contextlib.suppress(UnknownObjectError):
        assert asyncio.run(vault.get(digest)) == DATA
    assert not list((root / "staging").iterdir())
    assert asyncio.run(vault.put(DATA)) == digest
    assert asyncio.run(vault.get(digest)) == DATA


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """RLIMIT_FSIZE refuses the write as a full disk does (EFBIG beside ENOSPC)."""
    code = (
        "import asyncio, resource, signal, sys\n"
        "from pathlib import Path\n"
        "from adapters.vault_directory import DirectoryVault\n"
        "from domain.errors import LimitError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "vault = DirectoryVault(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    asyncio.run(vault.put(bytes(5000)))\n"
        "except LimitError as error:\n"
        "    print(error.remedy)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "nothing was stored" in run.stdout
    assert not list((tmp_path / "staging").iterdir())
    assert not asyncio.run(DirectoryVault(tmp_path).has(digest_of(bytes(5000))))
