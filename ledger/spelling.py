"""The one spelling of a number and of bytes in the text formats of this room.

Decimal: ASCII digits, no sign, no leading zero (``0`` itself is allowed), at most 2^63 - 1, the largest size
that every log implementation can hold in a signed 64-bit integer.

Base64: RFC 4648 section 4, padded, no white space, unused bits zero (section 3.5), so that one value has one
spelling and a changed character is always a changed value.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error

from domain.errors import MalformedError

INTEGER_MAX = 2**63 - 1
# Digits of INTEGER_MAX; bounds the work of a hostile million-digit number.
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


def format_decimal(number: int) -> str:
    """Spell ``number``.  Raises: MalformedError outside 0 to 2^63 - 1."""
    if not 0 <= number <= INTEGER_MAX:
        raise MalformedError("number out of range", expected="0 to 2^63 - 1", actual=str(number))
    return str(number)


def parse_decimal(text: str, field: str) -> int:
    """Read a number in its one spelling.  Raises: MalformedError naming ``field``."""
    if _DECIMAL.fullmatch(text) is None or (number := int(text)) > INTEGER_MAX:
        raise MalformedError(
            "not a decimal number",
            field=field,
            expected="0 to 2^63 - 1, no leading zeros",
            actual=repr(text[:40]),
        )
    return number


def format_base64(data: bytes) -> str:
    """Spell ``data``."""
    return b64encode(data).decode("ascii")


def parse_base64(text: str, field: str) -> bytes:
    """Read bytes in their one spelling.  Raises: MalformedError naming ``field``."""
    try:
        data = b64decode(text, validate=True)
    except (Base64Error, ValueError) as error:
        raise MalformedError("not base64", field=field, actual=repr(text[:80])) from error
    if b64encode(data).decode("ascii") != text:
        raise MalformedError(
            "not the one spelling of these bytes in base64", field=field, actual=repr(text[:80])
        )
    return data


def parse_hash(text: str, field: str) -> bytes:
    """Read a 32-byte hash in base64.  Raises: MalformedError naming ``field``."""
    data = parse_base64(text, field)
    if len(data) != 32:
        raise MalformedError("a hash has 32 bytes", field=field, expected="32", actual=str(len(data)))
    return data
