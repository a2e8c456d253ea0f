"""The OpenAPI document: made from the routes that are served, and from what they say of themselves.

Every status that a route can answer with is in it: each handler names its problems with ``documented``, and
those that any request can meet are added here.  Request bodies are read as bytes by the handlers, so their
forms are described here, too.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, get_args, get_type_hints

import msgspec
from litestar import Litestar
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme, Tag
from litestar.routes.base import BaseRoute
from msgspec import Struct

from adapters.setup_files import Setup
from api.problems import MEDIA_TYPE, PROBLEMS, RETRY_SECONDS, TYPE_PREFIX, Problem
from api.version import version
from domain.contract import Contract

DESCRIPTION = """\
An event-sourced ledger with immutable receipts for measurements and health records.

Everything that turns raw bytes into a claim is a *run* of a versioned *procedure*, judged by *gates*, and
closed by a *receipt*: a signed statement that names everything the run rests on, with a proof of its place in
the ledger. A run that may not be presented as truth is *withheld*, and gets its receipt, too.

**Keys.** Every route below `/v1` needs an API key in `Authorization: Bearer tl_…`. A key belongs to one
tenant and has scopes: `ingest`, `read`, `audit` (which includes `read`, and may see what is withheld),
`admin`. What belongs to another tenant does not exist here: 404.

**Errors** are `application/problem+json` (RFC 9457), each with a `remedy`.

**Pages** (AIP-158): `page_size` is coerced down to 500; go on with `next_page_token` until it is empty.

**Times** are Unix nanoseconds, UTC, in fields that end in `_ns`. **Indices** (`*_index`) are places in the
ledger, counted from 0.
"""
TAGS = (
    Tag("setup", "Devices, connections, calibrations, contracts and deployments"),
    Tag("ingest", "Raw bytes in"),
    Tag("runs", "What was run, what the gates said, and how devices and providers do"),
    Tag("receipts", "Signed statements with proofs, and what they stand for"),
    Tag("ledger", "Entries, checkpoints and proofs, for auditors"),
    Tag("operation", "For whoever keeps the process running"),
)
_SCHEMAS = "#/components/schemas/"
_GENERIC = re.compile(r"(\w+)\[(\w+)\]")
# What any request can meet: before its handler is asked, or because of what is stored here.
_ANYWHERE = (
    "malformed",
    "unauthorised",
    "scope",
    "unexpected",
    "damaged",
    "storage",
    "unreachable",
    "closing",
)
_YAML_TYPES = ("application/yaml", "application/json")


def documented(*problems: str, also: Mapping[int, tuple[Any, str]] | None = None) -> dict[int, ResponseSpec]:
    """What a route answers beyond its success: problems by name, and other successes by status."""
    by_status: dict[int, list[str]] = {}
    for name in (*_ANYWHERE, *problems):
        by_status.setdefault(PROBLEMS[name][0], []).append(name)
    found = {
        status: ResponseSpec(content, description=description, generate_examples=False)
        for status, (content, description) in (also or {}).items()
    }
    for status, names in sorted(by_status.items()):
        sentences = (f"`{TYPE_PREFIX}{name}`: {PROBLEMS[name][1]}. {PROBLEMS[name][2]}" for name in names)
        found[status] = ResponseSpec(
            Problem, description="  \n".join(sentences), media_type=MEDIA_TYPE, generate_examples=False
        )
    return found


def describe(route_handlers: Sequence[Any]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these routes."""
    config = OpenAPIConfig(
        title="Tallystick",
        version=version(),
        description=DESCRIPTION,
        use_handler_docstrings=True,
        tags=list(TAGS),
        operation_id_creator=lambda handler, method, path: handler.handler_name,
        components=Components(
            security_schemes={
                "apiKey": SecurityScheme(
                    type="http", scheme="bearer", bearer_format="tl_<id>_<secret>", description="An API key"
                )
            }
        ),
    )
    app = Litestar(route_handlers=route_handlers, openapi_config=config)
    document = app.openapi_schema.to_schema()
    document["servers"] = [{"url": "/"}]
    handlers = {handler.handler_name: handler for route in app.routes for handler in _handlers(route)}
    for methods in document["paths"].values():
        for operation in methods.values():
            _complete(operation, handlers[operation["operationId"]])
    schemas = document["components"]["schemas"]
    for kind in (Setup, Contract):
        schemas.update(msgspec.json.schema_components([kind], ref_template=f"{_SCHEMAS}{{name}}")[1])
    for handler in handlers.values():
        for struct in _structs(handler.parsed_return_field.raw, set()):
            if struct.__name__ in schemas and struct.__doc__:
                schemas[struct.__name__].setdefault("description", inspect.cleandoc(struct.__doc__))
    return _renamed(document)


def _handlers(route: BaseRoute) -> Sequence[Any]:
    found = getattr(route, "route_handlers", ())
    return [handler for handler in found if handler.handler_name not in ("options_handler", "")]


