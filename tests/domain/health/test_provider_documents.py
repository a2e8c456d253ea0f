import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import LimitError, MalformedError, TallystickError
from domain.health.drift import Drift, compile_shape
from domain.health.mappers.oura_sleep import EDITION_1_0, OuraSleep
from domain.health.provider_documents import (
    NESTING_MAX,
    PAYLOAD_BYTES_MAX,
    RECORDS_MAX,
    SERIES_ITEMS_MAX,
    DocumentReader,
)
from tests.domain.health.oura_nights import answer, night, run, sample

READER = EDITION_1_0.reader


def single(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def raw(old: str, new: str) -> bytes:
    """The answer with one night, its JSON text changed in one place."""
    text = answer(night()).decode()
    assert text.count(old) == 1
    return text.replace(old, new).encode()


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" \n",
    "text": b"hello",
    "html": b"<html><body>502 Bad Gateway</body></html>",
    "a number": b"1",
    "null": b"null",
    "a string": b'"data"',
    "a list": b"[]",
    "a list of nights": json.dumps([night()]).encode(),
    "a byte order mark": b"\xef\xbb\xbf" + answer(night()),
    "utf-16": answer(night()).decode().encode("utf-16"),
    "invalid utf-8": raw('"long_sleep"', '"long_sleep\udcff"'.replace("\udcff", "§")).replace(
        b"\xc2\xa7", b"\xff"
    ),
    "an overlong utf-8 form": raw('"v2"', '"v§"').replace(b"\xc2\xa7", b"\xc0\xaf"),
    "NaN": raw("54.5", "NaN"),
    "infinity": raw("54.5", "-Infinity"),
    "a number of 5000 digits": raw("54.5", "1" * 5_000),
    "a leading zero": raw("54.5", "054.5"),
    "a comment": raw("54.5", "54.5 /* bpm */"),
    "a trailing comma": raw("54.5,", "54.5,,"),
    "single quotes": raw('"v2"', "'v2'"),
    "a raw newline in text": raw('"v2"', '"v\n2"'),
    "a raw nul in text": raw('"v2"', '"v\0002"'),
    "cut off": answer(night())[:-30],
    "something after the end": answer(night()) + b"{}",
    "a nul after the end": answer(night()) + b"\0",
    "a key twice": raw('"average_breath": 14.25', '"average_breath": 14.25, "average_breath": 15'),
    "a key twice with space before the colon": raw(
        '"average_breath": 14.25', '"average_breath" : 14.25, "average_breath" : 15'
    ),
    "a key twice, once escaped": raw(
        '"average_breath": 14.25', '"average_breath": 14.25, "\\u0061verage_breath": 15'
    ),
    "a key twice in a nested object": raw('"score": 82', '"score": 82, "score": 83'),
    "a key twice in an unknown object": raw('"score": 82', '"score": 82, "extra": {"a": 1, "a": 2}'),
    "data twice": raw('"next_token"', '"data": [], "next_token"'),
    "data that is no list": b'{"data": {"id": 1}, "next_token": null}',
    "a document that is no object": b'{"data": [1], "next_token": null}',
    "an error answer": b'{"detail": "Not authorised"}',
    "an empty object": b"{}",
}
BEYOND_LIMITS: dict[str, bytes] = {
    "lists in lists": b"[" * 100_000,
    "objects in objects": b'{"a":' * 100_000,
    "a deep unknown field": raw("54.5", "[" * (NESTING_MAX + 1) + "]" * (NESTING_MAX + 1)),
    "100k documents": b'{"data":[' + b",".join([b"{}"] * 100_000) + b"]}",
    "one document too many": answer(*[night()] * (RECORDS_MAX + 1)),
    "100k heart rates": answer(night(heart_rate=sample([60] * 100_000, "2026-03-28T22:50:00+01:00"))),
    "100k sleep stages": answer(night(sleep_phase_5_min="2" * 100_000)),
    "a long id": answer(night(id="x" * 129)),
    "more bytes than an answer has": b" " * (PAYLOAD_BYTES_MAX + 1),
}


