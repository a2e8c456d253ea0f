"""Every gate of a window (60 s, 200 Hz, two channels), beside what data frames are usually checked with.

Ours: gaps, duplicates, disorder, jitter, rate, clipping, flat line, clock quality, calibration, coherence and
delay, each measured once from the samples, and judged by the gates of the demo's contracts for a pair of
sensors, with margins and reasons.  Pandera: the same samples as a frame; range, null and unique checks on
them.  A run judges all its windows together, so a window of a run of ten stands beside a window alone.

A ledger runs each procedure by itself, so that one receipt never rests on another's code: then the common
measures and the coherence are made twice, and artifacts as well.  That is the last row.
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
from domain.procedures.coherence import COHERENCE, band_quantile, effective_segments, pair_coherence
from domain.procedures.delay_track import DELAY_TRACK, DelayOptions, delay_in_window, delay_tracks
from domain.procedures.options import band_bins, parse_options
from domain.procedures.procedure import ProcedureInput
from domain.procedures.recording import Recording, pair_of, recording_of
from domain.signal.measured import track_of
from domain.windows import align_pair

RATE_HZ, SECONDS = 200, 60
_CONTRACTS = Path(__file__).parent.parent / "demo_data" / "contracts"
_CONTRACT_NAMES = ("coherence-colocated.yaml", "delay-colocated.yaml")
_BAND_HZ = (1.0, 10.0)
_START_NS = 1_760_000_000_000_000_000
_PANDERA = "pandera: range, null, unique"


def rows(scale: Scale) -> Iterator[Row]:
    """A window alone, one of ten, and one of two whole runs."""
    turns = scale.of(200, 40)
    try:
        reference = _pandera(_recording(1))
    except ImportError as error:
        note = f"skipped: {error.name} is not installed (a dependency of the tests)"
        yield Row(work="all gates of a window", note=note)
        return
    works = {
        "all gates of a window": (_judging(_recording(1)), 1),
        "the same, one of ten windows of a run": (_judging(_recording(10)), 10),
        "two procedures one after the other, artifacts included": (_running(_recording(1)), 1),
    }
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for work in (*(work for work, _ in works.values()), reference):
        work()
    for _ in range(turns):
        theirs = seconds(reference)
        for name, (work, count) in works.items():
            figures[name].append((seconds(work) / count, theirs))
    for name, found in figures.items():
        aim = Aim("≤", 1) if name == "all gates of a window" else None
        yield compared(name, "seconds", found, beside=_PANDERA, aim=aim)


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
    contracts = [_contract(name) for name in _CONTRACT_NAMES]
    given = ProcedureInput(options={"band_hz": list(_BAND_HZ)}, datasets=(dataset,))

    def judge() -> object:
        recording, metrics = _measured(given)
        return [decide(contract, recording.windows, metrics) for contract in contracts]

    return judge


def _running(dataset: Dataset) -> Callable[[], object]:
    """The same as two runs make it, with their artifacts, each judged by its contract."""
    contracts = [_contract(name) for name in _CONTRACT_NAMES]
    given = ProcedureInput(options={"band_hz": list(_BAND_HZ)}, datasets=(dataset,))

    def run() -> object:
        results = [procedure.run(given) for procedure in (COHERENCE, DELAY_TRACK)]
        return [
            decide(contract, result.windows, result.metrics)
            for contract, result in zip(contracts, results, strict=True)
        ]

    return run


def _measured(given: ProcedureInput) -> tuple[Recording, tuple[MetricTrack, ...]]:
    """Every metric that a gate of both contracts looks at."""
    options = parse_options(DelayOptions, given.options)
    recording = recording_of(given, options)
    x, _ = pair_of(recording)
    segments = options.segments
    band = band_bins(options.band_for(x.sample_rate_hz), segments, x.sample_rate_hz)
    medians, tenths, counts, delays = [], [], [], []
    for slices in recording.slices:
        pair = align_pair(slices[0], slices[1], x.interval_ns)
        coherence = pair_coherence(pair, segments, band)
        assert not isinstance(coherence, Reason)
        counts.append(effective_segments(pair, segments))
        effective = counts[-1].value or 0.0
        medians.append(band_quantile(coherence.msc[band], 0.5, effective))
        tenths.append(band_quantile(coherence.msc[band], 0.1, effective))
        delays.append(delay_in_window(pair, coherence, options, band, x.sample_rate_hz))
    return recording, (
        *recording.quality,
        track_of("coherence.band_median", "1", medians),
        track_of("coherence.band_p10", "1", tenths),
        track_of("coherence.effective_segment_count", "1", counts),
        *delay_tracks(delays),
    )


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
