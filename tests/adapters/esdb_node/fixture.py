"""A development node for tests: import :func:`esdb_uri` into a conftest, or start one by hand.

When ``ESDB_URI`` is set, tests that take :func:`esdb_uri` run against that server instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from adapters.esdb_node.node import Node, NodeOptions, node_in_thread


@pytest.fixture(scope="session")
def esdb_uri() -> Iterator[str]:
    """Connection string of a node with an empty log in memory, or of the server that ``ESDB_URI`` names."""
    given = os.environ.get("ESDB_URI")
    if given:
        yield given
        return
    with node_in_thread(NodeOptions(port=0)) as node:
        yield node.uri


@pytest.fixture(scope="session")
def memory_node() -> Iterator[Node]:
    """The node itself, for tests of the node and nothing else."""
    with node_in_thread(NodeOptions(port=0)) as node:
        yield node
