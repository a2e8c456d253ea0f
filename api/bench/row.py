"""Rows of a benchmark: ours, the reference's, their ratio, and the aim."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

from api.commands.table import format_table

Kind = Literal["rate", "seconds", "megabytes", "factor"]
_UNITS = {"rate": "/s", "seconds": " s", "megabytes": " MB", "factor": " ×"}


class Scale(Struct, frozen=True, kw_only=True):
    """How much is to be done."""

    is_quick: bool

    def of(self, count: int, quick: int) -> int:
        """``count``, or ``quick`` when there is no time."""
        return quick if self.is_quick else count


class Row(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One measurement.  ``ours`` and ``reference`` are medians in the unit of ``kind``; ``ratio`` is ours to
    the reference's, turn by turn, with the middle half of the turns in ``spread``.  ``note`` says what a
    number cannot, or why there is none."""

    work: str
    kind: Kind = "rate"
    ours: float | None = None
    beside: str = ""
    reference: float | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    aim: str = ""
    is_met: bool | None = None
    note: str = ""


class Aim(Struct, frozen=True):
    """What a ratio (or, with ``of`` ours, our own figure) should be: at least or at most ``limit``."""

    way: Literal["≥", "≤"]
    limit: float
    of: Literal["ratio", "ours"] = "ratio"
    unit: str = "×"

    def __str__(self) -> str:
        return f"{self.way} {self.limit:,g}{' ' if self.unit else ''}{self.unit}"

    def is_met(self, figure: float) -> bool:
        """Whether this figure is as it should be."""
        return figure >= self.limit if self.way == "≥" else figure <= self.limit


def compared(
    work: str,
    kind: Kind,
    turns: Sequence[tuple[float, float]],
    *,
    beside: str,
    aim: Aim | None = None,
    note: str = "",
) -> Row:
    """The row of some turns, each ours and the reference's."""
    ratios = sorted(ours / reference for ours, reference in turns)
    ours = statistics.median(one for one, _ in turns)
    ratio = statistics.median(ratios)
    return Row(
        work=work,
        kind=kind,
        ours=ours,
        beside=beside,
        reference=statistics.median(one for _, one in turns),
        ratio=ratio,
        spread=(ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]),
        aim=str(aim) if aim else "",
        is_met=aim.is_met(ratio if aim.of == "ratio" else ours) if aim else None,
        note=note,
    )


def alone(work: str, kind: Kind, figures: Sequence[float], *, aim: Aim | None = None, note: str = "") -> Row:
    """The row of something that nothing stands beside."""
    ours = statistics.median(figures)
    return Row(
        work=work,
        kind=kind,
        ours=ours,
        aim=str(aim) if aim else "",
        is_met=aim.is_met(ours) if aim else None,
        note=note,
    )


def seconds(work: Callable[[], object]) -> float:
    """How long this takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def format_rows(rows: Sequence[Row]) -> str:
    """A table for people."""
    return format_table(
        ("work", "ours", "beside", "theirs", "ratio", "middle half", "aim", ""),
        [
            (
                row.work,
                _figure(row.ours, row.kind),
                row.beside,
                _figure(row.reference, row.kind),
                "" if row.ratio is None else f"{row.ratio:.2f}",
                "" if row.spread is None else f"{row.spread[0]:.2f}…{row.spread[1]:.2f}",
                row.aim,
                " ".join(part for part in (_MARKS[row.is_met], row.note) if part),
            )
            for row in rows
        ],
    )


_MARKS = {True: "✓", False: "✗", None: ""}


def _figure(figure: float | None, kind: Kind) -> str:
    if figure is None:
        return ""
    unit = _UNITS[kind]
    if kind == "seconds" and figure < 1:
        figure, unit = (figure * 1e3, " ms") if figure >= 1e-3 else (figure * 1e6, " µs")
    return f"{figure:,.{0 if figure >= 1_000 else 1 if figure >= 10 else 2}f}{unit}"
