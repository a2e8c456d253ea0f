"""The process that examines parts of a ledger (``ledger.chain_processes``): ``python -m ledger.chain_child``.

It answers on its standard output what comes in on its standard input, each a pickle after its length in eight
bytes, big-endian: first, where the ledger is stored (``ColumnReader``), answered with ``READY`` once all is
imported; then one ``PartTask`` after the other, each answered with its ``ChainPart``, or with why there is
none.  Pickles are safe here: nobody but these two processes holds the pipes.

Little is imported: starting is the time that an audit of a small ledger waits for.
"""

from __future__ import annotations

import gc
import pickle
import struct
import sys
from typing import BinaryIO, cast

from ledger.chain import ChainPart, PartExamination, PartTask
from ledger.ports import ColumnReader

READY = "ready"
LENGTH = struct.Struct(">Q")


def examine(reader: ColumnReader, task: PartTask) -> ChainPart:
    """Examine a part, reading it with ``reader``.  Raises: what the reader raises."""
    examination = PartExamination(task)
    for columns in reader.columns(task.start, task.stop):
        if not examination.take(columns):
            break
    return examination.part()


def message(value: object) -> bytes:
    """What goes through a pipe."""
    data = pickle.dumps(value)
    return LENGTH.pack(len(data)) + data


def serve(down: BinaryIO, up: BinaryIO) -> None:
    """Answer tasks until the parent closes the pipe."""
    # Nothing here refers in circles, and looking for that among millions of rows costs a tenth of the time.
    gc.disable()
    reader = cast(ColumnReader, _receive(down))
    _answer(up, READY)
    while (task := _receive(down)) is not None:
        try:
            _answer(up, examine(reader, cast(PartTask, task)))
        except Exception as error:  # whoever asked examines it himself, and meets what is wrong there
            _answer(up, repr(error))


def _answer(up: BinaryIO, value: object) -> None:
    up.write(message(value))
    up.flush()


def _receive(pipe: BinaryIO) -> object:
    head = pipe.read(LENGTH.size)
    return pickle.loads(pipe.read(*LENGTH.unpack(head))) if len(head) == LENGTH.size else None


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
