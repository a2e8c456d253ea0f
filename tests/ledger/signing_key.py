"""Ed25519 keys that tests sign with: made from a seed, so that what they sign is the same on every run."""

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.notes import Algorithm, VerifierKey


class SigningKey:
    """A real key under a name; a `ledger.ports.Signer`."""

    def __init__(self, name: str, seed: str = "") -> None:
        self._name = name
        self._private = Ed25519PrivateKey.from_private_bytes(
            hashlib.sha256(f"{name} {seed}".encode()).digest()
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def public_key(self) -> bytes:
        return self._private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    @property
    def verifier_key(self) -> VerifierKey:
        return VerifierKey(name=self._name, public_key=self.public_key)

    @property
    def cosigner_key(self) -> VerifierKey:
        return VerifierKey(name=self._name, public_key=self.public_key, algorithm=Algorithm.COSIGNATURE)
