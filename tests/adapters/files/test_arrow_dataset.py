"""Dataset files: exact round trips, the same bytes each time, and no trust in what they claim."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from adapters.files.arrow_dataset import dataset_file, read_dataset
from domain.dataset import Channel, Dataset, canonical_bytes, dataset_digest, dataset_of
from domain.digests import digest_of
from domain.errors import MalformedError, TallystickError


def channel(name: str = "XX.STA..HHZ", **changes: object) -> Channel:
    values = {
        "name": name,
        "unit": "counts",
        "sample_rate_hz": 200.0,
        "samples": np.array([1, -2, 3], dtype=np.int32),
        "marks": np.array([[0, 10**18], [2, 10**18 + 10**7]], dtype=np.int64),
        "timing_quality_percent": np.array([100.0, np.nan]),
    } | changes
    return Channel(**values)  # type: ignore[arg-type]


@st.composite
def channels(draw: st.DrawFn) -> Channel:
    dtype = draw(st.sampled_from(["int32", "int64", "float32", "float64"]))
    samples = draw(np_st.arrays(dtype, st.integers(0, 30)))
    places = sorted({0, *draw(st.sets(st.integers(0, max(0, samples.size - 1))))}) if samples.size else []
    times = draw(st.lists(st.integers(-(2**60), 2**60), min_size=len(places), max_size=len(places)))
    quality = st.one_of(st.just(np.nan), st.floats(0, 100))
    return channel(
        draw(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20)),
        unit=draw(st.sampled_from(["counts", "m/s", "°C", "µm/s²"])),
        sample_rate_hz=draw(st.floats(1e-3, 1e8)),
        samples=samples,
        marks=np.array(list(zip(places, times, strict=True)), dtype=np.int64).reshape(-1, 2),
        timing_quality_percent=np.array(
            draw(st.lists(quality, min_size=len(places), max_size=len(places))), dtype=np.float64
        ),
    )


@given(st.lists(channels(), min_size=1, max_size=4, unique_by=lambda c: c.name))
def test_a_dataset_comes_back_bit_for_bit(made: list[Channel]) -> None:
    dataset = dataset_of(made)
    data = dataset_file(dataset)
    again = read_dataset(data)
    assert canonical_bytes(again) == canonical_bytes(dataset)
    assert dataset_file(again) == data


def test_the_file_of_a_dataset_never_changes() -> None:
    """Golden: a new Arrow may lay bytes out otherwise; then old files must still read, and this digest be
    looked at."""
    data = dataset_file(Dataset(channels=(channel(),)))
    assert digest_of(data) == "sha256:0f0f5c40e44efcbe5a4b5a27c8e90eabe8d5d41ca526b7a519c5341f55c62127"


def test_any_arrow_reader_sees_channels_as_columns() -> None:
    with pa.ipc.open_file(dataset_file(Dataset(channels=(channel(),)))) as reader:
        table = reader.read_all()
    assert table.schema.metadata == {b"tallystick": b"dataset/1"}
    assert table.field(0).metadata == {b"sample_rate_hz": b"200.0", b"unit": b"counts"}
    (row,) = table.column("XX.STA..HHZ").to_pylist()
    assert row["samples"] == [1, -2, 3]
    assert row["mark_time_ns"] == [10**18, 10**18 + 10**7]


def test_what_was_read_cannot_be_written_to() -> None:
    dataset = read_dataset(dataset_file(Dataset(channels=(channel(),))))
    with pytest.raises(ValueError, match="read-only"):
        dataset.channels[0].samples[0] = 7


def _table(metadata: dict[str, str], columns: dict[str, pa.Array]) -> bytes:
    table = pa.table(columns).replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


GOOD = dataset_file(Dataset(channels=(channel(),)))


def _with_samples(samples: pa.Array) -> bytes:
    """A channel whose samples are this, and nothing else is wrong."""
    parts = {
        "samples": samples,
        "mark_sample_index": pa.array([[0]], pa.large_list(pa.int64())),
        "mark_time_ns": pa.array([[0]], pa.large_list(pa.int64())),
        "timing_quality_percent": pa.array([[1.0]], pa.large_list(pa.float64())),
    }
    column = pa.StructArray.from_arrays(list(parts.values()), names=list(parts))
    field = pa.field("velocity", column.type, metadata={"unit": "m/s", "sample_rate_hz": "1.0"})
    schema = pa.schema([field], metadata={"tallystick": "dataset/1"})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch([column], schema=schema))
    data: bytes = sink.getvalue().to_pybytes()
    return data


EVIL = {
    "samples_that_are_text": _with_samples(pa.array(["1"])),
    "samples_that_are_texts": _with_samples(pa.array([["1"]], pa.large_list(pa.string()))),
    "samples_that_are_lists": _with_samples(pa.array([[[1]]], pa.large_list(pa.large_list(pa.int32())))),
    "samples_that_are_bits": _with_samples(pa.array([[True]], pa.large_list(pa.bool_()))),
    "nothing": b"",
    "text": b"time,velocity\n1,2\n",
    "magic_only": b"ARROW1\0\0",
    "cut": GOOD[:-20],
    "another_table": _table({}, {"velocity": pa.array([1, 2, 3])}),
    "a_later_format": _table({"tallystick": "dataset/2"}, {"velocity": pa.array([1, 2, 3])}),
    "columns_of_another_shape": _table({"tallystick": "dataset/1"}, {"velocity": pa.array([1, 2, 3])}),
    "no_metadata_of_the_channel": _table(
        {"tallystick": "dataset/1"},
        {"velocity": pa.array([{"samples": [1], "mark_sample_index": [0], "mark_time_ns": [0]}])},
    ),
}


@pytest.mark.parametrize("name", EVIL)
def test_what_is_no_dataset_file_is_refused(name: str) -> None:
    with pytest.raises(MalformedError):
        read_dataset(EVIL[name])


@given(position=st.integers(0, len(GOOD) - 1), value=st.integers(0, 255))
def test_a_changed_byte_gives_another_dataset_or_an_error(position: int, value: int) -> None:
    data = bytearray(GOOD)
    data[position] = value
    try:
        dataset = read_dataset(bytes(data))
    except TallystickError:
        return
    assert dataset_digest(dataset)
