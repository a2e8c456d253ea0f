"""Real recordings that the obspy package brings (LGPL-3; read, never imported, never copied here).

What they have to decode to was written down once with obspy 1.5.1 itself: start, rate, number of samples, and
the beginning of the SHA-256 of the samples as little-endian numbers.
"""

import hashlib
import importlib.util
from pathlib import Path

import pytest

from adapters.files.detect import detect_format
from adapters.files.miniseed import read_miniseed
from domain.errors import TallystickError

RECORDINGS = [
    (
        "io/mseed/tests/data/bizarre/endiantest.be-header.le-data.mseed",
        "NL.HGN.00.BHZ",
        1054174402043400000,
        40.0,
        11947,
        "f00a502ba82c921b",
    ),
    (
        "io/mseed/tests/data/bizarre/endiantest.le-header.be-data.mseed",
        "NL.HGN.00.BHZ",
        1054174402043400000,
        40.0,
        11947,
        "f00a502ba82c921b",
    ),
    (
        "io/mseed/tests/data/encoding/int32_Steim1_littleEndian.mseed",
        "XX.TEST..BHE",
        1103068800000000000,
        1.0,
        50,
        "8d109f41a456a3b4",
    ),
    (
        "io/mseed/tests/data/encoding/int32_Steim2_bigEndian.mseed",
        "XX.TEST..BHE",
        1103068800000000000,
        1.0,
        50,
        "8d109f41a456a3b4",
    ),
    (
        "io/mseed/tests/data/encoding/int16_INT16_bigEndian.mseed",
        "XX.TEST..BHE",
        1103068800000000000,
        1.0,
        50,
        "8d109f41a456a3b4",
    ),
    (
        "io/mseed/tests/data/encoding/float64_Float64_littleEndian.mseed",
        "XX.TEST..BHE",
        1103068800000000000,
        1.0,
        50,
        "5fff820b7f33abfd",
    ),
    ("io/mseed/tests/data/gaps.mseed", "BW.BGLD..EHE", 1199145599915000000, 200.0, 52728, "f788139474a0d754"),
    (
        "io/mseed/tests/data/timingquality.mseed",
        "BW.BGLD..EHE",
        1199145599765000000,
        200.0,
        41604,
        "ff6bbd8610319ea0",
    ),
    (
        "io/mseed/tests/data/CH.BALST..LH_two_channels",
        "CH.BALST..LHE",
        1762732973205000000,
        1.0,
        86343,
        "00eb7c1e5f26fabb",
    ),
    (
        "io/mseed/tests/data/CH.BALST..LH_two_channels",
        "CH.BALST..LHZ",
        1762732884580000000,
        1.0,
        86547,
        "092278fb3baa1a5f",
    ),
    (
        "io/mseed/tests/data/single_record_negative_sr_fact_and_mult.mseed",
        "MN.TNV..VHZ",
        667180200430000000,
        0.1,
        60,
        "212f874ffc6d4fec",
    ),
    (
        "io/mseed/tests/data/one_record_already_applied_time_correction.mseed",
        "BW.BGLD..EHE",
        1199145600065000000,
        200.0,
        412,
        "d22ea1f001587f43",
    ),
    (
        "io/mseed/tests/data/microsecond_wrap.mseed",
        "IM.NV32..BHE",
        1199768286000000000,
        40.0,
        277,
        "6f098bf1a61ce57f",
    ),
    ("signal/tests/data/ref_STS2", "CA.STS2..EHZ", 1297765260000000000, 200.0, 720001, "9ca6e7e00c23a53d"),
    ("signal/tests/data/ref_unknown", "CA.0438..EHZ", 1297765260000000000, 200.0, 720001, "3bf661b82f1c1687"),
]


@pytest.fixture(scope="module")
def obspy_folder() -> Path:
    spec = importlib.util.find_spec("obspy")
    if spec is None or spec.origin is None:
        pytest.skip("obspy, which brings the recordings, is not installed")
    return Path(spec.origin).parent


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda r: f"{Path(r[0]).name}-{r[1]}")
def test_a_recording_decodes_to_what_obspy_makes_of_it(
    obspy_folder: Path, recording: tuple[str, str, int, float, int, str]
) -> None:
    path, name, start_ns, rate_hz, count, digest = recording
    channel = read_miniseed((obspy_folder / path).read_bytes()).channel(name)
    assert (channel.start_ns, channel.sample_rate_hz, channel.samples.size) == (start_ns, rate_hz, count)
    little = channel.samples.astype(channel.samples.dtype.newbyteorder("<"))
    assert hashlib.sha256(little.tobytes()).hexdigest()[:16] == digest


def test_files_made_to_break_readers_are_read_or_refused_with_a_sentence(obspy_folder: Path) -> None:
    sentences = [
        _sentence(path.read_bytes())
        for path in sorted((obspy_folder / "io" / "mseed" / "tests" / "data").rglob("*"))
        if path.is_file() and path.suffix not in (".json", ".npz", ".xml", ".txt")
    ]
    assert sentences.count("read") > 30
    assert len(sentences) - sentences.count("read") > 10


def _sentence(data: bytes) -> str:
    try:
        read_miniseed(data)
    except TallystickError as error:
        return str(error)
    return "read"


def test_the_recordings_without_an_extension_are_known_by_their_bytes(obspy_folder: Path) -> None:
    for name in ("ref_STS2", "ref_unknown"):
        data = (obspy_folder / "signal" / "tests" / "data" / name).read_bytes()
        assert detect_format(data, "application/octet-stream", name) == "miniseed"
