"""The columns file: one spelling, and every other one refused."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.columns import Column, format_columns, parse_columns
from domain.errors import InvalidError, LimitError, MalformedError
from domain.quantise import quantise_score

NAN = 0x7FF8000000000000


def column(
    table: str = "window", name: str = "delay_s", values: list[float] | None = None, channel: str = ""
) -> Column:
    numbers = np.array([1.0] if values is None else values)
    return Column(table=table, name=name, unit="s", values=numbers, channel=channel, quantise=quantise_score)


def test_the_bytes_are_those_that_the_module_specifies() -> None:
    data = format_columns(
        [column(name="psr", values=[-0.0, 0.1234567]), column(values=[np.nan, 2.0])], {"start_ns": "5"}
    )
    assert data == (
        b'{"columns":[{"channel":"","count":2,"name":"delay_s","table":"window","unit":"s"},'
        b'{"channel":"","count":2,"name":"psr","table":"window","unit":"s"}],"facts":{"start_ns":"5"},'
        b'"format":"tallystick.columns.v1"}\n' + struct.pack("<Qddd", NAN, 2.0, 0.0, 0.1234567)
    )


def test_the_quantised_file_differs_in_the_numbers_alone() -> None:
    exact, rounded = (
        format_columns([column(values=[0.1234567])], {}, is_quantised=flag) for flag in (False, True)
    )
    assert exact[:-8] == rounded[:-8]
    assert parse_columns(rounded).column("window", "delay_s")[0] == 0.123457


numbers = st.lists(st.floats(width=64), min_size=0, max_size=6)
keys = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.text(max_size=3).filter(lambda t: t.isprintable()), st.sampled_from("xyz")
    ),
    unique=True,
    max_size=6,
)


@given(
    keys,
    st.integers(0, 5),
    st.dictionaries(st.text(max_size=3).filter(str.isprintable), st.just("v")),
    st.data(),
)
def test_what_was_written_is_read_and_written_again_alike(
    keys: list[tuple[str, str, str]], count: int, facts: dict[str, str], data: st.DataObject
) -> None:
    columns = [
        Column(
            table=table,
            channel=channel,
            name=name,
            unit="1",
            values=np.array(data.draw(st.lists(st.floats(width=64), min_size=count, max_size=count))),
        )
        for table, channel, name in keys
    ]
    written = format_columns(columns, facts)
    read = parse_columns(written)
    assert format_columns(read.columns, read.facts) == written
    assert read.facts == facts
    for one in columns:
        assert np.array_equal(read.column(one.table, one.name, one.channel), one.values, equal_nan=True)


def test_columns_are_found_by_key_and_channels_by_table() -> None:
    read = parse_columns(
        format_columns([column(channel="b"), column(channel="a"), column(table="spectrum")], {})
    )
    assert read.channels("window") == ("a", "b")
    with pytest.raises(InvalidError):
        read.column("window", "delay_s", "c")


def test_columns_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(InvalidError):
        format_columns([column(), column()], {})
    with pytest.raises(InvalidError):
        format_columns([column(), column(name="psr", values=[1.0, 2.0])], {})


GOOD = format_columns([column(name="a", values=[1.0, 2.0]), column(name="b", values=[3.0, 4.0])], {})


@pytest.mark.parametrize(
    "evil",
    {
        "empty": b"",
        "no line": GOOD[:40],
        "not JSON": b"{\n",
        "deep JSON": b"[" * 100_000 + b"\n",
        "truncated": GOOD[:-1],
        "longer": GOOD + b"\0",
        "spaced": GOOD.replace(b'{"columns"', b'{ "columns"', 1),
        "unknown field": GOOD.replace(b'"facts":{}', b'"facts":{},"fax":{}', 1),
        "other format": GOOD.replace(b"columns.v1", b"columns.v2", 1),
        "negative count": GOOD.replace(b'"count":2', b'"count":-2', 1),
        "huge count": GOOD.replace(b'"count":2', b'"count":99999999999999999999', 1),
        "ragged": GOOD.replace(b'"count":2', b'"count":1', 1).replace(b'"count":2', b'"count":3', 1),
        "unsorted": GOOD.replace(b'"name":"a"', b'"name":"c"', 1),
        "twice": GOOD.replace(b'"name":"a"', b'"name":"b"', 1),
        "negative zero": GOOD[:-8] + struct.pack("<d", -0.0),
        "another NaN": GOOD[:-8] + struct.pack("<Q", NAN + 1),
        "signalling NaN": GOOD[:-8] + struct.pack("<Q", 0x7FF4000000000000),
    }.items(),
    ids=lambda item: item[0],
)
@pytest.mark.filterwarnings("error")
def test_any_other_spelling_is_refused(evil: tuple[str, bytes]) -> None:
    with pytest.raises((MalformedError, LimitError)):
        parse_columns(evil[1])


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_nothing_worse(data: bytes) -> None:
    with pytest.raises((MalformedError, LimitError)):
        parse_columns(data)
