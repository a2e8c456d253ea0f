"""The canonical form of recorded samples: what is refused, and which bytes give the digest."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from domain.dataset import (
    CHANNELS_MAX,
    TIME_NS_MAX,
    Dataset,
    canonical_bytes,
    canonical_parts,
    dataset_digest,
    dataset_of,
)
from domain.digests import digest_of
from domain.errors import InvalidError, LimitError
from tests.domain.recordings import START_NS, channel


def test_the_canonical_bytes_are_those_that_the_module_specifies() -> None:
    x = channel(np.array([1, -2, 2**31 - 1], dtype=np.int32), name="b", timing_quality_percent=[100.0])
    y = channel(
        np.array([-0.0, np.nan]),
        name="a",
        unit="m/s",
        rate_hz=0.5,
        marks=[(0, 5), (1, -6)],
        timing_quality_percent=[np.nan, 3.0],
    )
    expected = (
        b"tallystick dataset v1\n"
        b'{"channels":[{"dtype":"float64","mark_count":2,"name":"a","sample_count":2,"sample_rate_hz":0.5,'
        b'"unit":"m/s"},{"dtype":"int32","mark_count":1,"name":"b","sample_count":3,"sample_rate_hz":200.0,'
        b'"unit":"counts"}]}\n'
        + struct.pack("<dQ", 0.0, 0x7FF8000000000000)
        + struct.pack("<4q", 0, 5, 1, -6)
        + struct.pack("<Qd", 0x7FF8000000000000, 3.0)
        + struct.pack("<3i", 1, -2, 2**31 - 1)
        + struct.pack("<2q", 0, START_NS)
        + struct.pack("<d", 100.0)
    )
    dataset = dataset_of([x, y])
    assert canonical_bytes(dataset) == expected
    assert dataset_digest(dataset) == digest_of(expected)


def test_every_spelling_of_nan_and_zero_has_the_same_digest() -> None:
    spelled = struct.pack(
        "<4Q", 0xFFF8000000000000, 0x7FF8000000000001, 0x8000000000000000, 0x7FF4000000000000
    )
    plain = np.array([np.nan, np.nan, 0.0, np.nan])
    assert dataset_digest(dataset_of([channel(np.frombuffer(spelled, "<f8"))])) == dataset_digest(
        dataset_of([channel(plain)])
    )


@pytest.mark.parametrize("dtype", [">i4", ">f4", ">f8", ">i8"])
def test_byte_order_and_stride_of_the_source_do_not_matter(dtype: str) -> None:
    native = np.arange(10, dtype=np.dtype(dtype).newbyteorder("="))
    swapped = np.repeat(native, 2).astype(dtype)[::2]
    assert dataset_digest(dataset_of([channel(swapped)])) == dataset_digest(dataset_of([channel(native)]))


samples = st.one_of(
    arrays(np.int32, st.integers(1, 50)),
    arrays(np.float64, st.integers(1, 50)),
    arrays(np.float32, st.integers(1, 50)),
)


@given(samples, st.data())
def test_the_digest_changes_with_any_one_sample(values: NDArray[Any], data: st.DataObject) -> None:
    position = data.draw(st.integers(0, values.size - 1))
    before = dataset_digest(dataset_of([channel(values)]))
    changed = values.copy()
    changed[position] = 7 if changed[position] != 7 else 8
    assert dataset_digest(dataset_of([channel(changed)])) != before


@given(samples)
def test_a_channel_made_of_its_own_arrays_is_the_same(values: NDArray[Any]) -> None:
    once = channel(values)
    again = channel(once.samples, marks=once.marks)
    assert canonical_bytes(dataset_of([once])) == canonical_bytes(dataset_of([again]))


def test_the_parts_are_not_copies_of_the_samples() -> None:
    recorded = channel(np.arange(1000, dtype=np.int32))
    views = [part for part in canonical_parts(dataset_of([recorded])) if isinstance(part, memoryview)]
    assert np.shares_memory(np.frombuffer(views[0], np.int32), recorded.samples)


def test_the_arrays_of_a_channel_cannot_be_written() -> None:
    recorded = channel([1, 2, 3])
    for array in (recorded.samples, recorded.marks, recorded.timing_quality_percent):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_channels_are_sorted_by_name_and_found_by_it() -> None:
    dataset = dataset_of([channel([1], name="b"), channel([2], name="a")])
    assert [one.name for one in dataset.channels] == ["a", "b"]
    assert dataset.channel("b").samples[0] == 1
    with pytest.raises(InvalidError) as refused:
        dataset.channel("c")
    assert refused.value.expected == "a, b"


def test_a_channel_may_be_empty_and_then_has_no_start() -> None:
    empty = channel(np.zeros(0, np.int32))
    with pytest.raises(InvalidError):
        _ = empty.start_ns
    assert dataset_digest(dataset_of([empty]))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"name": " a"}, "name"),
        ({"unit": ""}, "channels[x].unit"),
        ({"rate_hz": float("nan")}, "channels[x].sample_rate_hz"),
        ({"rate_hz": float("inf")}, "channels[x].sample_rate_hz"),
        ({"rate_hz": True}, "channels[x].sample_rate_hz"),
        ({"rate_hz": "200"}, "channels[x].sample_rate_hz"),
        ({"marks": [(1, 0)]}, "channels[x].marks"),
        ({"marks": [(0, 0), (0, 1)]}, "channels[x].marks"),
        ({"marks": [(0, 0), (2, 1), (1, 2)]}, "channels[x].marks"),
        ({"marks": [(0, 0), (3, 1)]}, "channels[x].marks"),
        ({"marks": []}, "channels[x].marks"),
        ({"marks": [(0, TIME_NS_MAX + 1)]}, "channels[x].marks"),
        ({"marks": [(0, -(2**63))]}, "channels[x].marks"),
        ({"marks": [(0, TIME_NS_MAX - 1)], "rate_hz": 1e-6}, "channels[x].marks"),
        ({"timing_quality_percent": [101.0]}, "channels[x].timing_quality_percent"),
        ({"timing_quality_percent": [float("inf")]}, "channels[x].timing_quality_percent"),
        ({"timing_quality_percent": [1.0, 2.0]}, "channels[x].timing_quality_percent"),
    ],
)
def test_a_channel_that_breaks_a_promise_is_refused_by_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidError) as refused:
        channel([1, 2, 3], **change)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 2), np.int32),
        np.zeros(3, np.uint8),
        np.array(["a"]),
        np.zeros(3, np.float16),
        np.zeros(3, complex),
    ],
)
def test_samples_of_another_shape_or_type_are_refused(values: NDArray[Any]) -> None:
    with pytest.raises(InvalidError):
        channel(values, marks=[(0, 0)])


@pytest.mark.parametrize("rate_hz", [0.0, -200.0, 1e9, 1e-9])
def test_a_rate_out_of_range_is_a_limit(rate_hz: float) -> None:
    with pytest.raises(LimitError):
        channel([1], rate_hz=rate_hz)


def test_a_dataset_that_breaks_a_promise_is_refused() -> None:
    x, y = channel([1], name="x"), channel([1], name="y")
    for channels in ((), (x, x), (y, x)):
        with pytest.raises(InvalidError):
            Dataset(channels=channels)
    with pytest.raises(LimitError):
        dataset_of(channel([1], name=f"c{number}") for number in range(CHANNELS_MAX + 1))
