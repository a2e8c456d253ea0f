"""Mapping provider payloads to records, beside ``json.loads`` of the same bytes.

*Records* is from bytes to records: read, check, map.  *Run* is the whole procedure with its metrics, the
keyed names of the records and the encoded artifact.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from api.bench.row import Aim, Row, Scale, compared, seconds
from domain.health.mappers.oura_sleep import EDITION_1_0, EDITION_1_1, Edition, map_sleep, mapped_sleep
from domain.procedures.procedure import ProcedureInput

_FILES = Path(__file__).parent.parent / "demo_data" / "oura"
_RECEIVED_AT_NS = 1_774_900_000_000_000_000
_SECRET = bytes(range(32))
# Calls in one turn: enough that the clock does not matter, few enough that both meet the same neighbours.
_CALLS = 20
_PARSE = "json.loads"


def rows(scale: Scale) -> Iterator[Row]:
    """The demo's nights, and a week of one of them."""
    turns = scale.of(200, 40)
    first = (_FILES / "sleep_2026-03-28.json").read_bytes()
    later = (_FILES / "sleep_unmappable.json").read_bytes()
    for name, payload, edition in (
        ("one sleep payload", first, EDITION_1_0),
        ("one of a later firmware, mapper 1.1.0", later, EDITION_1_1),
        ("a week of sleep in one payload", _week(first), EDITION_1_0),
    ):
        yield from _measured(name, payload, edition, turns)


def _measured(name: str, payload: bytes, edition: Edition, turns: int) -> Iterator[Row]:
    given = ProcedureInput(
        options={}, payload=payload, received_at_ns=_RECEIVED_AT_NS, record_key_secret=_SECRET
    )
    works: tuple[Callable[[], object], ...] = (
        lambda: json.loads(payload),
        lambda: mapped_sleep(edition, given),
        lambda: map_sleep(edition, given),
    )
    parsed: list[float] = []
    records: list[float] = []
    run: list[float] = []
    for _ in range(turns):
        for work, taken in zip(works, (parsed, records, run), strict=True):
            taken.append(seconds(lambda work=work: [work() for _ in range(_CALLS)]) / _CALLS)  # type: ignore[misc]
    note = f"{len(payload):,} bytes"
    mapped = list(zip(records, parsed, strict=True))
    whole = list(zip(run, parsed, strict=True))
    yield compared(f"{name}: records", "seconds", mapped, beside=_PARSE, aim=Aim("≤", 3), note=note)
    yield compared(f"{name}: whole run", "seconds", whole, beside=_PARSE)


def _week(payload: bytes) -> bytes:
    document = json.loads(payload)
    document["data"] = document["data"] * 7
    return json.dumps(document).encode()
