"""Tables for people: plain text, aligned, nothing that a terminal without colours would lose."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime


def format_table(headers: Sequence[str], rows: Sequence[Sequence[object]], indent: str = "  ") -> str:
    """Left-aligned columns under headers; numbers are right-aligned.  Control characters are made visible."""
    texts = [[_text(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(headers), *texts]) for i in range(len(headers))]
    is_number = [
        bool(rows) and all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        for i in range(len(headers))
    ]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, is_number, strict=True)
        )
        return indent + "  ".join(padded).rstrip()

    return "\n".join(
        [line(list(headers)), indent + "  ".join("─" * width for width in widths), *map(line, texts)]
    )


def format_time(time_ns: int | None) -> str:
    """Unix nanoseconds as UTC to the second; a dash for none."""
    if time_ns is None:
        return "–"
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def format_verdict(verdict: str) -> str:
    """A verdict with a mark that does not need colour."""
    marks = {"pass": "✓ pass", "borderline": "~ borderline", "fail": "✗ fail", "abstain": "? abstain"}
    return marks.get(verdict, verdict)


def _text(cell: object) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(cell))
