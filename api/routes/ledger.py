"""The ledger: checkpoint, keys, entries and proofs, for auditors."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import QueryParameter
from litestar.response import Response
from msgspec import Struct

from api.authentication import READ
from api.openapi import documented
from api.parameters import INT64_MAX, Index, IsNewest
from api.routes.paging import Page, PageSize, PageToken, size_of, start_of, token_of
from api.tenancy import Caller
from domain.errors import UnknownError
from domain.events import RunGatesDecided
from ledger.checkpoint import open_checkpoint
from ledger.entry import parse_entry
from ledger.entry_search import first_recorded_from, read_entries, search_entries
from ledger.mentions import of_subject, of_type
from ledger.merkle import leaf_hash
from ledger.notes import format_verifier_key
from ledger.ports import Record
from ledger.proving import covering_of_entry
from ledger.spelling import format_base64
from ledger.tlog_proof import format_tlog_proof

NOTE_MEDIA_TYPE = "text/plain"
# Bodies have up to 900 kB; a page stays below what a reader takes at once.
PAGE_BYTES_MAX = 4 * 1024 * 1024


class LedgerState(Struct, frozen=True, kw_only=True):
    """Where the ledger stands; ``root_sha256`` is hex, ``verifier_key`` a C2SP vkey."""

    tenant: str
    origin: str
    size: int
    root_sha256: str
    verifier_key: str


class EntryView(Struct, frozen=True, kw_only=True):
    """An entry: the hashed bytes, and the body they commit to.

    ``seal`` is the signed checkpoint that closes the append the entry was the last of, else empty.
    ``is_withheld``: the body holds results of a withheld run and is shown to auditors only; the entry, its
    place and its digest are shown to all.
    """

    index: int
    event_type: str
    recorded_at_ns: int
    actor: str
    subject: str
    causation: tuple[int, ...]
    leaf_sha256: str
    entry_base64: str
    payload_sha256: str
    payload_base64: str
    is_withheld: bool
    seal: str


class ConsistencyProof(Struct, frozen=True, kw_only=True):
    """That the tree of ``size_old`` leaves is the beginning of the one of ``size_new`` (RFC 6962 §2.1.2)."""

    size_old: int
    size_new: int
    root_new_sha256: str
    path_base64: list[str]


@get("/ledger", opt=READ, summary="Where the ledger stands", tags=["ledger"], responses=documented())
async def get_ledger(caller: Caller) -> LedgerState:
    """Size, root and public key."""
    ledger = caller.desk.ledger
    checkpoint = open_checkpoint(ledger.checkpoint, [ledger.verifier_key])
    return LedgerState(
        tenant=ledger.tenant,
        origin=ledger.origin,
        size=checkpoint.size,
        root_sha256=checkpoint.root.hex(),
        verifier_key=format_verifier_key(ledger.verifier_key),
    )


@get(
    "/checkpoint",
    opt=READ,
    summary="The newest checkpoint",
    tags=["ledger"],
    media_type=NOTE_MEDIA_TYPE,
    responses=documented(),
)
async def get_checkpoint(caller: Caller) -> Response[bytes]:
    """The newest seal as a C2SP signed note (tlog-checkpoint). Keep one: it shows any later rewriting.

    No witness has seen it yet; `/v1/tlog/checkpoint` is the newest one that they have cosigned.
    """
    return Response(caller.desk.ledger.checkpoint, media_type=NOTE_MEDIA_TYPE)


@get("/entries", opt=READ, summary="Entries in order", tags=["ledger"], responses=documented())
async def list_entries(
    caller: Caller,
    start: Annotated[int, QueryParameter(ge=0, le=INT64_MAX, description="First index")] = 0,
    event_type: Annotated[
        str, QueryParameter(max_length=128, description="Only this type, such as receipt.issued.v1")
    ] = "",
    subject: Annotated[
        str, QueryParameter(max_length=256, description="Only with this subject, such as device/logger-7")
    ] = "",
    recorded_from_ns: Annotated[
        int, QueryParameter(ge=0, le=INT64_MAX, description="Only recorded then or later, Unix ns")
    ] = 0,
    recorded_until_ns: Annotated[
        int | None, QueryParameter(ge=0, le=INT64_MAX, description="Only recorded before then, Unix ns")
    ] = None,
    page_size: PageSize = 0,
    page_token: PageToken = "",
) -> Page[EntryView]:
    """Entries from ``start`` on, of one type, with one subject, of a span of time, or all of that together.

    A page may hold fewer than asked for, even none; only an empty ``next_page_token`` is the end.
    """
    asked = ("entries", start, event_type, subject, recorded_from_ns, recorded_until_ns)
    ledger, secret = caller.desk.ledger, caller.page_secret
    token = start_of(page_token, secret, *asked)
    first, stop = start if token is None else token, ledger.size
    if recorded_from_ns and token is None:
        first = max(first, await first_recorded_from(ledger, recorded_from_ns))
    if recorded_until_ns is not None:
        stop = min(stop, await first_recorded_from(ledger, recorded_until_ns))
    topics = [of_type(event_type)] if event_type else []
    topics += [of_subject(subject)] if subject else []
    find = search_entries if topics else read_entries
    found = await find(ledger, topics, first, stop, size_of(page_size), PAGE_BYTES_MAX)
    return Page(
        items=[entry_view(record, caller) for record in found.records],
        next_page_token=token_of(found.next_start, secret, *asked),
    )


@get(
    "/entries/{index:int}",
    opt=READ,
    summary="One entry",
    tags=["ledger"],
    responses=documented("unknown"),
)
async def get_entry(caller: Caller, index: Index) -> EntryView:
    """One entry with its body."""
    return entry_view((await caller.desk.ledger.get(index))[0], caller)


@get(
    "/entries/{index:int}/proof",
    opt=READ,
    summary="Proof that an entry is in the ledger",
    tags=["ledger"],
    media_type=NOTE_MEDIA_TYPE,
    responses=documented("unknown"),
)
async def get_entry_proof(caller: Caller, index: Index, is_newest: IsNewest = False) -> Response[bytes]:
    """A C2SP tlog-proof under the newest checkpoint that witnesses have cosigned and that covers the entry,
    with their lines; else under the newest seal."""
    ledger = caller.desk.ledger
    covering = await covering_of_entry(ledger, index, is_newest=is_newest)
    # A tlog-proof has no room for a meta-log; where that is what witnesses see, the seal is all there is.
    proof = ledger.prove(index, covering if covering.meta is None else None)
    return Response(format_tlog_proof(proof), media_type=NOTE_MEDIA_TYPE)


@get(
    "/consistency",
    opt=READ,
    summary="Proof that the ledger only grew",
    tags=["ledger"],
    responses=documented("unknown"),
)
async def get_consistency(
    caller: Caller,
    size_old: Annotated[int, QueryParameter(ge=1, le=INT64_MAX, description="A size you saw before")],
) -> ConsistencyProof:
    """From an earlier size to now; 404 when the ledger never had that size."""
    ledger = caller.desk.ledger
    checkpoint = open_checkpoint(ledger.checkpoint, [ledger.verifier_key])
    if size_old > checkpoint.size:
        raise UnknownError(
            "the ledger is smaller than that",
            field="size_old",
            expected=f"<= {checkpoint.size}",
            actual=str(size_old),
            remedy="If you hold a checkpoint of that size, entries were removed: keep it, tell the operator.",
        )
    path = ledger.prove_growth(size_old) if size_old < checkpoint.size else []
    return ConsistencyProof(
        size_old=size_old,
        size_new=checkpoint.size,
        root_new_sha256=checkpoint.root.hex(),
        path_base64=[format_base64(node) for node in path],
    )


class _Presentable(Struct):
    is_presentable: bool


def entry_view(record: Record, caller: Caller) -> EntryView:
    """A record as this caller may see it."""
    entry = parse_entry(record.entry)
    is_withheld = (
        record.event_type == RunGatesDecided.TYPE
        and not caller.is_auditor
        and not msgspec.json.decode(record.payload, type=_Presentable).is_presentable
    )
    return EntryView(
        index=record.index,
        event_type=entry.event_type,
        recorded_at_ns=entry.recorded_at_ns,
        actor=entry.actor,
        subject=entry.subject,
        causation=entry.causation,
        leaf_sha256=leaf_hash(record.entry).hex(),
        entry_base64=format_base64(record.entry),
        payload_sha256=entry.payload_sha256,
        payload_base64="" if is_withheld else format_base64(record.payload),
        is_withheld=is_withheld,
        seal=record.seal.decode(),
    )
