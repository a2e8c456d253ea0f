"""The key store in a PKCS#11 token, run against SoftHSM (Debian: softhsm2)."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.key_store_pkcs11 import Pkcs11KeyStore
from adapters.pkcs11_uri import parse_pkcs11_uri
from domain.errors import InvalidError, MalformedError, UnknownError
from ledger.audit import audit
from ledger.key_change import revoke_key, rotate_key
from ledger.ledger import ledger_name
from tests.contracts.key_store_contract import ORIGIN, KeyStoreContract
from tests.ledger import desk
from tests.ledger.desk import TENANT, open_ledger
from tests.ledger.test_ledger import batch

MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"),
)
PIN, LABEL = "1234", "tally test"


@pytest.fixture(scope="session")
def token_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A token of this test run.  SoftHSM reads its configuration once, when a process first loads it."""
    pytest.importorskip("pkcs11", reason="needs python-pkcs11")
    module = next((path for path in MODULES if path.exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("needs SoftHSM (Debian: softhsm2)")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(
        f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "4321"],
        check=True,
        capture_output=True,
    )
    pin = folder / "pin"
    pin.write_text(f"{PIN}\n")
    pin.chmod(0o600)
    return f"pkcs11:token=tally%20test?module-path={module}&pin-source=file:{pin}"


@pytest.fixture
def token(token_uri: str, tmp_path: Path) -> Iterator[str]:
    """The token, emptied after each test."""
    yield token_uri
    store = Pkcs11KeyStore(token_uri, tmp_path / "keys")
    with store._token._working() as session:
        for found in list(session.get_objects()):
            found.destroy()
    store._token._keys.clear()


class TestPkcs11KeyStore(KeyStoreContract):
    @pytest.fixture
    def open_store(self, token: str, tmp_path: Path) -> Callable[[], Pkcs11KeyStore]:
        return lambda: Pkcs11KeyStore(token, tmp_path / "keys")


def test_private_keys_cannot_be_read_out(token: str, tmp_path: Path) -> None:
    from pkcs11 import Attribute, ObjectClass
    from pkcs11.exceptions import AttributeSensitive

    store = Pkcs11KeyStore(token, tmp_path / "keys")
    store.signer(ORIGIN)
    store.create_subject_key("person-1")
    with store._token._working() as session:
        for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY):
            (key,) = session.get_objects({Attribute.CLASS: kind})
            with pytest.raises(AttributeSensitive):
                _ = key[Attribute.VALUE]


def test_a_persons_key_is_on_disk_only_wrapped_and_bound_to_its_name(token: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    store = Pkcs11KeyStore(token, keys)
    one, two = store.create_subject_key("person-1"), store.create_subject_key("person-2")
    for path in keys.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
        assert path.is_dir() or (one not in path.read_bytes() and two not in path.read_bytes())
    first, second = (keys / "subjects" / f"person-{number}.wrapped" for number in (1, 2))
    first.write_bytes(second.read_bytes())
    with pytest.raises(InvalidError):
        Pkcs11KeyStore(token, keys).subject_key("person-1")
    second.write_bytes(second.read_bytes()[:-1] + b"\0")
    with pytest.raises(InvalidError):
        Pkcs11KeyStore(token, keys).subject_key("person-2")


@pytest.mark.anyio
async def test_a_ledger_seals_and_rotates_with_keys_in_a_device(token: str, tmp_path: Path) -> None:
    store = Pkcs11KeyStore(token, tmp_path / "keys")
    async with open_ledger(tmp_path, keys=store) as ledger:
        first = ledger.verifier_key
        await ledger.record(batch(1))
        await rotate_key(ledger, store, reason="once a year", actor="cli")
        await revoke_key(ledger, first.key_id.hex(), reason="retired", actor="cli")
        await ledger.record(batch(2))
    async with open_ledger(tmp_path, keys=Pkcs11KeyStore(token, tmp_path / "keys")) as ledger:
        await ledger.record(batch(3))
    log = desk.open_log(tmp_path / "log")
    assert (await audit(log, ledger_name(TENANT), trusted=first)).is_clean
    await log.close()


def test_what_is_not_there_is_named_and_no_pin_is(token_uri: str, tmp_path: Path) -> None:
    module = parse_pkcs11_uri(token_uri).module_path
    for uri, missing in (
        (f"pkcs11:token=another?module-path={module}&pin-value=secret", "no such token"),
        ("pkcs11:token=x?module-path=/nowhere.so&pin-value=secret", "no such PKCS#11 library"),
    ):
        with pytest.raises(UnknownError, match=missing) as caught:
            Pkcs11KeyStore(uri, tmp_path / "keys")
        assert "secret" not in str(caught.value)


def test_a_wrong_pin_is_refused(token_uri: str, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from adapters.key_store_pkcs11 import Pkcs11KeyStore\n"
        "from domain.errors import InvalidError\n"
        "try:\n    Pkcs11KeyStore(sys.argv[1], Path(sys.argv[2]))\n"
        "except InvalidError as error:\n    print(error)\n"
    )
    wrong = token_uri.partition("&pin-source")[0] + "&pin-value=9999"
    import sys

    told = subprocess.run(
        [sys.executable, "-c", code, wrong, str(tmp_path / "keys")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=True,
        text=True,
    )
    assert "PinIncorrect" in told.stdout
    assert "9999" not in told.stdout


def test_a_uri_says_which_token() -> None:
    place = parse_pkcs11_uri(
        "pkcs11:token=My%20token;serial=0001;model=m;manufacturer=x;slot-id=7"
        "?module-path=/usr/lib/hsm.so&pin-source=file:///run/pin"
    )
    assert (place.token, place.serial, place.model, place.manufacturer) == ("My token", "0001", "m", "x")
    assert (place.slot_id, str(place.module_path), str(place.pin_source)) == (
        7,
        "/usr/lib/hsm.so",
        "/run/pin",
    )


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "pkcs11:",
        "pkcs11:token=x",
        "pkcs12:token=x?module-path=/x",
        "pkcs11:token?module-path=/x",
        "pkcs11:token=?module-path=/x",
        "pkcs11:token=a;token=b?module-path=/x",
        "pkcs11:object=key?module-path=/x",
        "pkcs11:token=a b?module-path=/x",
        "pkcs11:token=%ff?module-path=/x",
        "pkcs11:token=%00?module-path=/x",
        "pkcs11:token=%zz?module-path=/x",
        "pkcs11:slot-id=x?module-path=/x",
        "pkcs11:token=x?module-path=/x&module-path=/y",
        "pkcs11:token=x?module-path=/x&pin-value=1&pin-source=/p",
        "pkcs11:token=x?pin-value=hidden",
        "pkcs11:token=x?module-path=/x&pin-value=hidden&wrong=1",
        "pkcs11:" + "x" * 5_000,
    ],
)
def test_what_is_no_uri_is_refused_without_its_pin(uri: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_pkcs11_uri(uri)
    assert "hidden" not in str(caught.value)
