"""The second verifier refuses every single-byte change, of every kind of file that is handed out.

All files that are kept for ever are tried: a sample of their bytes here, every one of them where
`TALLY_FAULTS=all` says so (`nox -s faults`).  A byte becomes another one of its own kind, a digit a digit and
a letter a letter, so that what is wrong is seldom the spelling; and one bit of it is turned.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
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


def changes_of(data: bytes) -> Iterator[bytes]:
    """The file with one byte changed."""
    count = len(data) if EVERY else min(CHANGES, len(data))
    for number in range(count):
        # In the middle of each stretch, moved on a little each time, so that no period is met.
        place = number if EVERY else ((2 * number + 1) * len(data) // (2 * count) + number % 7) % len(data)
        for byte in (another(data[place], number), data[place] ^ 1 << number % 8):
            yield data[:place] + bytes([byte]) + data[place + 1 :]
            if not EVERY and number % 2:
                break


def test_there_are_files_of_every_kind() -> None:
    kinds = {path.name.partition(".")[2] or "none" for path in FILES}
    assert kinds >= {"tally.json", "audit.json", "tlog-proof", "json"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-3:]))
def test_no_changed_byte_passes(path: Path) -> None:
    data, judge = path.read_bytes(), judge_of(path)
    judge(data)
    for number, changed in enumerate(changes_of(data)):
        try:
            found = judge(changed)
        except (verify.Malformed, verify.Refused):
            continue
        place = next(at for at, (old, new) in enumerate(zip(data, changed, strict=True)) if old != new)
        raise AssertionError(f"change {number}, byte {place} of {path.name}, is accepted: {found}")
