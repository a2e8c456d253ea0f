"""Requests made up from the OpenAPI document: no answer is a 500, and each is one that it names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS, load_all_checks

from api.application import routes
from api.openapi import describe
from tests.api.served import Server, serving

# A handful for each route: enough to try each parameter with what it may not be, and all of it in seconds.
EXAMPLES = 10

load_all_checks()
DOCUMENT = describe(routes())
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
HELD = [
    CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    )
]


@pytest.fixture(scope="module")
def server(told: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("schema") / "home"
    shutil.copytree(told, home)
    with serving(home) as started:
        yield started


@pytest.fixture(scope="module")
def admin(server: Server) -> str:
    return server.key("admin")


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_the_document_names(case: Any, server: Server, admin: str) -> None:
    response = case.call(base_url=server.url, headers={"Authorization": f"Bearer {admin}"}, timeout=30)
    if case.method.lower() not in DOCUMENT["paths"][case.path]:
        assert response.status_code in (204, 405)
        assert "allow" in {name.lower() for name in response.headers}
        return
    case.validate_response(response, checks=HELD)
