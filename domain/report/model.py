"""What a report is made from: the events a run rests on, what was measured and decided, and the plots of its
products.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from domain.contract import Contract
from domain.errors import InvalidError
from domain.events import (
    ArtifactReference,
    BatchIngested,
    CalibrationSet,
    ConnectionRegistered,
    DatasetDerived,
    DeviceConfigured,
    DeviceRegistered,
    NumericEnvironment,
    ProcedureDeployed,
    RunStarted,
)
from domain.gates import Decision
from domain.metrics import MetricTrack, Window

# More plots and lines than a person looks at; what is beyond stays in the artifacts, and the report says so.
PLOTS_MAX = 12
SERIES_MAX = 8

Numbers: TypeAlias = NDArray[np.float64]


class Axis(Struct, frozen=True, kw_only=True):
    """``scale`` ``time`` means that the numbers are Unix nanoseconds, shown in UTC.

    ``low`` and ``high`` fix the ends where the quantity has natural ones; otherwise the numbers decide.
    """

    label: str
    unit: str
    scale: Literal["linear", "log", "time"] = "linear"
    low: float | None = None
    high: float | None = None


class Series(Struct, frozen=True, kw_only=True, eq=False):
    """One line or cloud of points: ``x`` and ``y`` are 1-D, of one length, in the units of the plot's axes;
    NaN is a hole.

    ``low`` and ``high`` bound the uncertainty of ``y``, or are both ``None``.
    """

    name: str
    x: Numbers
    y: Numbers
    low: Numbers | None = None
    high: Numbers | None = None
    style: Literal["line", "points"] = "line"

    def __post_init__(self) -> None:
        for field, values in (("x", self.x), ("y", self.y), ("low", self.low), ("high", self.high)):
            if values is not None and (values.ndim != 1 or values.size != self.x.size):
                raise InvalidError("the numbers of a series have one length", field=f"{self.name}.{field}")
        if (self.low is None) != (self.high is None):
            raise InvalidError("an uncertainty has both ends or neither", field=self.name)


class Level(Struct, frozen=True, kw_only=True):
    """A horizontal line that says what the numbers are to be compared with, such as a null threshold."""

    name: str
    value: float


class Plot(Struct, frozen=True, kw_only=True, eq=False):
    """A figure.  ``source`` says which artifact the numbers come from, ``note`` what is seen, in a sentence.

    A plot with ``is_result`` shows what the run claims; it is left out when the run is withheld.
    """

    title: str
    note: str
    source: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    levels: tuple[Level, ...] = ()
    is_result: bool = True


class ReportInput(Struct, frozen=True, kw_only=True, eq=False):
    """Everything a report says.  ``artifacts`` are those of the procedure; the report cannot name itself.

    The indices in ``run`` are where the ledger holds the events given beside it.
    """

    tenant: str
    run: RunStarted
    source: DeviceRegistered | ConnectionRegistered
    deployment: ProcedureDeployed
    contract: Contract
    windows: tuple[Window, ...]
    metrics: tuple[MetricTrack, ...]
    decision: Decision
    environment: NumericEnvironment
    configuration: DeviceConfigured | None = None
    calibration: CalibrationSet | None = None
    datasets: tuple[DatasetDerived, ...] = ()
    batches: tuple[BatchIngested, ...] = ()
    artifacts: tuple[ArtifactReference, ...] = ()
    plots: tuple[Plot, ...] = ()
    failure: str = ""

    @property
    def is_withheld(self) -> bool:
        """Whether the run must not be presented as truth."""
        return not self.decision.is_presentable

    @property
    def window_word(self) -> str:
        """What a window of this run is called: a record, where its times are personal."""
        return "record" if self.windows and self.windows[0].start_ns is None else "window"

    @property
    def results(self) -> tuple[Plot, ...]:
        """The plots that may be shown."""
        return tuple(plot for plot in self.plots if not (plot.is_result and self.is_withheld))[:PLOTS_MAX]

    @property
    def shown_metrics(self) -> tuple[MetricTrack, ...]:
        """The metrics that may be shown, by name: of a withheld run only what its gates looked at.

        Another metric may be a result itself, such as the delay of a delay track.
        """
        judged = {gate.metric for gate in self.contract.gates}
        shown = (track for track in self.metrics if not self.is_withheld or track.name in judged)
        return tuple(sorted(shown, key=lambda track: track.name))

    @property
    def withheld_results(self) -> tuple[Plot, ...]:
        """The plots that must not be shown."""
        return tuple(plot for plot in self.plots if plot.is_result and self.is_withheld)
