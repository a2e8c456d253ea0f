"""Uploaded files of samples: which format they are, and the dataset they become."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from adapters.files.arrow_dataset import dataset_file
from adapters.files.csv import read_csv
from adapters.files.miniseed import read_miniseed
from adapters.files.miniseed_record import is_miniseed
from adapters.files.options import SampleFileOptions, parse_options
from adapters.files.table import read_arrow, read_parquet
from domain.dataset import Channel, Dataset, dataset_digest
from domain.errors import LimitError, MalformedError
from domain.events import DatasetChannel
from domain.signal.timemarks import timeline_of
from ledger.ports import BATCH_BYTES_MAX, DerivedDataset

# Media types as IANA has them, those in use before, and the extensions of each.
_MEDIA_TYPES = {
    "application/vnd.fdsn.mseed": "miniseed",
    "text/csv": "csv",
    "application/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
    "application/vnd.apache.arrow.file": "arrow",
    "application/vnd.apache.arrow.stream": "arrow",
}
_EXTENSIONS = {
    **dict.fromkeys(("mseed", "miniseed", "mseed2", "ms", "msd"), "miniseed"),
    **dict.fromkeys(("csv", "tsv"), "csv"),
    **dict.fromkeys(("parquet", "pq"), "parquet"),
    **dict.fromkeys(("arrow", "arrows", "feather", "ipc"), "arrow"),
}

# The number says which rules made a dataset; raise it when a reader would make another dataset of the same
# bytes.
_READERS: dict[str, tuple[str, Callable[[bytes, SampleFileOptions], Dataset]]] = {
    "miniseed": ("miniseed/1", read_miniseed),
    "csv": ("csv/1", read_csv),
    "parquet": ("parquet/1", read_parquet),
    "arrow": ("arrow/1", read_arrow),
}
_ACCEPTED = "miniSEED 2 (.mseed), CSV (.csv, .tsv), Parquet (.parquet) or Arrow IPC (.arrow)"
_ARROW_STREAM_START = b"\xff\xff\xff\xff"


class SampleFileFormat:
    """``ledger.ports.DatasetFormat`` for every file format that devices upload."""

    async def derive(
        self, data: bytes, media_type: str, file_name: str, options: dict[str, Any]
    ) -> DerivedDataset:
        """Parse an upload.  Raises: MalformedError, InvalidError or LimitError, which quarantine it."""
        return await asyncio.to_thread(_derive, data, media_type, file_name, options)


def detect_format(data: bytes, media_type: str, file_name: str) -> str:
    """``miniseed``, ``csv``, ``parquet`` or ``arrow``.

    What the bytes say outranks the media type, which outranks the extension: senders get labels wrong more
    often than magic numbers.  Raises: MalformedError with the list of what is accepted.
    """
    if data.startswith(b"PAR1"):
        return "parquet"
    if data.startswith((b"ARROW1", _ARROW_STREAM_START)):
        return "arrow"
    if is_miniseed(data):
        return "miniseed"
    declared = _MEDIA_TYPES.get(media_type.partition(";")[0].strip().lower())
    extension = file_name.lower().rpartition(".")[2] if "." in file_name else ""
    found = declared or _EXTENSIONS.get(extension)
    if found is None:
        raise MalformedError(
            "not a file of samples that can be read here",
            field=file_name[-80:],
            expected=_ACCEPTED,
            actual=f"{media_type[:80] or 'no media type'}, starting {data[:8]!r}",
            remedy="Convert it, or name its format: --option format=csv",
        )
    return found


def _derive(data: bytes, media_type: str, file_name: str, options: dict[str, Any]) -> DerivedDataset:
    asked = parse_options(options)
    if not data:
        raise MalformedError("an empty file", field=file_name[-80:], expected=_ACCEPTED, actual="0 bytes")
    if len(data) > BATCH_BYTES_MAX:
        raise LimitError(
            "file too large",
            field=file_name[-80:],
            expected=f"<= {BATCH_BYTES_MAX} bytes",
            actual=str(len(data)),
            remedy="Send the recording as several batches.",
        )
    parser, read = _READERS[asked.format or detect_format(data, media_type, file_name)]
    dataset = read(data, asked)
    return DerivedDataset(
        data=dataset_file(dataset),
        digest=dataset_digest(dataset),
        parser=parser,
        channels=tuple(_summary(channel) for channel in dataset.channels),
    )


def _summary(channel: Channel) -> DatasetChannel:
    timeline = timeline_of(channel)
    return DatasetChannel(
        name=channel.name,
        unit=channel.unit,
        dtype=channel.samples.dtype.name,
        sample_count=int(channel.samples.size),
        sample_rate_hz=channel.sample_rate_hz,
        start_ns=timeline.start_ns,
        end_ns=timeline.end_ns,
        gap_count=timeline.gap_count,
    )
