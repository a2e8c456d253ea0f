"""Settings: where things lie, from the command line, the environment, or their defaults.

| setting | environment | default |
|---|---|---|
| home | ``TALLY_HOME`` | ``.tally`` in the current folder |
| store | ``TALLY_STORE`` | ``<home>/ledgers``; a path, or ``esdb://…`` for EventStoreDB |
| memory | ``TALLY_SEEN`` | ``<home>/seen``; what no backup may hold, best on another disk |
| keys | ``TALLY_KEYS`` | ``<home>/keys``; a path, ``pkcs11:…`` or ``https+vault://…`` |
| tenant | ``TALLY_TENANT`` | ``demo`` |
| origin prefix | ``TALLY_ORIGIN`` | ``tallystick.local``; a ledger's origin is ``<prefix>/<tenant>`` |
| witnesses | ``TALLY_WITNESSES`` | ``<home>/witnesses.policy``; who cosigns, nobody without it |
| seconds between asking them | ``TALLY_WITNESS_SECONDS`` | ``10``; 1 to 86400 |
| public ledgers | ``TALLY_PUBLIC_TLOG`` | none; tenants, separated by commas, whose tiles need no key |
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from domain.errors import MalformedError
from domain.identifiers import parse_identifier

TENANT_DEFAULT = "demo"
ORIGIN_PREFIX_DEFAULT = "tallystick.local"
# Receipts that nobody has cosigned for longer than a day are no witnessed receipts.
WITNESS_SECONDS_MAX = 86_400
# A schemeless URL, as C2SP asks of an origin; it stands in notes, paths and headers.
_ORIGIN_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")


class Settings(Struct, frozen=True, kw_only=True):
    """Resolved settings; every path is absolute."""

    home: Path
    store: str
    tenant: str
    origin_prefix: str
    public_ledgers: tuple[str, ...] = ()
    seen: Path | None = None
    witnesses: Path | None = None
    witness_seconds: int = 10
    keys: str = ""

    def __post_init__(self) -> None:
        parse_identifier(self.tenant, "tenant")
        for tenant in self.public_ledgers:
            parse_identifier(tenant, "TALLY_PUBLIC_TLOG")
        if not _ORIGIN_PREFIX.fullmatch(self.origin_prefix):
            raise MalformedError(
                "not an origin prefix",
                field="TALLY_ORIGIN",
                expected="1 to 100 of letters, digits, . - _ and /, such as ledgers.example.org",
                actual=repr(self.origin_prefix)[:80],
            )
        if not 1 <= self.witness_seconds <= WITNESS_SECONDS_MAX:
            raise MalformedError(
                "not a number of seconds",
                field="TALLY_WITNESS_SECONDS",
                expected=f"1 to {WITNESS_SECONDS_MAX}",
                actual=str(self.witness_seconds),
            )

    def origin(self, tenant: str) -> str:
        """C2SP key name and checkpoint origin of a tenant's ledger."""
        return f"{self.origin_prefix}/{tenant}"

    @property
    def keys_folder(self) -> Path:
        """Private keys, readable by their owner only; where signing keys are elsewhere, people's wrapped
        keys."""
        return self.home / "keys"

    def vault_folder(self, tenant: str) -> Path:
        """Batches, datasets and artifacts of one tenant."""
        return self.home / "vault" / tenant

    def index_path(self, tenant: str) -> Path:
        """Derived lookups and Merkle tiles of one tenant; may be deleted at any time while nothing runs."""
        return self.home / "index" / f"{tenant}.sqlite"

    def work_lease_path(self, tenant: str) -> Path:
        """Locked by the process that works this tenant off."""
        return self.home / "index" / f"{tenant}.work"

    def answered_path(self, tenant: str) -> Path:
        """Which idempotency keys were used, and what they were answered."""
        return self.home / "requests" / f"{tenant}.sqlite"

    def seen_folder(self, tenant: str) -> Path:
        """The newest checkpoint that was seen here of a tenant's ledger, and the tenant's erasures."""
        return (self.seen or self.home / "seen") / tenant

    @property
    def witnesses_path(self) -> Path:
        """The policy that says which witnesses are asked to cosign; none are where it is missing."""
        return self.witnesses or self.home / "witnesses.policy"

    @property
    def views_folder(self) -> Path:
        """DuckDB files, rebuildable with ``tally rebuild``."""
        return self.home / "views"


def settings_from(
    environment: Mapping[str, str] | None = None,
    *,
    home: str | None = None,
    store: str | None = None,
    tenant: str | None = None,
) -> Settings:
    """Settings from arguments first, then the environment, then defaults.  Raises: MalformedError."""
    found = os.environ if environment is None else environment
    place = home or found.get("TALLY_HOME") or ".tally"
    if "\0" in place:
        raise MalformedError("not a path", field="home", actual=repr(place)[:80])
    folder = Path(place).absolute()
    public = found.get("TALLY_PUBLIC_TLOG") or ""
    return Settings(
        home=folder,
        store=store or found.get("TALLY_STORE") or str(folder / "ledgers"),
        tenant=tenant or found.get("TALLY_TENANT") or TENANT_DEFAULT,
        origin_prefix=found.get("TALLY_ORIGIN") or ORIGIN_PREFIX_DEFAULT,
        keys=found.get("TALLY_KEYS") or "",
        seen=Path(found["TALLY_SEEN"]).absolute() if found.get("TALLY_SEEN") else None,
        witnesses=Path(found["TALLY_WITNESSES"]).absolute() if found.get("TALLY_WITNESSES") else None,
        witness_seconds=_seconds(found.get("TALLY_WITNESS_SECONDS") or "10"),
        public_ledgers=tuple(one.strip() for one in public.split(",")) if public else (),
    )


def _seconds(text: str) -> int:
    # What is no number is out of range too, and told the same way.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 0
