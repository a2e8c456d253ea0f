"""A witness as an HTTP application of its own: tlog-witness for logs, and what it knows for people.

    POST /add-checkpoint                         see ledger.witness; for logs
    GET  /                                       who this is, which logs it knows, where each stands; JSON
    GET  /checkpoint?origin=                     the newest checkpoint it cosigned, with the cosignature
    GET  /evidence?origin=[&after=][&size=]      every checkpoint the log has shown, oldest first; JSON
    GET  /healthz                                the process is up

Everything here is public: the checkpoints of a log are made to be shown.  Nobody is asked for a password,
because only the log itself can sign what changes anything.

Its folder holds ``state.sqlite`` (``adapters.witness_store``), ``keys/`` (its own key, made on first use and
used for nothing else; elsewhere where the setting for keys says so) and ``logs.policy``, the list of logs it
knows (``ledger.witness``).
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

from litestar import Litestar, Request, get, post
from litestar.exceptions import HTTPException
from litestar.params import Parameter
from litestar.response import Response
from msgspec import Struct

from adapters.key_stores import open_key_store
from adapters.witness_store import PAGE_MAX, LogStanding, SeenCheckpoint, WitnessStore
from domain.errors import InvalidError, MalformedError, TallystickError, UnknownError
from ledger.notes import (
    Algorithm,
    VerifierKey,
    format_verifier_key,
    parse_verifier_key,
)
from ledger.policy import POLICY_BYTES_MAX, Policy
from ledger.ports import Signer, SigningKeys
from ledger.witness import (
    REQUEST_BYTES_MAX,
    SIZE_MEDIA_TYPE,
    Decision,
    MalformedRequestError,
    UnknownLogError,
    UntrustedCheckpointError,
    admit,
    parse_logs,
)

T = TypeVar("T")

# Each holds a body of at most 64 KiB; beyond, a log waits a second and asks again.
REQUESTS_WAITING_MAX = 64
# A body of that size over the slowest line that is of any use.
BODY_SECONDS_MAX = 10.0

PLAIN = "text/plain; charset=utf-8"
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_REFUSALS: tuple[tuple[type[TallystickError], int], ...] = (
    (MalformedRequestError, 400),
    (UnknownLogError, 404),
    (UntrustedCheckpointError, 403),
)

_log = logging.getLogger("tallystick.witness")


class WitnessSettings(Struct, frozen=True, kw_only=True):
    """Where a witness lives, what it is called, and where its key is (``adapters.key_stores``); ``name`` may
    be empty once it has a key."""

    folder: Path
    name: str = ""
    logs: Path | None = None
    keys: str = ""

    @property
    def logs_path(self) -> Path:
        """The list of logs."""
        return self.logs or self.folder / "logs.policy"


class Witness(Struct, frozen=True, kw_only=True, eq=False):
    """A witness at work."""

    signer: Signer
    key: VerifierKey
    store: WitnessStore
    logs: Policy

    @property
    def origins(self) -> tuple[str, ...]:
        """The logs it knows, each once, in the order of its list."""
        return tuple(dict.fromkeys(log.key.name for log in self.logs.logs))


class WitnessView(Struct, frozen=True, kw_only=True):
    """Who this is and what it knows."""

    name: str
    verifier_key: str
    logs: list[LogStanding]


class EvidencePage(Struct, frozen=True, kw_only=True):
    """What a log has shown; ``next_after`` is 0 at the end."""

    witness: str
    origin: str
    checkpoints: list[SeenCheckpoint]
    next_after: int


def settings_from_environment(environment: Mapping[str, str]) -> WitnessSettings:
    """The settings that ``tally witness`` hands to its server process."""
    logs = environment.get("TALLY_WITNESS_LOGS")
    return WitnessSettings(
        folder=Path(environment["TALLY_WITNESS_HOME"]),
        name=environment.get("TALLY_WITNESS_NAME", ""),
        logs=Path(logs) if logs else None,
        keys=environment.get("TALLY_KEYS", ""),
    )


def open_key(settings: WitnessSettings) -> tuple[WitnessStore, Signer, VerifierKey]:
    """The witness's memory and key, both made on first use.

    Raises: InvalidError when they do not belong together, MalformedError when a new witness has no name.
    """
    path, folder = settings.folder / "state.sqlite", settings.folder / "keys"
    keys = open_key_store(settings.keys, folder)
    is_key_there = any((folder / "signing").glob("*"))
    if not path.exists() and not is_key_there:
        # Whose key a store that others use too would hold, nobody knows without a name.
        _check_name(settings.name, "")
        is_key_there = bool(keys.signers(settings.name))
    store = WitnessStore.open(path, is_key_there=is_key_there)
    try:
        held = store.verifier_key()
        name = parse_verifier_key(held).name if held else settings.name
        _check_name(settings.name, name)
        signer = _held_signer(keys, held) if held else keys.signer(name)
        key = VerifierKey(name=name, public_key=signer.public_key, algorithm=Algorithm.COSIGNATURE)
        store.bind(format_verifier_key(key))
    except BaseException:
        store.close()
        raise
    return store, signer, key


def _check_name(said: str, name: str) -> None:
    if not (said or name) or (name and said not in ("", name)):
        raise MalformedError(
            "a witness has one name, for ever",
            field="--name",
            expected=name or "a name such as witness.example/w1",
            actual=said,
            remedy="" if name else "Choose one that nobody else has; it goes into every cosignature.",
        )


def _held_signer(keys: SigningKeys, held: str) -> Signer:
    """The signer of the key that the witness's memory names.  Raises: InvalidError."""
    key = parse_verifier_key(held)
    for signer in keys.signers(key.name):
        if signer.public_key == key.public_key:
            return signer
    raise InvalidError(
        "this key store does not hold the key of this witness",
        field="TALLY_KEYS",
        expected=held,
        remedy="Point the key setting at the key store that belongs to this witness.",
    )


