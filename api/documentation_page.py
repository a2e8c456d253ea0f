"""The documentation page: the OpenAPI document as plain HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any

import msgspec

from api.parameters import INT64_MAX
from api.problems import MEDIA_TYPE, PROBLEMS, TYPE_PREFIX

_METHODS = ("get", "post", "put", "patch", "delete")
_INLINE = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"\*([^*\s][^*]*)\*"), r"<em>\1</em>"),
)


def render(document: dict[str, Any]) -> str:
    """The page of an OpenAPI document that ``api.openapi.describe`` made."""
    info = document["info"]
    operations = list(_operations(document))
    tags = [tag for tag in document["tags"] if any(tag["name"] in o["tags"] for _, _, o in operations)]
    contents = "".join(_contents(tag, operations) for tag in tags)
    sections = "".join(_section(tag, operations) for tag in tags)
    schemas = "".join(
        _schema_section(name, schema) for name, schema in sorted(document["components"]["schemas"].items())
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(info["title"])} API {escape(info["version"])}</title>
<link rel="icon" href="/console/mark.svg" type="image/svg+xml">
<link rel="stylesheet" href="/console/base.css">
<link rel="stylesheet" href="/console/docs.css">
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header class="bar">
<a class="brand" href="/"><img src="/console/mark.svg" alt="" width="24" height="24">Tallystick</a>
<span class="bar-note">API {escape(info["version"])}</span>
<nav aria-label="Pages"><a href="/">Console</a><a href="/openapi.json">openapi.json</a></nav>
</header>
<div class="columns">
<nav class="contents" aria-label="Routes">{contents}<h2><a href="#problems">Problems</a></h2>
<h2><a href="#schemas">Schemas</a></h2></nav>
<main id="main" tabindex="-1">
<h1>The API</h1>
{_prose(info["description"])}
{sections}
<h2 id="problems">Problems</h2>
<p>Every error is one of these, as <code>application/problem+json</code>.</p>
{_table("Problems", ("type", "status", "title", "what to do"), _problems())}
<h2 id="schemas">Schemas</h2>
{schemas}
</main>
</div>
</body>
</html>
"""


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield path, method, methods[method]


def _contents(tag: dict[str, Any], operations: list[tuple[str, str, dict[str, Any]]]) -> str:
    items = "".join(
        f'<li><a href="#{escape(o["operationId"])}"><span class="method {m}">{m.upper()}</span> '
        f"{escape(o['summary'])}</a></li>"
        for _, m, o in operations
        if tag["name"] in o["tags"]
    )
    return f"<h2>{escape(tag['name'])}</h2><ul>{items}</ul>"


