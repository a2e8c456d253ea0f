"""What a witness decides; the sentences in quotes are those of C2SP tlog-witness."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.errors import InvalidError, MalformedError, TallystickError
from ledger.checkpoint import Checkpoint
from ledger.notes import format_verifier_key
from ledger.policy import Policy, PolicyLog
from ledger.witness import (
    PATH_LINES_MAX,
    REQUEST_BYTES_MAX,
    AddCheckpoint,
    Decision,
    MalformedRequestError,
    Submission,
    UnknownLogError,
    UntrustedCheckpointError,
    admit,
    decide,
    find_forks,
    format_add_checkpoint,
    parse_add_checkpoint,
    parse_logs,
    parse_size_answer,
)
from tests.ledger.signing_key import SigningKey
from tests.ledger.witnessed_log import WitnessedLog

LEAVES = 70
HONEST = WitnessedLog(LEAVES)
FORKED = WitnessedLog(LEAVES, forked_at=20)
KEY = HONEST.key.verifier_key
LOGS = Policy(logs=(PolicyLog(key=KEY),))
SIZES = st.integers(0, LEAVES)


def submission(
    log: WitnessedLog, size_old: int, size: int, path: tuple[bytes, ...] | None = None
) -> Submission:
    return admit(log.request(size_old, size, path), LOGS)


@given(SIZES, SIZES)
def test_a_log_that_only_grows_is_cosigned_from_where_the_witness_is(one: int, other: int) -> None:
    known, size = sorted((one, other))
    latest = HONEST.checkpoint(known) if known else None
    assert decide(latest, submission(HONEST, known, size)) is Decision.COSIGNED


@given(SIZES, SIZES, SIZES)
def test_another_old_size_than_the_witness_has_is_a_conflict(known: int, size_old: int, size: int) -> None:
    """ "If it doesn't match, the witness MUST respond with a 409 Conflict"."""
    size_old, size = sorted((size_old, size))
    latest = HONEST.checkpoint(known) if known else None
    decision = decide(latest, submission(HONEST, size_old, size))
    assert (decision is Decision.STALE) == (size_old != known)


@given(st.integers(1, LEAVES), st.integers(1, LEAVES))
@example(21, 21)
@example(20, 20)
def test_a_forked_log_is_never_cosigned(one: int, other: int) -> None:
    known, size = sorted((one, other))
    decision = decide(HONEST.checkpoint(known), submission(FORKED, known, size))
    if known <= 20:
        # Up to there it is the same log.
        assert decision is Decision.COSIGNED
    else:
        assert decision is (Decision.ANOTHER_ROOT if known == size else Decision.UNPROVEN)


@given(st.integers(1, LEAVES), st.integers(1, LEAVES), st.data())
def test_no_other_path_proves_growth(one: int, other: int, data: st.DataObject) -> None:
    """ "If the Merkle Consistency Proof doesn't verify, the witness MUST respond with a 422"."""
    known, size = sorted((one, other))
    right = HONEST.path(known, size)
    wrong = list(right)
    match data.draw(st.sampled_from(("cut", "longer", "changed", "swapped"))):
        case "cut" if wrong:
            del wrong[data.draw(st.integers(0, len(wrong) - 1))]
        case "changed" if wrong:
            wrong[data.draw(st.integers(0, len(wrong) - 1))] = bytes(32)
        case "swapped" if len(set(wrong)) > 1:
            wrong.reverse()
        case _:
            wrong.append(bytes(32))
    if tuple(wrong) == right:
        return
    decision = decide(HONEST.checkpoint(known), submission(HONEST, known, size, tuple(wrong)))
    assert decision is Decision.UNPROVEN


@given(st.integers(0, LEAVES), st.binary(min_size=32, max_size=32))
def test_the_proof_must_be_empty_if_the_old_size_is_zero(size: int, extra: bytes) -> None:
    """ "The proof MUST be empty if the old size is zero"."""
    asked = submission(HONEST, 0, size, (extra,))
    assert decide(None, asked) is Decision.UNPROVEN
    assert decide(HONEST.checkpoint(0), asked) is Decision.UNPROVEN
    assert decide(None, submission(HONEST, 0, size)) is Decision.COSIGNED
    assert decide(HONEST.checkpoint(0), submission(HONEST, 0, size)) is Decision.COSIGNED


@given(st.lists(st.tuples(st.booleans(), SIZES, SIZES), max_size=30))
def test_whatever_is_asked_the_cosigned_trees_grow_out_of_each_other(
    asked: list[tuple[bool, int, int]],
) -> None:
    """The one promise of a witness, over any sequence of requests by a log that lies as it likes."""
    latest: Checkpoint | None = None
    log_of_latest = HONEST
    for is_honest, one, other in asked:
        log = HONEST if is_honest else FORKED
        size_old, size = sorted((one, other))
        decision = decide(latest, submission(log, size_old, size))
        if decision is Decision.COSIGNED:
            checkpoint = log.checkpoint(size)
            if latest is not None:
                assert checkpoint.size >= latest.size
                assert log.leaves[: latest.size] == log_of_latest.leaves[: latest.size]
            latest, log_of_latest = checkpoint, log


def test_an_unknown_origin_is_404_and_a_wrong_signature_403() -> None:
    """ "If the checkpoint origin is unknown, the witness MUST respond with a 404" and so on."""
    stranger = WitnessedLog(3, key=SigningKey("log.example/stranger"))
    with pytest.raises(UnknownLogError):
        admit(stranger.request(0, 3), LOGS)
    thief = WitnessedLog(3, key=SigningKey(HONEST.key.name, "thief"))
    with pytest.raises(UntrustedCheckpointError):
        admit(thief.request(0, 3), LOGS)
    forged = HONEST.note(3).replace(b"log.example/one\n3\n", b"log.example/one\n4\n")
    with pytest.raises(UntrustedCheckpointError):
        admit(format_add_checkpoint(AddCheckpoint(size_old=0, path=(), note=forged)), LOGS)


def test_a_known_log_under_another_ones_origin_is_403() -> None:
    other = SigningKey("log.example/two")
    logs = Policy(logs=(PolicyLog(key=KEY), PolicyLog(key=other.verifier_key)))
    note = HONEST.note(3)
    lines = WitnessedLog(3, key=other).note(3).split(b"\n\n")[1]
    swapped = note.split(b"\n\n")[0] + b"\n\n" + lines
    with pytest.raises(UntrustedCheckpointError):
        admit(format_add_checkpoint(AddCheckpoint(size_old=0, path=(), note=swapped)), logs)


def test_signatures_from_unknown_keys_are_ignored_and_each_key_of_a_log_counts() -> None:
    second = SigningKey(HONEST.key.name, "second")
    note = HONEST.note(3) + WitnessedLog(3, key=second).note(3).split(b"\n\n")[1]
    request = format_add_checkpoint(AddCheckpoint(size_old=0, path=(), note=note))
    for keys in ((KEY,), (second.verifier_key,), (KEY, second.verifier_key)):
        found = admit(request, Policy(logs=tuple(PolicyLog(key=key) for key in keys)))
        assert found.checkpoint == HONEST.checkpoint(3)


def test_an_old_size_above_the_checkpoints_is_400() -> None:
    """ "The old size MUST be equal to or lower than the checkpoint size. Otherwise [...] 400"."""
    with pytest.raises(MalformedRequestError):
        admit(format_add_checkpoint(AddCheckpoint(size_old=4, path=(), note=HONEST.note(3))), LOGS)


def test_the_example_of_the_specification_is_read() -> None:
    hashes = (
        "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=",
        "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=",
        "5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=",
        "/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=",
    )
    note = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "\u2014 example.com/behind-the-sofa "
        "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    ).encode()
    data = ("old 20852014\n" + "".join(f"{line}\n" for line in hashes) + "\n").encode() + note
    request = parse_add_checkpoint(data)
    assert (request.size_old, len(request.path), request.note) == (20_852_014, 4, note)
    assert format_add_checkpoint(request) == data


@pytest.mark.parametrize(
    "evil",
    [
        b"",
        b"old 0\n",
        b"old 0\n\n",
        b"old 00\n\n" + HONEST.note(3),
        b"old -1\n\n" + HONEST.note(3),
        b"old +1\n\n" + HONEST.note(3),
        b"old  1\n\n" + HONEST.note(3),
        b"OLD 1\n\n" + HONEST.note(3),
        b"old 1 \n\n" + HONEST.note(3),
        b"old 1\r\n\n" + HONEST.note(3),
        b"old 9223372036854775808\n\n" + HONEST.note(3),
        b"old " + b"9" * 5_000 + b"\n\n" + HONEST.note(3),
        "old \u0661\n\n".encode() + HONEST.note(3),
        b"\nold 1\n\n" + HONEST.note(3),
        b"old 1\nAAAA\n\n" + HONEST.note(3),
        b"old 1\n" + b"A" * 43 + b"B\n\n" + HONEST.note(3),
        b"old 1\n" + (b"A" * 43 + b"=\n") * (PATH_LINES_MAX + 1) + b"\n" + HONEST.note(3),
        b"old 1\n\n\n" + HONEST.note(3),
        b"old 0\n\n" + HONEST.note(3)[:-1],
        b"old 0\n\n" + HONEST.note(3) + b"\n",
        b"old 0\n\n" + HONEST.note(3).split(b"\n\n")[0] + b"\n",
        b"old 0\n\nnot\na checkpoint\nat all\n\n" + HONEST.note(3).split(b"\n\n")[1],
        b"old 0\n\n" + HONEST.note(3) + b" " * REQUEST_BYTES_MAX,
    ],
)
def test_what_is_no_request_is_400(evil: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        admit(evil, LOGS)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused_as_malformed(data: bytes) -> None:
    for attempt in (data, b"old 0\n\n" + data, b"old 3\n" + data + b"\n\n" + HONEST.note(3)):
        try:
            request = parse_add_checkpoint(attempt)
        except MalformedError:
            continue
        assert format_add_checkpoint(request) == attempt


@given(st.data())
def test_a_request_with_any_byte_changed_is_refused_or_is_another_request(data: st.DataObject) -> None:
    right = HONEST.request(11, 37)
    changed = bytearray(right)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(right) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = admit(bytes(changed), LOGS)
    except TallystickError:
        return
    # Only what no signature covers can differ: the old size and the path.
    assert found.checkpoint == HONEST.checkpoint(37)
    if bytes(changed) != right and found.size_old == 11:
        assert decide(HONEST.checkpoint(11), found) is Decision.UNPROVEN


def test_two_roots_of_one_size_are_proof_against_a_log() -> None:
    notes = [HONEST.note(size) for size in (10, 20, 30)] + [FORKED.note(size) for size in (10, 20, 25, 30)]
    (fork,) = find_forks(notes, [KEY])
    assert (fork.origin, fork.size) == (HONEST.key.name, 30)
    assert {fork.one, fork.other} == {HONEST.note(30), FORKED.note(30)}
    assert find_forks(notes[:-1], [KEY]) == ()
    assert find_forks([HONEST.note(9), HONEST.note(9, ["an extension"])], [KEY]) == ()
    with pytest.raises(InvalidError):
        find_forks([WitnessedLog(3, key=SigningKey(HONEST.key.name, "thief")).note(3)], [KEY])


def test_the_list_of_logs_is_a_policy_without_witnesses() -> None:
    vkey = format_verifier_key(KEY)
    assert parse_logs(f"# whom we watch\nlog {vkey} https://log.example\nquorum none\n".encode()).logs
    witness = format_verifier_key(SigningKey("w.example").cosigner_key)
    for text in ("quorum none\n", f"log {vkey}\nwitness w {witness}\nquorum w\n"):
        with pytest.raises(InvalidError):
            parse_logs(text.encode())


@pytest.mark.parametrize(
    "body", [b"", b"5", b"05\n", b"-1\n", b"5\n\n", b"5 \n", b"\xff\n", b"1" * 40 + b"\n"]
)
def test_what_is_no_size_is_malformed(body: bytes) -> None:
    assert parse_size_answer(b"50\n") == 50
    with pytest.raises(MalformedError):
        parse_size_answer(body)