def _structs(annotation: Any, seen: set[type[Struct]]) -> set[type[Struct]]:
    """Every struct that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, Struct) and annotation not in seen:
        seen.add(annotation)
        for part in get_type_hints(annotation).values():
            _structs(part, seen)
    for part in get_args(annotation):
        _structs(part, seen)
    return seen


def _renamed(document: dict[str, Any]) -> dict[str, Any]:
    """Names of generic schemas without the modules they lie in: ``Page[RunSummary]`` is RunSummaryPage."""
    text = msgspec.json.encode(document).decode()
    for name, schema in document["components"]["schemas"].items():
        generic = _GENERIC.fullmatch(schema.get("title", ""))
        if generic and name != schema["title"]:
            text = text.replace(f'"{name}"', f'"{generic[2]}{generic[1]}"')
            text = text.replace(f'"{_SCHEMAS}{name}"', f'"{_SCHEMAS}{generic[2]}{generic[1]}"')
    renamed: dict[str, Any] = msgspec.json.decode(text)
    return renamed


def _complete(operation: dict[str, Any], handler: BaseRouteHandler) -> None:
    operation.pop("deprecated", None)
    scope = handler.opt.get("scope")
    if scope:
        operation["x-scope"] = scope
    body = _BODIES.get(operation["operationId"])
    if body:
        operation["requestBody"] = {"required": True, **body}
    for parameter in operation.get("parameters", ()):
        _tidy(parameter)
    for status, response in operation["responses"].items():
        if response["description"] == HTTPStatus(int(status)).description:
            response["description"] = operation["summary"]
        headers = response.setdefault("headers", {})
        headers["X-Request-Id"] = _header("Names this request in the operator's log", "uuid")
        if status in ("429", "503") and MEDIA_TYPE in response.get("content", {}):
            headers["Retry-After"] = _header(f"Seconds, usually {RETRY_SECONDS}")
        if status == "401":
            headers["WWW-Authenticate"] = _header("The scheme: Bearer")
        if status == "201":
            headers["Location"] = _header("Where what was made is found")
        example = _EXAMPLES.get((operation["operationId"], status))
        if example is not None:
            for content in response.get("content", {}).values():
                content["example"] = example


def _tidy(parameter: dict[str, Any]) -> None:
    """Say of a parameter what is so: one that may be left out is not ``null``, and no number is negative."""
    for noise in ("deprecated", "allowEmptyValue", "allowReserved"):
        parameter.pop(noise, None)
    schema = parameter["schema"]
    schema.pop("description", None)
    kinds = [kind for kind in schema.pop("oneOf", ()) if kind.get("type") != "null"]
    if len(kinds) == 1:
        schema.update(kinds[0])
    if schema.get("type") == "integer":
        schema.setdefault("minimum", 0)
    if schema.get("default", "") == "":
        schema.pop("default", None)


def _header(description: str, format_: str = "") -> dict[str, Any]:
    schema = {"type": "string", **({"format": format_} if format_ else {})}
    return {"description": description, "schema": schema}


def _document_body(description: str, name: str, example: Any) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{name}"}
    content = {media_type: {"schema": reference, "example": example} for media_type in _YAML_TYPES}
    return {"description": description, "content": content}


_SETUP_EXAMPLE = {
    "devices": [
        {
            "device_id": "logger-7",
            "manufacturer": "Example Instruments",
            "model": "DL-2",
            "serial_number": "0007",
            "firmware": "3.0.1",
            "channels": [{"name": "XX.ABC..HHZ", "unit": "counts", "sensor_serial": "S-1"}],
        }
    ],
    "deployments": [
        {
            "procedure": "spectra",
            "version": "1.0.0",
            "consumes": "samples",
            "contract": "spectra",
            "contract_version": 1,
        }
    ],
}
_CONTRACT_EXAMPLE = {
    "contract_id": "spectra",
    "version": 1,
    "title": "Spectra of one sensor",
    "gates": [
        {
            "gate_id": "gaps",
            "title": "Share of the window that is missing",
            "metric": "sampling.gap_ratio",
            "unit": "1",
            "rule": "at_most",
            "pass_limit": 0.001,
            "fail_limit": 0.01,
            "reason": "gap",
            "rule_id": "where the limits come from",
        }
    ],
}
_BODIES: dict[str, dict[str, Any]] = {
    "post_setup": _document_body(
        "A setup (docs/setup.md). `contracts` stays empty: they are sent to /v1/contracts.",
        "Setup",
        _SETUP_EXAMPLE,
    ),
    "post_contract": _document_body(
        "A contract, its limits and where they come from", "Contract", _CONTRACT_EXAMPLE
    ),
    "post_batch": {
        "description": "The bytes as they are; they are kept exactly so, at least one of them",
        "content": {"*/*": {"schema": {"type": "string", "format": "binary", "minLength": 1}}},
    },
}
_EXAMPLES: dict[tuple[str, str], Any] = {
    ("post_batch", "201"): {
        "batch_id": "b3f1c0a9e8d7b6c5a4938271",
        "index": 16,
        "is_new": True,
        "digest": "sha256:" + "5d" * 32,
        "byte_count": 806912,
        "received_at_ns": 1774850000000000000,
        "is_encrypted": False,
    },
    ("get_verdict", "200"): {
        "receipt_id": "r7a897f28bf549e6eb4ca143b",
        "run_id": "run-0a1b2c3d4e5f60718293a4b5",
        "verdict": "fail",
        "is_presentable": False,
        "abstentions": [],
        "failures": ["revision-order"],
        "failure": "",
        "supersedes": "",
        "status": "withheld",
        "superseded_by": None,
        "recall_id": None,
    },
    ("get_ledger", "200"): {
        "tenant": "demo",
        "origin": "tallystick.local/demo",
        "size": 61,
        "root_sha256": "5d" * 32,
        "verifier_key": "tallystick.local/demo+4b1d0e2c+ARwm1t0p",
    },
}
