"""Pages (AIP-158): every row comes once, whatever a page's size, and a token fits its own request only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.routes.paging import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, size_of, start_of, token_of
from domain.errors import MalformedError
from tests.api.story import Api, assert_problem

SECRET = b"s" * 32
LISTS = ("/v1/runs", "/v1/receipts", "/v1/batches", "/v1/sources", "/v1/entries")


@given(st.integers(0, (1 << 63) - 1), st.lists(st.text() | st.integers(-100, 100) | st.none(), max_size=4))
def test_a_token_leads_back_to_its_place(place: int, arguments: list[object]) -> None:
    token = token_of(place, SECRET, *arguments)
    assert start_of(token, SECRET, *arguments) == place


@given(st.text(max_size=60))
def test_any_text_is_a_place_or_refused(text: str) -> None:
    try:
        assert start_of(text, SECRET, "runs") is None
    except MalformedError:
        assert text


def test_a_token_fits_neither_other_arguments_nor_another_secret() -> None:
    token = token_of(7, SECRET, "runs", "a")
    for secret, arguments in ((SECRET, ("runs", "b")), (SECRET, ("receipts", "a")), (b"x", ("runs", "a"))):
        with pytest.raises(MalformedError):
            start_of(token, secret, *arguments)


def test_no_place_is_no_token() -> None:
    assert token_of(None, SECRET) == ""
    assert start_of("", SECRET) is None


def test_a_size_is_coerced_down() -> None:
    assert [size_of(n) for n in (0, 1, PAGE_SIZE_MAX, 10**6)] == [
        PAGE_SIZE_DEFAULT,
        1,
        PAGE_SIZE_MAX,
        PAGE_SIZE_MAX,
    ]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("size", [1, 3])
def test_turning_pages_gives_every_row_once(api: Api, path: str, size: int) -> None:
    whole = api.get(f"{path}?page_size=500").json()
    assert whole["next_page_token"] == ""
    rows, token = [], ""
    for _ in range(len(whole["items"]) + 2):
        page = api.get(f"{path}?page_size={size}&page_token={token}").json()
        assert len(page["items"]) <= size
        rows += page["items"]
        token = page["next_page_token"]
        if not token:
            break
    assert rows == whole["items"]


def test_entries_of_one_type_are_found_however_rare(api: Api) -> None:
    rows = api.items("/v1/entries?event_type=receipt.issued.v1&page_size=500")
    assert {row["event_type"] for row in rows} == {"receipt.issued.v1"}
    assert len(rows) == len(api.items("/v1/receipts"))
    assert api.items("/v1/entries?event_type=no.such.v1") == []


def test_a_token_of_another_list_is_refused(api: Api) -> None:
    token = api.get("/v1/runs?page_size=1").json()["next_page_token"]
    for path in (f"/v1/receipts?page_token={token}", f"/v1/runs?verdict=pass&page_token={token}"):
        assert_problem(api.get(path), 400, "malformed")
