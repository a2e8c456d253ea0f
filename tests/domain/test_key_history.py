"""The fold of key events: which key counts at which index, whatever happened in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import LimitError
from domain.events import KeyCompromised, KeyCreated, KeyRevoked, KeyRotated
from domain.key_history import (
    ED25519,
    KEYS_IN_FORCE_MAX,
    ML_DSA_44,
    InvalidKeyChangeError,
    KeyEvent,
    KeyHistory,
    Standing,
    history_after,
)

FIRST = KeyCreated(verifier_key="k0", algorithm=ED25519)
BEGUN = history_after(KeyHistory(), 1, FIRST)


def rotated(history: KeyHistory, name: str, algorithm: str = ED25519) -> KeyRotated:
    return KeyRotated(
        verifier_key=name, algorithm=algorithm, reason="r", previous=history.head, signatures=()
    )


def revoked(history: KeyHistory, name: str) -> KeyRevoked:
    return KeyRevoked(verifier_key=name, reason="r", previous=history.head, signatures=())


def compromised(history: KeyHistory, name: str, from_index: int) -> KeyCompromised:
    return KeyCompromised(
        verifier_key=name, from_index=from_index, reason="r", previous=history.head, signatures=()
    )


def names(history: KeyHistory, index: int) -> tuple[list[str], list[str]]:
    """The keys in force at an index, and those that rule."""
    in_force = [span.verifier_key for span in history.in_force(index)]
    return in_force, [span.verifier_key for span in history.ruling(index)]


def test_a_first_key_counts_from_its_entry_on() -> None:
    assert [BEGUN.standing("k0", index) for index in (0, 1, 2**40)] == [
        Standing.NOT_YET,
        Standing.VALID,
        Standing.VALID,
    ]
    assert BEGUN.standing("another", 5) is Standing.UNKNOWN


def test_a_new_key_rules_beside_the_old_one_until_that_retires() -> None:
    history = history_after(BEGUN, 10, rotated(BEGUN, "k1"))
    assert names(history, 9) == (["k0"], ["k0"])
    assert names(history, 10) == (["k0", "k1"], ["k1"])
    history = history_after(history, 20, revoked(history, "k0"))
    assert names(history, 19) == (["k0", "k1"], ["k1"])
    assert names(history, 20) == (["k1"], ["k1"])
    assert history.standing("k0", 20) is Standing.RETIRED
    assert history.indices == (1, 10, 20)


def test_a_compromise_reaches_back_and_no_further() -> None:
    history = history_after(BEGUN, 10, rotated(BEGUN, "k1"))
    history = history_after(history, 20, compromised(history, "k0", 7))
    assert [history.standing("k0", index) for index in (6, 7, 15, 20)] == [
        Standing.VALID,
        Standing.COMPROMISED,
        Standing.COMPROMISED,
        Standing.COMPROMISED,
    ]
    # Between the theft and its successor there was no key that is believed now.
    assert names(history, 8) == ([], [])
    assert names(history, 10) == (["k1"], ["k1"])


def test_a_compromise_is_worse_than_a_retirement() -> None:
    history = history_after(BEGUN, 10, rotated(BEGUN, "k1"))
    history = history_after(history, 20, revoked(history, "k0"))
    history = history_after(history, 30, compromised(history, "k0", 15))
    assert history.standing("k0", 14) is Standing.VALID
    assert history.standing("k0", 25) is Standing.COMPROMISED


def test_a_compromise_is_moved_to_earlier_entries_only() -> None:
    history = history_after(BEGUN, 10, rotated(BEGUN, "k1"))
    history = history_after(history, 20, compromised(history, "k0", 7))
    for index in (7, 8):
        with pytest.raises(InvalidKeyChangeError):
            history_after(history, 21, compromised(history, "k0", index))
    history = history_after(history, 21, compromised(history, "k0", 3))
    assert history.standing("k0", 3) is Standing.COMPROMISED


def test_each_algorithm_has_its_ruling_key() -> None:
    history = history_after(BEGUN, 10, rotated(BEGUN, "pq", ML_DSA_44))
    assert names(history, 10) == (["k0", "pq"], ["k0", "pq"])
    history = history_after(history, 20, rotated(history, "k1"))
    assert set(names(history, 20)[1]) == {"k1", "pq"}
    # The second algorithm can be given up again; the first cannot.
    history = history_after(history, 30, revoked(history, "pq"))
    assert names(history, 30) == (["k0", "k1"], ["k1"])


def test_the_ruling_key_goes_only_after_its_successor_came() -> None:
    for event in (revoked(BEGUN, "k0"), compromised(BEGUN, "k0", 2)):
        with pytest.raises(InvalidKeyChangeError) as caught:
            history_after(BEGUN, 5, event)
        assert "rotate" in caught.value.remedy.lower()


def evil_changes() -> list[tuple[str, KeyHistory, int, KeyEvent]]:
    two = history_after(BEGUN, 10, rotated(BEGUN, "k1"))
    gone = history_after(two, 20, revoked(two, "k0"))
    return [
        ("a second first key", BEGUN, 2, KeyCreated(verifier_key="x", algorithm=ED25519)),
        (
            "a first key of another algorithm",
            KeyHistory(),
            1,
            KeyCreated(verifier_key="x", algorithm=ML_DSA_44),
        ),
        ("a rotation of nothing", KeyHistory(), 1, rotated(BEGUN, "k1")),
        ("a key twice", two, 11, rotated(two, "k0")),
        ("a retired key again", gone, 21, rotated(gone, "k0")),
        ("a change that follows another", two, 11, rotated(BEGUN, "k2")),
        ("a change before the last one", two, 10, rotated(two, "k2")),
        ("revoking a stranger", two, 11, revoked(two, "x")),
        ("revoking twice", gone, 21, revoked(gone, "k0")),
        ("disowning a stranger", two, 11, compromised(two, "x", 1)),
        ("disowning the future", two, 11, compromised(two, "k0", 12)),
        ("disowning before the beginning", two, 11, compromised(two, "k0", -1)),
    ]


@pytest.mark.parametrize("evil", evil_changes(), ids=lambda evil: evil[0].replace(" ", "-"))
def test_what_does_not_follow_is_refused(evil: tuple[str, KeyHistory, int, KeyEvent]) -> None:
    _, history, index, event = evil
    with pytest.raises(InvalidKeyChangeError):
        history_after(history, index, event)


def test_keys_in_force_are_bounded() -> None:
    history = BEGUN
    for number in range(1, KEYS_IN_FORCE_MAX):
        history = history_after(history, 10 + number, rotated(history, f"k{number}"))
    with pytest.raises(LimitError):
        history_after(history, 99, rotated(history, "one-too-many"))


changes = st.lists(
    st.tuples(
        st.sampled_from(["rotate", "rotate-pq", "revoke", "disown"]),
        st.integers(1, 5),
        st.integers(0, 10),
        st.integers(0, 60),
    ),
    max_size=25,
)


def told(plan: list[tuple[str, int, int, int]]) -> tuple[KeyHistory, list[tuple[int, KeyEvent]], int]:
    """The history of whatever in ``plan`` is allowed, its events, and the size of the ledger after it."""
    history, index, events = BEGUN, 1, [(1, FIRST)]
    for number, (kind, gap, which, back) in enumerate(plan):
        index += gap
        name = history.spans[which % len(history.spans)].verifier_key
        event: KeyEvent
        match kind:
            case "rotate":
                event = rotated(history, f"n{number}")
            case "rotate-pq":
                event = rotated(history, f"n{number}", ML_DSA_44)
            case "revoke":
                event = revoked(history, name)
            case _:
                event = compromised(history, name, max(0, index - back))
        try:
            history = history_after(history, index, event)
        except (InvalidKeyChangeError, LimitError):
            continue
        events.append((index, event))
    return history, events, index + 1


def folded(events: list[tuple[int, KeyEvent]]) -> KeyHistory:
    history = KeyHistory()
    for index, event in events:
        history = history_after(history, index, event)
    return history


@given(changes)
def test_there_is_always_an_ed25519_key_that_may_sign_next(plan: list[tuple[str, int, int, int]]) -> None:
    history, _, size = told(plan)
    assert ED25519 in [span.algorithm for span in history.ruling(size)]


@given(changes)
def test_later_events_never_make_a_signature_better(plan: list[tuple[str, int, int, int]]) -> None:
    """What was worthless at an index stays so; what was worth something is lost to a compromise only."""
    _, events, size = told(plan)
    history = KeyHistory()
    for index, event in events:
        before, history = history, history_after(history, index, event)
        for span in before.spans:
            for place in range(size):
                then, now = span.standing(place), history.standing(span.verifier_key, place)
                if place >= index or then is now:
                    continue
                assert isinstance(event, KeyCompromised)
                assert now is Standing.COMPROMISED


@given(changes)
def test_ruling_keys_are_the_newest_in_force(plan: list[tuple[str, int, int, int]]) -> None:
    history, _, size = told(plan)
    for index in range(size):
        in_force, ruling = history.in_force(index), history.ruling(index)
        assert {span.algorithm for span in ruling} == {span.algorithm for span in in_force}
        for span in in_force:
            (head,) = (one for one in ruling if one.algorithm == span.algorithm)
            assert head.from_index >= span.from_index


@given(changes, st.data())
def test_no_event_can_be_left_out_or_changed(
    plan: list[tuple[str, int, int, int]], data: st.DataObject
) -> None:
    _, events, _ = told(plan)
    if len(events) < 3:
        return
    missing = data.draw(st.integers(0, len(events) - 2))
    with pytest.raises(InvalidKeyChangeError):
        folded([*events[:missing], *events[missing + 1 :]])
