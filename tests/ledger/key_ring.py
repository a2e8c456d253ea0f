"""Signing keys in memory: ``ledger.ports.SigningKeys`` for tests that need no key store."""

from __future__ import annotations

from collections.abc import Collection

from tests.ledger.signing_key import SigningKey


class KeyRing:
    """The given keys, oldest first; more are made from seeds when they are asked for."""

    def __init__(self, *keys: SigningKey) -> None:
        self.keys = list(keys)

    def signer(self, origin: str) -> SigningKey:
        return self.signers(origin)[0]

    def signers(self, origin: str) -> tuple[SigningKey, ...]:
        return tuple(key for key in self.keys if key.name == origin)

    def next_signer(self, origin: str, known: Collection[bytes], algorithm: str) -> SigningKey:
        for key in self.signers(origin):
            if key.public_key not in known and key.algorithm == algorithm:
                return key
        self.keys.append(SigningKey(origin, f"next {len(self.keys)}", algorithm))
        return self.keys[-1]
