"""Computed proofs, for people who do not speak tiles: inclusion at any size, consistency between any two."""

from __future__ import annotations

import asyncio
from typing import Annotated

from litestar import get
from litestar.params import Parameter
from msgspec import Struct

from api.authentication import READ
from api.openapi import documented
from api.parameters import INT64_MAX
from api.tenancy import Caller
from domain.errors import MalformedError, UnknownError
from ledger.leaf_search import find_leaf
from ledger.ledger import Ledger
from ledger.merkle import EMPTY_ROOT, HASH_BYTES
from ledger.spelling import format_base64
from ledger.tiles import prove_consistency, prove_inclusion, root_from_tiles

# The bounds stand on the whole union: on one of its members the framework does not see them.
LeafSha256 = Annotated[
    str | None,
    Parameter(pattern=r"^[0-9a-f]{64}$", description="Leaf hash of an entry, hex: SHA-256(0x00 ‖ entry)"),
]
Size = Annotated[
    int | None,
    Parameter(ge=0, le=INT64_MAX, description="Tree size; that of the newest checkpoint, if left out"),
]
EntryIndex = Annotated[int | None, Parameter(ge=0, le=INT64_MAX, description="Ledger index, 0-based")]


class InclusionProof(Struct, frozen=True, kw_only=True):
    """That a leaf stands at ``index`` in the tree of ``size`` leaves (RFC 6962 §2.1.1).

    ``path_base64`` has the leaf's sibling first.  ``checkpoint`` is the signed note over exactly this tree;
    empty where no append ended at this size.
    """

    index: int
    size: int
    leaf_sha256: str
    root_sha256: str
    path_base64: list[str]
    checkpoint: str


class SizesProof(Struct, frozen=True, kw_only=True):
    """That the tree of ``size_old`` leaves is the beginning of the one of ``size_new`` (RFC 6962 §2.1.2)."""

    size_old: int
    size_new: int
    root_old_sha256: str
    root_new_sha256: str
    path_base64: list[str]
    checkpoint_old: str
    checkpoint_new: str


@get(
    "/proofs/inclusion",
    opt=READ,
    summary="Proof that an entry is in the ledger, at any size",
    tags=["ledger"],
    responses=documented("unknown", "limit"),
)
async def get_inclusion_proof(
    caller: Caller,
    index: EntryIndex = None,
    leaf_sha256: LeafSha256 = None,
    size: Size = None,
) -> InclusionProof:
    """By the entry's index, or by its leaf hash, which is looked up among the newest 16,777,216 entries."""
    ledger = caller.desk.ledger
    wanted = _size(ledger, size, "size")
    if (index is None) == (leaf_sha256 is None):
        raise MalformedError("one of index and leaf_sha256 says which entry", field="index")
    leaf = bytes.fromhex(leaf_sha256 or "")
    place = await asyncio.to_thread(find_leaf, ledger.index, wanted, leaf) if index is None else index
    path = prove_inclusion(ledger.tile, place, wanted)
    return InclusionProof(
        index=place,
        size=wanted,
        leaf_sha256=_leaf(ledger, place).hex(),
        root_sha256=_root(ledger, wanted).hex(),
        path_base64=[format_base64(node) for node in path],
        checkpoint=await _checkpoint(ledger, wanted),
    )


@get(
    "/proofs/consistency",
    opt=READ,
    summary="Proof that the ledger only grew between two sizes",
    tags=["ledger"],
    responses=documented("unknown"),
)
async def get_consistency_proof(
    caller: Caller,
    size_old: Annotated[int, Parameter(ge=1, le=INT64_MAX, description="The smaller tree's size")],
    size_new: Size = None,
) -> SizesProof:
    """Between any two sizes; with equal ones the path is empty."""
    ledger = caller.desk.ledger
    new = _size(ledger, size_new, "size_new")
    old = _size(ledger, size_old, "size_old")
    if old > new:
        raise MalformedError("the old size is the smaller one", field="size_old", actual=f"{old} > {new}")
    path = prove_consistency(ledger.tile, old, new)
    return SizesProof(
        size_old=old,
        size_new=new,
        root_old_sha256=_root(ledger, old).hex(),
        root_new_sha256=_root(ledger, new).hex(),
        path_base64=[format_base64(node) for node in path],
        checkpoint_old=await _checkpoint(ledger, old),
        checkpoint_new=await _checkpoint(ledger, new),
    )


def _size(ledger: Ledger, size: int | None, field: str) -> int:
    if size is not None and size > ledger.size:
        raise UnknownError(
            "the ledger is smaller than that",
            field=field,
            expected=f"<= {ledger.size}",
            actual=str(size),
            remedy="If you hold a checkpoint of that size, entries were removed: keep it, tell the operator.",
        )
    return ledger.size if size is None else size


def _root(ledger: Ledger, size: int) -> bytes:
    return root_from_tiles(ledger.tile, size) if size else EMPTY_ROOT


def _leaf(ledger: Ledger, index: int) -> bytes:
    tile = ledger.index.tile_hashes(0, index >> 8) or b""
    start = (index & 255) * HASH_BYTES
    return tile[start : start + HASH_BYTES]


async def _checkpoint(ledger: Ledger, size: int) -> str:
    """The seal over exactly this size, if an append ended there."""
    records = await ledger.read(size - 1, 1) if size else []
    return records[0].seal.decode() if records else ""
