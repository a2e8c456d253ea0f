"""Parameters: what a query string may hold.

A parameter that nobody knows is a mistake, not a wish to be ignored: ``?formatoptions=`` would otherwise keep
a batch without what its file needs to be read.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from litestar import Request
from litestar.enums import HttpMethod, ParamType
from litestar.handlers.http_handlers import HTTPRouteHandler
from litestar.params import ParameterKwarg, PathParameter, QueryParameter

from api.problems import ApiError

INT64_MAX = (1 << 63) - 1
SOURCE_PATTERN = r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

BatchId = Annotated[str, PathParameter(pattern=r"^b[0-9a-f]{24}$", description="Id of a batch")]
RunId = Annotated[str, PathParameter(pattern=r"^run-[0-9a-f]{24}$", description="Id of a run")]
ReceiptId = Annotated[str, PathParameter(pattern=r"^r[0-9a-f]{24}$", description="Id of a receipt")]
SourceId = Annotated[str, PathParameter(pattern=SOURCE_PATTERN, description="Id of a device or connection")]
ArtifactName = Annotated[str, PathParameter(pattern=_NAME, description="Name of an artifact")]
Index = Annotated[int, PathParameter(ge=0, le=INT64_MAX, description="Ledger index, 0-based")]

OfSource = Annotated[
    str | None, QueryParameter(pattern=SOURCE_PATTERN, description="Only of this device or connection")
]
OfRun = Annotated[str | None, QueryParameter(pattern=r"^run-[0-9a-f]{24}$", description="Only of this run")]
OfProcedure = Annotated[
    str | None, QueryParameter(pattern=_NAME, description="Only of this procedure, such as spectra")
]
OfKind = Annotated[
    str | None, QueryParameter(pattern=_NAME, description="Only of this kind, such as oura.sleep")
]
IsNewest = Annotated[
    bool,
    QueryParameter(
        description="Under the newest seal, also where witnesses have cosigned one that covers it"
    ),
]
AtTime = Annotated[int | None, QueryParameter(ge=0, le=INT64_MAX, description="Unix nanoseconds, UTC")]

_RESERVED = frozenset({"request", "caller"})


async def refuse_unknown_parameters(request: Request[Any, Any, Any]) -> None:
    """Before every handler.  Raises: ApiError 400 for a query parameter that is unknown or given twice."""
    pairs = list(request.query_params.multi_items())
    given = [name for name, _ in pairs]
    if not given or request.method == HttpMethod.OPTIONS:
        return
    known = _query_names(request.route_handler)
    for name in given:
        if name not in known:
            raise ApiError(
                "malformed",
                f"unknown query parameter: {name[:80]!r}",
                remedy=f"Known here: {', '.join(sorted(known)) or 'none'}.",
            )
        if given.count(name) > 1:
            raise ApiError("malformed", f"query parameter given more than once: {name[:80]!r}")
    for name, value in pairs:
        # The framework would read it as "not given", and a caller's slip would select everything.
        if value.lower() == "null":
            raise ApiError("malformed", f"{name}: null is no value", remedy="Leave the parameter out.")


@cache
def _query_names(handler: HTTPRouteHandler) -> frozenset[str]:
    """Names of the query parameters of a handler."""
    names = set()
    for name, field in handler.parsed_fn_signature.parameters.items():
        if name in _RESERVED or any(f"{{{name}:" in path for path in handler.paths):
            continue
        kwarg = field.kwarg_definition
        if not isinstance(kwarg, ParameterKwarg):
            names.add(name)
        elif kwarg.param_type is ParamType.QUERY:
            names.add(kwarg.name or name)
    return frozenset(names)
