"""The key store in files: its contract, who may read the files, and interrupted destructions."""

import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from adapters.key_store_file import FileKeyStore
from domain.errors import InvalidError, MalformedError
from ledger.errors import UnknownSubjectKeyError
from tests.adapters.killed_process import needs_strace, run_and_kill
from tests.contracts.key_store_contract import ORIGIN, KeyStoreContract

ROOT = Path(__file__).resolve().parents[2]
SIGNING_FILE = "signing/tallystick.example%2Fledger-acme.pem"


class TestFileKeyStore(KeyStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], FileKeyStore]:
        return lambda: FileKeyStore(tmp_path / "keys")


def test_keys_are_private_files_in_private_folders(tmp_path: Path) -> None:
    store = FileKeyStore(tmp_path / "keys")
    store.signer(ORIGIN)
    store.create_subject_key("person-1")
    for path in (tmp_path / "keys").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert not list((tmp_path / "keys" / "staging").iterdir())


def test_a_signing_key_is_standard_pem(tmp_path: Path) -> None:
    signer = FileKeyStore(tmp_path).signer(ORIGIN)
    key = load_pem_private_key((tmp_path / SIGNING_FILE).read_bytes(), password=None)
    assert key.public_key().public_bytes_raw() == signer.public_key  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666, 0o644])
def test_a_key_that_others_may_reach_is_refused(tmp_path: Path, mode: int) -> None:
    store = FileKeyStore(tmp_path)
    store.signer(ORIGIN)
    store.create_subject_key("person-1")
    for path in (tmp_path / SIGNING_FILE, tmp_path / "subjects" / "person-1.key"):
        path.chmod(mode)
    store = FileKeyStore(tmp_path)
    with pytest.raises(InvalidError) as signing:
        store.signer(ORIGIN)
    with pytest.raises(InvalidError) as subject:
        store.subject_key("person-1")
    for caught in (signing, subject):
        assert caught.value.actual == f"mode {mode:04o}"
        assert "chmod 600" in caught.value.remedy


def test_a_folder_that_others_may_list_is_refused(tmp_path: Path) -> None:
    FileKeyStore(tmp_path / "keys")
    (tmp_path / "keys" / "signing").chmod(0o755)
    with pytest.raises(InvalidError) as caught:
        FileKeyStore(tmp_path / "keys")
    assert "chmod 700" in caught.value.remedy


def elliptic_curve_pem() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    "content", [b"", b"not a key", bytes(119), elliptic_curve_pem()], ids=["empty", "text", "zeros", "p256"]
)
def test_a_file_that_holds_no_ed25519_key_is_refused(tmp_path: Path, content: bytes) -> None:
    FileKeyStore(tmp_path).signer(ORIGIN)
    (tmp_path / SIGNING_FILE).write_bytes(content)
    with pytest.raises(MalformedError):
        FileKeyStore(tmp_path).signer(ORIGIN)


def test_a_key_file_without_end_is_not_read_to_it(tmp_path: Path) -> None:
    FileKeyStore(tmp_path).signer(ORIGIN)
    with (tmp_path / SIGNING_FILE).open("r+b") as file:
        file.truncate(10 * 1024**3)
    with pytest.raises(InvalidError):
        FileKeyStore(tmp_path).signer(ORIGIN)


def test_a_link_in_place_of_a_key_is_not_followed(tmp_path: Path) -> None:
    FileKeyStore(tmp_path / "keys").signer(ORIGIN)
    path = tmp_path / "keys" / SIGNING_FILE
    path.rename(tmp_path / "stolen.pem")
    path.symlink_to(tmp_path / "stolen.pem")
    with pytest.raises(InvalidError):
        FileKeyStore(tmp_path / "keys").signer(ORIGIN)


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_subject_key_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    FileKeyStore(tmp_path).create_subject_key("person-1")
    (tmp_path / "subjects" / "person-1.key").write_bytes(bytes(size))
    with pytest.raises(MalformedError):
        FileKeyStore(tmp_path).subject_key("person-1")


def test_a_destruction_that_a_crash_interrupted_is_finished_on_opening(tmp_path: Path) -> None:
    key = FileKeyStore(tmp_path).create_subject_key("person-1")
    # The crash came after the tombstone and before the erasure.
    (tmp_path / "subjects" / "person-1.destroyed").touch(mode=0o600)
    store = FileKeyStore(tmp_path)
    assert not (tmp_path / "subjects" / "person-1.key").exists()
    with pytest.raises(UnknownSubjectKeyError) as caught:
        store.subject_key("person-1")
    assert caught.value.is_destroyed
    assert not any(key in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_destroying_leaves_no_copy_under_the_root(tmp_path: Path) -> None:
    store = FileKeyStore(tmp_path)
    key = store.create_subject_key("person-1")
    store.destroy_subject_key("person-1")
    assert not any(key in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_processes_that_race_agree_on_one_key(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from adapters.key_store_file import FileKeyStore\n"
        "sys.stdin.read()\n"
        "store = FileKeyStore(Path(sys.argv[1]))\n"
        "print(store.signer('example.org/x').public_key.hex(), store.create_subject_key('person-1').hex())\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    assert len({racer.communicate()[0] for racer in racers}) == 1
    assert all(racer.returncode == 0 for racer in racers)


CREATE = (
    "import os, sys\n"
    "from pathlib import Path\n"
    "from adapters.key_store_file import FileKeyStore\n"
    "FileKeyStore(Path(sys.argv[1])).create_subject_key('person-1')\n"
    "os.write(1, b'acknowledged')\n"
)
DESTROY = CREATE.replace("create_subject_key", "destroy_subject_key")


@needs_strace
@pytest.mark.parametrize(
    ("system_call", "nth"), [("fchmod", 1), ("fsync", 1), ("link", 1), ("fsync", 2), ("unlink", 1)]
)
def test_killed_at_any_step_a_key_is_made_whole_or_not_at_all(
    tmp_path: Path, system_call: str, nth: int
) -> None:
    FileKeyStore(tmp_path)
    killed = run_and_kill(CREATE, [str(tmp_path)], system_call=system_call, nth=nth)
    assert killed.stdout == b""
    key = FileKeyStore(tmp_path).create_subject_key("person-1")
    assert len(key) == 64
    assert FileKeyStore(tmp_path).subject_key("person-1") == key


@needs_strace
@pytest.mark.parametrize(
    ("system_call", "nth", "is_destroyed"),
    [
        ("fsync", 1, False),
        ("link", 1, False),
        ("fsync", 2, True),
        ("unlink", 1, True),
        ("fsync", 3, True),
        ("unlink", 2, True),
        ("fsync", 4, True),
    ],
)
def test_killed_at_any_step_a_destruction_is_done_or_not_begun(
    tmp_path: Path, system_call: str, nth: int, is_destroyed: bool
) -> None:
    key = FileKeyStore(tmp_path).create_subject_key("person-1")
    killed = run_and_kill(DESTROY, [str(tmp_path)], system_call=system_call, nth=nth)
    assert killed.stdout == b""
    store = FileKeyStore(tmp_path)
    if is_destroyed:
        with pytest.raises(UnknownSubjectKeyError) as caught:
            store.subject_key("person-1")
        assert caught.value.is_destroyed
        assert not any(key in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    else:
        assert store.subject_key("person-1") == key
