"""The ledger: checkpoint, keys, entries and proofs, for auditors."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import Parameter
from litestar.response import Response
from msgspec import Struct

from api.authentication import needs
from api.routes.paging import Page, PageSize, PageToken, size_of, start_of, token_of
from api.tenancy import Caller
from domain.errors import UnknownError
from ledger.checkpoint import open_checkpoint
from ledger.entry import parse_entry
from ledger.merkle import leaf_hash
from ledger.notes import format_verifier_key
from ledger.ports import Record
from ledger.spelling import format_base64
from ledger.tlog_proof import format_tlog_proof

NO_CACHE = {"Cache-Control": "no-cache"}
IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}


class LedgerState(Struct, frozen=True, kw_only=True):
    """Where the ledger stands; ``root_sha256`` is hex, ``verifier_key`` a C2SP vkey."""

    tenant: str
    origin: str
    size: int
    root_sha256: str
    verifier_key: str


class EntryView(Struct, frozen=True, kw_only=True):
    """An entry: the hashed bytes, the body they commit to, and both read for people."""

    index: int
    event_type: str
    recorded_at_ns: int
    actor: str
    subject: str
    causation: tuple[int, ...]
    leaf_sha256: str
    entry_base64: str
    payload_base64: str
    seal: str


class ConsistencyProof(Struct, frozen=True, kw_only=True):
    """That the tree of ``size_old`` leaves is the beginning of the one of ``size_new`` (RFC 6962 §2.1.2)."""

    size_old: int
    size_new: int
    root_new_sha256: str
    path_base64: list[str]


@get("/ledger", guards=[needs("read")], summary="Where the ledger stands")
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


@get("/checkpoint", guards=[needs("read")], summary="The newest checkpoint", media_type="text/plain")
async def get_checkpoint(caller: Caller) -> Response[bytes]:
    """The newest seal as a C2SP signed note (tlog-checkpoint)."""
    return Response(caller.desk.ledger.checkpoint, media_type="text/plain; charset=utf-8", headers=NO_CACHE)


@get("/entries", guards=[needs("read")], summary="Entries in order")
async def list_entries(
    caller: Caller,
    start: Annotated[int, Parameter(ge=0, description="First index")] = 0,
    event_type: Annotated[str, Parameter(max_length=128, description="Only this type")] = "",
    page_size: PageSize = 0,
    page_token: PageToken = "",
) -> Page[EntryView]:
    """Entries from ``start`` on; fewer than asked for is legal, an empty ``next_page_token`` is the end."""
    found = start_of(page_token, start, event_type)
    position = start if found is None else found
    wanted = size_of(page_size)
    items: list[EntryView] = []
    while len(items) < wanted:
        records = await caller.desk.ledger.read(position, wanted)
        if not records:
            return Page(items=items, next_page_token="")
        for record in records:
            position = record.index + 1
            if not event_type or record.event_type == event_type:
                items.append(entry_view(record))
            if len(items) == wanted:
                break
    is_more = position < caller.desk.ledger.size
    return Page(items=items, next_page_token=token_of(position if is_more else None, start, event_type))


@get("/entries/{index:int}", guards=[needs("read")], summary="One entry")
async def get_entry(caller: Caller, index: Annotated[int, Parameter(ge=0)]) -> EntryView:
    """One entry with its body."""
    return entry_view((await caller.desk.ledger.get(index))[0])


@get(
    "/entries/{index:int}/proof",
    guards=[needs("read")],
    summary="Proof that an entry is in the ledger",
    media_type="text/plain",
)
async def get_entry_proof(caller: Caller, index: Annotated[int, Parameter(ge=0)]) -> Response[bytes]:
    """A C2SP tlog-proof under the newest checkpoint."""
    proof = format_tlog_proof(caller.desk.ledger.prove(index))
    return Response(proof, media_type="text/plain; charset=utf-8", headers=NO_CACHE)


@get("/consistency", guards=[needs("read")], summary="Proof that the ledger only grew")
async def get_consistency(
    caller: Caller, size_old: Annotated[int, Parameter(ge=1, description="A size you saw before")]
) -> ConsistencyProof:
    """From an earlier size to now.  Raises: UnknownError when the ledger never had that size."""
    ledger = caller.desk.ledger
    checkpoint = open_checkpoint(ledger.checkpoint, [ledger.verifier_key])
    if size_old > checkpoint.size:
        raise UnknownError(
            "the ledger is smaller than that",
            field="size_old",
            expected=f"<= {checkpoint.size}",
            actual=str(size_old),
            remedy="If you hold a checkpoint of that size, entries were removed: keep it and tell the operator.",
        )
    path = ledger.prove_growth(size_old) if size_old < checkpoint.size else []
    return ConsistencyProof(
        size_old=size_old,
        size_new=checkpoint.size,
        root_new_sha256=checkpoint.root.hex(),
        path_base64=[format_base64(node) for node in path],
    )


def entry_view(record: Record) -> EntryView:
    """A record as the API shows it."""
    entry = parse_entry(record.entry)
    return EntryView(
        index=record.index,
        event_type=entry.event_type,
        recorded_at_ns=entry.recorded_at_ns,
        actor=entry.actor,
        subject=entry.subject,
        causation=entry.causation,
        leaf_sha256=leaf_hash(record.entry).hex(),
        entry_base64=format_base64(record.entry),
        payload_base64=format_base64(record.payload),
        seal=record.seal.decode(),
    )
