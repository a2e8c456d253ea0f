import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.health.freshness import age_seconds
from domain.outcomes import Reason

DAY_NS = 86_400_000_000_000
NOON_NS = 20_000 * DAY_NS + DAY_NS // 2


@pytest.mark.parametrize(
    "elapsed_ns, age",
    [
        (-DAY_NS, 0.0),
        (0, 0.0),
        (1, 86_400.0),
        (DAY_NS, 86_400.0),
        (DAY_NS + 1, 172_800.0),
        (30 * DAY_NS, 2_592_000.0),
    ],
)
def test_an_age_is_rounded_up_to_whole_days(elapsed_ns: int, age: float) -> None:
    assert age_seconds(NOON_NS, NOON_NS + elapsed_ns) == (age, Reason.NONE)


@given(st.integers(1, 10**19), st.integers(0, 10**18))
def test_an_age_never_tells_the_minute_in_which_a_person_woke(received_at_ns: int, elapsed_ns: int) -> None:
    age, _ = age_seconds(received_at_ns - elapsed_ns, received_at_ns)
    assert age is not None
    assert age % 86_400 == 0


@pytest.mark.parametrize("end_ns, received_at_ns", [(None, NOON_NS), (NOON_NS, 0)])
def test_an_unknown_instant_gives_no_age_but_a_reason(end_ns: int | None, received_at_ns: int) -> None:
    assert age_seconds(end_ns, received_at_ns) == (None, Reason.NOT_MEASURED)
