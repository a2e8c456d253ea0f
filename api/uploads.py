"""Uploads, as the command line and the API take them in: what is said about a file is checked first.

A batch is known by its bytes and by how they are to be read, and both are recorded for ever.  A mistyped
option would make a batch that nobody can read, so it is refused before anything is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from adapters.files.options import SampleFileOptions, parse_options
from domain.errors import InvalidError
from ledger.ingest import SAMPLES


def checked_options(kind: str, given: Mapping[str, Any], *, are_words: bool = False) -> dict[str, Any]:
    """The options of a file, in their own types and without what is left at its default.

    ``are_words``: numbers came as text, from a command line.  Raises: InvalidError.
    """
    if kind != SAMPLES:
        if given:
            raise InvalidError(
                "a payload is read by its mapper, without options",
                field="options",
                actual=", ".join(given)[:80],
            )
        return {}
    options = parse_options(_numbers(given) if are_words else given)
    defaults = msgspec.to_builtins(SampleFileOptions())
    said = msgspec.to_builtins(options)
    return {name: value for name, value in said.items() if value != defaults[name]}


def _numbers(given: Mapping[str, Any]) -> dict[str, Any]:
    """Words that stand for numbers as numbers, where an option is one."""
    found: dict[str, Any] = dict(given)
    for name, kind in (("sample_rate_hz", float), ("start_ns", int)):
        if isinstance(found.get(name), str):
            try:
                found[name] = kind(found[name])
            except ValueError:
                raise InvalidError(
                    "not a number", field=f"options.{name}", actual=str(found[name])[:40]
                ) from None
    return found
