"""Parquet and Arrow tables: types, units and times as the file says them, and no size that is only
claimed."""

import contextlib
import io
import resource
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.files import table
from adapters.files.arrow_dataset import dataset_file
from adapters.files.csv import read_csv
from adapters.files.miniseed import read_miniseed
from adapters.files.options import SampleFileOptions
from adapters.files.table import parse_header, read_arrow, read_parquet
from domain.dataset import Dataset, dataset_digest
from domain.errors import InvalidError, LimitError, MalformedError, TallystickError
from tests.adapters.files.miniseed_writer import write_miniseed

START_NS = 1_769_860_800_000_000_000
TIMES = [START_NS + i * 10_000_000 for i in range(4)]


def parquet(made: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(made, sink, **options)
    return sink.getvalue()


def arrow_file(made: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, made.schema, **options) as writer:
        writer.write_table(made, max_chunksize=3)
    return sink.getvalue()


def arrow_stream(made: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, made.schema, **options) as writer:
        writer.write_table(made, max_chunksize=3)
    return sink.getvalue()


def read(made: pa.Table, **options: Any) -> Dataset:
    """All three ways to store a table make the same dataset."""
    asked = SampleFileOptions(**options)
    datasets = [
        read_parquet(parquet(made), asked),
        read_arrow(arrow_file(made), asked),
        read_arrow(arrow_stream(made), asked),
    ]
    (digest,) = {dataset_digest(dataset) for dataset in datasets}
    assert digest
    return datasets[0]


def timed(column: pa.Array, name: str = "a [V]") -> pa.Table:
    return pa.table({"time": pa.array(TIMES, pa.timestamp("ns", "UTC")), name: column})


@pytest.mark.parametrize(
    ("text", "name", "unit"),
    [
        ("vel_z [m/s]", "vel_z", "m/s"),
        ("vel_z[m/s]", "vel_z", "m/s"),
        ("Temp (°C) ", "Temp", "°C"),
        ("  plain ", "plain", ""),
        ("a [b] [c]", "a [b]", "c"),
        ("[s]", "[s]", ""),
        ("a [", "a [", ""),
        ("a []", "a", ""),
    ],
)
def test_a_header_is_a_name_and_perhaps_a_unit(text: str, name: str, unit: str) -> None:
    header = parse_header(text)
    assert (header.name, header.unit) == (name, unit)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("int8", "int32"),
        ("int16", "int32"),
        ("int32", "int32"),
        ("int64", "int64"),
        ("uint8", "int32"),
        ("uint16", "int32"),
        ("uint32", "int64"),
        ("uint64", "int64"),
        ("float16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
    ],
)
def test_numbers_keep_their_values_and_the_width_of_floats(stored: str, expected: str) -> None:
    column = pa.array(np.array([1, 2, 3, 100], dtype=stored))
    (channel,) = read(timed(column)).channels
    assert channel.samples.dtype.name == expected
    assert channel.samples.tolist() == [1, 2, 3, 100]


def test_unit_rate_and_start_can_stand_in_metadata() -> None:
    field = pa.field("a", pa.float32(), metadata={"unit": "m/s"})
    schema = pa.schema([field], metadata={"sample_rate_hz": "62.5", "start_ns": str(START_NS)})
    made = pa.table([pa.array([1.0, 2.0], pa.float32())], schema=schema)
    (channel,) = read(made).channels
    assert (channel.unit, channel.sample_rate_hz, channel.marks.tolist()) == ("m/s", 62.5, [[0, START_NS]])
    with pytest.raises(InvalidError):
        read(made, sample_rate_hz=50.0)


