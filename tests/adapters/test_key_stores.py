"""Which key store a setting names."""

from pathlib import Path

import pytest

from adapters.key_store_file import FileKeyStore
from adapters.key_store_transit import TransitKeyStore
from adapters.key_stores import open_key_store
from domain.errors import MalformedError, UnknownError


def test_keys_are_files_unless_the_setting_says_otherwise(tmp_path: Path) -> None:
    for keys, folder in (("", tmp_path / "keys"), (str(tmp_path / "elsewhere"), tmp_path / "elsewhere")):
        store = open_key_store(keys, tmp_path / "keys")
        assert isinstance(store, FileKeyStore)
        store.signer("example.org/x")
        assert (folder / "signing" / "example.org%2Fx.pem").exists()


def test_an_address_names_a_server_and_a_uri_a_token(tmp_path: Path) -> None:
    assert isinstance(open_key_store("https+vault://vault.example/transit", tmp_path), TransitKeyStore)
    with pytest.raises(UnknownError):
        open_key_store("pkcs11:token=x?module-path=/nowhere.so", tmp_path)


@pytest.mark.parametrize("keys", ["vault://x/y", "https://user:hush@x/y", "esdb://x"])
def test_what_names_no_key_store_is_refused(tmp_path: Path, keys: str) -> None:
    with pytest.raises(MalformedError) as caught:
        open_key_store(keys, tmp_path)
    assert "hush" not in str(caught.value)
