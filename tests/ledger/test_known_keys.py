"""Known keys: what was taken in is always known, what was not hardly ever."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.known_keys import FIRST_CAPACITY, KnownKeys


@settings(max_examples=50)
@given(st.lists(st.lists(st.text(max_size=20), max_size=30), max_size=20), st.lists(st.text(max_size=20)))
def test_what_was_taken_in_is_known(batches: list[list[str]], others: list[str]) -> None:
    known = KnownKeys()
    for batch in batches:
        known.add(batch)
    taken = [key for batch in batches for key in batch]
    assert known.may_hold(taken) == taken
    assert set(known.may_hold(others)) >= set(others) & set(taken)


def test_few_others_are_taken_for_known_however_many_keys_there_are() -> None:
    known = KnownKeys()
    count = 6 * FIRST_CAPACITY
    for start in range(0, count, 1_000):
        known.add([f"batch/{at}" for at in range(start, min(start + 1_000, count))])
    assert known.may_hold([f"batch/{at}" for at in range(0, count, 997)]) == [
        f"batch/{at}" for at in range(0, count, 997)
    ]
    assert len(known.may_hold([f"run/{at}" for at in range(100_000)])) < 100


def test_nothing_asked_is_nothing_known() -> None:
    known = KnownKeys()
    known.add([])
    assert known.may_hold([]) == []
    assert known.may_hold(["a"]) == []
