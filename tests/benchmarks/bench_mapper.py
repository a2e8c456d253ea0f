"""Mapping Oura sleep payloads beside ``json.loads`` of the same bytes, in the same run.

Run with ``python -m tests.benchmarks.bench_mapper``.  The issue's aim is a ratio of at most 3 for one payload
with its series.  Two figures stand side by side: *records* is bytes to records (read, check, map), *run* is
the whole procedure with metrics, record keys and the encoded artifact.  The two sides take turns, so that a
busy machine hits both; the figure is the ratio of their medians.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from domain.health.mappers.oura_sleep import EDITION_1_0, EDITION_1_1, Edition, map_sleep, mapped_sleep
from domain.procedures.procedure import ProcedureInput
from tests.domain.health.oura_nights import RECEIVED_AT_NS, SECRET, answer, night, sample

ROUNDS = 400
START = "2026-03-28T22:50:00.000+01:00"


def series_night(interval: int) -> dict[str, object]:
    """A night whose series have gaps and vary, so that no branch is predicted by luck."""
    chance = random.Random(interval)
    count = 28_800 // interval

    def items(low: int, high: int) -> list[int | float | None]:
        return [None if chance.random() < 0.05 else chance.randint(low, high) for _ in range(count)]

    return night(
        heart_rate=sample(items(48, 70), START, interval),
        hrv=sample(items(20, 110), START, interval),
    )


DEMO = Path(__file__).resolve().parents[2] / "api" / "demo_data" / "oura"
PAYLOADS: dict[str, tuple[bytes, Edition]] = {
    "demo night of the 28th": ((DEMO / "sleep_2026-03-28.json").read_bytes(), EDITION_1_0),
    "demo night of the 30th, 1.1.0": ((DEMO / "sleep_unmappable.json").read_bytes(), EDITION_1_1),
    "one night, 5 min series": (answer(series_night(300)), EDITION_1_0),
    "one night, 1 min series": (answer(series_night(60)), EDITION_1_0),
    "one night, 5 s series": (answer(series_night(5)), EDITION_1_0),
    "seven nights, 5 min series": (answer(*[series_night(300)] * 7), EDITION_1_0),
    "one night with a new field": (answer({**series_night(300), "ring_id": "ring"}), EDITION_1_0),
    "one night, mapper 1.1.0": (answer({**series_night(300), "sleep_phase_30_sec": "2" * 960}), EDITION_1_1),
}


def medians_us(*works: Callable[[], object]) -> list[float]:
    """Median time of each work in microseconds, taking turns."""
    times: list[list[int]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, taken in zip(works, times, strict=True):
            began = time.perf_counter_ns()
            work()
            taken.append(time.perf_counter_ns() - began)
    return [statistics.median(taken) / 1_000 for taken in times]


def main() -> None:
    print(
        f"{'payload':30} {'bytes':>7} {'json.loads':>11} {'records':>9} {'ratio':>6} {'run':>9} {'ratio':>6}"
    )
    for name, (payload, edition) in PAYLOADS.items():
        task = ProcedureInput(
            options={}, payload=payload, received_at_ns=RECEIVED_AT_NS, record_key_secret=SECRET
        )
        parse, map_, whole = medians_us(
            lambda payload=payload: json.loads(payload),  # type: ignore[misc]
            lambda edition=edition, task=task: mapped_sleep(edition, task),  # type: ignore[misc]
            lambda edition=edition, task=task: map_sleep(edition, task),  # type: ignore[misc]
        )
        print(
            f"{name:30} {len(payload):7} {parse:8.1f} µs {map_:6.1f} µs {map_ / parse:6.2f}"
            f" {whole:6.1f} µs {whole / parse:6.2f}"
        )


if __name__ == "__main__":
    main()
