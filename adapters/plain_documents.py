"""Plain documents: YAML and JSON that people write, read as mappings, lists and scalars, and nothing else.

YAML is read as its plain part: UTF-8, one document, string keys, scalars as YAML 1.2's core schema reads
them (``1e-3`` is a number, ``no`` is a word).  Anchors, aliases and tags are refused: configuration needs
none of them, and an alias bomb or an object constructor does.  In both formats a key stands once in its
mapping, and depth and size are bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TypeAlias

import yaml
from msgspec import Struct

from domain.errors import LimitError, MalformedError

DOCUMENT_BYTES_MAX = 256 * 1024
# Configuration is three or four deep; the rest is room for a mistake to be explained.
DEPTH_MAX = 16
# A contract of 64 gates with every field has about 1,700.
NODES_MAX = 10_000

Tree: TypeAlias = "dict[str, Tree] | list[Tree] | str | float | int | bool | None"
Path: TypeAlias = tuple[str | int, ...]

# An integer of 18 digits fits 64 bits; a longer one is read as a float, so that no text becomes a slow big
# number.
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,4})?")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("null", "Null", "NULL", "~", "")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class PlainDocument(Struct, frozen=True, kw_only=True):
    """A parsed document: its ``name`` for messages, its ``tree``, and the 1-based line of every node where
    it is known (YAML)."""

    name: str
    tree: Tree
    lines: dict[Path, int]

    def place(self, path: Path) -> str:
        """``name: gates[0].pass_limit (line 12)``, for a person who has to find it; the line is that of the
        nearest known node."""
        dotted = "".join(
            f"[{step}]" if isinstance(step, int) else f".{step[:80]}" for step in path
        ).removeprefix(".")
        known = next((path[:size] for size in range(len(path), -1, -1) if path[:size] in self.lines), None)
        line = "" if known is None else f" (line {self.lines[known]})"
        return f"{self.name}: {dotted}{line}" if dotted else f"{self.name}{line}"


def parse_plain(data: bytes, name: str) -> PlainDocument:
    """Read ``data`` as JSON if ``name`` ends in ``.json``, as YAML otherwise.

    Raises: MalformedError, LimitError; their ``field`` says file, path and line.
    """
    name = name[:120]
    if len(data) > DOCUMENT_BYTES_MAX:
        raise LimitError(
            "too large", field=name, expected=f"<= {DOCUMENT_BYTES_MAX} bytes", actual=str(len(data))
        )
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise MalformedError(
            "not UTF-8", field=name, actual=f"byte {error.start}", remedy="Save the file as UTF-8."
        ) from None
    return _parse_json(text, name) if name.lower().endswith(".json") else _parse_yaml(text, name)


def _parse_json(text: str, name: str) -> PlainDocument:
    def mapping(pairs: list[tuple[str, Tree]]) -> dict[str, Tree]:
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = sorted({key for key in keys if keys.count(key) > 1})
            raise MalformedError(
                "a key stands twice in one mapping", field=name, actual=", ".join(twice)[:200]
            )
        return found

    def constant(word: str) -> Tree:
        raise MalformedError("JSON has no such number", field=name, actual=word)

    def integer(digits: str) -> int | float:
        return int(digits) if _INTEGER.fullmatch(digits) else float(digits)

    try:
        tree: Tree = json.loads(text, object_pairs_hook=mapping, parse_constant=constant, parse_int=integer)
    except json.JSONDecodeError as error:
        raise MalformedError("not JSON", field=f"{name} (line {error.lineno})", actual=error.msg) from None
    except RecursionError:
        raise _too_deep(name) from None
    for count, (path, _) in enumerate(walk(tree)):
        if len(path) > DEPTH_MAX:
            raise _too_deep(name)
        if count >= NODES_MAX:
            raise _too_many(name)
    return PlainDocument(name=name, tree=tree, lines={})


def walk(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Tree]]:
    """Every node with its path, parents first."""
    pending: list[tuple[Path, Tree]] = [(path, tree)]
    while pending:
        path, node = pending.pop()
        yield path, node
        if isinstance(node, dict):
            pending.extend(((*path, key), value) for key, value in reversed(node.items()))
        elif isinstance(node, list):
            pending.extend(((*path, index), node[index]) for index in reversed(range(len(node))))


def _parse_yaml(text: str, name: str) -> PlainDocument:
    builder = _YamlBuilder(name)
    try:
        # Events, not `safe_load`: they come one by one, so that a limit stops a hostile document while it
        # is being read.
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name} (line {mark.line + 1})" if mark else name
        raise MalformedError(
            "not YAML", field=place, actual=str(error.problem or error.context)[:200]
        ) from None
    except yaml.YAMLError as error:
        raise MalformedError("not YAML", field=name, actual=" ".join(str(error).split())[:200]) from None
    return PlainDocument(name=name, tree=builder.tree, lines=builder.lines)


class _YamlBuilder:
    """Builds the tree from YAML events, with a stack of its own instead of recursion."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tree: Tree = None
        self.lines: dict[Path, int] = {}
        self._stack: list[tuple[Path, dict[str, Tree] | list[Tree]]] = []
        self._keys: list[str | None] = []
        self._documents = 0
        self._nodes = 0

    def take(self, event: yaml.Event) -> None:
        place = f"{self.name} (line {_line(event)})"
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise MalformedError(
                        "more than one YAML document", field=place, remedy="Use one file for each."
                    )
            case yaml.AliasEvent():
                raise MalformedError(
                    "YAML aliases are not used here", field=place, actual=f"*{event.anchor}"[:80]
                )
            case yaml.ScalarEvent() | yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._take_node(event, place)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._stack.pop()
                self._keys.pop()

    def _take_node(self, event: yaml.NodeEvent, place: str) -> None:
        if event.anchor is not None:
            raise MalformedError(
                "YAML anchors are not used here", field=place, actual=f"&{event.anchor}"[:80]
            )
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            raise MalformedError("YAML tags are not used here", field=place, actual=tag[:80])
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise _too_many(place)
        if self._stack and isinstance(self._stack[-1][1], dict) and self._keys[-1] is None:
            self._take_key(event, place)
            return
        path = self._next_path()
        self.lines[path] = _line(event)
        match event:
            case yaml.ScalarEvent():
                self._put(_scalar(event) if event.implicit[0] else str(event.value))
            case yaml.MappingStartEvent():
                self._open(path, {}, place)
            case _:
                self._open(path, [], place)

    def _take_key(self, event: yaml.NodeEvent, place: str) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            raise MalformedError("a key is a word", field=place)
        key = str(event.value)
        holder = self._stack[-1][1]
        if key in holder:
            raise MalformedError("a key stands twice in one mapping", field=place, actual=key[:80])
        self._keys[-1] = key

    def _next_path(self) -> Path:
        if not self._stack:
            return ()
        path, holder = self._stack[-1]
        return (*path, len(holder) if isinstance(holder, list) else str(self._keys[-1]))

    def _open(self, path: Path, holder: dict[str, Tree] | list[Tree], place: str) -> None:
        if len(self._stack) >= DEPTH_MAX:
            raise _too_deep(place)
        self._put(holder)
        self._stack.append((path, holder))
        self._keys.append(None)

    def _put(self, node: Tree) -> None:
        if not self._stack:
            self.tree = node
            return
        holder = self._stack[-1][1]
        if isinstance(holder, list):
            holder.append(node)
        else:
            holder[str(self._keys[-1])] = node
            self._keys[-1] = None


def _line(event: yaml.Event) -> int:
    return int(event.start_mark.line) + 1 if event.start_mark else 1


def _scalar(event: yaml.ScalarEvent) -> Tree:
    """A plain scalar by the core schema of YAML 1.2, without its octal, hexadecimal and non-finite
    spellings."""
    text = str(event.value)
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _too_deep(place: str) -> LimitError:
    return LimitError("nested too deeply", field=place, expected=f"<= {DEPTH_MAX} levels")


def _too_many(place: str) -> LimitError:
    return LimitError("too many values", field=place, expected=f"<= {NODES_MAX}")
