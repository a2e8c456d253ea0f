"""What a command is, and what all of them share: settings, output, and running on the event loop."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from api.settings import Settings, settings_from
from api.workplace import Workplace, open_workplace
from domain.errors import LimitError

DONE, CHECK_FAILED, USAGE = 0, 1, 2


class Command(NamedTuple):
    """A command; ``is_check`` ones exit with 1 when what they look at is not right."""

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    is_check: bool = False


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings these arguments ask for."""
    return settings_from(home=arguments.home, store=arguments.store, tenant=arguments.tenant)


def at_workplace(arguments: argparse.Namespace, work: Callable[[Workplace], Awaitable[int]]) -> int:
    """Open the workplace, do the work, close it; returns the exit status."""

    async def run() -> int:
        async with open_workplace(settings_of(arguments)) as workplace:
            return await work(workplace)

    return asyncio.run(run())


def read_file(name: str, bytes_max: int) -> bytes:
    """A file's bytes, ``-`` for standard input.  Raises: LimitError before reading what is too large, OSError."""
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
