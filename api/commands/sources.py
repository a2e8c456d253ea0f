"""``tally sources``: the devices and connections that batches come from."""

from __future__ import annotations

import argparse
from functools import partial

from api.commands.command import print_json
from api.commands.table import format_table, format_time
from api.commands.views import add_limit, at_views, rows_of
from projections.reading.sources import SourceSummary, list_sources


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--kind", choices=("device", "connection"), help="only these")
    add_limit(parser)


def run(arguments: argparse.Namespace) -> int:
    """List."""

    def show(found: list[SourceSummary]) -> None:
        if arguments.json:
            print_json(found)
            return
        rows = [
            (
                row.entry_index,
                row.source_id,
                row.kind,
                row.title,
                format_time(row.recorded_at_ns),
                "" if row.erased_index is None else f"entry {row.erased_index}, {row.erasure_reason}",
            )
            for row in found
        ]
        print(format_table(("entry", "source", "kind", "what", "registered", "erased"), rows))

    return at_views(
        arguments,
        lambda connection: rows_of(partial(list_sources, connection), arguments.limit, kind=arguments.kind),
        show,
    )
