"""What the OpenAPI document says beyond what the handlers' types say: every route answers errors as problems."""

from __future__ import annotations

from litestar.config.app import AppConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.router import Router

from api.problems import MEDIA_TYPE, Problem

_SHARED = {
    400: "The request could not be read",
    401: "No key, or not a valid one",
    403: "The key may not do that, or the result is withheld",
    404: "No such thing for this tenant",
    409: "It contradicts what is recorded",
    413: "A limit was passed",
    422: "It was read but does not hold",
    500: "Something went wrong on our side",
}


def describe_problems(config: AppConfig) -> AppConfig:
    """Give every ``/v1`` route its problem responses."""
    for handler in config.route_handlers:
        if isinstance(handler, Router) and handler.path == "/v1":
            for route in handler.routes:
                for one in getattr(route, "route_handlers", ()):
                    one.responses = {**_responses(), **(one.responses or {})}
    return config


def _responses() -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(Problem, description=text, media_type=MEDIA_TYPE, generate_examples=False)
        for status, text in _SHARED.items()
    }
