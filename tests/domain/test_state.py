"""The fold: which events change more of the state than its size."""

from __future__ import annotations

import ast
import inspect

from domain import flow, state
from domain.events import BatchIngested, Recorded
from domain.flow import FLOWING
from domain.state import CHANGING, State, evolve


def test_every_event_that_evolve_has_a_case_for_is_among_the_changing_ones_and_no_other() -> None:
    """A draft stores the others before it folds them, so one that is missing could be stored and not fit."""
    tree = ast.parse(inspect.getsource(state.evolve))
    cases = {node.cls.id for node in ast.walk(tree) if isinstance(node, ast.MatchClass)}  # type: ignore[attr-defined]
    assert cases == {kind.__name__ for kind in CHANGING}


def test_an_event_that_changes_nothing_moves_the_size() -> None:
    event = BatchIngested(
        batch_id="b",
        source_id="s",
        kind="samples",
        media_type="text/csv",
        byte_count=1,
        digest="sha256:" + "0" * 64,
        is_encrypted=False,
        received_at_ns=1,
    )
    recorded = Recorded(index=4, recorded_at_ns=1, actor="cli", subject="batch/b", causation=(), event=event)
    assert evolve(State(size=4, tenant="t"), recorded) == State(size=5, tenant="t")


def test_every_event_that_the_flow_has_a_case_for_is_among_the_flowing_ones_and_no_other() -> None:
    """A draft asks the flow about no others."""
    cases = set()
    for asked in (flow.next_commands, flow.answered_key):
        tree = ast.parse(inspect.getsource(asked))
        cases |= {node.cls.id for node in ast.walk(tree) if isinstance(node, ast.MatchClass)}  # type: ignore[attr-defined]
    assert cases == {kind.__name__ for kind in FLOWING}
