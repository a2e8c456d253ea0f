import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidError
from domain.health.records import RevisionState
from domain.health.revisions import RANK, OrderReason, current_after, decide_order, revision_metric
from domain.procedures.procedure import RecordRevision

KEY = "0" * 32
TENTATIVE, FINAL, CORRECTED, DELETED = (RANK[state] for state in RevisionState)


def revision(rank: int, ordering_ns: int, record_key: str = KEY) -> RecordRevision:
    return RecordRevision(record_key=record_key, rank=rank, ordering_ns=ordering_ns)


revisions = st.builds(revision, st.integers(0, 3), st.integers(0, 5))


@pytest.mark.parametrize(
    "known, incoming, is_current, reason",
    [
        (None, (TENTATIVE, 5), True, OrderReason.FIRST),
        ((FINAL, 5), (TENTATIVE, 9), False, OrderReason.TENTATIVE_LATE),
        ((DELETED, 5), (TENTATIVE, 9), False, OrderReason.TENTATIVE_LATE),
        ((TENTATIVE, 9), (FINAL, 5), True, OrderReason.SETTLED),
        ((TENTATIVE, 5), (TENTATIVE, 6), True, OrderReason.NEWER),
        ((TENTATIVE, 6), (TENTATIVE, 5), False, OrderReason.OLDER),
        ((FINAL, 5), (CORRECTED, 6), True, OrderReason.NEWER),
        ((CORRECTED, 6), (FINAL, 5), False, OrderReason.OLDER),
        ((CORRECTED, 5), (FINAL, 6), True, OrderReason.NEWER),
        ((FINAL, 5), (CORRECTED, 5), True, OrderReason.HIGHER_RANK),
        ((DELETED, 5), (FINAL, 5), False, OrderReason.LOWER_RANK),
        ((DELETED, 5), (FINAL, 6), True, OrderReason.NEWER),
        ((FINAL, 5), (DELETED, 6), True, OrderReason.NEWER),
        ((FINAL, 5), (FINAL, 5), True, OrderReason.SAME_AGAIN),
    ],
)
def test_which_of_two_revisions_stands(
    known: tuple[int, int] | None, incoming: tuple[int, int], is_current: bool, reason: OrderReason
) -> None:
    before = None if known is None else revision(*known)
    assert decide_order(before, revision(*incoming)) == (is_current, reason)


@given(st.lists(revisions, min_size=1, max_size=5))
def test_what_stands_in_the_end_does_not_depend_on_the_order_of_arrival(
    arrivals: list[RecordRevision],
) -> None:
    ends = {tuple(current_after({}, order).values()) for order in itertools.permutations(arrivals)}
    assert len(ends) == 1


@given(revisions, st.lists(revisions, max_size=6))
def test_a_tentative_revision_never_replaces_a_settled_one(
    first: RecordRevision, later: list[RecordRevision]
) -> None:
    current = current_after({}, [first, *later])[KEY]
    if any(item.rank > 0 for item in (first, *later)):
        assert current.rank > 0


@given(st.lists(revisions, max_size=4), st.lists(revisions, max_size=4))
def test_arrivals_in_two_runs_end_like_arrivals_in_one(
    first: list[RecordRevision], second: list[RecordRevision]
) -> None:
    known = current_after({}, first)
    assert {**known, **current_after(known, second)} == current_after({}, [*first, *second])


def test_revisions_of_two_records_have_no_order() -> None:
    with pytest.raises(InvalidError):
        decide_order(revision(1, 1, "a"), revision(1, 2, "b"))


def test_the_metric_marks_each_record_that_something_known_outranks() -> None:
    known = {"a": revision(FINAL, 5, "a"), "b": revision(FINAL, 5, "b"), "c": revision(FINAL, 5, "c")}
    incoming = [
        revision(TENTATIVE, 9, "a"),
        revision(FINAL, 6, "b"),
        revision(FINAL, 5, "c"),
        revision(TENTATIVE, 1, "d"),
    ]
    track = revision_metric(known, incoming)
    assert (track.name, track.unit) == ("revision.is_superseded", "1")
    assert track.values == (1.0, 0.0, 0.0, 0.0)


def test_the_metric_marks_the_older_of_two_revisions_in_one_payload() -> None:
    assert revision_metric({}, [revision(CORRECTED, 7), revision(FINAL, 6)]).values == (0.0, 1.0)
    assert revision_metric({}, [revision(FINAL, 6), revision(FINAL, 6)]).values == (1.0, 0.0)


@given(st.lists(revisions, max_size=3), st.lists(revisions, min_size=1, max_size=4))
def test_at_most_one_revision_of_a_record_in_a_run_is_current(
    before: list[RecordRevision], incoming: list[RecordRevision]
) -> None:
    known = current_after({}, before)
    values = revision_metric(known, incoming).values
    assert values.count(0.0) <= 1


def test_no_records_give_an_empty_metric() -> None:
    assert revision_metric({}, []).values == ()
