"""The layout of a view file: fact tables, views over them, and where the projection stands.

Every change of this layout or of the fold is a new ``VIEW_VERSION``: the version is in the file's name, so
the old view stays usable while the new one is folded beside it, and a file is never migrated in place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from duckdb import DuckDBPyConnection

from domain.digests import digest_of
from domain.identifiers import parse_identifier
from projections.facts import FACT_TABLES
from projections.fold import Position
from projections.views import VIEWS

VIEW_VERSION: Final = 2

# ``position`` has one row per upstream; a runner writes the row of its ledger.  ``next_index`` is one past
# the last entry folded, ``leaf`` the leaf hash (hex) of that entry.
_STATE_TABLES: Final = (
    "CREATE TABLE layout (view_version BIGINT NOT NULL, digest VARCHAR NOT NULL)",
    "CREATE TABLE position (upstream VARCHAR PRIMARY KEY, next_index BIGINT NOT NULL, leaf VARCHAR)",
    "CREATE TABLE open_run (run_id VARCHAR NOT NULL, run_index BIGINT NOT NULL)",
    "CREATE TABLE projection_error (entry_index BIGINT, event_type VARCHAR, cause VARCHAR, remedy VARCHAR)",
)
_STATEMENTS: Final = (*_STATE_TABLES, *(table.definition for table in FACT_TABLES), *VIEWS)
# Tells a file that was laid out by other code from ours, also when somebody forgot to count the version up.
LAYOUT_DIGEST: Final = digest_of("\n".join(_STATEMENTS).encode())
# What a rebuilt view must agree on with the live one.
COMPARED_TABLES: Final = (*(table.name for table in FACT_TABLES), "open_run", "position")


def view_path(folder: Path, tenant: str) -> Path:
    """The file of a tenant's view.  Raises: MalformedError for a tenant that is not an identifier."""
    return folder / f"{parse_identifier(tenant, 'tenant')}.views.v{VIEW_VERSION}.duckdb"


def create(connection: DuckDBPyConnection, ledger: str) -> None:
    """Lay out an empty view of ``ledger``, in one transaction."""
    start = Position()
    connection.begin()
    for statement in _STATEMENTS:
        connection.execute(statement)
    connection.execute("INSERT INTO layout VALUES (?, ?)", [VIEW_VERSION, LAYOUT_DIGEST])
    connection.execute("INSERT INTO position VALUES (?, ?, ?)", [ledger, start.next_index, start.leaf])
    connection.commit()
