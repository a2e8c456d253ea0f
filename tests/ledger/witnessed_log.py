"""A log that a witness is asked about: its leaves in a list, and every checkpoint and path of it."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.merkle import consistency_path, leaf_hash, perfect_root, root_of
from ledger.witness import AddCheckpoint, format_add_checkpoint
from tests.ledger.signing_key import SigningKey


class WitnessedLog:
    """``size`` leaves numbered from 0; those from ``forked_at`` on are others than an honest log's."""

    def __init__(
        self, size: int, *, key: SigningKey | None = None, forked_at: int | None = None, fork: str = "fork"
    ) -> None:
        self.key = key or SigningKey("log.example/one")
        until = size if forked_at is None else min(forked_at, size)
        names = [f"leaf {number}" for number in range(until)]
        names += [f"{fork} {number}" for number in range(until, size)]
        self.leaves = [leaf_hash(name.encode()) for name in names]

    def checkpoint(self, size: int, extensions: Sequence[str] = ()) -> Checkpoint:
        return Checkpoint(
            origin=self.key.name,
            size=size,
            root=root_of(self.leaves[:size]),
            extensions=tuple(extensions),
        )

    def note(self, size: int, extensions: Sequence[str] = ()) -> bytes:
        return sign_checkpoint(self.checkpoint(size, extensions), self.key)

    def path(self, size_old: int, size_new: int) -> tuple[bytes, ...]:
        if size_old in (0, size_new):
            return ()
        return tuple(
            consistency_path(
                size_old,
                size_new,
                lambda level, place: perfect_root(self.leaves[place << level : (place + 1) << level]),
            )
        )

    def request(self, size_old: int, size_new: int, path: Sequence[bytes] | None = None) -> bytes:
        return format_add_checkpoint(
            AddCheckpoint(
                size_old=size_old,
                path=self.path(size_old, size_new) if path is None else tuple(path),
                note=self.note(size_new),
            )
        )
