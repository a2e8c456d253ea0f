"""A table as HTML: on a wide screen and on paper a table, on a narrow screen a list.

Cells carry the name of their column for the narrow form, and roles, because a table that is displayed as
blocks would otherwise cease to be one for a screen reader.
"""

from __future__ import annotations

from collections.abc import Iterable

from domain.report.tables import Table
from domain.report.wording import escaped

CELL_LENGTH_MAX = 1_200


def html_table(table: Table) -> str:
    """The markup of ``table``; numbers are set to the right, digests and other codes in a fixed width."""
    if not table.rows:
        return f'<p class="note">{escaped(table.caption)}.</p>'
    numeric = [at > 0 and _is_numeric(cells) for at, cells in enumerate(zip(*table.rows, strict=True))]
    head = "".join(
        f'<th role="columnheader" scope="col"{_kind(is_number)}>{escaped(name)}</th>'
        for name, is_number in zip(table.head, numeric, strict=True)
    )
    body = "".join(_row(table.head, row, numeric) for row in table.rows)
    more = f'<p class="note">{escaped(table.more, 400)}</p>' if table.more else ""
    return (
        f'<div class="rows"><table role="table"><caption>{escaped(table.caption)}</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead><tbody '
        f'role="rowgroup">{body}</tbody></table>'
        f"</div>{more}"
    )


def _row(head: tuple[str, ...], row: tuple[str, ...], numeric: list[bool]) -> str:
    cells = "".join(
        f'<td role="cell" data-l="{escaped(name)}"{_kind(is_number)}>{_lines(cell)}</td>'
        for name, cell, is_number in zip(head[1:], row[1:], numeric[1:], strict=True)
    )
    return f'<tr role="row"><th role="rowheader" scope="row">{_lines(row[0])}</th>{cells}</tr>'


def _lines(cell: str) -> str:
    return "<br/>".join(_line(line) for line in cell.split("\n"))


def _line(line: str) -> str:
    text = escaped(line, CELL_LENGTH_MAX)
    return f"<code>{text}</code>" if line.startswith(("sha256:", "{")) else text


def _kind(is_number: bool) -> str:
    return ' class="n"' if is_number else ""


def _is_numeric(cells: Iterable[str]) -> bool:
    return all(cell[:1] in "–−∞" or cell[:1].isdigit() for cell in cells if cell)