def open_witness(settings: WitnessSettings) -> Witness:
    """A witness with its list of logs.  Raises: TallystickError, OSError."""
    path = settings.logs_path
    if not path.is_file():
        raise UnknownError(
            "no list of logs to witness",
            field=str(path),
            remedy="Write `log <vkey>` lines for the logs to watch, then `quorum none`.",
        )
    logs = parse_logs(path.read_bytes()[: POLICY_BYTES_MAX + 1])
    store, signer, key = open_key(settings)
    if any(log.key.public_key == key.public_key for log in logs.logs):
        store.close()
        raise InvalidError("a witness does not witness itself", field=str(path))
    return Witness(signer=signer, key=key, store=store, logs=logs)


def create_witness_app(settings: WitnessSettings, clock_s: Callable[[], float] = time.time) -> Litestar:
    """The application; the witness is opened and closed with it."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        with ThreadPoolExecutor(1, thread_name_prefix="witness") as pool:
            witness = open_witness(settings)
            app.state.desk = _Desk(witness, pool, clock_s)
            try:
                yield
            finally:
                pool.submit(witness.store.close).result()

    return Litestar(
        route_handlers=[add_checkpoint, get_state, get_checkpoint, get_evidence, alive],
        lifespan=[lifespan],
        exception_handlers={
            TallystickError: _refuse,
            HTTPException: _refuse_http,
            Exception: _fail,
        },
        request_max_body_size=REQUEST_BYTES_MAX,
        openapi_config=None,
    )


def create_app() -> Litestar:
    """The application as the server process makes it; settings come from the environment."""
    return create_witness_app(settings_from_environment(os.environ))


class _Desk:
    """The witness behind its one thread, and how many wait for it."""

    def __init__(self, witness: Witness, pool: ThreadPoolExecutor, clock_s: Callable[[], float]) -> None:
        self.witness = witness
        self._pool = pool
        self._clock_s = clock_s
        self._waiting = 0

    async def do(self, work: Callable[[], T]) -> T:
        """Do it on the witness's thread.  Raises: HTTPException 503 when too many wait."""
        if self._waiting >= REQUESTS_WAITING_MAX:
            raise HTTPException("too many are waiting", status_code=503, headers={"Retry-After": "1"})
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    def answer(self, body: bytes) -> Response[bytes]:
        """Decide about a request; runs on the witness's thread."""
        submission = admit(body, self.witness.logs)
        answer = self.witness.store.submit(submission, int(self._clock_s()), self.witness.signer)
        origin, size = submission.checkpoint.origin, submission.checkpoint.size
        match answer.decision:
            case Decision.COSIGNED:
                return _answer(200, answer.lines)
            case Decision.STALE:
                return _answer(409, f"{answer.size}\n", SIZE_MEDIA_TYPE)
            case Decision.UNPROVEN:
                text = f"no proof that {size} grows out of {answer.size}"
            case Decision.ANOTHER_ROOT:
                text = f"a checkpoint of {size} with another root was cosigned before"
        _log.warning("%s: %s, size %d after %d; kept", origin, answer.decision, size, answer.size)
        return _answer(answer.decision.status, f"{text}; this checkpoint is kept as evidence\n")

    def known(self, origin: str) -> str:
        """Raises: UnknownLogError."""
        if origin not in self.witness.origins:
            raise UnknownLogError("this witness does not know the log", field="origin", actual=origin[:200])
        return origin


