"""Which records of $all a reader asked for: by stream name or event type, by regular expression or prefix.

Expressions are *searched*, not matched whole: clients anchor them themselves (esdbclient sends ``^A|B$``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from esdbclient.protos.Grpc import persistent_pb2, streams_pb2

from adapters.esdb_node.store import Store
from adapters.esdb_node.wire_errors import invalid_argument

#: Longer expressions are a mistake, or an attack on the matcher.
EXPRESSION_CHARACTERS_MAX: Final = 16_384
PREFIXES_MAX: Final = 1_000
#: Names remembered as admitted or not, per filter; then the memory starts anew.
_NAMES_REMEMBERED_MAX: Final = 50_000

FilterOptions = streams_pb2.ReadReq.Options.FilterOptions | persistent_pb2.CreateReq.AllOptions.FilterOptions


class EventFilter:
    """``admits`` says whether a record passes; the work is done once per stream or type, not per record."""

    def __init__(
        self, store: Store, by_stream: bool, accepts: Callable[[str], bool], *, hides_own: bool = True
    ) -> None:
        self._by_stream = by_stream
        self._accepts = accepts
        self._name = store.stream_name if by_stream else store.type_name
        self._stream_name = store.stream_name
        self._hides_own = hides_own
        self._known: dict[int, bool] = {}
        self._hidden: dict[int, bool] = {}

    def admits(self, stream_id: int, type_id: int) -> bool:
        """Whether a record of this stream and type passes."""
        key = stream_id if self._by_stream else type_id
        known = self._known.get(key)
        if known is None:
            known = _remember(self._known, key, self._accepts(self._name(key)))
        if not known:
            return False
        hidden = self._hidden.get(stream_id)
        if hidden is None:
            hidden = _remember(self._hidden, stream_id, is_hidden(self._stream_name(stream_id)))
        return not hidden


def everything(store: Store) -> EventFilter:
    """What persistent subscriptions to $all without a filter get: all but the server's own book-keeping."""
    return EventFilter(store, True, lambda _: True)


def event_filter(store: Store, options: FilterOptions) -> EventFilter | None:
    """The filter a request asks for; None if it says nothing.

    Raises:
        WireError: INVALID_ARGUMENT for expressions that do not compile.
    """
    which = options.WhichOneof("filter")
    if which is None:
        return None
    expression = options.stream_identifier if which == "stream_identifier" else options.event_type
    return EventFilter(
        store, which == "stream_identifier", matcher(expression.regex, tuple(expression.prefix))
    )


def matcher(expression: str, prefixes: Sequence[str]) -> Callable[[str], bool]:
    """A test for names; prefixes win over an expression, and neither means that all pass."""
    if prefixes:
        if len(prefixes) > PREFIXES_MAX:
            raise invalid_argument(f"A filter may have {PREFIXES_MAX} prefixes.")
        beginnings = tuple(prefixes)
        return lambda name: name.startswith(beginnings)
    if not expression:
        return lambda _: True
    if len(expression) > EXPRESSION_CHARACTERS_MAX:
        raise invalid_argument(f"A filter expression may have {EXPRESSION_CHARACTERS_MAX} characters.")
    try:
        search = re.compile(expression).search
    except (re.error, RecursionError, OverflowError) as error:
        raise invalid_argument(f"Invalid filter expression '{expression[:200]}': {error}") from None
    return lambda name: search(name) is not None


def is_hidden(stream_name: str) -> bool:
    """Book-keeping that filtered readers of $all never see, so that they do not feed on themselves."""
    if stream_name == "$epoch-information":
        return True
    return stream_name.removeprefix("$$").startswith(
        "$persistentsubscription-$all::"
    ) and stream_name.endswith(("-checkpoint", "-parked"))


def _remember(names: dict[int, bool], key: int, value: bool) -> bool:
    if len(names) >= _NAMES_REMEMBERED_MAX:
        names.clear()
    names[key] = value
    return value
