"""What a command is, and what all of them share: settings, input, output, and running on the event loop.

Nothing heavy is imported here: ``tally verify`` and ``tally --help`` pass this way too.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import msgspec

from api.settings import Settings, settings_from
from domain.errors import LimitError

if TYPE_CHECKING:
    from api.workplace import Workplace
    from ledger.desk import Desk

DONE, CHECK_FAILED, USAGE = 0, 1, 2
BUG = 70
"""Tallystick itself is at fault (``EX_SOFTWARE`` of sysexits.h); nobody takes it for a check that failed."""
INTERRUPTED = 130


class CommandModule(Protocol):
    """What the module of a command gives."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, arguments: argparse.Namespace) -> int: ...


class Command(NamedTuple):
    """A command by name; ``is_check`` ones exit with 1 when what they look at is not right."""

    name: str
    help: str
    is_check: bool = False

    def load(self) -> CommandModule:
        """Import the module that carries it out."""
        return cast(CommandModule, importlib.import_module(f"api.commands.{self.name.replace('-', '_')}"))


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings these arguments ask for."""
    return settings_from(home=arguments.home, store=arguments.store, tenant=arguments.tenant)


def at_workplace(arguments: argparse.Namespace, work: Callable[[Workplace], Awaitable[int]]) -> int:
    """Open the workplace, do the work, close it; returns the exit status."""
    from api.workplace import open_workplace

    async def run() -> int:
        async with open_workplace(settings_of(arguments)) as workplace:
            return await work(workplace)

    return asyncio.run(run())


def at_desk(arguments: argparse.Namespace, work: Callable[[Workplace, Desk], Awaitable[int]]) -> int:
    """Open the tenant's existing ledger and do the work there; returns the exit status.

    Commands that only look at a ledger come this way, so that a mistyped tenant makes no ledger.

    Raises: UnknownError.
    """

    async def at(workplace: Workplace) -> int:
        return await work(workplace, await workplace.existing_desk())

    return at_workplace(arguments, at)


def read_file(name: str, bytes_max: int) -> bytes:
    """A file's bytes, ``-`` for standard input.

    Raises: LimitError before reading what is too large, OSError.
    """
    if name == "-":
        data = sys.stdin.buffer.read(bytes_max + 1)
    else:
        with Path(name).open("rb") as file:
            data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise LimitError("file too large", field=name, expected=f"<= {bytes_max} bytes")
    return data


def print_json(value: Any) -> None:
    """One JSON document, indented, in the order it was built."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    sys.stdout.buffer.flush()


def progress(label: str) -> Callable[[int, int], None]:
    """A progress bar on standard error, silent where nobody is looking."""
    if not sys.stderr.isatty():
        return lambda done, size: None

    def show(done: int, size: int) -> None:
        width = 28
        filled = width * done // size if size else width
        end = "\n" if done >= size else ""
        print(
            f"\r  {label} [{'█' * filled}{'·' * (width - filled)}] {done:,}/{size:,}",
            end=end,
            file=sys.stderr,
            flush=True,
        )

    return show