@pytest.mark.parametrize("evil", HOSTILE)
def test_hostile_bytes_are_refused_as_malformed_with_a_sentence(evil: str) -> None:
    with pytest.raises(MalformedError) as refused:
        READER.read(HOSTILE[evil])
    assert refused.value.what
    assert refused.value.field


@pytest.mark.parametrize("evil", BEYOND_LIMITS)
def test_bytes_beyond_a_limit_are_refused_with_the_limit(evil: str) -> None:
    with pytest.raises(LimitError) as refused:
        READER.read(BEYOND_LIMITS[evil])
    assert refused.value.expected


@pytest.mark.parametrize("evil", BEYOND_LIMITS)
def test_a_mapper_quarantines_what_is_beyond_a_limit(evil: str) -> None:
    for name in ("oura.sleep", "oura.daily_activity"):
        with pytest.raises(MalformedError) as refused:
            run(BEYOND_LIMITS[evil], name)
        assert refused.value.remedy


def test_a_key_twice_among_very_many_is_found_in_time() -> None:
    names = ",".join(f'"k{number}":0' for number in range(100_000))
    with pytest.raises(MalformedError) as refused:
        READER.read(f'{{{names},"k99999":1}}'.encode())
    assert refused.value.field == "k99999"


def test_a_series_up_to_its_limit_is_read() -> None:
    (document,) = READER.read(answer(night(hrv=sample([60] * SERIES_ITEMS_MAX, "2026-03-28T22:50:00+01:00"))))
    assert not document.findings


@pytest.mark.parametrize(
    "field, change, actual",
    [
        ("id", {"id": ...}, "nothing"),
        ("id", {"id": 17}, "integer"),
        ("id", {"id": None}, "null"),
        ("day", {"day": ...}, "nothing"),
        ("bedtime_start", {"bedtime_start": 1_774_735_470}, "integer"),
        ("bedtime_end", {"bedtime_end": {"time": "07:50"}}, "object"),
    ],
)
def test_a_record_without_an_essential_field_is_named_with_its_position(
    field: str, change: dict[str, Any], actual: str
) -> None:
    with pytest.raises(MalformedError) as refused:
        READER.read(answer(night(), night(**change)))
    assert (refused.value.field, refused.value.actual) == (f"data[1].{field}", actual)
    with pytest.raises(MalformedError) as refused:
        READER.read(single(night(**change)))
    assert refused.value.field == field


def test_one_document_by_itself_is_read_like_a_list_of_one() -> None:
    (alone,) = READER.read(single(night()))
    (listed,) = READER.read(answer(night()))
    assert alone.body == listed.body
    assert (alone.at("id"), listed.at("id")) == ("id", "data[0].id")


@pytest.mark.parametrize(
    "old, new, path, found",
    [
        ('"v2"', '"\\ud800"', "sleep_algorithm_version", "text with half a character"),
        ("54.5", "1e400", "average_heart_rate", "number beyond 64 bits"),
        ("54.5", "9007199254740992", "average_heart_rate", "integer beyond 2^53"),
        ("54.5", "1" * 400, "average_heart_rate", "integer beyond 2^53"),
    ],
)
def test_json_that_no_record_can_hold_counts_as_retyped(old: str, new: str, path: str, found: str) -> None:
    (document,) = READER.read(raw(old, new))
    assert [(item.drift, item.path, item.found) for item in document.findings] == [
        (Drift.RETYPED, path, found)
    ]


def test_an_answer_without_documents_is_an_empty_list() -> None:
    assert READER.read(b'{"data":[],"next_token":null}') == []
    assert READER.read(b'{"data":[],"page":1}') == []


