"""Questions to a view: one file per thing asked about, typed answers, parameterised SQL only.

Every function takes a DuckDB connection to the view first; ``ProjectionRunner.query`` and ``current_view``
provide one.  Lists come in pages, newest first, cut by ledger index, which never changes: an entry that
arrives while somebody turns pages moves nothing.
"""
