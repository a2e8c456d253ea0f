"""The lock is what a stranger installs from: every pin has digests, nothing is about one machine."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("demo", "fuzz", "runtime", "test")

PIN = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[0-9][A-Za-z0-9.+]*)"
    r"(?: ; [a-z_]+ (?:[!=<>]=|<|>) '[^']+'(?: (?:and|or) [a-z_]+ (?:[!=<>]=|<|>) '[^']+')*)?"
    r"(?P<digests>(?: --hash=sha256:[0-9a-f]{64})+)"
)


def pins(lock: str) -> dict[str, str]:
    """Versions by distribution. Raises AssertionError for a line that is anything but a pin with digests."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    lines = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    found = {}
    for line in lines:
        if line.startswith("#"):
            continue
        match = PIN.fullmatch(line)
        assert match, f"{lock}.txt: {line[:120]}"
        found[match["name"]] = match["version"]
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_of_a_lock_is_a_pin_with_digests(lock: str) -> None:
    assert pins(lock)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_host_and_no_machine_path(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    assert not re.search(r"://|--index|--extra-index|--find-links|(?<!\S)/\w|\.(?:org|com|io|net)\b", text)


def test_the_runtime_lock_is_a_part_of_the_test_lock() -> None:
    assert pins("runtime").items() <= pins("test").items()


def test_the_demo_lock_is_the_recording_alone() -> None:
    assert set(pins("demo")) == {"obspy"}


def test_the_fuzz_lock_is_the_fuzzer_alone() -> None:
    assert set(pins("fuzz")) == {"atheris"}


def test_the_locks_hold_everything_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    asked = {
        "runtime": [*project["project"]["dependencies"], *groups["package"]],
        "test": [need for need in groups["test"] if isinstance(need, str)],
    }
    for lock, needs in asked.items():
        names = {re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", need)[0]).lower() for need in needs}
        assert names <= set(pins(lock))