_Request = Request[Any, Any, Any]
_Origin = Annotated[str, Parameter(max_length=1_000, description="The log")]


@post("/add-checkpoint")
async def add_checkpoint(request: _Request) -> Response[bytes]:
    """The protocol's one call."""
    desk: _Desk = request.app.state.desk
    try:
        body = await asyncio.wait_for(request.body(), BODY_SECONDS_MAX)
    except TimeoutError:
        raise HTTPException("the body did not arrive in time", status_code=408) from None
    return await desk.do(lambda: desk.answer(body))


@get("/")
async def get_state(request: _Request) -> Response[WitnessView]:
    """Who this is and what it knows."""
    desk: _Desk = request.app.state.desk
    witness = desk.witness
    view = await desk.do(
        lambda: WitnessView(
            name=witness.key.name,
            verifier_key=format_verifier_key(witness.key),
            logs=[witness.store.standing(origin) for origin in witness.origins],
        )
    )
    return Response(view, headers=_HEADERS)


@get("/checkpoint")
async def get_checkpoint(request: _Request, origin: _Origin) -> Response[bytes]:
    """The newest checkpoint it cosigned."""
    desk: _Desk = request.app.state.desk
    note = await desk.do(lambda: desk.witness.store.newest(desk.known(origin)))
    if note is None:
        raise UnknownError("nothing of this log was cosigned yet", field="origin", actual=origin[:200])
    return _answer(200, note.decode())


@get("/evidence")
async def get_evidence(
    request: _Request,
    origin: _Origin,
    after: Annotated[int, Parameter(ge=0, le=(1 << 63) - 1)] = 0,
    size: Annotated[int | None, Parameter(ge=0, le=(1 << 63) - 1)] = None,
) -> Response[EvidencePage]:
    """What the log has shown, from ``after`` on; with ``size`` only checkpoints of that size."""
    desk: _Desk = request.app.state.desk
    store = desk.witness.store
    found = await desk.do(lambda: store.seen(desk.known(origin), after, size=size))
    page = EvidencePage(
        witness=format_verifier_key(desk.witness.key),
        origin=origin,
        checkpoints=found,
        next_after=found[-1].seen_id if len(found) == PAGE_MAX else 0,
    )
    return Response(page, headers=_HEADERS)


@get("/healthz")
async def alive() -> dict[str, str]:
    """Answers as long as the process does."""
    return {"status": "alive"}


def _answer(
    status: int, text: str, media_type: str = PLAIN, headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    # The type stands among the headers, because Litestar adds a charset to types of text, also to those that
    # the specification gives without one.
    return Response(
        text.encode("utf-8", "replace"),
        status_code=status,
        headers={**_HEADERS, **(headers or {}), "Content-Type": media_type},
    )


def _refuse(request: _Request, error: TallystickError) -> Response[bytes]:
    status = next((status for kind, status in _REFUSALS if isinstance(error, kind)), None)
    if status is None:
        status = 404 if isinstance(error, UnknownError) else 503
        _log.log(logging.INFO if status == 404 else logging.ERROR, "%s", error)
    return _answer(status, f"{error}\n")


def _refuse_http(request: _Request, error: HTTPException) -> Response[bytes]:
    return _answer(error.status_code, f"{error.detail}\n", headers=dict(error.headers or {}))


def _fail(request: _Request, error: Exception) -> Response[bytes]:
    _log.error("unexpected error", exc_info=error)
    return _answer(500, "something went wrong here; nothing was cosigned\n")
