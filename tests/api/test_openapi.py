"""The OpenAPI document says what is served, all of it, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from api.application import routes
from api.authentication import SCOPES
from api.openapi import describe
from api.problems import MEDIA_TYPE, PROBLEMS, TYPE_PREFIX
from tests.api.story import Api

DOCUMENT = describe(routes())
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


def every(node: Any, key: str) -> list[Any]:
    """Every value of ``key`` anywhere below."""
    found = []
    if isinstance(node, dict):
        found = [value for name, value in node.items() if name == key]
        found += [value for child in node.values() for value in every(child, key)]
    elif isinstance(node, list):
        found = [value for child in node for value in every(child, key)]
    return found


def test_it_is_served_as_it_is_made(api: Api) -> None:
    answer = api.get("/openapi.json", "")
    assert answer.json() == DOCUMENT
    assert DOCUMENT["openapi"].startswith("3.1")


def test_every_route_is_in_it() -> None:
    app = Litestar(route_handlers=routes(), openapi_config=None)
    served = {
        handler.handler_name
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if handler.handler_name != "options_handler" and handler.resolve_include_in_schema()
    }
    assert served == set(OPERATIONS)


def test_what_is_not_in_it_is_pages_and_public_tiles() -> None:
    app = Litestar(route_handlers=routes(), openapi_config=None)
    hidden = {
        path
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if not handler.resolve_include_in_schema() and handler.handler_name != "options_handler"
        for path in handler.paths
    }
    assert not any(path.startswith("/v1") for path in hidden)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_route_says_what_it_is_what_it_needs_and_how_it_fails(name: str) -> None:
    _, path, operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]
    if path.startswith("/v1/"):
        assert operation["security"] == [{"apiKey": []}]
        assert operation.get("x-scope") in (*SCOPES, None)
        assert operation.get("x-scope") or name == "get_key"
        assert {"400", "401", "403", "500", "503"} <= operation["responses"].keys()
    else:
        assert not operation.get("security")
    if "{" in path:
        assert "404" in operation["responses"]
    for status, response in operation["responses"].items():
        if int(status) >= 400 and path.startswith("/v1/"):
            assert list(response["content"]) == [MEDIA_TYPE]
            named = re.findall(rf"{TYPE_PREFIX}([a-z-]+)", response["description"])
            assert named
            assert {PROBLEMS[problem][0] for problem in named} == {int(status)}


def test_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for reference in every(DOCUMENT["paths"], "$ref") + every(schemas, "$ref"):
        assert reference.startswith("#/components/schemas/")
        assert reference.rpartition("/")[2] in schemas
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in schemas)


def test_numbers_have_ends_and_text_has_a_length_or_form() -> None:
    for _, _, operation in OPERATIONS.values():
        for parameter in operation.get("parameters", ()):
            schema = parameter["schema"]
            if schema.get("type") == "integer":
                assert schema["minimum"] >= 0
                assert "maximum" in schema, parameter
            if schema.get("type") == "string" and parameter["name"] != "path":
                assert {"maxLength", "pattern", "enum"} & schema.keys(), parameter


def test_nothing_comes_from_elsewhere(api: Api) -> None:
    """The documentation and the console load what is served here, and nothing else."""
    pages = [api.get(path, "").text for path in ("/", "/docs")]
    names = [path.name for path in (Path(__file__).parents[2] / "api/console").iterdir()]
    pages += [api.get(f"/console/{name}", "").text for name in names]
    for text in pages:
        for url in re.findall(r"https?://[^\s\"'<>)]+", text):
            assert url.startswith("http://www.w3.org/"), url
        assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?//""", text)


def test_no_page_has_anything_inline(api: Api) -> None:
    for path in ("/", "/docs"):
        text = api.get(path, "").text
        assert not re.search(r"<script(?![^>]*\ssrc=)[^>]*>", text)
        assert "<style" not in text
        assert not re.search(r"\son\w+=", text)
        assert not re.search(r"\sstyle=", text)


def test_the_documentation_names_every_route(api: Api) -> None:
    text = api.get("/docs", "").text
    for name, (_, path, _) in OPERATIONS.items():
        assert f'id="{name}"' in text
        assert f"<code>{path}</code>" in text


def test_files_of_the_console_are_asked_for_again_only_when_they_changed(api: Api) -> None:
    first = api.get("/console/console.js", "")
    again = api.get("/console/console.js", "", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["content-type"].startswith("text/javascript")
