"""Withheld is withheld everywhere: in lists, on a run's page, in telemetry, among artifacts and entries."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from api.command_line import main
from tests.api.story import Api, assert_problem, open_api


@pytest.fixture(scope="module")
def withheld(api: Api) -> list[dict[str, Any]]:
    """Runs on the dead recording: none of them may be presented."""
    found = api.items("/v1/runs?source=colocated-seismometers&is_presentable=false")
    assert {row["procedure"] for row in found} == {"spectra", "coherence", "delay-track"}
    return found


def test_a_list_says_that_a_run_is_withheld(withheld: list[dict[str, Any]]) -> None:
    assert all(row["is_presentable"] is False for row in withheld)
    assert all(row["verdict"] in ("fail", "abstain") for row in withheld)


def test_its_artifacts_are_for_auditors_only(api: Api, withheld: list[dict[str, Any]]) -> None:
    names = set()
    for row in withheld:
        statement = api.get(f"/v1/receipts/{row['receipt_id']}").json()["statement"]
        for name in (subject["name"] for subject in statement["subject"]):
            path = f"/v1/receipts/{row['receipt_id']}/artifacts/{name}"
            if name.startswith("report."):
                assert api.get(path).status_code == 200
            else:
                names.add(name)
                assert_problem(api.get(path), 403, "withheld")
                assert api.get(path, api.audit).status_code == 200
    assert names


def test_its_report_says_so(api: Api, withheld: list[dict[str, Any]]) -> None:
    for row in withheld:
        report = api.get(f"/v1/receipts/{row['receipt_id']}/report").text
        assert "Withheld" in report


def test_telemetry_shows_only_what_its_gates_looked_at(api: Api, withheld: list[dict[str, Any]]) -> None:
    hidden = 0
    metrics = {m["metric"] for m in api.get("/v1/sources/colocated-seismometers/metrics").json()}
    for row in withheld:
        gates = {gate["metric"] for gate in api.get(f"/v1/runs/{row['run_id']}").json()["gates"]}
        prefix = {"spectra": "spectra.", "coherence": "coherence.", "delay-track": "delay."}[row["procedure"]]
        for metric in (m for m in metrics if m.startswith(prefix) and m not in gates):
            path = f"/v1/telemetry?metric={metric}&procedure={row['procedure']}&source=colocated-seismometers"
            shown = api.get(path).json()
            own = [part for part in shown["parts"] if part["run_id"] == row["run_id"]]
            hidden += len(own)
            assert all(part["average"] is None for part in own)
            assert all(part["reason"] == "withheld" for part in own)
            assert shown["withheld_count"] >= len(own)
            assert api.get(path, api.audit).json()["withheld_count"] == 0
    assert hidden > 0


def test_parts_that_are_put_together_leave_it_out_too(api: Api) -> None:
    """The good day and the dead one in few parts: the figures are those of the good day alone."""
    metrics = {m["metric"] for m in api.get("/v1/sources/colocated-seismometers/metrics").json()}
    gated = {
        gate["metric"]
        for row in api.items("/v1/runs?is_presentable=false&source=colocated-seismometers")
        for gate in api.get(f"/v1/runs/{row['run_id']}").json()["gates"]
    }
    for metric in sorted(metrics - gated)[:6]:
        path = f"/v1/telemetry?metric={metric}&source=colocated-seismometers"
        fine, coarse = api.get(f"{path}&parts=5000").json(), api.get(f"{path}&parts=2").json()
        assert coarse["bucket_ns"] > 0
        assert coarse["withheld_count"] == fine["withheld_count"]
        shown = [part["average"] for part in fine["parts"] if part["average"] is not None]
        bounds = [part for part in coarse["parts"] if part["average"] is not None]
        assert bool(shown) == bool(bounds)
        if shown:
            assert min(part["minimum"] for part in bounds) == min(shown)
            assert max(part["maximum"] for part in bounds) == max(shown)


def test_the_body_of_its_decision_is_for_auditors_only(api: Api, withheld: list[dict[str, Any]]) -> None:
    for row in withheld:
        path = f"/v1/entries/{row['decision_index']}"
        shown, full = api.get(path).json(), api.get(path, api.audit).json()
        assert (shown["is_withheld"], shown["payload_base64"]) == (True, "")
        assert shown["entry_base64"] == full["entry_base64"]
        assert not full["is_withheld"]
        assert json.loads(base64.b64decode(full["payload_base64"]))["run_id"] == row["run_id"]
        listed = api.items(f"/v1/entries?start={row['decision_index']}&page_size=1")[0]
        assert listed == shown


def test_what_may_be_presented_is_shown(api: Api) -> None:
    row = api.items("/v1/runs?procedure=coherence&is_presentable=true")[0]
    entry = api.get(f"/v1/entries/{row['decision_index']}").json()
    assert not entry["is_withheld"]
    assert entry["payload_base64"]


def test_raw_bytes_are_for_auditors_only(api: Api) -> None:
    batch = api.items("/v1/batches?source=wearer-1-oura")[0]
    path = f"/v1/batches/{batch['batch_id']}/content"
    assert_problem(api.get(path), 403, "scope")
    assert b"sleep" in api.get(path, api.audit).content


def test_what_was_recalled_is_not_presented_any_more(told: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(told, tmp_path / "home"))
    words = ("recall", "procedure", "delay-track/1.0.0", "--reason", "it was wrong", "--home", str(home))
    assert main([*words, "--json"]) == 0
    with open_api(home, tmp_path / "served") as api:
        row = api.items("/v1/receipts?procedure=delay-track&is_presentable=true")[0]
        path = f"/v1/receipts/{row['receipt_id']}"
        assert row["status"] == "recalled"
        for told_of in (api.get(path).json(), api.get(f"{path}/verdict").json()):
            assert (told_of["status"], told_of["recall_id"]) == ("recalled", row["recall_id"])
        for name in ("report", "artifacts/delay-track.columns", "artifacts/report.html"):
            assert "recalled" in assert_problem(api.get(f"{path}/{name}"), 403, "withheld")["detail"]
            assert api.get(f"{path}/{name}", api.audit).status_code == 200
        link = api.get(f"{path}/report-link").json()["path"]
        assert_problem(api.get(link, ""), 403, "withheld")
        assert api.get(f"{path}/bundle").status_code == 200
        metric = next(
            m["metric"]
            for m in api.get("/v1/sources/colocated-seismometers/metrics").json()
            if m["metric"].startswith("delay.")
            and m["metric"]
            not in {gate["metric"] for gate in api.get(f"/v1/runs/{row['run_id']}").json()["gates"]}
        )
        shown = api.get(f"/v1/telemetry?metric={metric}&run_id={row['run_id']}").json()
        assert all(part["average"] is None for part in shown["parts"])
        full = api.get(f"/v1/telemetry?metric={metric}&run_id={row['run_id']}", api.audit).json()
        assert any(part["average"] is not None for part in full["parts"])
