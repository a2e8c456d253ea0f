"""The rooms' rules that import-linter cannot say: allow-lists, purity, declared dependencies."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("domain", "ledger", "projections", "adapters", "api")

OUTSIDE_ALLOWED = {
    "domain": {"msgspec", "numpy", "scipy"},
    "ledger": {"cryptography", "msgspec", "numpy"},
    # numpy, because DuckDB and Arrow hand out arrays.
    "projections": {"duckdb", "eventsourcing", "msgspec", "numpy", "pyarrow"},
}

# Each is a way to ask the world: the clock, chance, the environment, a file, another process, the network.
# fmt: off
WORLDLY_MODULES = frozenset({
    "asyncio", "ctypes", "glob", "http", "io", "locale", "multiprocessing", "os", "pathlib", "platform",
    "random", "secrets", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "sys",
    "tempfile", "threading", "time", "urllib", "uuid", "zoneinfo",
})
# fmt: on
WORLDLY_NAMES = frozenset({"open", "input", "print", "exec", "eval", "breakpoint", "__import__"})
WORLDLY_ATTRIBUTES = frozenset({"now", "utcnow", "today", "random", "default_rng"})


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted module of every absolute import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module


def outside_imports(room: str) -> Iterator[tuple[str, str]]:
    """Place and top-level name of every import that is neither the standard library nor one of the rooms."""
    for path in sources(room):
        for line, module in imports(ast.parse(path.read_bytes(), str(path))):
            top = module.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in ROOMS:
                yield f"{path.relative_to(ROOT)}:{line}", top


def worldly_uses(source: bytes, name: str) -> Iterator[str]:
    """Every place where a source asks the world instead of its arguments."""
    tree = ast.parse(source, name)
    for line, module in imports(tree):
        if module.partition(".")[0] in WORLDLY_MODULES or module.startswith("numpy.random"):
            yield f"{name}:{line} imports {module}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        used = node.id if isinstance(node, ast.Name) else node.attr
        if isinstance(node, ast.Name) and used in WORLDLY_NAMES:
            yield f"{name}:{node.lineno} uses {used}"
        if isinstance(node, ast.Attribute) and used in WORLDLY_ATTRIBUTES:
            yield f"{name}:{node.lineno} uses .{used}"


def test_domain_asks_no_clock_no_chance_and_no_environment() -> None:
    found = [
        use
        for path in sources("domain")
        for use in worldly_uses(path.read_bytes(), str(path.relative_to(ROOT)))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "import time as clock",
        "from random import Random",
        "from pathlib import Path",
        "import datetime\nwhen = datetime.datetime.now()",
        "import numpy\nnoise = numpy.random.default_rng(1)",
        "text = open('limits.yaml').read()",
    ],
)
def test_the_purity_rule_sees_each_way_to_ask_the_world(source: str) -> None:
    assert list(worldly_uses(source.encode(), "example.py"))


def test_the_purity_rule_lets_dates_be_parsed() -> None:
    source = b"from datetime import UTC, datetime\n\nwhen = datetime.fromisoformat('2026-01-01T00:00:00Z')\n"
    assert not list(worldly_uses(source, "example.py"))


@pytest.mark.parametrize("room", sorted(OUTSIDE_ALLOWED))
def test_a_room_uses_from_outside_only_what_it_is_allowed(room: str) -> None:
    found = [
        f"{place} imports {top}" for place, top in outside_imports(room) if top not in OUTSIDE_ALLOWED[room]
    ]
    assert not found, "\n".join(found)


def test_everything_imported_from_outside_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {}).values()
    needs = [*project["dependencies"], *(need for extra in extras for need in extra)]
    declared = {_normal(re.split(r"[^A-Za-z0-9._-]", need)[0]) for need in needs}
    provided_by = packages_distributions()
    found = [
        f"{place} imports {top}"
        for room in ROOMS
        for place, top in outside_imports(room)
        if not declared & {_normal(name) for name in provided_by.get(top, ())}
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("room", [*ROOMS, "tests"])
def test_every_folder_with_code_is_a_package(room: str) -> None:
    """Else `tests/domain` shadows `domain`, and mypy and the wheel see different trees."""
    bare = {str(path.parent.relative_to(ROOT)) for path in sources(room)} - {
        str(path.parent.relative_to(ROOT)) for path in sources(room) if path.name == "__init__.py"
    }
    assert not bare


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
