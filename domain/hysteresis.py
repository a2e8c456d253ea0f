"""Hysteresis: when a series of outcomes raises an alarm, and when it clears it.

n of the last m outcomes raise, and other n of m clear, so that a value that swings about its limit does not
ring every minute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from domain.errors import InvalidError
from domain.outcomes import Outcome

# A day of one-minute windows: an alarm that needs longer is a trend, and another tool.
OUTCOMES_MAX = 1_440


class Hysteresis(Struct, frozen=True, kw_only=True):
    """``raise_count`` failures among the last ``raise_of`` judged windows raise the alarm; ``clear_count``
    windows that passed or were borderline among the last ``clear_of`` clear it."""

    raise_count: int
    raise_of: int
    clear_count: int
    clear_of: int

    def __post_init__(self) -> None:
        for name, count, of in (
            ("raise", self.raise_count, self.raise_of),
            ("clear", self.clear_count, self.clear_of),
        ):
            if not 1 <= count <= of <= OUTCOMES_MAX:
                raise InvalidError(
                    "n of m needs 1 <= n <= m",
                    field=f"{name}_count",
                    expected=f"1 <= n <= m <= {OUTCOMES_MAX}",
                    actual=f"{count} of {of}",
                )


def alarms(outcomes: Iterable[Outcome], rule: Hysteresis, *, is_raised: bool = False) -> tuple[bool, ...]:
    """Whether the alarm is raised after each outcome, in time order.

    An abstention says nothing of the device, so it leaves the alarm as it was and is not counted.  Counting
    starts anew when the alarm changes: what raised it must not clear it too.
    """
    states: list[bool] = []
    seen: deque[bool] = deque(maxlen=OUTCOMES_MAX)
    for outcome in outcomes:
        if outcome is not Outcome.ABSTAIN:
            seen.append((outcome is Outcome.FAIL) != is_raised)
            count, of = (rule.clear_count, rule.clear_of) if is_raised else (rule.raise_count, rule.raise_of)
            if sum(list(seen)[-of:]) >= count:
                is_raised = not is_raised
                seen.clear()
        states.append(is_raised)
    return tuple(states)
