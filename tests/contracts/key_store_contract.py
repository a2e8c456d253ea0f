"""What every key store promises; an adapter's test class inherits this and gives `open_store`, which opens
the same store each time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from domain.errors import MalformedError, UnknownError
from ledger.errors import UnknownSubjectKeyError
from ledger.ports import KeyStore

ORIGIN = "tallystick.example/ledger-acme"


class KeyStoreContract:
    def test_a_signing_key_is_made_on_first_use_and_stays(self, open_store: Callable[[], KeyStore]) -> None:
        first = open_store().signer(ORIGIN)
        again = open_store().signer(ORIGIN)
        assert first.name == again.name == ORIGIN
        assert first.public_key == again.public_key
        assert len(first.public_key) == 32

    def test_each_origin_has_its_own_key(self, open_store: Callable[[], KeyStore]) -> None:
        store = open_store()
        assert store.signer(ORIGIN).public_key != store.signer("tallystick.example/ledger-other").public_key

    def test_signatures_verify_under_the_public_key(self, open_store: Callable[[], KeyStore]) -> None:
        signer = open_store().signer(ORIGIN)
        signature = signer.sign(b"a checkpoint")
        Ed25519PublicKey.from_public_bytes(signer.public_key).verify(signature, b"a checkpoint")
        # RFC 8032 §5.1.6: signing is deterministic, so a retried seal is the same seal.
        assert signer.sign(b"a checkpoint") == signature

    @pytest.mark.parametrize("origin", ["", "has space/x", "has+plus", "tab\there", "new\nline", "x" * 300])
    def test_what_is_no_key_name_is_refused(self, open_store: Callable[[], KeyStore], origin: str) -> None:
        with pytest.raises(MalformedError):
            open_store().signer(origin)

    def test_stores_opened_at_once_agree_on_one_signing_key(self, open_store: Callable[[], KeyStore]) -> None:
        with ThreadPoolExecutor(8) as pool:
            keys = set(pool.map(lambda _: open_store().signer(ORIGIN).public_key, range(24)))
        assert len(keys) == 1

    def test_a_store_that_made_no_key_holds_none(self, open_store: Callable[[], KeyStore]) -> None:
        assert open_store().signers(ORIGIN) == ()

    def test_the_next_key_is_made_once_and_stays_the_next_until_it_is_known(
        self, open_store: Callable[[], KeyStore]
    ) -> None:
        first = open_store().signer(ORIGIN)
        pending = open_store().next_signer(ORIGIN, [first.public_key], first.algorithm)
        again = open_store().next_signer(ORIGIN, [first.public_key], first.algorithm)
        assert (pending.name, pending.algorithm) == (ORIGIN, first.algorithm)
        assert pending.public_key == again.public_key != first.public_key
        third = open_store().next_signer(ORIGIN, [first.public_key, pending.public_key], first.algorithm)
        held = open_store().signers(ORIGIN)
        assert [signer.public_key for signer in held] == [
            first.public_key,
            pending.public_key,
            third.public_key,
        ]
        # The first key is still the first.
        assert open_store().signer(ORIGIN).public_key == first.public_key
        Ed25519PublicKey.from_public_bytes(third.public_key).verify(
            third.sign(b"a checkpoint"), b"a checkpoint"
        )

    def test_the_first_key_is_the_next_of_a_ledger_that_has_none(
        self, open_store: Callable[[], KeyStore]
    ) -> None:
        made = open_store().next_signer(ORIGIN, [], "Ed25519")
        assert open_store().signer(ORIGIN).public_key == made.public_key
        assert len(open_store().signers(ORIGIN)) == 1

    def test_stores_opened_at_once_agree_on_the_next_key(self, open_store: Callable[[], KeyStore]) -> None:
        first = open_store().signer(ORIGIN).public_key
        with ThreadPoolExecutor(8) as pool:
            keys = set(
                pool.map(lambda _: open_store().next_signer(ORIGIN, [first], "Ed25519").public_key, range(16))
            )
        assert len(keys) == 1
        assert len(open_store().signers(ORIGIN)) == 2

    def test_keys_of_one_origin_are_not_those_of_another_that_begins_like_it(
        self, open_store: Callable[[], KeyStore]
    ) -> None:
        longer = f"{ORIGIN}-2"
        open_store().next_signer(ORIGIN, [open_store().signer(ORIGIN).public_key], "Ed25519")
        open_store().signer(longer)
        assert len(open_store().signers(ORIGIN)) == 2
        assert len(open_store().signers(longer)) == 1
        assert not {one.public_key for one in open_store().signers(ORIGIN)} & {
            one.public_key for one in open_store().signers(longer)
        }

    def test_an_algorithm_that_the_store_cannot_make_is_refused(
        self, open_store: Callable[[], KeyStore]
    ) -> None:
        with pytest.raises(UnknownError):
            open_store().next_signer(ORIGIN, [], "RSA")

    def test_stores_opened_at_once_agree_on_one_subject_key(self, open_store: Callable[[], KeyStore]) -> None:
        with ThreadPoolExecutor(8) as pool:
            keys = set(pool.map(lambda _: open_store().create_subject_key("person-1"), range(24)))
        assert len(keys) == 1

    def test_a_subject_key_is_64_bytes_and_stays(self, open_store: Callable[[], KeyStore]) -> None:
        made = open_store().create_subject_key("person-1")
        assert len(made) == 64
        assert open_store().create_subject_key("person-1") == made
        assert open_store().subject_key("person-1") == made
        assert open_store().create_subject_key("person-2") != made

    def test_a_key_that_was_never_made_is_told_from_a_destroyed_one(
        self, open_store: Callable[[], KeyStore]
    ) -> None:
        store = open_store()
        with pytest.raises(UnknownSubjectKeyError) as never:
            store.subject_key("person-1")
        assert not never.value.is_destroyed
        store.create_subject_key("person-1")
        store.destroy_subject_key("person-1")
        with pytest.raises(UnknownSubjectKeyError) as destroyed:
            open_store().subject_key("person-1")
        assert destroyed.value.is_destroyed

    def test_a_destroyed_key_cannot_be_made_again(self, open_store: Callable[[], KeyStore]) -> None:
        store = open_store()
        store.create_subject_key("person-1")
        store.destroy_subject_key("person-1")
        for _ in range(2):
            with pytest.raises(UnknownSubjectKeyError) as caught:
                open_store().create_subject_key("person-1")
            assert caught.value.is_destroyed

    def test_destroying_twice_is_destroying_once(self, open_store: Callable[[], KeyStore]) -> None:
        store = open_store()
        store.create_subject_key("person-1")
        store.destroy_subject_key("person-1")
        store.destroy_subject_key("person-1")

    def test_destroying_what_was_never_made_says_so(self, open_store: Callable[[], KeyStore]) -> None:
        with pytest.raises(UnknownSubjectKeyError) as caught:
            open_store().destroy_subject_key("a-typing-mistake")
        assert not caught.value.is_destroyed

    def test_destroying_one_key_leaves_the_others(self, open_store: Callable[[], KeyStore]) -> None:
        store = open_store()
        kept = store.create_subject_key("person-1")
        store.create_subject_key("person-1.destroyed")
        store.destroy_subject_key("person-1.destroyed")
        assert open_store().subject_key("person-1") == kept

    @pytest.mark.parametrize("subject_key_id", ["", "..", "../x", "a/b", "A", "a\0b", "x" * 65, "a..b"])
    def test_what_is_no_identifier_is_refused(
        self, open_store: Callable[[], KeyStore], subject_key_id: str
    ) -> None:
        store = open_store()
        for act in (store.subject_key, store.create_subject_key, store.destroy_subject_key):
            with pytest.raises(MalformedError):
                act(subject_key_id)
