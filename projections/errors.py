"""Errors of the read views, with what a person needs to go on."""

from __future__ import annotations

from pathlib import Path

from domain.errors import ConflictError, InvalidError, LimitError, MalformedError, UnknownError


class ProjectionStoppedError(InvalidError):
    """An entry cannot be projected; the view stands still before it until somebody acts."""

    def __init__(self, ledger: str, *, index: int, event_type: str, cause: str, remedy: str = "") -> None:
        super().__init__(
            f"the view of {ledger} stopped before entry {index} ({event_type})",
            field=f"entry {index}",
            actual=cause,
            remedy=remedy
            or "Run `tally audit`; then `tally rebuild` with a version that can read this entry.",
        )
        self.ledger = ledger
        self.index = index
        self.event_type = event_type
        self.cause = cause


class ViewMismatchError(InvalidError):
    """The view was folded from another history than the ledger now has (restored backup, other ledger,
    fork)."""

    def __init__(self, ledger: str, *, index: int, expected: str, actual: str) -> None:
        super().__init__(
            f"the view does not belong to {ledger} as it stands",
            field=f"entry {index}",
            expected=expected,
            actual=actual,
            remedy="Run `tally audit` to see whether the ledger is whole, then `tally rebuild`.",
        )
        self.ledger = ledger
        self.index = index


class MalformedViewError(MalformedError):
    """The file is not a view that can be read: damaged, or of another version."""

    def __init__(self, path: Path | None, cause: str) -> None:
        super().__init__(
            "the view cannot be read", field=str(path), actual=cause[:300], remedy="Run `tally rebuild`."
        )
        self.path = path


class ViewStorageError(InvalidError):
    """The machine could not write the view (disk full, device gone); the ledger is not touched by that."""

    def __init__(self, path: Path | None, cause: str) -> None:
        super().__init__(
            "the view cannot be written",
            field=str(path),
            actual=cause[:300],
            remedy="Make room or repair the disk, then start again; `tally rebuild` if it does not open.",
        )
        self.path = path


class ViewInUseError(ConflictError):
    """Another runner or process holds the view."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(
            "the view is in use",
            field=str(path),
            actual=holder,
            remedy="Ask the process that serves it, or stop it first; the ledger itself stays readable.",
        )
        self.path = path
        self.holder = holder


class ViewBehindError(LimitError):
    """The view did not reach an entry within the time given."""

    def __init__(self, *, index: int, position: int, timeout_seconds: float) -> None:
        super().__init__(
            "the view has not reached this entry yet",
            field=f"entry {index}",
            expected=f"position > {index} within {timeout_seconds:g} s",
            actual=f"position {position}",
            remedy="Ask again; the entry itself is in the ledger.",
        )
        self.index = index
        self.position = position


class UnknownRowError(UnknownError):
    """The view has no such run, receipt, source or batch."""

    def __init__(self, kind: str, identifier: str) -> None:
        super().__init__(f"no such {kind}", field=kind, actual=identifier[:80])
        self.kind = kind
        self.identifier = identifier
