"""A server whose store goes away says so, and serves again when it is back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from litestar.testing import TestClient

from adapters.esdb_node.node import NodeOptions, node_in_thread
from api.application import create_app
from api.settings import settings_from
from tests.api.story import Api, assert_problem
from tests.story.told import TENANT


@pytest.fixture
def node_options(tmp_path: Path) -> NodeOptions:
    return NodeOptions(port=0, path=tmp_path / "node.db")


def test_a_store_that_went_away_is_a_503_until_it_is_back(node_options: NodeOptions, tmp_path: Path) -> None:
    with node_in_thread(node_options) as node:
        port = node.port
        store = f"esdb://127.0.0.1:{port}?tls=false&defaultDeadline=2"
        app = create_app(settings_from({}, home=str(tmp_path / "home"), store=store, tenant=TENANT))
        client = TestClient(app, raise_server_exceptions=False)
        client.__enter__()
        api = Api(tmp_path / "home", client)
        assert api.get("/v1/ledger").status_code == 200
    try:
        gone = api.get("/v1/entries/0")
        problem = assert_problem(gone, 503, "unreachable")
        assert gone.headers["retry-after"]
        assert str(port) not in problem["detail"] + problem["remedy"]
        with node_in_thread(NodeOptions(port=port, path=node_options.path)):
            until = time.monotonic() + 30
            while (again := api.get("/v1/entries/0")).status_code == 503 and time.monotonic() < until:
                time.sleep(0.2)
            assert again.status_code == 200, again.text
    finally:
        client.__exit__(None, None, None)


def test_a_store_that_never_answered_is_a_503_too(node_options: NodeOptions, tmp_path: Path) -> None:
    with node_in_thread(node_options) as node:
        store = f"esdb://127.0.0.1:{node.port}?tls=false&defaultDeadline=2&maxDiscoverAttempts=1"
    settings = settings_from({}, home=str(tmp_path / "home"), store=store, tenant=TENANT)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        assert_problem(Api(tmp_path / "home", client).get("/v1/ledger"), 503, "unreachable")
