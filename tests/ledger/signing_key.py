"""Keys that tests sign with: made from a seed, so that Ed25519 signatures are the same on every run."""

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from domain.key_history import ED25519
from ledger.notes import Algorithm, VerifierKey, verifier_key_of


class SigningKey:
    """A real key under a name; a `ledger.ports.Signer`."""

    is_remote = False

    def __init__(self, name: str, seed: str = "", algorithm: str = ED25519) -> None:
        self._name = name
        self._algorithm = algorithm
        secret = hashlib.sha256(f"{name} {seed}".encode()).digest()
        self._private: Ed25519PrivateKey | MLDSA44PrivateKey = (
            Ed25519PrivateKey.from_private_bytes(secret)
            if algorithm == ED25519
            else MLDSA44PrivateKey.from_seed_bytes(secret)
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def algorithm(self) -> str:
        return self._algorithm

    @property
    def public_key(self) -> bytes:
        return self._private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    @property
    def verifier_key(self) -> VerifierKey:
        return verifier_key_of(self)

    @property
    def cosigner_key(self) -> VerifierKey:
        return VerifierKey(name=self._name, public_key=self.public_key, algorithm=Algorithm.COSIGNATURE)
