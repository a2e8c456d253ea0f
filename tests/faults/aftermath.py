"""What must hold of a home after any fault: it audits, keeps what it acknowledged, and goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adapters.sqlite_log import SQLiteLog
from api.workplace import open_workplace
from ledger.audit import audit
from ledger.bundle import bundle_of, format_bundle
from ledger.desk import Desk
from ledger.ledger import ledger_name
from ledger.merkle import leaf_hash
from ledger.policy import policy_of_log
from ledger.verify import verify_bundle
from ledger.worker import settle
from tests.story.told import TENANT, at_desk, settings

NAME = ledger_name(TENANT)


def answers(stdout: str) -> list[dict[str, Any]]:
    """What a process had answered before it ended; a last line that was cut off was not an answer."""
    lines = [line for line in stdout.splitlines() if line.startswith("{") and line.endswith("}")]
    return [said for line in lines if "answer" in (said := json.loads(line))]


async def check_at_rest(home: Path, said: list[dict[str, Any]]) -> None:
    """Before anything repairs anything: the store audits clean and grew out of what was acknowledged."""
    async with open_workplace(settings(home)) as workplace:
        kept = [one["checkpoint"].encode() for one in said if "checkpoint" in one]
        report = await audit(
            workplace.log,
            NAME,
            vault=workplace.vault(TENANT),
            kept_checkpoint=kept[-1] if kept else b"",
        )
        assert report.findings == ()
        for one in said:
            if "leaf" in one:
                (record,) = await workplace.log.read(NAME, one["index"], 1)
                assert leaf_hash(record.entry).hex() == one["leaf"]


async def check_goes_on(home: Path, said: list[dict[str, Any]]) -> None:
    """Opened again, what was left over is worked off, and everything verifies."""
    async with at_desk(home) as (_, desk):
        assert await settle(desk) == ()
        assert desk.ledger.pending == ()
        assert desk.ledger.state.open_runs == {}
        report = await audit(desk.ledger.log, NAME, vault=desk.vault, keys=desk.keys)
        assert report.findings == ()
        await check_receipts(desk, said)


async def check_receipts(desk: Desk, said: list[dict[str, Any]]) -> None:
    """Every receipt that was acknowledged verifies offline."""
    policy = policy_of_log(desk.ledger.verifier_key)
    for one in said:
        if one["answer"] == "receipt":
            verify_bundle(format_bundle(await bundle_of(desk.ledger, one["index"])), policy)


async def root_of_store(folder: Path) -> tuple[int, str]:
    """Size and root of the ledger in a folder, after an audit that found nothing."""
    log = SQLiteLog(folder)
    try:
        if await log.size(NAME) == 0:
            return 0, ""
        report = await audit(log, NAME)
        assert report.findings == ()
        return report.size, report.root
    finally:
        await log.close()
