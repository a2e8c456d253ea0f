"""The kinds of error Tallystick raises; each carries values, so that a person can be told what to do.

Kinds are kept apart because callers act differently on them: *malformed* input never parsed, *invalid* input
parsed but failed a check, *unknown* names something that is not there, a *conflict* can be retried after
looking again, and a *limit* says which bound was passed.  Anything else that escapes is our own bug.
"""

from __future__ import annotations


class TallystickError(Exception):
    """Base of all expected errors.

    ``what`` is one sentence; ``field`` is where it is (a path such as ``channels[0].unit``), ``expected`` and
    ``actual`` are short renderings of the values, ``remedy`` says what the person can do.
    """

    def __init__(
        self, what: str, *, field: str = "", expected: str = "", actual: str = "", remedy: str = ""
    ) -> None:
        super().__init__(what)
        self.what = what
        self.field = field
        self.expected = expected
        self.actual = actual
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [self.what]
        if self.field:
            parts.append(f"at {self.field}")
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.actual:
            parts.append(f"got {self.actual}")
        sentence = ": ".join(parts[:1]) + "".join(f"; {part}" for part in parts[1:])
        return f"{sentence}. {self.remedy}" if self.remedy else sentence


class MalformedError(TallystickError):
    """The bytes cannot be parsed as what they claim to be."""


class InvalidError(TallystickError):
    """The value parsed, but a check on it failed (a signature, an invariant, a digest)."""


class UnknownError(TallystickError):
    """The thing that was named does not exist here."""


class ConflictError(TallystickError):
    """Somebody else was first; look again and decide again."""


class LimitError(TallystickError):
    """A documented bound was passed."""
