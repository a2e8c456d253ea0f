"""Group commit: appends that arrive together share one transaction, and are answered when it is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from adapters.esdb_node.records_file import Row

if TYPE_CHECKING:
    from adapters.esdb_node.streams import Stream

Answer = Callable[[Exception | None], None]


class Flush:
    """Rows on their way to disk, and who waits for them."""

    __slots__ = ("_answers", "done", "error", "frame_bytes", "rows", "streams", "touched", "types")

    def __init__(self) -> None:
        self.streams: list[tuple[int, str]] = []
        self.types: list[tuple[int, str]] = []
        self.rows: list[Row] = []
        self.touched: set[Stream] = set()
        self.frame_bytes = 0
        self.done = False
        self.error: Exception | None = None
        self._answers: list[Answer] = []

    def when_done(self, answer: Answer) -> None:
        """Call ``answer`` once the rows are durable (with None) or lost (with the error)."""
        if self.done:
            answer(self.error)
        else:
            self._answers.append(answer)

    async def wait(self) -> None:
        """Wait until the rows are durable.

        Raises:
            Exception: What kept them from becoming so.
        """
        if not self.done:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._answers.append(lambda error: None if waiting.done() else waiting.set_result(None))
            await waiting
        if self.error is not None:
            raise self.error

    def settle(self, error: Exception | None) -> None:
        """The transaction ended."""
        self.done = True
        self.error = error
        answers, self._answers = self._answers, []
        for answer in answers:
            answer(error)
