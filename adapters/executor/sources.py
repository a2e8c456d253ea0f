"""Which procedures there are, and the digest of the source files behind each of them.

A registry is a module like ``domain.procedures.registry``, with ``PROCEDURES``, ``SOURCES`` (the names of the
modules that decide a procedure version's results) and ``find_procedure``.

The digest is SHA-256 over the modules in order of their names, each as

    name ‖ 0x00 ‖ length of the file in decimal ‖ 0x00 ‖ the file's bytes

so that anybody who has the released files can compute it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

from domain.digests import Digest, digest_from_bytes
from domain.errors import UnknownError
from domain.procedures.procedure import Procedure

REGISTRY = "domain.procedures.registry"


class Registry:
    """The procedures of the module called ``module_name``.  Raises: ImportError."""

    def __init__(self, module_name: str = REGISTRY) -> None:
        module = importlib.import_module(module_name)
        self.procedures: tuple[Procedure, ...] = module.PROCEDURES
        self.find: Callable[[str, str], Procedure] = module.find_procedure
        self._sources: Mapping[tuple[str, str], tuple[str, ...]] = module.SOURCES

    def source_digest(self, name: str, version: str) -> Digest:
        """Digest of the source files as they are on disk now.  Raises: UnknownError."""
        self.find(name, version)
        state = hashlib.sha256()
        for module_name in sorted(self._sources[name, version]):
            data = _source(module_name)
            state.update(f"{module_name}\0{len(data)}\0".encode())
            state.update(data)
        return digest_from_bytes(state.digest())


def _source(module_name: str) -> bytes:
    spec = importlib.util.find_spec(module_name)
    if spec is None or spec.origin is None:
        raise UnknownError("a procedure rests on a module that has no file", field=module_name)
    return Path(spec.origin).read_bytes()