def test_an_unknown_field_around_the_documents_is_found_once() -> None:
    payload = json.dumps({"data": [night(), night()], "next_token": None, "total": 2}).encode()
    first, second = READER.read(payload)
    assert [(item.drift, item.path) for item in first.findings] == [(Drift.UNKNOWN, "$.total")]
    assert not second.findings


def test_one_bad_record_does_not_touch_its_neighbours() -> None:
    good, bad, also_good = READER.read(answer(night(), night(average_hrv="61"), night()))
    assert good.body == also_good.body
    assert not good.findings
    assert not also_good.findings
    assert [(item.drift, item.path) for item in bad.findings] == [(Drift.RETYPED, "average_hrv")]


class Counting(DocumentReader[OuraSleep]):
    """A reader that only knows the thorough way."""

    def _read_exact(self, payload: bytes) -> None:
        return None


THOROUGH: Counting = Counting(OuraSleep, EDITION_1_0.reader._shape)


@pytest.mark.parametrize(
    "payload",
    [
        answer(night()),
        single(night()),
        answer(night(), night(average_hrv=None), night(hrv=...)),
        answer(night(type="siesta", sleep_phase_5_min="9")),
        answer(night(sleep_analysis_reason='\\":" tricky')),
        json.dumps({"data": [night()]}, indent=3, separators=(" , ", " : ")).encode(),
        answer(night(day="ä\U0001f600")),
    ],
)
def test_the_quick_way_and_the_thorough_way_read_the_same(payload: bytes) -> None:
    assert READER.read(payload) == THOROUGH.read(payload)


@given(
    st.dictionaries(
        st.sampled_from(sorted(night())),
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=8)
        | st.lists(st.integers(), max_size=3)
        | st.just(...),
        max_size=4,
    )
)
def test_both_ways_agree_on_any_change_of_a_night(change: dict[str, Any]) -> None:
    payload = answer(night(**change))
    assert outcome(READER, payload) == outcome(THOROUGH, payload)


@given(st.integers(0, 3_000), st.binary(max_size=4), st.integers(0, 3))
def test_damaged_bytes_end_in_documents_or_in_a_stated_error(
    position: int, inserted: bytes, removed: int
) -> None:
    payload = answer(night())
    damaged = payload[:position] + inserted + payload[position + removed :]
    assert outcome(READER, damaged) == outcome(THOROUGH, damaged)


@given(st.binary(max_size=60))
def test_any_bytes_end_in_documents_or_in_a_stated_error(payload: bytes) -> None:
    outcome(READER, payload)


def test_what_is_found_says_nothing_about_the_values() -> None:
    secret = "geheimnisvoll"
    changes: list[dict[str, Any]] = [
        {"average_hrv": secret},
        {"type": secret},
        {secret + " with blanks": 1},
        {"heart_rate": sample([secret], "t")},
        {"readiness": {"score": secret}},
    ]
    for change in changes:
        (document,) = READER.read(answer(night(**change)))
        assert document.findings
        assert secret not in repr(document.findings)


def outcome(reader: DocumentReader[OuraSleep], payload: bytes) -> object:
    try:
        return [(item.position, item.path, item.body, set(item.findings)) for item in reader.read(payload)]
    except TallystickError as error:
        return type(error), error.field, error.actual


def test_a_shape_refuses_an_expected_field_that_its_struct_does_not_have() -> None:
    with pytest.raises(AssertionError, match="no_such_field"):
        compile_shape(OuraSleep, expected=("no_such_field",))


def test_every_mapped_refusal_is_a_sentence_for_a_person() -> None:
    with pytest.raises(MalformedError) as refused:
        run(answer(night(bedtime_start="yesterday evening")))
    assert str(refused.value) == (
        "not a time; at data[0].bedtime_start; expected an ISO 8601 date and time with offset; "
        "got text of 17 characters"
    )
    assert "yesterday" not in msgspec.json.encode(str(refused.value)).decode()
