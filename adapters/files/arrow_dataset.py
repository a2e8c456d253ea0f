"""Datasets as they are stored: one Arrow IPC file, uncompressed, deterministic.

The file holds one record batch of one row.  Each column is a channel, named as the channel is, in the
dataset's order:

    struct<
      samples:                 large_list<int32 | int64 | float32 | float64>
      mark_sample_index:       large_list<int64>
      mark_time_ns:            large_list<int64>       Unix nanoseconds
      timing_quality_percent:  large_list<float64>     one per mark, NaN where unknown
    > not null

Field metadata: ``unit`` and ``sample_rate_hz`` (shortest decimal that reads back as the same double).  Schema
metadata:
``tallystick`` = ``dataset/1``.  Any Arrow reader opens it; ``unnest`` in DuckDB gives the samples as rows.

The digest that receipts name is that of the canonical content (``domain.dataset``), not of this file, so that
a later Arrow may lay out its bytes otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domain.dataset import Channel, Dataset
from domain.errors import MalformedError

FORMAT = b"dataset/1"
# A row is one list entry per channel, so the whole batch is a single chunk whatever its length.
_PARTS = ("samples", "mark_sample_index", "mark_time_ns", "timing_quality_percent")
_TYPES = {"int32": pa.int32(), "int64": pa.int64(), "float32": pa.float32(), "float64": pa.float64()}


def dataset_file(dataset: Dataset) -> bytes:
    """The file's bytes; the same dataset gives the same bytes."""
    fields, columns = [], []
    for channel in dataset.channels:
        arrays = (
            channel.samples,
            channel.marks[:, 0],
            channel.marks[:, 1],
            channel.timing_quality_percent,
        )
        column = pa.StructArray.from_arrays(
            [_list_of(array) for array in arrays],
            fields=[
                pa.field(part, pa.large_list(_TYPES[array.dtype.name]), nullable=False)
                for part, array in zip(_PARTS, arrays, strict=True)
            ],
        )
        metadata = {"sample_rate_hz": repr(channel.sample_rate_hz), "unit": channel.unit}
        fields.append(pa.field(channel.name, column.type, nullable=False, metadata=metadata))
        columns.append(column)
    schema = pa.schema(fields, metadata={"tallystick": FORMAT})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_dataset(data: bytes) -> Dataset:
    """The dataset; samples are views of ``data``.

    Raises: MalformedError for what is no dataset file; InvalidError or LimitError when the channels in it are
    none.
    """
    try:
        with pa.ipc.open_file(pa.BufferReader(data)) as reader:
            metadata = reader.schema.metadata or {}
            if metadata.get(b"tallystick") != FORMAT or reader.num_record_batches != 1:
                raise MalformedError(
                    "not a dataset file",
                    expected=f"schema metadata tallystick={FORMAT.decode()}, one batch",
                    actual=f"{metadata.get(b'tallystick')!r}, {reader.num_record_batches} batches",
                )
            batch = reader.get_batch(0)
        batch.validate(full=True)
        channels = tuple(
            _channel(field, column) for field, column in zip(batch.schema, batch.columns, strict=True)
        )
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise MalformedError("not a dataset file", actual=str(error)[:200]) from error
    return Dataset(channels=channels)


def _channel(field: pa.Field, column: pa.Array) -> Channel:
    if not pa.types.is_struct(field.type) or not field.metadata:
        raise ValueError(f"column {field.name!r} is no channel")
    samples, index, time_ns, quality = (_values(column.field(part)) for part in _PARTS)
    return Channel(
        name=field.name,
        unit=field.metadata[b"unit"].decode(),
        sample_rate_hz=float(field.metadata[b"sample_rate_hz"]),
        samples=samples,
        marks=np.column_stack([index, time_ns]),
        timing_quality_percent=quality,
    )


def _list_of(array: NDArray[Any]) -> pa.Array:
    values = pa.array(np.ascontiguousarray(array), type=_TYPES[array.dtype.name])
    return pa.LargeListArray.from_arrays(pa.array([0, len(values)], type=pa.int64()), values)


def _values(lists: pa.Array) -> NDArray[Any]:
    if not pa.types.is_large_list(lists.type) or len(lists) != 1 or lists.null_count:
        raise ValueError("a column has one row, a list that is not null")
    # `flatten` heeds the offsets, which `values` does not.
    values: NDArray[Any] = lists.flatten().to_numpy(zero_copy_only=True)
    return values
