"""Witnesses of this installation: wired when ``witnesses.policy`` is there (``ledger.store_witnessing``)."""

from __future__ import annotations

import time
from pathlib import Path

from adapters.cosignature_store import SQLiteCosignatures
from adapters.sqlite_index import SQLiteIndex
from adapters.witness_client import WitnessClient
from api.settings import Settings
from domain.errors import InvalidError
from ledger.ledger import Ledger
from ledger.metalog import META_TENANT
from ledger.policy import POLICY_BYTES_MAX, parse_policy
from ledger.ports import EventLog, SigningKeys
from ledger.store_witnessing import StoreWitnessing


def cosignatures_path(settings: Settings) -> Path:
    """What witnesses said; kept with what else has to survive a restored backup.  No tenant has this name."""
    return (settings.seen or settings.home / "seen") / "_cosignatures.sqlite"


def open_witnessing(settings: Settings, log: EventLog, keys: SigningKeys) -> StoreWitnessing | None:
    """The witnessing of this installation; None where no witnesses are configured.

    Raises: MalformedError, InvalidError for a policy that nobody can go by.
    """
    path = settings.witnesses_path
    if not path.is_file():
        return None
    with path.open("rb") as file:
        policy = parse_policy(file.read(POLICY_BYTES_MAX + 1))
    origin = settings.origin(META_TENANT)

    async def open_meta() -> Ledger:
        return await Ledger.open(
            log=log,
            tenant=META_TENANT,
            origin=origin,
            keys=keys,
            clock=time.time_ns,
            index=SQLiteIndex(settings.index_path(META_TENANT)),
        )

    return StoreWitnessing(
        policy=policy,
        log=log,
        meta_origin=origin,
        open_meta=open_meta,
        witnesses=WitnessClient(),
        store=SQLiteCosignatures(cosignatures_path(settings)),
        clock=time.time_ns,
        interval_seconds=settings.witness_seconds,
    )


def check_no_meta_log(tenant: str) -> None:
    """Raises: InvalidError for the one name that no tenant can have."""
    if tenant == META_TENANT:
        raise InvalidError(
            "no tenant can have this name: it is the meta-log's",
            field="tenant",
            actual=tenant,
            remedy="Choose another. The meta-log itself is looked at with `tally audit` and `tally witness`.",
        )
