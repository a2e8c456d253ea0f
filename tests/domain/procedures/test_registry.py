"""Every procedure is found by name and version, and its source digest covers what decides its results."""

import ast
from pathlib import Path

import pytest

from domain.errors import UnknownError
from domain.procedures.procedure import Procedure
from domain.procedures.registry import PROCEDURES, SIGNAL_PROCEDURES, SOURCES, find_procedure

ROOT = Path(__file__).resolve().parent.parent.parent.parent
# They carry errors, names and digests, and have no say in a number.
CARRIERS = {"domain.errors", "domain.digests", "domain.identifiers"}


def path_of(module: str) -> Path:
    return ROOT / (module.replace(".", "/") + ".py")


def imported(module: str) -> set[str]:
    """Modules of ours that a module imports, packages left out."""
    found = set()
    for node in ast.walk(ast.parse(path_of(module).read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("domain"):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("domain")}
    return {name for name in found if path_of(name).is_file()}


def closure(*modules: str) -> set[str]:
    """All modules of ours that these rest on, themselves included."""
    reached: set[str] = set()
    waiting = set(modules)
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting |= imported(module) - reached
    return reached


@pytest.mark.parametrize("procedure", SIGNAL_PROCEDURES, ids=lambda procedure: procedure.name)
def test_the_sources_of_a_signal_procedure_are_all_that_it_rests_on(procedure: Procedure) -> None:
    sources = SOURCES[procedure.name, procedure.version]
    assert set(sources) == closure(procedure.run.__module__) - CARRIERS
    assert len(set(sources)) == len(sources)


def test_the_sources_of_a_mapper_are_all_that_mappers_rest_on() -> None:
    mappers = [
        f"domain.health.mappers.{path.stem}"
        for path in (ROOT / "domain/health/mappers").glob("*.py")
        if path.stem != "__init__"
    ]
    expected = closure(*mappers) - CARRIERS
    for procedure in set(PROCEDURES) - set(SIGNAL_PROCEDURES):
        assert set(SOURCES[procedure.name, procedure.version]) == expected


def test_every_procedure_has_sources_and_is_found_by_name_and_version() -> None:
    assert len({(procedure.name, procedure.version) for procedure in PROCEDURES}) == len(PROCEDURES)
    assert SOURCES.keys() == {(procedure.name, procedure.version) for procedure in PROCEDURES}
    for procedure in PROCEDURES:
        assert find_procedure(procedure.name, procedure.version) is procedure


@pytest.mark.parametrize(("name", "version"), [("coherence", "9.9.9"), ("divination", "1.0.0"), ("", "")])
def test_an_unknown_procedure_is_refused_with_those_there_are(name: str, version: str) -> None:
    with pytest.raises(UnknownError) as refused:
        find_procedure(name, version)
    assert ("1.0.0" if name == "coherence" else "delay-track") in refused.value.expected
