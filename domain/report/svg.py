"""Drawings: plots, gate strips and histograms as inline SVG that needs no script and bends to any width.

Each drawing is as wide as its place: lines live in a nested SVG that is stretched
(``preserveAspectRatio="none"``, strokes not scaled with it), text and ticks stand beside it at percentages,
so that letters keep their size.  Meaning never rests on colour alone: outcomes differ in height, series in
dash pattern.  Everything has a title and a description.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized

import numpy as np
from numpy.typing import NDArray

from domain.report.model import SERIES_MAX, Numbers, Plot, Series
from domain.report.scales import Scale, Tick, scale_of
from domain.report.tables import SCORE_TENTHS, outcome_counts, score_counts
from domain.report.wording import counted, escaped, number, quantity, unit_name

PLOT_HEIGHT = 248
STRIP_HEIGHT = 22
# One column of a strip is about two pixels of a page; more windows than that share columns, the worst of
# each showing.
COLUMNS_MAX = 240
# A strip of fewer windows is drawn narrower, because a notch as wide as a hand says nothing more.
FULL_STRIP_WINDOWS_MIN = 16
# Columns of a plot within which lines are reduced to what a person could see: first, lowest, highest, last.
PLOT_COLUMNS = 480
# Points are dots of two pixels; beyond this many they are one blot, and every n-th tells as much.
POINTS_MAX = 1_500

# From the worst to the best; a column shows the worst of its windows.
_SEVERITY = "fabp"
# Top and height of a notch: the worse, the taller; an abstention is a bar that touches neither edge.
_NOTCHES = {"p": (15, 7), "b": (8, 14), "f": (0, 22), "a": (9, 3)}


def gate_strip(outcomes: str, title: str, key: str) -> str:
    """One notch per window (or per few), left to right in time."""
    columns = worst_of_columns(outcomes)
    gap = 0.22 if len(columns) <= 120 else 0.0
    paths = []
    for letter in _SEVERITY:
        top, height = _NOTCHES[letter]
        steps = "".join(
            f"M{_short(start + gap / 2)} {top}h{_short(length - gap)}v{height}h{_short(gap - length)}z"
            for start, length in _runs(columns, letter, is_joined=not gap)
        )
        if steps:
            paths.append(f'<path class="o-{letter}" d="{steps}"/>')
    size = len(outcomes)
    shared = (
        ""
        if len(columns) == size
        else f" Each notch is the worst of up to {-(-size // len(columns))} windows."
    )
    return (
        f"{_strip_begin(columns, STRIP_HEIGHT, key)}"
        f'<title id="{key}-t">{escaped(title)}: '
        f"{outcome_counts(outcomes)}.{shared}</title>{''.join(paths)}</svg>"
    )


def score_strip(scores: tuple[float | None, ...], key: str) -> str:
    """The validity of every window as a bar; a window without a score leaves a mark at the foot."""
    columns = _lowest_of_columns(scores)
    height = 64
    gap = 0.22 if len(columns) <= 120 else 0.0
    bars, holes = [], []
    for index, score in enumerate(columns):
        left, width = _short(index + gap / 2), _short(1 - gap)
        if score is None:
            holes.append(f"M{left} {height - 4}h{width}v2h-{width}z")
        else:
            size = max(score * (height - 8), 1.0)
            bars.append(f"M{left} {_short(height - size)}h{width}v{_short(size)}h-{width}z")
    scored = sum(score is not None for score in scores)
    return (
        f"{_strip_begin(columns, height, key)}"
        f'<title id="{key}-t">Validity of each window, 0 at the foot, 1 at the top; '
        f"{counted(scored, 'window')} scored, {number(len(scores) - scored)} not.</title>"
        f'<path class="edge" d="M0 8H{max(len(columns), 1)}"/>'
        f'<path class="score" d="{"".join(bars)}"/><path class="o-a" d="{"".join(holes)}"/></svg>'
    )


def score_histogram(scores: tuple[float | None, ...], key: str) -> str:
    """How many windows have which score; each bar carries its number, so that no height must be measured."""
    counts = score_counts(scores)
    height, foot = 108, 18
    top = max(max(counts), 1)
    share = 100 / len(counts)
    parts = []
    for index, count in enumerate(counts):
        left = index * share
        size = (height - foot - 16) * count / top
        kind = "o-a" if index == SCORE_TENTHS else "score"
        base = height - foot
        if count:
            parts.append(
                f'<rect class="{kind}" x="{_short(left + share * 0.08)}%" y="{_short(base - size)}" '
                f'width="{_short(share * 0.84)}%" height="{_short(max(size, 1.0))}"/>'
                f'<text class="tick" text-anchor="middle" x="{_short(left + share / 2)}%" '
                f'y="{_short(base - size - 4)}">'
                f"{number(count)}</text>"
            )
        label = "none" if index == SCORE_TENTHS else ("0" if index == 0 else f".{index}")
        anchor, where = ("middle", left + share / 2) if index == SCORE_TENTHS else ("start", left)
        parts.append(
            f'<text class="tick" text-anchor="{anchor}" x="{_short(where)}%" y="{height - 4}">{label}</text>'
        )
    return (
        f'<svg class="field" role="img" width="100%" height="{height}" aria-labelledby="{key}-t">'
        f'<title id="{key}-t">Histogram of window scores in tenths, and windows without a score: '
        f"{', '.join(number(count) for count in counts)}.</title>"
        f'<line class="axis" x1="0" x2="100%" y1="{height - foot}" '
        f'y2="{height - foot}"/>{"".join(parts)}</svg>'
    )


def plot_field(plot: Plot, key: str) -> str:
    """The drawing of a plot: y labels in a gutter, the field beside it."""
    shown = tuple(_ascending(one) for one in plot.series[:SERIES_MAX])
    levels = np.array([level.value for level in plot.levels])
    bounds = [part for one in shown for part in (one.low, one.high) if part is not None]
    x = scale_of(plot.x, [one.x for one in shown], has_room=any(one.style == "points" for one in shown))
    y = scale_of(plot.y, [*(one.y for one in shown), *bounds, levels], has_room=True)
    x_ticks, y_ticks = x.ticks(), y.ticks()
    layers = [_band(one, index, x, y) for index, one in enumerate(shown)]
    layers += [_marks(one, index, x, y) for index, one in enumerate(shown)]
    gutter = "".join(
        '<text class="tick" text-anchor="end" x="46" '
        f'y="{_short(_row(tick.share) + 3.5)}">{escaped(tick.label)}</text>'
        for tick in y_ticks
    )
    return (
        '<div class="chart"><svg class="gutter" aria-hidden="true" width="50" '
        f'height="{PLOT_HEIGHT + 22}">{gutter}</svg>'
        f'<svg class="field" role="img" width="100%" height="{PLOT_HEIGHT + 22}" '
        f'aria-labelledby="{key}-t {key}-d">'
        f'<title id="{key}-t">{escaped(plot.title)}</title><desc '
        f'id="{key}-d">{_description(plot, shown)}</desc>'
        f"{_grid(x_ticks, y_ticks)}"
        f'<svg x="0" y="0" width="100%" height="{PLOT_HEIGHT}" viewBox="0 0 1000 {PLOT_HEIGHT}" '
        f'preserveAspectRatio="none">{"".join(layers)}</svg>{_levels(plot, shown, x, y)}</svg></div>'
    )


def legend_mark(index: int, style: str) -> str:
    """The sample of a series that stands in the legend."""
    shape = "M2 6h28" if style == "line" else "M6 6h0M16 6h0M26 6h0"
    kind = "line" if style == "line" else "dots"
    path = f'<path class="{kind} s{index}" d="{shape}"/>'
    return f'<svg class="key" aria-hidden="true" width="32" height="12">{path}</svg>'


def worst_of_columns(outcomes: str) -> str:
    """At most ``COLUMNS_MAX`` letters, each the worst of the windows it stands for."""
    if len(outcomes) <= COLUMNS_MAX:
        return outcomes
    size = -(-len(outcomes) // COLUMNS_MAX)
    return "".join(
        min(outcomes[start : start + size], key=_SEVERITY.index) for start in range(0, len(outcomes), size)
    )


def _lowest_of_columns(scores: tuple[float | None, ...]) -> list[float | None]:
    """As ``worst_of_columns``; a missing score is worse than any."""
    size = max(-(-len(scores) // COLUMNS_MAX), 1)
    columns: list[float | None] = []
    for start in range(0, len(scores), size):
        known = [score for score in scores[start : start + size] if score is not None]
        columns.append(min(known) if len(known) == len(scores[start : start + size]) else None)
    return columns


def _strip_begin(columns: Sized, height: int, key: str) -> str:
    count = max(len(columns), 1)
    width = _short(100 * min(count / FULL_STRIP_WINDOWS_MIN, 1))
    return (
        f'<svg class="strip" role="img" viewBox="0 0 {count} {height}" width="{width}%" height="{height}" '
        f'preserveAspectRatio="none" aria-labelledby="{key}-t">'
    )


def _runs(columns: str, letter: str, *, is_joined: bool) -> Iterator[tuple[int, int]]:
    """Start and length of the stretches of ``letter``; single columns unless neighbours are joined."""
    index = 0
    while index < len(columns):
        end = index + 1
        if columns[index] == letter:
            while is_joined and end < len(columns) and columns[end] == letter:
                end += 1
            yield index, end - index
        index = end


def _grid(x_ticks: Iterable[Tick], y_ticks: Iterable[Tick]) -> str:
    parts = [
        f'<line class="grid" x1="0" x2="100%" y1="{_short(_row(tick.share))}" '
        f'y2="{_short(_row(tick.share))}"/>'
        for tick in y_ticks
    ]
    for tick in x_ticks:
        where = _short(tick.share * 100)
        anchor = "start" if tick.share < 0.04 else "end" if tick.share > 0.96 else "middle"
        parts.append(
            f'<line class="grid" x1="{where}%" x2="{where}%" y1="0" y2="{PLOT_HEIGHT}"/>'
            f'<text class="tick" text-anchor="{anchor}" x="{where}%" '
            f'y="{PLOT_HEIGHT + 16}">{escaped(tick.label)}</text>'
        )
    parts.append(f'<line class="axis" x1="0" x2="100%" y1="{PLOT_HEIGHT}" y2="{PLOT_HEIGHT}"/>')
    return "".join(parts)


def _levels(plot: Plot, shown: tuple[Series, ...], x: Scale, y: Scale) -> str:
    parts = []
    for level in plot.levels:
        share = float(y.shares(np.array([level.value]))[0])
        if not 0 <= share <= 1:
            continue
        row = _row(share)
        anchor, column = ("start", "0.5%") if _is_left_emptier(shown, x, y, share) else ("end", "99.5%")
        text_row = row - 6 if row > 16 else row + 14
        parts.append(
            f'<line class="level" x1="0" x2="100%" y1="{_short(row)}" y2="{_short(row)}"/>'
            f'<text class="level-name" text-anchor="{anchor}" x="{column}" y="{_short(text_row)}">'
            f"{escaped(level.name)}: {number(level.value, 3)}</text>"
        )
    return "".join(parts)


def _is_left_emptier(shown: tuple[Series, ...], x: Scale, y: Scale, share: float) -> bool:
    """Whether fewer marks lie just above ``share`` in the left part of the field than in the right part."""
    left = right = 0
    for one in shown:
        across, up = x.shares(one.x), y.shares(one.y)
        near = (up > share - 0.02) & (up < share + 0.1)
        left += int(np.count_nonzero(near & (across < 0.35))) * max(int(np.count_nonzero(across > 0.65)), 1)
        right += int(np.count_nonzero(near & (across > 0.65))) * max(int(np.count_nonzero(across < 0.35)), 1)
    return left < right


def _ascending(one: Series) -> Series:
    """The series in the order of its x, so that each pixel column is one stretch of it."""
    if one.style == "points" or not bool(np.any(one.x[1:] < one.x[:-1])):
        return one
    order = np.argsort(one.x, kind="stable")
    low, high = (None if part is None else part[order] for part in (one.low, one.high))
    return Series(name=one.name, x=one.x[order], y=one.y[order], low=low, high=high, style=one.style)


def _band(one: Series, index: int, x: Scale, y: Scale) -> str:
    """The uncertainty of a line as an area; of points as whiskers."""
    if one.low is None or one.high is None:
        return ""
    across, low, high = x.shares(one.x), y.shares(one.low), y.shares(one.high)
    known = np.isfinite(across) & np.isfinite(low) & np.isfinite(high)
    if one.style == "points":
        keep = np.flatnonzero(known)
        keep = keep[:: max(-(-keep.size // POINTS_MAX), 1)]
        steps = "".join(f"M{_point(across[at], low[at])}V{_row(high[at]):.1f}" for at in keep.tolist())
        return f'<path class="whisker s{index}" d="{steps}"/>' if steps else ""
    steps = ""
    for part in _stretches(known):
        columns, low_rows = _envelope(across[part], low[part], np.minimum)
        _, high_rows = _envelope(across[part], high[part], np.maximum)
        there = list(map(_point, columns, high_rows))
        back = list(map(_point, columns, low_rows))
        steps += "M" + "L".join(there + back[::-1]) + "z"
    return f'<path class="band s{index}" d="{steps}"/>' if steps else ""


def _marks(one: Series, index: int, x: Scale, y: Scale) -> str:
    across, up = x.shares(one.x), y.shares(one.y)
    known = np.isfinite(across) & np.isfinite(up)
    if one.style == "points":
        keep = np.flatnonzero(known)
        keep = keep[:: max(-(-keep.size // POINTS_MAX), 1)]
        dots = "".join(f"M{_point(across[at], up[at])}h0" for at in keep.tolist())
        return f'<path class="dots s{index}" d="{dots}"/>' if dots else ""
    steps = "".join(_line(across[part], up[part]) for part in _stretches(known))
    return f'<path class="line s{index}" d="{steps}"/>' if steps else ""


def _line(across: Numbers, up: Numbers) -> str:
    """A path through the points; within a pixel column only the first, lowest, highest and last are kept."""
    if across.size > 2 * PLOT_COLUMNS:
        starts = _column_starts(across)
        ends = np.append(starts[1:], across.size) - 1
        kept = [starts, ends]
        for sign in (1.0, -1.0):
            kept.append(_places_of_extremes(sign * up, starts))
        keep = np.unique(np.concatenate(kept))
        across, up = across[keep], up[keep]
    points = list(map(_point, across.tolist(), up.tolist()))
    return "M" + "L".join(points) if len(points) > 1 else f"M{points[0]}h1"


def _column_starts(across: Numbers) -> NDArray[np.int64]:
    """Index of the first point of each pixel column."""
    columns = np.floor(across * PLOT_COLUMNS)
    return np.flatnonzero(np.concatenate((np.ones(1, bool), columns[1:] != columns[:-1])))


def _places_of_extremes(values: Numbers, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the (first) smallest value of each stretch that begins at one of ``starts``."""
    lowest = np.minimum.reduceat(values, starts)
    owner = np.repeat(np.arange(starts.size), np.diff(np.append(starts, values.size)))
    places = np.flatnonzero(values == lowest[owner])
    _, first = np.unique(owner[places], return_index=True)
    return places[first]


