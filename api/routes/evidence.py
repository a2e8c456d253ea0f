"""Files for auditors, to be verified without this server: audit bundles, and lists proven complete."""

from __future__ import annotations

import asyncio
from typing import Annotated

from litestar import get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from litestar.response import Response

from api.authentication import AUDIT
from api.openapi import documented
from api.parameters import IsNewest, ReceiptId
from api.problems import ApiError
from api.tenancy import ApiRequest, Caller
from ledger import audit_bundle, completeness
from ledger.audit_bundle import AuditBundle, make_audit_bundle
from ledger.completeness import CompletenessProof, Topics
from ledger.entry import FIELD_CHARACTERS_MAX, check_field
from ledger.ledger import Ledger

# Tenants whose topics are remembered; those of another are folded from its ledger again.
TENANTS_KEPT_MAX = 16
# Requests for complete lists of one tenant, the one that is being answered included: each reads the ledger.
WAITING_MAX = 4

Topic = Annotated[
    str,
    QueryParameter(
        min_length=1,
        max_length=FIELD_CHARACTERS_MAX,
        description="What the list is of, such as receipts/logger-7, calibrations/logger-7 or recalls",
    ),
]


class TopicLists:
    """The topics of the tenants that were asked about last; one list of a tenant is made at a time."""

    def __init__(self) -> None:
        self._topics: dict[Ledger, tuple[Topics, asyncio.Lock]] = {}
        self._waiting: dict[Ledger, int] = {}

    async def prove(self, ledger: Ledger, topic: str, actor: str, *, is_newest: bool) -> bytes:
        """See ``Topics.prove``.  Raises: ApiError 429."""
        if self._waiting.get(ledger, 0) >= WAITING_MAX:
            raise ApiError("busy", f"{WAITING_MAX} lists are being made or waited for")
        self._waiting[ledger] = self._waiting.get(ledger, 0) + 1
        try:
            if ledger not in self._topics:
                self._topics[ledger] = Topics(ledger), asyncio.Lock()
            topics, lock = self._topics[ledger] = self._topics.pop(ledger)
            if len(self._topics) > TENANTS_KEPT_MAX:
                del self._topics[next(iter(self._topics))]
            async with lock:
                return await topics.prove(topic, actor, is_newest=is_newest)
        finally:
            self._waiting[ledger] -= 1
            if not self._waiting[ledger]:
                del self._waiting[ledger]


@get(
    "/receipts/{receipt_id:str}/audit-bundle",
    opt=AUDIT,
    summary="A receipt with everything it rests on",
    tags=["receipts"],
    media_type=audit_bundle.MEDIA_TYPE,
    responses={
        **documented("unknown"),
        200: ResponseSpec(
            AuditBundle,
            description="An audit bundle",
            media_type=audit_bundle.MEDIA_TYPE,
            generate_examples=False,
        ),
    },
)
async def get_audit_bundle(
    caller: Caller, receipt_id: ReceiptId, is_newest: IsNewest = False
) -> Response[bytes]:
    """Every event that the receipt names, proven, in one file for `tally bundle --verify` (docs/format.md).

    Without the batches, datasets and artifacts themselves; `tally bundle --objects` puts those in.
    """
    data = await make_audit_bundle(caller.desk, [receipt_id], is_newest=is_newest)
    name = f"{receipt_id}{audit_bundle.FILE_SUFFIX}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Security-Policy": "sandbox"}
    return Response(data, media_type=audit_bundle.MEDIA_TYPE, headers=headers)


@post(
    "/proofs/completeness",
    opt=AUDIT,
    status_code=200,
    summary="Proof that a list is complete, or that there is nothing",
    tags=["ledger"],
    media_type=completeness.MEDIA_TYPE,
    responses={
        **documented("limit", "invalid", "busy"),
        200: ResponseSpec(
            CompletenessProof,
            description="A proof of completeness",
            media_type=completeness.MEDIA_TYPE,
            generate_examples=False,
        ),
    },
)
async def post_completeness(
    request: ApiRequest, caller: Caller, topic: Topic, is_newest: IsNewest = False
) -> Response[bytes]:
    """Every entry about one topic, for `tally complete --verify`; records a commitment to what there is.

    Under a checkpoint that witnesses have cosigned, where one covers a commitment since which nothing about
    the topic was recorded; else under the newest seal.
    """
    check_field(topic, "topic")
    lists: TopicLists = request.app.state.topic_lists
    data = await lists.prove(caller.desk.ledger, topic, caller.actor, is_newest=is_newest)
    return Response(data, media_type=completeness.MEDIA_TYPE)
