"""Identifiers: short, printable, and safe in a path, a header and a stream name."""

from __future__ import annotations

import re
from typing import NewType

from domain.errors import MalformedError

TenantId = NewType("TenantId", str)
SourceId = NewType("SourceId", str)
BatchId = NewType("BatchId", str)
RunId = NewType("RunId", str)
ReceiptId = NewType("ReceiptId", str)
CalibrationId = NewType("CalibrationId", str)
ContractId = NewType("ContractId", str)

# 64 characters keep `ledger-<tenant>` and vault prefixes far below every store's name limit.
IDENTIFIER_LENGTH_MAX = 64
_IDENTIFIER = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")


def parse_identifier(text: str, field: str) -> str:
    """Return ``text`` if it is an identifier: 1-64 of ``a-z 0-9 . _ -``, starting and ending alphanumeric, no
    ``..``.

    Raises: MalformedError naming ``field``.
    """
    if not isinstance(text, str) or not _IDENTIFIER.fullmatch(text) or ".." in text:
        raise MalformedError(
            "not an identifier",
            field=field,
            expected="1 to 64 of a-z 0-9 . _ -, first and last a letter or digit",
            actual=repr(text)[:80],
        )
    return text
