"""Whatever arrives is read or refused with an error of ours; what has one spelling has no other; and two
verifiers that share no code agree about it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.docs.test_verify import verify
from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import Seeds, make_seeds
from tests.fuzz.targets import Target, targets

EXAMPLES = int(os.environ.get("TALLY_FUZZ_EXAMPLES", "60"))
NAMES = (
    *("note", "entry", "tlog-proof", "vkey", "policy", "envelope", "statement", "event", "topic-line"),
    *("frontier", "bundle", "audit-bundle", "completeness", "add-checkpoint", "erasure", "columns"),
    *("dataset", "miniseed", "csv", "setup", "contract", "oura-sleep", "oura-activity"),
)


@pytest.fixture(scope="module")
def seeds() -> Seeds:
    return make_seeds()


@pytest.fixture(scope="module")
def known(seeds: Seeds) -> Mapping[str, Target]:
    return targets(seeds, verify)


def test_every_target_has_seeds_and_is_tried(seeds: Seeds, known: Mapping[str, Target]) -> None:
    assert tuple(known) == NAMES
    assert {name for name in NAMES if not seeds.by_kind.get(name)} == set()


@pytest.mark.parametrize("name", NAMES)
def test_good_bytes_are_good(seeds: Seeds, known: Mapping[str, Target], name: str) -> None:
    for seed in seeds.by_kind[name]:
        known[name](seed)


@pytest.mark.parametrize("name", NAMES)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_changed_bytes_are_read_or_refused(
    seeds: Seeds, known: Mapping[str, Target], name: str, data: Any
) -> None:
    known[name](data.draw(mutated(seeds.by_kind[name])))
