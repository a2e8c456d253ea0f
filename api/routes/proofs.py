"""Computed proofs, for people who do not speak tiles: inclusion at any size, consistency between any two.

Where no size is asked for, it is that of the newest checkpoint that witnesses have cosigned and that covers
what is asked; of the newest seal where there is none.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from litestar import get
from litestar.params import Parameter
from msgspec import Struct

from api.authentication import READ
from api.openapi import documented
from api.parameters import INT64_MAX, IsNewest
from api.tenancy import Caller
from domain.errors import MalformedError, UnknownError
from ledger.covering import Covering
from ledger.leaf_search import find_leaf
from ledger.ledger import Ledger
from ledger.merkle import EMPTY_ROOT, HASH_BYTES
from ledger.meta_proof import WireMetaProof, wire_meta
from ledger.proving import covering_of_entry
from ledger.spelling import format_base64
from ledger.tiles import prove_consistency, prove_inclusion, root_from_tiles

# The bounds stand on the whole union: on one of its members the framework does not see them.
LeafSha256 = Annotated[
    str | None,
    Parameter(pattern=r"^[0-9a-f]{64}$", description="Leaf hash of an entry, hex: SHA-256(0x00 ‖ entry)"),
]
Size = Annotated[
    int | None,
    Parameter(
        ge=0,
        le=INT64_MAX,
        description="Tree size; that of the newest checkpoint that witnesses have cosigned, if left out",
    ),
]
EntryIndex = Annotated[int | None, Parameter(ge=0, le=INT64_MAX, description="Ledger index, 0-based")]


class InclusionProof(Struct, frozen=True, kw_only=True):
    """That a leaf stands at ``index`` in the tree of ``size`` leaves (RFC 6962 §2.1.1).

    ``path_base64`` has the leaf's sibling first.  ``checkpoint`` is the signed note over exactly this tree;
    empty where no append ended at this size.  ``is_witnessed`` says whether enough witnesses have cosigned
    it: their lines are under it, or under the checkpoint of the meta-log in ``meta`` that holds it.
    """

    index: int
    size: int
    leaf_sha256: str
    root_sha256: str
    path_base64: list[str]
    checkpoint: str
    is_witnessed: bool
    meta: WireMetaProof | None


class SizesProof(Struct, frozen=True, kw_only=True):
    """That the tree of ``size_old`` leaves is the beginning of the one of ``size_new`` (RFC 6962 §2.1.2).

    ``is_witnessed`` and ``meta`` are about ``checkpoint_new``, as in an inclusion proof.
    """

    size_old: int
    size_new: int
    root_old_sha256: str
    root_new_sha256: str
    path_base64: list[str]
    checkpoint_old: str
    checkpoint_new: str
    is_witnessed: bool
    meta: WireMetaProof | None


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
    is_newest: IsNewest = False,
) -> InclusionProof:
    """By the entry's index, or by its leaf hash, which is looked up among the newest 16,777,216 entries."""
    ledger = caller.desk.ledger
    _check_size(ledger, size, "size")
    if (index is None) == (leaf_sha256 is None):
        raise MalformedError("one of index and leaf_sha256 says which entry", field="index")
    leaf = bytes.fromhex(leaf_sha256 or "")
    if index is None:
        searched = ledger.size if size is None else size
        index = await asyncio.to_thread(find_leaf, ledger.index, searched, leaf)
    head = await _head(ledger, size, index, is_newest=is_newest)
    path = prove_inclusion(ledger.tile, index, head.size)
    return InclusionProof(
        index=index,
        size=head.size,
        leaf_sha256=_leaf(ledger, index).hex(),
        root_sha256=_root(ledger, head.size).hex(),
        path_base64=[format_base64(node) for node in path],
        checkpoint=head.checkpoint.decode(),
        is_witnessed=head.is_witnessed,
        meta=None if head.meta is None else wire_meta(head.meta),
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
    is_newest: IsNewest = False,
) -> SizesProof:
    """Between any two sizes; with equal ones the path is empty."""
    ledger = caller.desk.ledger
    _check_size(ledger, size_new, "size_new")
    _check_size(ledger, size_old, "size_old")
    if size_new is not None and size_old > size_new:
        raise MalformedError(
            "the old size is the smaller one", field="size_old", actual=f"{size_old} > {size_new}"
        )
    new = await _head(ledger, size_new, size_old - 1, is_newest=is_newest)
    old = await _head(ledger, size_old, size_old - 1, is_newest=is_newest)
    path = prove_consistency(ledger.tile, size_old, new.size)
    return SizesProof(
        size_old=size_old,
        size_new=new.size,
        root_old_sha256=_root(ledger, size_old).hex(),
        root_new_sha256=_root(ledger, new.size).hex(),
        path_base64=[format_base64(node) for node in path],
        checkpoint_old=old.checkpoint.decode(),
        checkpoint_new=new.checkpoint.decode(),
        is_witnessed=new.is_witnessed,
        meta=None if new.meta is None else wire_meta(new.meta),
    )


def _check_size(ledger: Ledger, size: int | None, field: str) -> None:
    if size is not None and size > ledger.size:
        raise UnknownError(
            "the ledger is smaller than that",
            field=field,
            expected=f"<= {ledger.size}",
            actual=str(size),
            remedy="If you hold a checkpoint of that size, entries were removed: keep it, tell the operator.",
        )


def _root(ledger: Ledger, size: int) -> bytes:
    return root_from_tiles(ledger.tile, size) if size else EMPTY_ROOT


def _leaf(ledger: Ledger, index: int) -> bytes:
    tile = ledger.index.tile_hashes(0, index >> 8) or b""
    start = (index & 255) * HASH_BYTES
    return tile[start : start + HASH_BYTES]


async def _head(ledger: Ledger, size: int | None, index: int, *, is_newest: bool) -> Covering:
    """The tree of ``size``, with the checkpoint over exactly it if there is one; or the tree that the entry
    at ``index`` is proven under where no size is asked for."""
    if size is None:
        return await covering_of_entry(ledger, index, is_newest=is_newest)
    found = await covering_of_entry(ledger, max(size - 1, 0), is_newest=is_newest)
    if found.size == size:
        return found
    records = await ledger.read(size - 1, 1) if size else []
    return Covering(checkpoint=records[0].seal if records else b"", size=size)
