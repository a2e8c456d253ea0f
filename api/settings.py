"""Settings: where things lie, from the command line, the environment, or their defaults.

| setting | environment | default |
|---|---|---|
| home | ``TALLY_HOME`` | ``.tally`` in the current folder |
| store | ``TALLY_STORE`` | ``<home>/ledgers``; a path, or ``esdb://…`` for EventStoreDB |
| tenant | ``TALLY_TENANT`` | ``demo`` |
| origin prefix | ``TALLY_ORIGIN`` | ``tallystick.local``; a ledger's origin is ``<prefix>/<tenant>`` |
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from domain.identifiers import parse_identifier
from ledger.entry import check_field

TENANT_DEFAULT = "demo"
ORIGIN_PREFIX_DEFAULT = "tallystick.local"


class Settings(Struct, frozen=True, kw_only=True):
    """Resolved settings; every path is absolute."""

    home: Path
    store: str
    tenant: str
    origin_prefix: str

    def __post_init__(self) -> None:
        parse_identifier(self.tenant, "tenant")
        check_field(self.origin_prefix, "origin prefix")

    def origin(self, tenant: str) -> str:
        """C2SP key name and checkpoint origin of a tenant's ledger."""
        return f"{self.origin_prefix}/{tenant}"

    @property
    def keys_folder(self) -> Path:
        """Private keys, readable by their owner only."""
        return self.home / "keys"

    def vault_folder(self, tenant: str) -> Path:
        """Batches, datasets and artifacts of one tenant."""
        return self.home / "vault" / tenant

    def index_path(self, tenant: str) -> Path:
        """Derived lookups and Merkle tiles of one tenant; may be deleted at any time while nothing runs."""
        return self.home / "index" / f"{tenant}.sqlite"

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
    """Settings from arguments first, then the environment, then defaults.  Raises: MalformedError, InvalidError."""
    found = os.environ if environment is None else environment
    folder = Path(home or found.get("TALLY_HOME") or ".tally").absolute()
    return Settings(
        home=folder,
        store=store or found.get("TALLY_STORE") or str(folder / "ledgers"),
        tenant=tenant or found.get("TALLY_TENANT") or TENANT_DEFAULT,
        origin_prefix=found.get("TALLY_ORIGIN") or ORIGIN_PREFIX_DEFAULT,
    )
