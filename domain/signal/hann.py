"""The periodic Hann window as a table that is the same on every machine.

The C library's cosine, and numpy's, change their last bit with the processor.  The table is therefore
computed in whole numbers: cosines as 192-bit fixed-point integers, then one correctly rounded division.
Every entry is the double nearest to the true value, whatever the machine.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from domain.digests import Digest, digest_from_bytes
from domain.errors import InvalidError

# Errors grow by less than a unit per step, so 32 768 steps leave about 176 good bits of which a double
# needs 53.
_BITS = 192
_ONE = 1 << _BITS
LENGTH_MAX = 2**16


@lru_cache(maxsize=8)
def hann(length: int) -> NDArray[np.float64]:
    """Read-only float64 table of ``0.5 - 0.5 cos(2 pi n / length)``, n = 0 .. length - 1 (Harris 1978, eq.
    27a).

    Raises: InvalidError unless ``length`` is an even number from 2 to ``LENGTH_MAX``.
    """
    if length < 2 or length % 2 or length > LENGTH_MAX:
        raise InvalidError(
            "a window table is even", field="length", expected=f"2 to {LENGTH_MAX}", actual=str(length)
        )
    cos_step, sin_step = _cos_sin_of_turn(length)
    cos, sin = _ONE, 0
    half = np.empty(length // 2 + 1)
    for n in range(half.size):
        # Division of two integers is correctly rounded in Python.
        half[n] = (_ONE - cos) / (2 * _ONE)
        cos, sin = (cos * cos_step - sin * sin_step) >> _BITS, (sin * cos_step + cos * sin_step) >> _BITS
    half[0], half[-1] = 0.0, 1.0
    table = np.concatenate((half, half[-2:0:-1]))
    table.flags.writeable = False
    return table


def hann_digest(length: int) -> Digest:
    """SHA-256 of the table as little-endian doubles, for the fingerprint of a numeric environment."""
    return digest_from_bytes(hashlib.sha256(hann(length).astype("<f8").tobytes()).digest())


def hann_power_sum(length: int) -> float:
    """Sum of the squares of the table: exactly 3/8 of its length (for length > 2)."""
    return 0.375 * length


def _cos_sin_of_turn(parts: int) -> tuple[int, int]:
    """Fixed-point cosine and sine of one ``parts``-th of a turn, by Taylor series."""
    angle = 2 * _pi() // parts
    sums = [0, 0]
    term, n = _ONE, 0
    while term:
        # The derivatives of cosine and sine go round: cos, -sin, -cos, sin.
        sums[n % 2] += term if n % 4 < 2 else -term
        n += 1
        term = (term * angle >> _BITS) // n
    return sums[0], sums[1]


def _pi() -> int:
    """Pi in fixed point by Machin's formula, with bits to spare before rounding off."""
    spare = 32
    one = _ONE << spare
    return (16 * _arctan_inverse(5, one) - 4 * _arctan_inverse(239, one)) >> spare


def _arctan_inverse(x: int, one: int) -> int:
    """arctan(1 / x) scaled by ``one``."""
    term, total, n, sign = one // x, 0, 1, 1
    while term:
        total += sign * (term // n)
        term //= x * x
        n, sign = n + 2, -sign
    return total
