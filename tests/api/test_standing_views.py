"""A read view that stands still is told, costs nobody anything that was taken in, and goes on by itself."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import api.views
from projections.schema import view_path
from tests.api.story import Api, assert_problem, open_api
from tests.story.told import TENANT, settings

URL = "/v1/batches?source=colocated-seismometers&file_name=a.csv"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow one another quickly."""
    monkeypatch.setattr(api.views, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(api.views, "RETRY_SECONDS_MAX", 0.4)


@pytest.fixture
def seen_home(told: Path, tmp_path: Path) -> Path:
    """A home whose view was folded and closed."""
    with open_api(told, tmp_path / "seen") as api:
        assert api.get("/v1/runs").status_code == 200
    return tmp_path / "seen"


def log_of_view(home: Path) -> Path:
    """The file that DuckDB writes to before the view's own."""
    view = view_path(settings(home).views_folder, TENANT)
    assert view.is_file()
    return view.with_name(view.name + ".wal")


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def standing(api: Api) -> int:
    answer = api.ask("GET", "/readyz")
    assert answer.status_code == 200
    count: int = answer.json()["standing_view_count"]
    return count


def take_in(api: Api, content: bytes) -> None:
    assert api.post(URL, api.ingest, content=content).status_code == 201


def test_a_view_that_cannot_be_written_is_told_and_goes_on_when_it_can(
    seen_home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_api(seen_home, tmp_path / "home") as api:
        known = len(api.items("/v1/batches"))
        until(lambda: api.ask("GET", "/readyz").json()["status"] == "ready")
        assert standing(api) == 0
        blocked = log_of_view(api.home)
        blocked.mkdir()  # nothing can be written under that name now, whoever asks
        take_in(api, b"time,a [counts]\n1,2\n")
        until(lambda: standing(api) == 1)
        assert_problem(api.get("/v1/batches"), 503, "view")
        take_in(api, b"time,a [counts]\n3,4\n")
        assert api.get("/v1/ledger").status_code == 200
        shutil.rmtree(blocked)
        until(lambda: standing(api) == 0)
        assert len(api.items("/v1/batches")) == known + 2
    assert any("stands still" in record.message for record in caplog.records)


def test_a_view_that_is_damaged_while_it_is_open_is_folded_again(seen_home: Path, tmp_path: Path) -> None:
    with open_api(seen_home, tmp_path / "home") as api:
        known = len(api.items("/v1/batches"))
        until(lambda: api.ask("GET", "/readyz").json()["status"] == "ready")
        blocked = log_of_view(api.home)
        blocked.mkdir()
        view_path(settings(api.home).views_folder, TENANT).write_bytes(b"no view any more" * 1_000)
        take_in(api, b"time,a [counts]\n1,2\n")
        until(lambda: standing(api) == 0 and api.get("/v1/batches").status_code == 200)
        assert len(api.items("/v1/batches")) == known + 1
