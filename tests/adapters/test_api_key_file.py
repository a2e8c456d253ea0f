"""API keys in a file: what is told about a key, what is kept of it, and that no change is lost."""

from __future__ import annotations

import os
import string
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.api_key_file import ApiKeyFile, DamagedKeyFileError, RefusedKeyError
from domain.errors import MalformedError, UnknownError

NOW = 1_774_850_000_000_000_000
_ALPHABET = string.digits + string.ascii_letters


def test_a_key_is_known_again_with_its_tenant_and_scopes(tmp_path: Path) -> None:
    keys = ApiKeyFile(tmp_path)
    text, key = keys.create("acme", ("read", "ingest"), label="gateway", now_ns=NOW)
    assert text.startswith(f"tl_{key.key_id}_")
    assert ApiKeyFile(tmp_path).authenticate(text, NOW) == key
    assert (key.tenant, key.scopes, key.label) == ("acme", ("ingest", "read"), "gateway")


def test_the_secret_is_not_kept(tmp_path: Path) -> None:
    text, _ = ApiKeyFile(tmp_path).create("acme", ("read",), label="x", now_ns=NOW)
    secret = text.split("_")[2]
    for path in tmp_path.iterdir():
        assert secret.encode() not in path.read_bytes()
        assert secret[:20].encode() not in path.read_bytes()


def test_a_revoked_key_looks_like_one_that_never_was(tmp_path: Path) -> None:
    keys = ApiKeyFile(tmp_path)
    text, key = keys.create("acme", ("read",), label="x", now_ns=NOW)
    keys.revoke("acme", key.key_id)
    with pytest.raises(RefusedKeyError) as revoked:
        keys.authenticate(text, NOW)
    other, _ = ApiKeyFile(tmp_path / "other").create("acme", ("read",), label="x", now_ns=NOW)
    with pytest.raises(RefusedKeyError) as unheard_of:
        keys.authenticate(other, NOW)
    assert str(revoked.value) == str(unheard_of.value)


def test_a_key_ends_when_it_expires(tmp_path: Path) -> None:
    keys = ApiKeyFile(tmp_path)
    text, _ = keys.create("acme", ("read",), label="x", now_ns=NOW, expires_at_ns=NOW + 10)
    assert keys.authenticate(text, NOW + 9)
    with pytest.raises(RefusedKeyError, match="expired"):
        keys.authenticate(text, NOW + 10)


@given(place=st.integers(0, 64), letter=st.sampled_from(_ALPHABET))
def test_a_mistyped_key_is_told_without_a_look_up(
    tmp_path_factory: pytest.TempPathFactory, place: int, letter: str
) -> None:
    keys = ApiKeyFile(tmp_path_factory.mktemp("keys"))
    text, _ = keys.create("acme", ("read",), label="x", now_ns=NOW)
    mistyped = text[:place] + letter + text[place + 1 :]
    if mistyped != text:
        with pytest.raises(RefusedKeyError, match="not an API key"):
            keys.authenticate(mistyped, NOW)


@pytest.mark.parametrize("text", ["", "tl_", "tl__", "Bearer", "tl_é" + "a" * 64, "x" * 10_000, "tl_a_b\0"])
def test_what_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(RefusedKeyError, match="not an API key"):
        ApiKeyFile(tmp_path).authenticate(text, NOW)


def test_another_tenants_key_is_neither_listed_nor_revoked(tmp_path: Path) -> None:
    keys = ApiKeyFile(tmp_path)
    _, key = keys.create("acme", ("read",), label="x", now_ns=NOW)
    assert keys.keys("other") == []
    with pytest.raises(UnknownError):
        keys.revoke("other", key.key_id)
    assert keys.keys("acme") == [key]


def test_changes_at_the_same_time_are_not_lost(tmp_path: Path) -> None:
    """A revocation that another process's change wrote over would bring a stolen key back."""
    first = ApiKeyFile(tmp_path)
    text, stolen = first.create("acme", ("read",), label="stolen", now_ns=NOW)

    def create(number: int) -> None:
        ApiKeyFile(tmp_path).create("acme", ("read",), label=f"key {number}", now_ns=NOW)

    with ThreadPoolExecutor(8) as pool:
        made = [pool.submit(create, number) for number in range(20)]
        revoked = pool.submit(ApiKeyFile(tmp_path).revoke, "acme", stolen.key_id)
        for future in (*made, revoked):
            future.result()
    assert len(first.keys("acme")) == 21
    with pytest.raises(RefusedKeyError):
        first.authenticate(text, NOW)


def test_the_first_key_is_made_once_whoever_asks(tmp_path: Path) -> None:
    def create_first(_: int) -> bool:
        return ApiKeyFile(tmp_path).create_first("acme", label="first key", now_ns=NOW) is not None

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(create_first, range(8))) == 1


@pytest.mark.parametrize(
    ("scopes", "label"), [((), "x"), (("root",), "x"), (("read",), "a\nb"), (("read",), "x" * 81)]
)
def test_a_key_without_known_scopes_or_a_line_as_label_is_refused(
    tmp_path: Path, scopes: tuple[str, ...], label: str
) -> None:
    with pytest.raises(MalformedError):
        ApiKeyFile(tmp_path).create("acme", scopes, label=label, now_ns=NOW)


def test_a_damaged_file_is_our_trouble_and_nobodys_key(tmp_path: Path) -> None:
    keys = ApiKeyFile(tmp_path)
    text, _ = keys.create("acme", ("read",), label="x", now_ns=NOW)
    (tmp_path / "api-keys.json").write_bytes(b'[{"key_id":')
    with pytest.raises(DamagedKeyFileError):
        keys.authenticate(text, NOW)


def test_a_file_that_others_can_read_is_not_believed(tmp_path: Path) -> None:
    keys = ApiKeyFile(tmp_path)
    text, _ = keys.create("acme", ("read",), label="x", now_ns=NOW)
    (tmp_path / "api-keys.json").chmod(0o644)
    os.utime(tmp_path / "api-keys.json", ns=(1, 1))
    with pytest.raises(DamagedKeyFileError, match="others"):
        keys.authenticate(text, NOW)


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    ApiKeyFile(folder).create("acme", ("read",), label="x", now_ns=NOW)
    assert folder.stat().st_mode & 0o077 == 0
    assert {path.stat().st_mode & 0o077 for path in folder.iterdir()} == {0}


def test_derived_secrets_differ_by_purpose_and_stay(tmp_path: Path) -> None:
    one = ApiKeyFile(tmp_path).secret_for("page tokens")
    assert one == ApiKeyFile(tmp_path).secret_for("page tokens")
    assert one != ApiKeyFile(tmp_path).secret_for("report links")
    assert len(one) == 32
