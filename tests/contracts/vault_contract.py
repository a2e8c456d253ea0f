"""What every vault promises; an adapter's test class inherits this and gives `vault`.

class TestMyVault(VaultContract):
    @pytest.fixture
    def vault(self) -> Vault: ...
"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.digests import digest_of
from domain.errors import MalformedError
from ledger.errors import UnknownObjectError
from ledger.ports import Vault

HOSTILE_DIGESTS = [
    "",
    "sha256:",
    "sha256:" + "0" * 63,
    "sha256:" + "0" * 65,
    "sha256:" + "A" * 64,
    "sha1:" + "0" * 40,
    "0" * 64,
    "sha256:../../../../etc/passwd",
    "sha256:" + "../" * 21 + "a",
    "sha256:" + "0" * 63 + "\n",
    "sha256:" + "0" * 63 + "\0",
    "sha256:" + "٠" * 64,
    "sha256:" + "0" * 10_000_000,
]


class VaultContract:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
    @given(data=st.binary(max_size=5_000))
    def test_what_is_put_is_got_byte_for_byte(self, vault: Vault, data: bytes) -> None:
        digest = asyncio.run(vault.put(data))
        assert digest == digest_of(data)
        assert asyncio.run(vault.get(digest)) == data
        assert asyncio.run(vault.has(digest))

    def test_putting_the_same_bytes_again_changes_nothing(self, vault: Vault) -> None:
        async def scenario() -> None:
            first = await vault.put(b"the same")
            assert await vault.put(b"the same") == first
            assert await vault.get(first) == b"the same"

        asyncio.run(scenario())

    def test_many_callers_may_put_the_same_bytes_at_once(self, vault: Vault) -> None:
        async def scenario() -> None:
            digests = await asyncio.gather(*(vault.put(b"everybody has this") for _ in range(16)))
            assert set(digests) == {digest_of(b"everybody has this")}
            assert await vault.get(digests[0]) == b"everybody has this"

        asyncio.run(scenario())

    def test_what_was_never_put_is_unknown_and_named(self, vault: Vault) -> None:
        digest = digest_of(b"never put")
        assert not asyncio.run(vault.has(digest))
        with pytest.raises(UnknownObjectError) as caught:
            asyncio.run(vault.get(digest))
        assert caught.value.digest == digest

    @pytest.mark.parametrize("text", HOSTILE_DIGESTS, ids=range(len(HOSTILE_DIGESTS)))
    def test_what_is_no_digest_is_refused(self, vault: Vault, text: str) -> None:
        with pytest.raises(MalformedError):
            asyncio.run(vault.get(text))
        with pytest.raises(MalformedError):
            asyncio.run(vault.has(text))

    def test_the_empty_object_is_an_object(self, vault: Vault) -> None:
        digest = asyncio.run(vault.put(b""))
        assert asyncio.run(vault.get(digest)) == b""

    def test_a_large_object_survives(self, vault: Vault) -> None:
        data = bytes(range(256)) * 32_768
        assert asyncio.run(vault.get(asyncio.run(vault.put(data)))) == data
