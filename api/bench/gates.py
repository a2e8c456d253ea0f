"""Every gate of a window (60 s, 200 Hz, two channels), beside what data frames are usually checked with.

Ours: gaps, duplicates, disorder, jitter, rate, clipping, flat line, clock quality, calibration, coherence and
delay, measured from the samples and judged by the gates of the demo's contracts for a pair of sensors, with
margins and reasons.  Pandera: the same samples as a frame; range, null and unique checks on them.  A run
judges all its windows together, so a window of a run of ten stands beside a window alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from adapters.contract_files import parse_contract
from api.bench.row import Aim, Row, Scale, compared, seconds
from domain.contract import Contract
from domain.dataset import Channel, Dataset
from domain.gates import decide
from domain.metrics import MetricTrack
from domain.outcomes import Reason
from domain.procedures.coherence import band_quantile, effective_segments, pair_coherence
from domain.procedures.delay_track import DELAY_TRACK
from domain.procedures.options import SignalOptions, band_bins
from domain.procedures.procedure import ProcedureInput
from domain.signal.measured import track_of
from domain.signal.timemarks import timeline_of
from domain.windows import align_pair, plan_windows, slice_window

RATE_HZ, SECONDS = 200, 60
_CONTRACTS = Path(__file__).parent.parent / "demo_data" / "contracts"
_BAND_HZ = (1.0, 10.0)
_START_NS = 1_760_000_000_000_000_000
_PANDERA = "pandera: range, null, unique"


def rows(scale: Scale) -> Iterator[Row]:
    """A window alone, and one of ten."""
    turns = scale.of(200, 40)
    try:
        reference = _pandera(_recording(1))
    except ImportError as error:
        note = f"skipped: {error.name} is not installed (a dependency of the tests)"
        yield Row(work="all gates of a window", note=note)
        return
    works = {1: _judging(_recording(1)), 10: _judging(_recording(10))}
    figures: dict[int, list[tuple[float, float]]] = {count: [] for count in works}
    for work in (*works.values(), reference):
        work()
    for _ in range(turns):
        theirs = seconds(reference)
        for count, work in works.items():
            figures[count].append((seconds(work) / count, theirs))
    yield compared("all gates of a window", "seconds", figures[1], beside=_PANDERA, aim=Aim("≤", 1))
    yield compared("the same, one of ten windows of a run", "seconds", figures[10], beside=_PANDERA)


def _recording(minutes: int) -> Dataset:
    """Two sensors that feel the same motion, in counts."""
    rng = np.random.default_rng(7)
    count = RATE_HZ * SECONDS * minutes
    motion = np.convolve(rng.normal(size=count + 40), np.hanning(41), "valid")[:count] * 3_000
    step = 4_096
    index = np.arange(0, count, step, dtype=np.int64)
    marks = np.column_stack((index, _START_NS + index * (1_000_000_000 // RATE_HZ)))
    return Dataset(
        channels=tuple(
            Channel(
                name=name,
                unit="counts",
                sample_rate_hz=float(RATE_HZ),
                samples=np.rint(motion + rng.normal(size=count) * 20).astype(np.int32),
                marks=marks,
                timing_quality_percent=np.full(len(index), 100.0),
            )
            for name in ("a", "b")
        )
    )


def _judging(dataset: Dataset) -> Callable[[], object]:
    """What measures and judges everything, once."""
    contracts = [_contract("coherence-colocated.yaml"), _contract("delay-colocated.yaml")]
    given = ProcedureInput(options={"band_hz": list(_BAND_HZ)}, datasets=(dataset,))

    def judge() -> object:
        result = DELAY_TRACK.run(given)
        metrics = (*result.metrics, *_coherence(given))
        return [decide(contract, result.windows, metrics) for contract in contracts]

    return judge


def _coherence(given: ProcedureInput) -> list[MetricTrack]:
    """The metrics of the procedure ``coherence``, without its artifact of spectra."""
    options = SignalOptions(band_hz=_BAND_HZ)
    x, y = (timeline_of(channel) for channel in given.datasets[0].channels)
    band = band_bins(options.band_for(RATE_HZ), options.segments, RATE_HZ)
    medians, tenths, counts = [], [], []
    for window in plan_windows((x, y), options.window_seconds):
        slices = [slice_window(one, window.start_ns or 0, window.end_ns or 0) for one in (x, y)]
        pair = align_pair(slices[0], slices[1], x.channel.interval_ns)
        counts.append(effective_segments(pair, options.segments))
        coherence = pair_coherence(pair, options.segments, band)
        assert not isinstance(coherence, Reason)
        effective = counts[-1].value or 0.0
        medians.append(band_quantile(coherence.msc[band], 0.5, effective))
        tenths.append(band_quantile(coherence.msc[band], 0.1, effective))
    return [
        track_of("coherence.band_median", "1", medians),
        track_of("coherence.band_p10", "1", tenths),
        track_of("coherence.effective_segment_count", "1", counts),
    ]


def _contract(name: str) -> Contract:
    return parse_contract((_CONTRACTS / name).read_bytes(), name)


def _pandera(dataset: Dataset) -> Callable[[], object]:
    import pandas  # type: ignore[import-not-found,import-untyped,unused-ignore]
    import pandera.pandas as pandera

    count = RATE_HZ * SECONDS
    frame = pandas.DataFrame(
        {
            "time": _START_NS + np.arange(count) * (1_000_000_000 // RATE_HZ),
            **{channel.name: channel.samples for channel in dataset.channels},
        }
    )
    within = pandera.Check.in_range(-8_388_608, 8_388_607)
    schema = pandera.DataFrameSchema(
        {
            "time": pandera.Column("int64", nullable=False, unique=True),
            "a": pandera.Column("int32", within, nullable=False),
            "b": pandera.Column("int32", within, nullable=False),
        }
    )
    return lambda: schema.validate(frame)
