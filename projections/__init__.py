"""Read views folded from events: disposable, rebuildable from the first entry, one DuckDB file per tenant."""
