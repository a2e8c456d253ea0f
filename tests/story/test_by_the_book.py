"""The story's ledger, real runs of signals and of a person's payloads, is what the specification says."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

from api.demo import CONNECTION, DEVICE
from ledger.completeness import Topics
from ledger.erasure import ErasureReason, erase_subject
from ledger.recall import recall
from tests.docs.by_the_book import Row, read_book
from tests.docs.test_format import BLOCKS
from tests.docs.test_verify import verify
from tests.story.told import at_desk


async def told_on(home: Path) -> list[Row]:
    """The records after a recall, an erasure and commitments before and after."""
    async with at_desk(home) as (_, desk):
        topics = Topics(desk.ledger)
        await topics.commit("test")
        source = desk.source(DEVICE)
        await recall(desk, "firmware", f"{DEVICE}/{source.firmware}", "it loses samples", "test")
        await erase_subject(desk, CONNECTION, ErasureReason.OBJECTION, "test")
        await topics.commit("test")
        return [
            {
                "event_type": record.event_type,
                "entry": record.entry,
                "payload": record.payload,
                "seal": record.seal,
            }
            for record in await desk.ledger.read(0, 10_000)
        ]


def test_a_told_ledger_is_whole_by_the_specification_alone(home: Path) -> None:
    rows = asyncio.run(told_on(home))
    book = read_book(rows)
    statuses = {
        predicate["source"]["kind"]: book.status_of(receipt_id)
        for receipt_id, predicate in book.receipts.items()
        if predicate["is_presentable"]
    }
    assert statuses["device"] == "recalled"
    assert len(book.topics[f"erasures/{CONNECTION}"]) == 1
    for row in rows:
        if stated := BLOCKS[row["event_type"]]:
            event = json.loads(row["payload"])
            required = {name for name, (_, may_be_absent) in stated.items() if not may_be_absent}
            assert required <= set(event) <= set(stated)


def test_ids_are_derived_as_the_specification_says(home: Path) -> None:
    batches = [
        json.loads(row["payload"])
        for row in asyncio.run(told_on(home))
        if row["event_type"] == "batch.ingested.v1"
    ]
    assert {bool(event.get("format_options")) for event in batches} == {True, False}
    for event in batches:
        lines = [event["source_id"], event["kind"], event["digest"]]
        if event.get("format_options"):
            lines.append(verify.canonical(event["format_options"]))
        assert event["batch_id"] == "b" + hashlib.sha256("\n".join(lines).encode()).hexdigest()[:24]
