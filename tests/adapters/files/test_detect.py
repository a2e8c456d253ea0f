"""Which reader a file gets, and what is said of files that get none."""

import asyncio
from typing import Any

import numpy as np
import pytest

from adapters.files import detect
from adapters.files.arrow_dataset import read_dataset
from adapters.files.detect import SampleFileFormat, detect_format
from domain.dataset import dataset_digest
from domain.errors import InvalidError, LimitError, MalformedError
from ledger.ports import DatasetFormat, DerivedDataset
from tests.adapters.files.miniseed_writer import write_miniseed

MINISEED = write_miniseed(np.arange(1_000), start_ns=10**18, sample_rate_hz=100.0)


def derive(data: bytes, media_type: str = "", file_name: str = "", **options: Any) -> DerivedDataset:
    file_format: DatasetFormat = SampleFileFormat()
    return asyncio.run(file_format.derive(data, media_type, file_name, options))


@pytest.mark.parametrize(
    ("data", "media_type", "file_name", "expected"),
    [
        (MINISEED, "", "", "miniseed"),
        (MINISEED, "text/csv", "a.parquet", "miniseed"),
        (b"MS\x03\0", "", "", "miniseed"),
        (b"PAR1....PAR1", "application/octet-stream", "x", "parquet"),
        (b"ARROW1\0\0", "", "", "arrow"),
        (b"\xff\xff\xff\xff\x10\0\0\0", "", "", "arrow"),
        (b"a,b", "text/csv", "", "csv"),
        (b"a,b", "Text/CSV; charset=utf-8", "", "csv"),
        (b"a,b", "", "recording.CSV", "csv"),
        (b"a,b", "application/octet-stream", "recording.csv", "csv"),
        (b"broken", "application/vnd.fdsn.mseed", "recording.csv", "miniseed"),
        (b"broken", "", "XX.STA.mseed", "miniseed"),
    ],
)
def test_bytes_outrank_the_media_type_and_it_the_extension(
    data: bytes, media_type: str, file_name: str, expected: str
) -> None:
    assert detect_format(data, media_type, file_name) == expected


@pytest.mark.parametrize(
    ("data", "media_type", "file_name"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png", "photo.png"),
        (b"a,b\n1,2\n", "", "recording"),
        (b"\x1f\x8b\x08", "application/gzip", "recording.csv.gz"),
        (b"{}", "application/json", "csv"),
    ],
)
def test_what_nothing_reads_is_answered_with_what_is_read(
    data: bytes, media_type: str, file_name: str
) -> None:
    with pytest.raises(MalformedError) as caught:
        derive(data, media_type, file_name)
    for name in ("miniSEED", "CSV", "Parquet", "Arrow"):
        assert name in caught.value.expected


def test_a_file_becomes_a_dataset_file_with_the_digest_of_its_content() -> None:
    derived = derive(MINISEED, channel_names={"XX.STA..HHZ": "wall"})
    dataset = read_dataset(derived.data)
    assert derived.digest == dataset_digest(dataset)
    assert derived.parser == "miniseed/1"
    (channel,) = derived.channels
    assert (channel.name, channel.unit, channel.dtype, channel.sample_count) == (
        "wall",
        "counts",
        "int32",
        1_000,
    )
    assert (channel.start_ns, channel.end_ns, channel.gap_count) == (10**18, 10**18 + 10 * 10**9, 0)
    assert dataset.channels[0].samples.tolist() == list(range(1_000))


def test_a_gap_is_counted() -> None:
    later = write_miniseed(np.arange(1_000), start_ns=10**18 + 11 * 10**9, sample_rate_hz=100.0)
    assert derive(MINISEED + later).channels[0].gap_count == 1


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(MalformedError):
        derive(b"", "text/csv", "a.csv")


def test_more_than_an_upload_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "BATCH_BYTES_MAX", 100)
    with pytest.raises(LimitError):
        derive(MINISEED)


@pytest.mark.parametrize(
    "options",
    [
        {"chanel_names": {}},
        {"format": "wav"},
        {"channel_names": {"a": 1}},
        {"channel_names": {"a": "x", "b": "x"}},
        {"channel_names": {str(i): str(i) for i in range(65)}},
        {"sample_rate_hz": "fast"},
        {"time_unit": "fortnight"},
        {"non_finite": "interpolate"},
    ],
)
def test_what_is_no_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidError) as caught:
        derive(MINISEED, **options)
    assert caught.value.field.startswith("options")
