"""Read views folded from events: disposable, rebuildable from the first entry, one DuckDB file per tenant.

How an entry becomes an answer, file by file::

    catch_up   reads the ledger in pages, one ahead
    bodies     event bodies, as far as the view reads them
    facts      the fact tables: one kind of event each, only ever appended to
    fold       records to Arrow rows: pure, the same whatever the pages were
    view       the file: rows and position in one transaction, a poison stops it
    schema     its layout and version; views and health_views are the SQL that people read
    runner     keeps a view up with its ledger, answers, lets writers wait for what they wrote
    current    the same for one command that reads and leaves
    rebuild    from zero beside the live file, proven equal, switched in one rename
    reading    the questions, one file per thing asked about
    export     telemetry as Parquet
    tracking   the position as the eventsourcing library knows it
"""