def _envelope(across: Numbers, values: Numbers, extreme: np.ufunc) -> tuple[list[float], list[float]]:
    starts = _column_starts(across) if across.size > 2 * PLOT_COLUMNS else np.arange(across.size)
    return across[starts].tolist(), extreme.reduceat(values, starts).tolist()


def _stretches(known: NDArray[np.bool_]) -> Iterator[slice]:
    """Slices between the holes."""
    edges = np.flatnonzero(
        np.diff(np.concatenate((np.zeros(1, bool), known, np.zeros(1, bool))).astype(np.int8))
    )
    for start, end in edges.reshape(-1, 2).tolist():
        yield slice(start, end)


def _description(plot: Plot, shown: tuple[Series, ...]) -> str:
    parts = [
        f"{plot.y.label} ({unit_name(plot.y.unit)}) against {plot.x.label} ({unit_name(plot.x.unit)}), "
        f"{counted(len(shown), 'series', 'series')}."
    ]
    for one in shown:
        known = one.y[np.isfinite(one.y)]
        extent = (
            f"from {quantity(float(known.min()), plot.y.unit)} to {quantity(float(known.max()), plot.y.unit)}"
            if known.size
            else "no values"
        )
        parts.append(f"{one.name}: {extent}.")
    return escaped(" ".join(parts), 1_000)


def _row(share: float) -> float:
    """Pixel row of a share of the y axis, kept near the field so that no coordinate grows without bound."""
    return PLOT_HEIGHT * (1 - min(max(share, -1.0), 2.0))


def _point(across: float, up: float) -> str:
    """A point of the stretched field, to a tenth of a pixel."""
    return f"{across * 1000:.1f} {_row(up):.1f}"


def _short(value: float) -> str:
    """A coordinate to a hundredth, without what carries nothing."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
