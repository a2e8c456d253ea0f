"""Cold telemetry as Parquet: one row per run x window x metric, readable by anything, without this
software."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
from duckdb import DuckDBPyConnection

from projections.errors import ViewStorageError

_BATCH_ROWS: Final = 122_880
# A window belongs to the range by its start; where that is personal data, by the time its run was decided.
_QUERY: Final = """
SELECT telemetry.*, decided.recorded_at_ns AS decided_at_ns, verdict
FROM telemetry JOIN run_decided AS decided USING (run_index)
WHERE coalesce(telemetry.start_ns, decided.recorded_at_ns) >= ?
    AND coalesce(telemetry.start_ns, decided.recorded_at_ns) < ?
ORDER BY run_index, metric, "window"
"""


def export_telemetry(
    connection: DuckDBPyConnection, path: Path, *, from_ns: int = 0, until_ns: int = (1 << 63) - 1
) -> int:
    """Write the telemetry of ``[from_ns, until_ns)`` to a Parquet file and return its number of rows.

    The file appears whole or not at all, and replaces one of the same name.  Raises: ViewStorageError.
    """
    partial = path.with_name(path.name + ".partial")
    row_count = 0
    try:
        reader = connection.sql(_QUERY, params=[from_ns, until_ns]).to_arrow_reader(_BATCH_ROWS)
        with pq.ParquetWriter(partial, reader.schema, compression="zstd") as writer:
            for batch in reader:
                row_count += batch.num_rows
                writer.write_batch(batch)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ViewStorageError(path, str(error)) from error
    return row_count
