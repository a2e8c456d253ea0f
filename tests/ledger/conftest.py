"""What the ledger's tests share."""

import pytest

from tests.ledger.go_sumdb import Ask, build_oracle


@pytest.fixture(scope="session")
def go_sumdb(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """The Go implementation of notes and trees; skips where it is not installed."""
    return build_oracle(tmp_path_factory.mktemp("go"))