@pytest.mark.parametrize("value", ["fast", "nan", "inf", ""])
def test_metadata_that_is_no_number_is_refused(value: str) -> None:
    schema = pa.schema([pa.field("a [V]", pa.float32())], metadata={"sample_rate_hz": value, "start_ns": "0"})
    with pytest.raises((MalformedError, InvalidError)):
        read(pa.table([pa.array([1.0], pa.float32())], schema=schema))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(TIMES, pa.timestamp("ns", "UTC")),
        pa.array(TIMES, pa.timestamp("ns", "Europe/Vienna")),
        pa.array([t // 1_000 for t in TIMES], pa.timestamp("us", "UTC")),
        pa.array([t // 10**6 for t in TIMES], pa.timestamp("ms", "UTC")),
        pa.array([f"2026-01-31T12:00:00.0{i}Z" for i in range(4)]),
    ],
    ids=["ns", "zone", "us", "ms", "text"],
)
def test_instants_of_every_kind_are_the_same_instants(column: pa.Array) -> None:
    made = pa.table({"time": column, "a [V]": pa.array([1, 2, 3, 4])})
    assert read(made).channels[0].marks[:, 1].tolist() == TIMES


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("time [ns]", pa.array(TIMES)),
        ("time [s]", pa.array([t / 1e9 for t in TIMES])),
        ("t [ms]", pa.array([t // 10**6 for t in TIMES], pa.uint64())),
    ],
)
def test_instants_may_be_counted(name: str, column: pa.Array) -> None:
    made = pa.table({name: column, "a [V]": pa.array([1, 2, 3, 4])})
    marks = read(made).channels[0].marks[:, 1]
    # A double of seconds holds a quarter of a microsecond.
    assert np.abs(marks - TIMES).max() <= (250 if name == "time [s]" else 0)


def test_the_only_column_of_instants_is_the_time_whatever_its_name() -> None:
    made = pa.table(
        {"__index_level_0__": pa.array(TIMES, pa.timestamp("ns", "UTC")), "a [V]": pa.array([1, 2, 3, 4])}
    )
    assert read(made).channels[0].start_ns == START_NS


def test_instants_without_a_zone_are_asked_about() -> None:
    made = pa.table({"time": pa.array(TIMES, pa.timestamp("ns")), "a [V]": pa.array([1, 2, 3, 4])})
    with pytest.raises(InvalidError):
        read(made)
    assert read(made, time_unit="ns").channels[0].start_ns == START_NS


def test_one_recording_has_one_digest_whatever_file_brought_it() -> None:
    counts = np.array([3, -1, 4, -1], dtype=np.int32)
    text = "time [ns],XX.STA..HHZ [counts]\n" + "".join(
        f"{t},{c}\n" for t, c in zip(TIMES, counts, strict=True)
    )
    csv = read_csv(text.encode())
    assert dataset_digest(read(timed(pa.array(counts), "XX.STA..HHZ [counts]"))) == dataset_digest(csv)
    # A record per sample, because a row is a mark.
    miniseed = b"".join(
        write_miniseed([int(c)], start_ns=t, sample_rate_hz=100.0) for t, c in zip(TIMES, counts, strict=True)
    )
    assert dataset_digest(read_miniseed(miniseed)) == dataset_digest(csv)


def test_a_dataset_file_of_ours_is_an_arrow_file_too() -> None:
    dataset = read_miniseed(write_miniseed(np.arange(100)))
    assert dataset_digest(read_arrow(dataset_file(dataset))) == dataset_digest(dataset)
    options = SampleFileOptions(channel_names={"XX.STA..HHZ": "wall"})
    assert [channel.name for channel in read_arrow(dataset_file(dataset), options).channels] == ["wall"]
    with pytest.raises(InvalidError):
        read_arrow(dataset_file(dataset), SampleFileOptions(sample_rate_hz=1.0))


def test_dictionaries_are_resolved() -> None:
    (channel,) = read(timed(pa.array([7, 7, 9, 7]).dictionary_encode())).channels
    assert channel.samples.tolist() == [7, 7, 9, 7]


@pytest.mark.parametrize(
    ("what", "column"),
    [
        ("holds no numbers", pa.array([True, False, True, True])),
        ("holds no numbers", pa.array([[1], [2], [3], [4]])),
        ("not a number", pa.array(["1", "2", "3", "x"])),
        ("holds no numbers", pa.array([1, 2, 3, 4], pa.decimal128(5, 2))),
        ("no finite number", pa.array([1, None, 3, 4])),
        ("no finite number", pa.array([1.0, 2.0, float("nan"), 4.0])),
        ("63 bits", pa.array([1, 2, 3, 2**64 - 1], pa.uint64())),
    ],
)
def test_what_is_no_channel_is_refused(what: str, column: pa.Array) -> None:
    for read_one, data in ((read_parquet, parquet(timed(column))), (read_arrow, arrow_file(timed(column)))):
        with pytest.raises(InvalidError) as caught:
            read_one(data)
        assert what in caught.value.what


def test_a_table_that_unpacks_to_more_than_we_hold_is_refused_by_its_claim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hundred thousand equal values are a few hundred bytes of Parquet."""
    zeros = pa.table({"a [V]": pa.array(np.zeros(100_000))})
    data = parquet(zeros)
    assert len(data) < 5_000
    monkeypatch.setattr(table, "UNPACKED_BYTES_MAX", 500_000)
    for read_one, stored in ((read_parquet, data), (read_arrow, arrow_file(zeros))):
        with pytest.raises(LimitError):
            read_one(stored)


def test_a_claim_of_ten_gigabytes_in_an_arrow_buffer_takes_no_memory() -> None:
    made = timed(pa.array([1, 2, 3, 4]))
    data = bytearray(arrow_file(made, options=pa.ipc.IpcWriteOptions(compression="zstd")))
    # A compressed buffer starts with its length unpacked, here 32 bytes, and then the frame.
    frame = data.index(b"\x28\xb5\x2f\xfd") - 8
    assert int.from_bytes(data[frame : frame + 8], "little") <= 64
    data[frame : frame + 8] = (10 * 1024**3).to_bytes(8, "little")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MalformedError):
        read_arrow(bytes(data))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes"


def test_more_columns_than_channels_are_refused() -> None:
    made = pa.table({f"c{i} [V]": pa.array([1]) for i in range(66)})
    for read_one, data in ((read_parquet, parquet(made)), (read_arrow, arrow_stream(made))):
        with pytest.raises(LimitError):
            read_one(data)


PARQUET = parquet(timed(pa.array([1, 2, 3, 4])))
ARROW = arrow_file(timed(pa.array([1, 2, 3, 4])))


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"PAR1PAR1", PARQUET[:-1], PARQUET[4:], PARQUET[: len(PARQUET) // 2]]
)
def test_a_damaged_parquet_file_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        read_parquet(data)


@pytest.mark.parametrize(
    "data", [b"", b"ARROW1", ARROW[:-1], ARROW[: len(ARROW) // 2], b"\xff\xff\xff\xff\xff\xff\xff\x7f"]
)
def test_a_damaged_arrow_file_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        read_arrow(data)


@given(position=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_changed_byte_never_ends_in_a_traceback(position: int, value: int) -> None:
    for read_one, good in ((read_parquet, PARQUET), (read_arrow, ARROW)):
        data = bytearray(good)
        data[position % len(data)] = value
        with contextlib.suppress(TallystickError):
            read_one(bytes(data))
