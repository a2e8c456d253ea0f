"""What parent and child say to each other: MessagePack structs, each after its length in eight bytes,
big-endian.

The child speaks first, once (``Ready``); then one ``ExecutorTask`` goes down and one ``TaskOutcome`` comes
up, in turns.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import msgspec
from msgspec import Struct

from domain.digests import Digest
from domain.errors import LimitError, MalformedError
from domain.procedures.procedure import ProcedureResult
from ledger.ports import ExecutorTask

# Datasets are the bulk of a task, artifacts of an outcome; a MessagePack value ends at 4 GiB.
TASK_BYTES_MAX = 4 * 1024 * 1024 * 1024
OUTCOME_BYTES_MAX = 1024 * 1024 * 1024

_LENGTH = struct.Struct(">Q")


class Ready(Struct, frozen=True, kw_only=True):
    """The child has imported its libraries; ``deviations`` say what is not as asked."""

    facts: dict[str, str]
    deviations: tuple[str, ...]


class TaskOutcome(Struct, frozen=True, kw_only=True):
    """A result, or a refusal as in ``ledger.ports.ExecutorAnswer``.

    ``source_digest`` is that of the code the child had loaded.  ``is_child_suspect``: something broke that
    may have left more behind than an answer.
    """

    source_digest: Digest
    result: ProcedureResult | None = None
    refusal_kind: str = ""
    refusal: str = ""
    remedy: str = ""
    is_child_suspect: bool = False


_encoder = msgspec.msgpack.Encoder()
READY = msgspec.msgpack.Decoder(Ready)
TASK = msgspec.msgpack.Decoder(ExecutorTask)
OUTCOME = msgspec.msgpack.Decoder(TaskOutcome)


def send(pipe: BinaryIO, message: Struct, bytes_max: int) -> None:
    """Raises: LimitError before anything is written, OSError when the other side is gone."""
    data = _encoder.encode(message)
    if len(data) > bytes_max:
        raise LimitError("message too large", expected=f"<= {bytes_max} bytes", actual=str(len(data)))
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def receive(pipe: BinaryIO, bytes_max: int) -> bytes | None:
    """The next message, or ``None`` when the other side has closed.  Raises: MalformedError."""
    head = pipe.read(_LENGTH.size)
    if not head:
        return None
    size = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else bytes_max + 1
    if size > bytes_max:
        raise MalformedError("not a message", expected=f"<= {bytes_max} bytes", actual=repr(head))
    data = pipe.read(size)
    if len(data) != size:
        raise MalformedError("message cut off", expected=f"{size} bytes", actual=str(len(data)))
    return data
