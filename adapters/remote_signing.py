"""What stores have in common whose signing keys are elsewhere: in a device, or on a server.

They make Ed25519 keys only, and what they answer is believed after it was verified.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from domain.errors import InvalidError, UnknownError
from domain.key_history import ED25519
from ledger.ports import Signer


def check_makes(algorithm: str) -> None:
    """Raises: UnknownError for keys that such a store does not make."""
    if algorithm != ED25519:
        raise UnknownError(
            "this store makes no such keys", field="algorithm", expected=ED25519, actual=algorithm
        )


def checked_signature(signer: Signer, signature: bytes, message: bytes, who: str) -> bytes:
    """The signature that ``who`` gave for ``signer``.  Raises: InvalidError when another key made it."""
    try:
        Ed25519PublicKey.from_public_bytes(signer.public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise InvalidError(
            f"{who} signed with another key than its public key says", field=signer.name
        ) from None
    return signature