def _section(tag: dict[str, Any], operations: list[tuple[str, str, dict[str, Any]]]) -> str:
    found = "".join(_operation(*operation) for operation in operations if tag["name"] in operation[2]["tags"])
    return (
        f'<section><h2 id="tag-{escape(tag["name"])}">{escape(tag["name"])}</h2>'
        f"{_prose(tag['description'])}{found}</section>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    parameters = "".join(_parameter(parameter) for parameter in operation.get("parameters", ()))
    answers = sorted(operation["responses"].items())
    responses = "".join(_response(status, answer) for status, answer in answers if not _is_problem(answer))
    problems = " ".join(
        f'<a href="#problem-{name}">{status}&nbsp;{name}</a>'
        for status, answer in answers
        if _is_problem(answer)
        for name in re.findall(rf"{TYPE_PREFIX}([a-z-]+)", answer["description"])
    )
    body = operation.get("requestBody")
    key = "an API key" if operation.get("security") else "no key"
    scope = operation.get("x-scope")
    need = f"{key} with the scope <code>{escape(scope)}</code>" if scope else key
    return "".join(
        (
            f'<article id="{escape(operation["operationId"])}">',
            f'<h3><span class="method {method}">{method.upper()}</span> <code>{escape(path)}</code></h3>',
            f'<p class="lead">{escape(operation["summary"])}</p>',
            _prose(operation.get("description", "")),
            f'<p class="need">Needs {need}.</p>',
            _table("Parameters", ("name", "in", "type", "what"), parameters),
            _body(body) if body else "",
            _table("Answers", ("status", "form", "what"), responses),
            f'<p class="problems">{problems}</p>' if problems else "",
            "</article>",
        )
    )


def _is_problem(answer: dict[str, Any]) -> bool:
    return MEDIA_TYPE in answer.get("content", {})


def _problems() -> str:
    return "".join(
        f'<tr id="problem-{name}"><th scope="row"><code>{TYPE_PREFIX}{name}</code></th><td>{status}</td>'
        f"<td>{escape(title)}</td><td>{_inline(remedy)}</td></tr>"
        for name, (status, title, remedy) in PROBLEMS.items()
    )


def _table(caption: str, headers: tuple[str, ...], rows: str) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{header}</th>' for header in headers)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table><caption>{caption}'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _parameter(parameter: dict[str, Any]) -> str:
    need = " <em>required</em>" if parameter.get("required") else ""
    return (
        f'<tr><th scope="row"><code>{escape(parameter["name"])}</code>{need}</th>'
        f"<td>{escape(parameter['in'])}</td><td>{_type(parameter.get('schema', {}))}</td>"
        f"<td>{_inline(parameter.get('description', ''))}</td></tr>"
    )


def _body(body: dict[str, Any]) -> str:
    forms = "".join(
        f"<li><code>{escape(media_type)}</code> {_type(content.get('schema', {}))}</li>"
        for media_type, content in body["content"].items()
    )
    example = next((c["example"] for c in body["content"].values() if "example" in c), None)
    return f"<h4>Body</h4>{_prose(body.get('description', ''))}<ul>{forms}</ul>{_example(example)}"


def _response(status: str, response: dict[str, Any]) -> str:
    forms = ", ".join(
        f"<code>{escape(media_type)}</code> {_type(content.get('schema', {}))}"
        for media_type, content in response.get("content", {}).items()
    )
    example = next((c["example"] for c in response.get("content", {}).values() if "example" in c), None)
    return (
        f'<tr><th scope="row">{escape(status)}</th><td>{forms or "–"}</td>'
        f"<td>{_prose(response.get('description', ''))}{_example(example)}</td></tr>"
    )


def _example(example: Any) -> str:
    if example is None:
        return ""
    text = msgspec.json.format(msgspec.json.encode(example), indent=2).decode()
    return f"<details><summary>Example</summary><pre>{escape(text)}</pre></details>"


def _schema_section(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        f'<tr><th scope="row"><code>{escape(field)}</code>{"" if field in required else " <em>optional</em>"}'
        f"</th><td>{_type(part)}</td></tr>"
        for field, part in schema.get("properties", {}).items()
    )
    values = ", ".join(f"<code>{escape(str(value))}</code>" for value in schema.get("enum", ()))
    return (
        f'<article id="schema-{escape(name)}"><h3>{escape(name)}</h3>{_prose(schema.get("description", ""))}'
        f"{f'<p>One of {values}.</p>' if values else ''}{_table('Fields', ('field', 'type'), rows)}</article>"
    )


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words, with a link where it has a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{escape(name)}">{escape(name)}</a>'
    for several in ("oneOf", "anyOf"):
        if several in schema:
            return " or ".join(_type(one) for one in schema[several])
    if "allOf" in schema:
        return _type(schema["allOf"][0])
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(_type({**schema, "type": one}) for one in kind)
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    limits = [
        f"{sign} {schema[key]}"
        for key, sign in (("minimum", "≥"), ("maximum", "≤"), ("maxLength", "length ≤"))
        if key in schema and schema[key] != INT64_MAX
    ]
    return escape(" ".join([str(kind), *limits]))


def _prose(text: str) -> str:
    """Paragraphs of the little Markdown that our descriptions use."""
    paragraphs = (paragraph.strip() for paragraph in re.split(r"\n\s*\n", text))
    return "".join(
        "<p>" + "<br>".join(_inline(line) for line in re.split(r"  \n", paragraph)) + "</p>"
        for paragraph in paragraphs
        if paragraph
    )


def _inline(text: str) -> str:
    html = escape(text.replace("``", "`"))
    for pattern, replacement in _INLINE:
        html = pattern.sub(replacement, html)
    return html
