"""Objects are what the specification says: every folder of tests/vectors/objects.

They are read by our code, and by nothing but what docs/format.md says (`by_the_book`).
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from adapters.files.arrow_dataset import dataset_file, read_dataset
from domain.columns import Column, format_columns, parse_columns
from domain.dataset import Channel, Dataset, dataset_digest, dataset_of
from domain.health.record_keys import record_key
from ledger.subject_cipher import decrypt_subject_bytes, encrypt_subject_bytes

VECTORS = Path(__file__).parents[1] / "vectors" / "objects"
VERSIONS = sorted(path for path in VECTORS.iterdir() if path.is_dir())
TENANT, PURPOSE = "demo", "batch"
KEY = hashlib.sha512(b"a person's key").digest()
PAYLOAD = b'{"data":[{"id":"night-1"}]}'

every_version = pytest.mark.parametrize("folder", VERSIONS, ids=lambda folder: folder.name)


def dataset() -> Dataset:
    """Two channels of different types, one with a gap, a NaN and a zero that was negative."""
    counts = Channel(
        name="Z",
        unit="counts",
        sample_rate_hz=200.0,
        samples=np.array([1, -2, 3, 2**31 - 1], np.int32),
        marks=np.array([[0, 1_780_000_000_000_000_000], [2, 1_780_000_000_050_000_000]], np.int64),
        timing_quality_percent=np.array([100.0, np.nan]),
    )
    level = Channel(
        name="level",
        unit="m",
        sample_rate_hz=0.1,
        samples=np.array([-0.0, np.nan, 1.5], np.float64),
        marks=np.array([[0, 1_780_000_000_000_000_000]], np.int64),
        timing_quality_percent=np.array([np.nan]),
    )
    return dataset_of([counts, level])


def fixtures() -> dict[str, bytes]:
    """The files as this version writes them; the bytes of an Arrow file are Arrow's affair."""
    secret = hmac.digest(KEY, b"tallystick/record-keys/v1", "sha256")
    columns = [
        Column(table="windows", name="score", unit="1", values=np.array([0.25, np.nan, -0.0])),
        Column(table="windows", name="drift", unit="ppm", channel="Z", values=np.array([1.0, 2.0, 1 / 3])),
    ]
    return {
        "dataset.arrow": dataset_file(dataset()),
        "dataset.digest": f"{dataset_digest(dataset())}\n".encode(),
        "columns": format_columns(columns, {"procedure": "spectra 1.0.0"}),
        "payload": PAYLOAD,
        "ciphertext": encrypt_subject_bytes(KEY, PAYLOAD, tenant=TENANT, purpose=PURPOSE),
        "subject-key": KEY.hex().encode() + b"\n",
        "record-key": record_key(secret, "oura", "sleep", "night-1").encode() + b"\n",
    }


def digest_by_the_book(file: bytes) -> str:
    """The digest of a dataset's canonical content, from its Arrow file."""
    table = pa.ipc.open_file(io.BytesIO(file)).read_all()
    assert table.schema.metadata[b"tallystick"] == b"dataset/1"
    heads, parts = [], []
    for name in sorted(table.column_names):
        field, (row,) = table.schema.field(name), table.column(name).to_pylist()
        dtype = str(field.type.field("samples").type.value_type)
        dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
        samples, indices, times, quality = (
            row[part] for part in ("samples", "mark_sample_index", "mark_time_ns", "timing_quality_percent")
        )
        heads.append(
            {
                "dtype": dtype,
                "mark_count": len(indices),
                "name": name,
                "sample_count": len(samples),
                "sample_rate_hz": float(field.metadata[b"sample_rate_hz"]),
                "unit": field.metadata[b"unit"].decode(),
            }
        )
        code = {"int32": "i", "int64": "q", "float32": "f", "float64": "d"}[dtype]
        parts.append(struct.pack(f"<{len(samples)}{code}", *samples))
        parts += [struct.pack("<qq", *mark) for mark in zip(indices, times, strict=True)]
        parts.append(struct.pack(f"<{len(quality)}d", *quality))
    head = json.dumps({"channels": heads}, separators=(",", ":")).encode()
    content = b"tallystick dataset v1\n" + head + b"\n" + b"".join(parts)
    return "sha256:" + hashlib.sha256(content).hexdigest()


def columns_by_the_book(file: bytes) -> dict[tuple[str, str, str], tuple[float, ...]]:
    head, _, rest = file.partition(b"\n")
    header, found = json.loads(head), {}
    assert header["format"] == "tallystick.columns.v1"
    for column in header["columns"]:
        size = 8 * column["count"]
        key = (column["table"], column["channel"], column["name"])
        found[key] = struct.unpack(f"<{column['count']}d", rest[:size])
        rest = rest[size:]
    assert not rest
    assert list(found) == sorted(found)
    return found


@every_version
def test_a_dataset_is_read_and_has_the_digest_that_the_specification_gives(folder: Path) -> None:
    file, digest = (folder / "dataset.arrow").read_bytes(), (folder / "dataset.digest").read_text().strip()
    assert dataset_digest(read_dataset(file)) == digest == digest_by_the_book(file)


@every_version
def test_columns_are_read_as_the_specification_says(folder: Path) -> None:
    file = (folder / "columns").read_bytes()
    for column in parse_columns(file).columns:
        np.testing.assert_array_equal(column.values, columns_by_the_book(file)[column.key])


@every_version
def test_a_persons_bytes_are_read_as_the_specification_says(folder: Path) -> None:
    key = bytes.fromhex((folder / "subject-key").read_text())
    ciphertext, payload = (folder / "ciphertext").read_bytes(), (folder / "payload").read_bytes()
    assert decrypt_subject_bytes(key, ciphertext, tenant=TENANT, purpose=PURPOSE) == payload
    associated = [b"tallystick/subject/v1", TENANT.encode(), PURPOSE.encode()]
    assert AESSIV(key).decrypt(ciphertext, associated) == payload


@every_version
def test_a_record_is_named_as_the_specification_says(folder: Path) -> None:
    key = bytes.fromhex((folder / "subject-key").read_text())
    message = b"tallystick.record-key.v1"
    for part in (b"oura", b"sleep", b"night-1"):
        message += struct.pack(">Q", len(part)) + part
    secret = hmac.digest(key, b"tallystick/record-keys/v1", "sha256")
    assert hmac.digest(secret, message, "sha256")[:16].hex() == (folder / "record-key").read_text().strip()


def test_this_version_writes_what_the_newest_folder_holds() -> None:
    """When this fails a format has changed: keep the old folder, and make a new one beside it."""
    made, newest = fixtures(), VERSIONS[-1]
    assert {path.name for path in newest.iterdir()} == set(made)
    for name in set(made) - {"dataset.arrow"}:
        assert made[name] == (newest / name).read_bytes(), name
