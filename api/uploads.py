"""Uploads, as the command line and the API take them in: what is said about a file is checked first.

A batch is known by its bytes, and what was said with it is recorded for ever.  A mistyped option would keep
the batch unreadable, so it is refused before anything is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from adapters.files.options import SampleFileOptions, parse_options
from domain.errors import ConflictError, InvalidError
from domain.events import BatchIngested, Recorded
from ledger.desk import Desk
from ledger.ingest import SAMPLES, Upload, ingest
from ledger.recorded import event_of


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


async def take_in(desk: Desk, upload: Upload, actor: str) -> tuple[Recorded, bool]:
    """Ingest; returns the event and whether it is new.

    Raises: as ``ingest``; ConflictError when these bytes are already here with other options.
    """
    recorded, is_new = await ingest(desk, upload, actor)
    before = event_of(recorded, BatchIngested)
    if before.format_options != upload.format_options:
        raise ConflictError(
            "these bytes are already here, to be read with other options",
            field=before.batch_id,
            expected=msgspec.json.encode(before.format_options).decode()[:200],
            actual=msgspec.json.encode(upload.format_options).decode()[:200],
            remedy="What was recorded is never changed; send the file with a changed byte to read it anew.",
        )
    return recorded, is_new


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
