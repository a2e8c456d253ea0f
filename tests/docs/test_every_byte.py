"""The second verifier refuses every single-byte change, of every kind of file that is handed out.

All files that are kept for ever are tried: a sample of their bytes here, every one of them where
`TALLY_FAULTS=all` says so (`nox -s faults`).  A byte becomes another one of its own kind, a digit a digit and
a letter a letter, so that what is wrong is seldom the spelling; or one bit of it is turned.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.test_verify import verify

VECTORS = Path(__file__).parents[1] / "vectors"
KINDS = ("formats", "witnessed", "audited", "cosigned")
FOLDERS = [folder for kind in KINDS for folder in (VECTORS / kind).iterdir()]
FILES = sorted(
    path
    for folder in FOLDERS
    for path in folder.iterdir()
    if path.name.endswith((".tally.json", ".audit.json", ".tlog-proof")) or path.name.startswith("topics-")
)
EVERY = os.environ.get("TALLY_FAULTS") == "all"
# Of each file, in the gate; the longest cost some 10 ms each.
CHANGES = 60
# A part of a sweep, so that each test is done within its time.
PART_BYTES = 4_000
DIGITS = b"0123456789"
LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/"

Judge = Callable[[bytes], Any]


def judge_of(path: Path) -> Judge:
    """How a file is verified by whoever knows all that signed it, and asks for all of them.

    For a signature that nobody asks for may get lost: by a changed name or key id it is somebody else's.
    """
    policy_file = path.parent / "policy"
    if policy_file.exists():
        asked = policy_file.read_bytes().replace(b"group enough 2 w0 w1 w2", b"group enough all w0 w1 w2")
        policy = verify.parse_policy(asked)
    else:
        policy = verify.Policy([verify.parse_key((path.parent / "keys").read_text().splitlines()[0])])
    if path.name.endswith(".audit.json"):
        return lambda data: verify.verify_audit_bundle(data, policy)
    if path.name.startswith("topics-"):
        topic = json.loads(path.read_bytes())["topic"]
        return lambda data: verify.verify_completeness(data, policy, topic)
    if path.name.endswith(".tlog-proof"):
        statement = path.with_suffix("").read_bytes()
        return lambda data: verify.verify_statement(data, statement, policy)
    return lambda data: verify.verify_bundle(data, policy)


def another(byte: int, number: int) -> int:
    """Another byte of the same kind."""
    for alphabet in (DIGITS, LETTERS):
        if byte in alphabet:
            return alphabet[(alphabet.index(byte) + 1 + number % (len(alphabet) - 1)) % len(alphabet)]
    return byte ^ 1


def sample(size: int) -> list[int]:
    """Places all over a file, moved on a little each time, so that no period is met."""
    return [((2 * number + 1) * size // (2 * CHANGES) + number % 7) % size for number in range(CHANGES)]


def changes_of(data: bytes, places: Iterable[int]) -> Iterator[bytes]:
    """The file with one byte changed."""
    for number, place in enumerate(places):
        byte = data[place] ^ 1 << number // 4 % 8 if number % 4 == 3 else another(data[place], number)
        yield data[:place] + bytes([byte]) + data[place + 1 :]


def test_there_are_files_of_every_kind() -> None:
    kinds = {path.name.partition(".")[2] or "none" for path in FILES}
    assert kinds >= {"tally.json", "audit.json", "tlog-proof", "json"}


PARTS = [
    (path, start)
    for path in FILES
    for start in (range(0, path.stat().st_size, PART_BYTES) if EVERY else (0,))
]


@pytest.mark.parametrize(
    ("path", "start"), PARTS, ids=[f"{'/'.join(path.parts[-3:])}-{start}" for path, start in PARTS]
)
def test_no_changed_byte_passes(path: Path, start: int) -> None:
    data, judge = path.read_bytes(), judge_of(path)
    judge(data)
    places = range(start, min(start + PART_BYTES, len(data))) if EVERY else sample(len(data))
    for place, changed in zip(places, changes_of(data, places), strict=True):
        try:
            found = judge(changed)
        except (verify.Malformed, verify.Refused):
            continue
        raise AssertionError(f"byte {place} of {path.name} is now {changed[place]}, and accepted: {found}")
