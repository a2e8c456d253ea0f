"""Metrics: the numbers that gates look at, one value per window.

Metrics are stored by column (one track per metric, one value per window), because a run has few metrics and
many windows and every event, receipt and telemetry row is built from these columns.
"""

from __future__ import annotations

from msgspec import Struct

from domain.errors import InvalidError
from domain.outcomes import Reason

# Half a day of one-minute windows: a decision with forty metrics and its receipt stay below the 1 MiB that
# EventStoreDB accepts in one append, also when no window could be measured and every value has a reason.
WINDOWS_MAX = 720


class Window(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A slice of a dataset: ``[start_ns, end_ns)`` in Unix nanoseconds.

    ``None`` where the instants themselves are personal data (a night's sleep): such a window is known by its
    position only, because the ledger holds no personal data in clear.
    """

    start_ns: int | None
    end_ns: int | None

    def __post_init__(self) -> None:
        if (self.start_ns is None) != (self.end_ns is None):
            raise InvalidError("a window has both ends or neither", field="window")
        if self.start_ns is not None and self.end_ns is not None and self.end_ns <= self.start_ns:
            raise InvalidError(
                "a window ends after it starts", field="window", actual=f"{self.start_ns}..{self.end_ns}"
            )


class MetricTrack(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One metric over all windows of a run.

    ``values[i]`` is the quantised value in window ``i`` in ``unit`` (UCUM-like: ``ppm``, ``s``, ``1``,
    ``%``), or ``None`` where it could not be measured, and then ``reasons[i]`` says why.  ``guard_bands`` is
    empty or holds, per window, the half-width in the same unit within which the value's own uncertainty could
    move it over a limit (ILAC-G8:09/2019).
    """

    name: str
    unit: str
    values: tuple[float | None, ...]
    reasons: tuple[Reason, ...] = ()
    guard_bands: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.values)
        if count > WINDOWS_MAX:
            raise InvalidError(
                "too many windows in one run",
                field=self.name,
                expected=f"<= {WINDOWS_MAX}",
                actual=str(count),
            )
        for field, items in (("reasons", self.reasons), ("guard_bands", self.guard_bands)):
            if items and len(items) != count:
                raise InvalidError(
                    f"{field} do not match the values",
                    field=self.name,
                    expected=str(count),
                    actual=str(len(items)),
                )
        if None in self.values and not self.reasons:
            raise InvalidError("a missing value needs its reason", field=self.name)
