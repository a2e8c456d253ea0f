"""Alarms that do not flutter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidError
from domain.hysteresis import Hysteresis, alarms
from domain.outcomes import Outcome

LETTER = {"p": Outcome.PASS, "b": Outcome.BORDERLINE, "f": Outcome.FAIL, "a": Outcome.ABSTAIN}
TWO_OF_THREE = Hysteresis(raise_count=2, raise_of=3, clear_count=3, clear_of=3)


def drawn(letters: str, rule: Hysteresis = TWO_OF_THREE) -> str:
    return "".join("!" if raised else "." for raised in alarms((LETTER[letter] for letter in letters), rule))


@pytest.mark.parametrize(
    "outcomes, states",
    [
        ("", ""),
        ("fppfp", "....."),
        ("fpf", "..!"),
        ("ffpbp", ".!!!."),
        ("ffppf", ".!!!!"),
        ("faf", "..!"),
        ("faaaaa", "......"),
        ("ffaaaa", ".!!!!!"),
        ("fffppp", ".!!!!."),
    ],
)
def test_an_alarm_needs_n_of_m_to_rise_and_to_fall(outcomes: str, states: str) -> None:
    assert drawn(outcomes) == states


@given(
    st.text("pbfa", max_size=40), st.integers(1, 4), st.integers(0, 4), st.integers(1, 4), st.integers(0, 4)
)
def test_abstentions_change_no_alarm(letters: str, up: int, up_more: int, down: int, down_more: int) -> None:
    rule = Hysteresis(raise_count=up, raise_of=up + up_more, clear_count=down, clear_of=down + down_more)
    states = drawn(letters, rule)
    judged = [index for index, letter in enumerate(letters) if letter != "a"]
    assert drawn("".join(letters[index] for index in judged), rule) == "".join(
        states[index] for index in judged
    )


@pytest.mark.parametrize("count, of", [(0, 1), (2, 1), (1, 1_441), (-1, -1)])
def test_a_rule_that_could_never_ring_or_never_stop_is_refused(count: int, of: int) -> None:
    with pytest.raises(InvalidError):
        Hysteresis(raise_count=count, raise_of=of, clear_count=1, clear_of=1)
    with pytest.raises(InvalidError):
        Hysteresis(raise_count=1, raise_of=1, clear_count=count, clear_of=of)
