"""A desk: one tenant's ledger together with everything a run needs, wired once and handed around."""

from __future__ import annotations

import hmac

from msgspec import Struct

from domain.errors import UnknownError
from domain.state import Source
from ledger.errors import ErasedSubjectError
from ledger.ledger import Ledger
from ledger.ports import Clock, DatasetFormat, ErasureJournal, Executor, KeyStore, Vault
from ledger.subject_cipher import decrypt_subject_bytes, encrypt_subject_bytes


class Desk(Struct, frozen=True, kw_only=True, eq=False):
    """The ports of one tenant."""

    ledger: Ledger
    vault: Vault
    keys: KeyStore
    executor: Executor
    formats: DatasetFormat
    clock: Clock
    erasures: ErasureJournal

    def source(self, source_id: str) -> Source:
        """The registered source.  Raises: UnknownError."""
        source = self.ledger.state.sources.get(source_id)
        if source is None:
            raise UnknownError(
                "unknown source",
                field="source_id",
                actual=source_id,
                remedy="Register the device or connection first.",
            )
        return source

    def subject_key(self, source: Source) -> bytes:
        """The key of the person behind a connection.  From the entry on that erased the person it is not
        used, also where it has not been destroyed yet.

        Raises: ErasedSubjectError, UnknownSubjectKeyError.
        """
        if source.erased_index is not None:
            raise ErasedSubjectError(source.source_id, source.subject_key_id, source.erased_index)
        return self.keys.subject_key(source.subject_key_id)

    def guard(self, source: Source, data: bytes, purpose: str) -> tuple[bytes, bool]:
        """What may be stored of a source's bytes: ciphertext when they are a person's, and whether it is."""
        if not source.subject_key_id:
            return data, False
        key = self.subject_key(source)
        return encrypt_subject_bytes(key, data, tenant=self.ledger.tenant, purpose=purpose), True

    def reveal(self, source: Source, data: bytes, purpose: str) -> bytes:
        """The bytes that ``guard`` was given.  Raises: UnknownSubjectKeyError when they were shredded."""
        if not source.subject_key_id:
            return data
        key = self.subject_key(source)
        return decrypt_subject_bytes(key, data, tenant=self.ledger.tenant, purpose=purpose)

    def record_key_secret(self, source: Source) -> bytes:
        """The key for digests that name a person's records: derived from the subject's key, so that it goes
        when that goes.

        HMAC-SHA256 as a one-step key derivation (NIST SP 800-108, one block); empty for devices.
        """
        if not source.subject_key_id:
            return b""
        return hmac.digest(self.subject_key(source), b"tallystick/record-keys/v1", "sha256")
