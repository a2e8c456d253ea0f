"""Looking entries up by what they are about, and the history of the ledger's keys; for auditors."""

from __future__ import annotations

import asyncio
from typing import Annotated

from litestar import get
from litestar.params import Parameter
from msgspec import Struct

from api.authentication import READ
from api.openapi import documented
from api.routes.ledger import PAGE_BYTES_MAX, EntryView, entry_view
from api.routes.paging import Page, PageSize, PageToken, size_of, start_of, token_of
from api.tenancy import Caller
from domain.errors import MalformedError, UnknownError
from ledger.entry_search import search_entries
from ledger.mentions import about

# The bounds stand on the whole union: on one of its members the framework does not see them.
Receipt = Annotated[
    str | None, Parameter(pattern=r"^r[0-9a-f]{24}$", description="Entries about this receipt")
]
Run = Annotated[str | None, Parameter(pattern=r"^run-[0-9a-f]{24}$", description="Entries about this run")]
Batch = Annotated[str | None, Parameter(pattern=r"^b[0-9a-f]{24}$", description="Entries about this batch")]
Device = Annotated[
    str | None,
    Parameter(
        pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$",
        description="Entries about this device or connection: what it is, sent, and was run for",
    ),
]
Dataset = Annotated[
    str | None,
    Parameter(
        pattern=r"^sha256:[0-9a-f]{64}$", description="Entries that name this dataset or batch by its digest"
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Parameter(
        pattern=r"^[!#-~]{1,128}$",
        description="The batch that this Idempotency-Key brought; keys are kept for seven days",
    ),
]


class KeyView(Struct, frozen=True, kw_only=True):
    """A key of the ledger, and the entries its signatures count for.

    From ``from_index``, before ``until_index`` where it retired, and before ``believed_until_index`` where it
    was declared compromised.  ``standing`` is what it is worth for the next entry.
    """

    verifier_key: str
    algorithm: str
    from_index: int
    until_index: int | None
    believed_until_index: int | None
    standing: str


class KeyHistoryView(Struct, frozen=True, kw_only=True):
    """Every signing key the ledger ever had, oldest first, and the entries that say so."""

    size: int
    keys: list[KeyView]
    indices: tuple[int, ...]


@get(
    "/lookup",
    opt=READ,
    summary="Entries about one thing",
    tags=["ledger"],
    responses=documented("unknown"),
)
async def lookup(
    caller: Caller,
    receipt: Receipt = None,
    run: Run = None,
    batch: Batch = None,
    device: Device = None,
    dataset: Dataset = None,
    idempotency_key: IdempotencyKey = None,
    page_size: PageSize = 0,
    page_token: PageToken = "",
) -> Page[EntryView]:
    """Exactly one of the arguments says which; 404 when nothing is recorded about it.

    A list found this way is a help and no proof: `tally complete` proves that one is complete.
    """
    given = {
        "receipt": receipt,
        "run": run,
        "batch": batch,
        "source": device,
        "dataset": dataset,
        "idempotency_key": idempotency_key,
    }
    asked = [(kind, name) for kind, name in given.items() if name is not None]
    if len(asked) != 1:
        raise MalformedError(
            "one argument says what to look up",
            expected="receipt, run, batch, device, dataset or idempotency_key",
            actual=f"{len(asked)} of them",
        )
    kind, name = asked[0]
    if kind == "idempotency_key":
        kind, name = "batch", await _batch_of(caller, name)
    ledger, arguments = caller.desk.ledger, ("lookup", kind, name)
    start = start_of(page_token, caller.page_secret, *arguments)
    found = await search_entries(
        ledger, [about(kind, name)], start or 0, ledger.size, size_of(page_size), PAGE_BYTES_MAX
    )
    if not found.records and start is None:
        raise UnknownError("nothing is recorded about this", field=kind, actual=name)
    return Page(
        items=[entry_view(record, caller) for record in found.records],
        next_page_token=token_of(found.next_start, caller.page_secret, *arguments),
    )


@get("/keys", opt=READ, summary="The ledger's signing keys", tags=["ledger"], responses=documented())
async def get_key_history(caller: Caller) -> KeyHistoryView:
    """Which key counts for which entries, folded from the ledger's own key events."""
    state = caller.desk.ledger.state
    return KeyHistoryView(
        size=state.size,
        keys=[
            KeyView(
                verifier_key=span.verifier_key,
                algorithm=span.algorithm,
                from_index=span.from_index,
                until_index=span.until_index,
                believed_until_index=span.believed_until_index,
                standing=span.standing(state.size),
            )
            for span in state.keys.spans
        ],
        indices=state.keys.indices,
    )


async def _batch_of(caller: Caller, key: str) -> str:
    """The batch that the request under this key made.  Raises: UnknownError."""
    answered = await caller.premises.answered(caller.key.tenant)
    answer = await asyncio.to_thread(answered.find, key)
    prefix = "/v1/batches/"
    if answer is None or not answer.location.startswith(prefix):
        raise UnknownError("no batch came under this key", field="idempotency_key")
    return answer.location.removeprefix(prefix)
