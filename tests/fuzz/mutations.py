"""Changes that respect structure enough to get far: of bytes, of lines, and of JSON."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

# Values at which readers break: edges of integer types, deep and odd text, things of another kind.
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    10**30,
    0.1,
    1e308,
    "",
    "\0",
    "\ud7ff",
    "‮",
    "x" * 300,
    "sha256:" + "0" * 64,
    [],
    {},
    [[]],
    [None],
    {"": None},
)
ODD_BYTES = (
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b"\xff\xfe",
    b"\xc2\x85",
    b"0",
    b"-",
    b"9" * 25,
    b'"',
    b"{",
    b"[" * 300,
)


@st.composite
def mutated(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """One of the seeds after one to four changes."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        change = draw(st.sampled_from((_flip, _cut, _put, _copy, _lines, _splice, _json, _json)))
        data = change(draw, data, seeds)
    return data


def _flip(draw: st.DrawFn, data: bytes, seeds: tuple[bytes, ...]) -> bytes:
    if not data:
        return data
    place = draw(st.integers(0, len(data) - 1))
    return data[:place] + bytes([data[place] ^ draw(st.integers(1, 255))]) + data[place + 1 :]


def _cut(draw: st.DrawFn, data: bytes, seeds: tuple[bytes, ...]) -> bytes:
    start = draw(st.integers(0, len(data)))
    return data[:start] + data[min(len(data), start + draw(st.sampled_from((1, 2, 7, 64, 1 << 20)))) :]


def _put(draw: st.DrawFn, data: bytes, seeds: tuple[bytes, ...]) -> bytes:
    place = draw(st.integers(0, len(data)))
    return data[:place] + draw(st.sampled_from(ODD_BYTES)) + data[place:]


def _copy(draw: st.DrawFn, data: bytes, seeds: tuple[bytes, ...]) -> bytes:
    start = draw(st.integers(0, len(data)))
    part = data[start : start + draw(st.integers(1, 64))]
    place = draw(st.integers(0, len(data)))
    return data[:place] + part * draw(st.integers(1, 3)) + data[place:]


def _lines(draw: st.DrawFn, data: bytes, seeds: tuple[bytes, ...]) -> bytes:
    lines = data.split(b"\n")
    one, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    match draw(st.sampled_from(("swap", "drop", "twice"))):
        case "swap":
            lines[one], lines[other] = lines[other], lines[one]
        case "drop":
            del lines[one]
        case _:
            lines.insert(other, lines[one])
    return b"\n".join(lines)


def _splice(draw: st.DrawFn, data: bytes, seeds: tuple[bytes, ...]) -> bytes:
    other = draw(st.sampled_from(seeds))
    return data[: draw(st.integers(0, len(data)))] + other[draw(st.integers(0, len(other))) :]


def _json(draw: st.DrawFn, data: bytes, seeds: tuple[bytes, ...]) -> bytes:
    """Change one member of a JSON document, written canonically again; other bytes are flipped."""
    head, separator, body = data.partition(b"\n") if not data.startswith((b"{", b"[")) else (b"", b"", data)
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        return _flip(draw, data, seeds)
    holder, place = _member(draw, tree)
    if holder is None:
        return _flip(draw, data, seeds)
    match draw(st.sampled_from(("odd", "drop", "rename", "twice", "swap"))):
        case "odd":
            holder[place] = draw(st.sampled_from(ODD_VALUES))
        case "drop":
            del holder[place]
        case "rename" if isinstance(holder, dict):
            holder[place + draw(st.sampled_from(("x", "_", "A")))] = holder.pop(place)
        case "twice" if isinstance(holder, list):
            holder.insert(place, holder[place])
        case _:
            other = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else range(len(holder))))
            holder[place], holder[other] = holder[other], holder[place]
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return head + separator + text.encode("utf-8", "surrogatepass")


def _member(draw: st.DrawFn, tree: Any) -> tuple[Any, Any]:
    """A random place in a document, as its holder and key or index."""
    holder, place = None, None
    while isinstance(tree, dict | list) and tree:
        holder = tree
        place = draw(st.sampled_from(sorted(tree) if isinstance(tree, dict) else range(len(tree))))
        tree = holder[place]
        if draw(st.integers(0, 3)) == 0:
            break
    return holder, place
