"""A process that is killed at any moment leaves a view that stands after some whole increment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

from projections.rebuild import digests_of
from tests.projections.opened import contents, opened
from tests.projections.story import LEDGER, tell

ROOT = Path(__file__).resolve().parents[2]
SEED, ROUNDS, STEP = 41, 40, 23
KILLS = 4

FOLDING = f"""
import sys
from pathlib import Path
from projections.view import View
from tests.projections.story import LEDGER, tell
records = tell({SEED}, rounds={ROUNDS}).records
view = View(Path(sys.argv[1]), LEDGER)
for start in range(view.position.next_index, len(records), {STEP}):
    view.advance(records[start : start + {STEP}])
    print(view.position.next_index, flush=True)
"""

REBUILDING = f"""
import asyncio, sys
from pathlib import Path
from projections.rebuild import rebuild
from tests.projections.memory_log import log_of
from tests.projections.story import LEDGER, tell
async def main():
    log = await log_of(tell({SEED}, rounds={ROUNDS}).records, LEDGER)
    while True:
        print((await rebuild(log, LEDGER, Path(sys.argv[1]))).live, flush=True)
asyncio.run(main())
"""


def killed_after(
    script: str, path: Path, line_count: int, random: Random, within_seconds: float
) -> list[str]:
    """Run ``script``, kill it a moment after it has said ``line_count`` lines, and return all it said."""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdout is not None
        said = [child.stdout.readline().strip() for _ in range(line_count)]
        try:
            child.wait(random.random() * within_seconds)
        except subprocess.TimeoutExpired:
            child.kill()
        return [*said, *child.stdout.read().split()]


def test_killed_while_folding_nothing_acknowledged_is_lost_and_nothing_is_doubled(tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    records = tell(SEED, rounds=ROUNDS).records
    random = Random(7)
    for _ in range(KILLS):
        said = killed_after(FOLDING, path, random.randrange(1, 5), random, 0.02)
        acknowledged = max(int(line) for line in said if line)
        with opened(path) as view:
            reached = view.position.next_index
            assert reached >= acknowledged
            with opened(None, records[:reached]) as expected:
                assert contents(view) == contents(expected)
    with opened(path, records) as view, opened(None, records) as whole:
        assert contents(view) == contents(whole)


def test_killed_while_rebuilding_there_is_always_a_whole_view(tmp_path: Path) -> None:
    path = tmp_path / "acme.duckdb"
    records = tell(SEED, rounds=ROUNDS).records
    random = Random(8)
    with opened(path, records) as view:
        expected = contents(view)
    for _ in range(KILLS):
        said = killed_after(REBUILDING, path, 1, random, 0.4)
        assert set(said) <= {"compared", ""}
        with opened(path) as view:
            with view.cursor() as connection:
                assert digests_of(connection) == expected
            assert view.ledger == LEDGER
