"""A whole ledger judged by docs/format.md alone (section Ledger), with the second verifier.

Nothing here is imported from the product, so that what it needs to know has to stand in the specification.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.docs.test_verify import verify

Row = dict[str, Any]


def rows_of(path: Path) -> list[Row]:
    """The records of a kept ledger, bytes decoded."""
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [
        {**row, **{name: base64.b64decode(row[name]) for name in ("entry", "payload", "seal")}}
        for row in rows
    ]


def root_of(leaves: list[bytes]) -> bytes:
    """MTH over leaf hashes, as the section Tree writes it."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + root_of(leaves[:k]) + root_of(leaves[k:])).digest()


class Book:
    """What is known after the rows so far."""

    def __init__(self) -> None:
        self.leaves: list[bytes] = []
        self.origin = ""
        self.keys: Any = None
        self.opened: list[tuple[Any, bytes, bytes]] = []
        self.seals: dict[int, bytes] = {}
        self.topics: dict[str, list[int]] = defaultdict(list)
        self.receipts: dict[str, dict[str, Any]] = {}
        self.recalls: dict[str, dict[str, Any]] = {}
        self.erased: set[str] = set()

    def take(self, row: Row) -> None:
        """The next record; asserts what the specification says of it."""
        index, leaf = len(self.leaves), verify.leaf_hash(row["entry"])
        entry = verify.parse_entry(row["entry"])
        self.origin = self.origin or entry["origin"]
        previous = row["entry"].split(b"\n")[10].decode()
        assert (entry["origin"], entry["index"], entry["type"]) == (self.origin, index, row["event_type"])
        assert previous == (self.leaves[-1].hex() if index else "0" * 64)
        assert entry["payload_size"] == len(row["payload"])
        assert entry["payload_digest"] == hashlib.sha256(row["payload"]).hexdigest()
        self.leaves.append(leaf)
        self.opened.append((entry, row["payload"], leaf))
        self.keys = self.keys or verify.Keys(self.origin)
        if entry["type"].startswith("key."):
            self.keys.take(entry, row["payload"], "step")
        if row["seal"]:
            self.seals[index] = row["seal"]
            self.check_seal(index, row["seal"])
        is_own = entry["type"] in ("receipt.issued.v1", "statement.added.v1", "tenant.checkpointed.v1")
        event = {} if is_own else verify.parse_json(row["payload"], f"the body of entry {index}")
        if check := getattr(self, "on_" + entry["type"].replace(".", "_"), None):
            check(entry, event, row["payload"])
        for topic in self.topics_of(entry, event):
            self.topics[topic].append(index)

    def end(self) -> None:
        """After the last record."""
        assert len(self.leaves) - 1 in self.seals
        for recall in self.recalls.values():
            assert recall["is_complete"]

    def check_seal(self, index: int, seal: bytes) -> None:
        known = [span.key for span in self.keys.spans.values()]
        text, signers = verify.open_note(seal, known, "step")
        assert verify.parse_checkpoint(text) == (self.origin, index + 1, root_of(self.leaves))
        self.keys.demand_ruled(index, signers, "step")
        line = [f"keys {self.keys.head}"] if self.keys.count > 1 else []
        assert text.split("\n")[3:-1] == line

    def line_of(self, topic: str) -> bytes:
        chain = bytes(32)
        for index in self.topics[topic]:
            chain = hashlib.sha256(b"tallystick/topic-chain/v1\x00" + chain + self.leaves[index]).digest()
        places = self.topics[topic]
        lines = ("tallystick/topic/v1", topic, str(len(places)), str(places[-1]), chain.hex())
        return "".join(f"{line}\n" for line in lines).encode()

    def topics_of(self, entry: Row, event: Row) -> Iterator[str]:
        match entry["type"]:
            case "batch.ingested.v1":
                yield f"batches/{event['source_id']}"
            case "batch.quarantined.v1":
                yield f"quarantines/{event['source_id']}"
            case "device.configured.v1":
                yield f"configurations/{event['device_id']}"
            case "calibration.set.v1":
                yield f"calibrations/{event['device_id']}"
            case "recall.declared.v1":
                yield "recalls"
                if event["kind"] == "calibration":
                    yield f"calibrations/{event['target'].split('/')[0]}"
            case "receipt.issued.v1":
                predicate = self.receipts[entry["subject"].removeprefix("receipt/")]
                yield f"receipts/{predicate['source']['source_id']}"
                if predicate["supersedes"]:
                    yield f"status/{predicate['supersedes']}"
            case "receipts.recalled.v1":
                yield from (f"status/{one['receipt_id']}" for one in event["receipts"])
            case "receipt.replayed.v1":
                yield f"replays/{event['receipt_id']}"
            case "subject.erased.v1":
                yield f"erasures/{event['connection_id']}"

    def on_ledger_opened_v1(self, entry: Row, event: Row, payload: bytes) -> None:
        assert (entry["index"], event["origin"], event["format_version"]) == (0, self.origin, 1)

    def on_receipt_issued_v1(self, entry: Row, event: Row, payload: bytes) -> None:
        known = [span.key for span in self.keys.spans.values()]
        said, signers = verify.open_envelope(payload, known, "application/vnd.in-toto+json", "step")
        self.keys.demand_ruled(entry["index"], signers, "step")
        receipt_id = "r" + hashlib.sha256(said).hexdigest()[:24]
        assert entry["subject"] == f"receipt/{receipt_id}"
        statement = verify.parse_json(said, "the statement")
        tenant = json.loads(self.opened[0][1])["tenant"]
        predicate, decided = verify.expected_predicate(
            verify.Entries(self.opened), tenant, self.origin, statement["predicate"]["run"]
        )
        expected = {
            "_type": "https://in-toto.io/Statement/v1",
            "predicate": predicate,
            "predicateType": "urn:tallystick:receipt:v1",
            "subject": [verify.expected_subject(artifact) for artifact in decided["artifacts"]],
        }
        assert verify.canonical(expected).encode() == said
        self.receipts[receipt_id] = {**predicate, "at": entry["index"]}

    def on_topics_committed_v1(self, entry: Row, event: Row, payload: bytes) -> None:
        lines = [self.line_of(topic) for topic in sorted(self.topics, key=str.encode)]
        root = root_of([verify.leaf_hash(line) for line in lines])
        assert event == {"root_sha256": root.hex(), "size": entry["index"], "topic_count": len(lines)}

    def on_recall_declared_v1(self, entry: Row, event: Row, payload: bytes) -> None:
        named = hashlib.sha256(f"{event['kind']}\n{event['target']}".encode()).hexdigest()[:24]
        assert event["recall_id"] == f"recall-{named}"
        rests = [
            {"index": predicate["at"], "receipt_id": receipt_id}
            for receipt_id, predicate in self.receipts.items()
            if event["target"] in rests_on(predicate, event["kind"])
        ]
        self.recalls[event["recall_id"]] = {"at": entry["index"], "rests": rests, "is_complete": False}

    def on_receipts_recalled_v1(self, entry: Row, event: Row, payload: bytes) -> None:
        recall = self.recalls[event["recall_id"]]
        assert (event["recall_index"], event["part"], event["is_last"]) == (recall["at"], 0, True)
        assert event["receipts"] == recall["rests"]
        assert event["receipt_count"] == len(recall["rests"])
        recall["is_complete"] = True

    def on_checkpoint_timestamped_v1(self, entry: Row, event: Row, payload: bytes) -> None:
        seal = self.seals[event["size"] - 1]
        assert event["digest"] == f"sha256:{hashlib.sha256(seal).hexdigest()}"
        assert event["size"] <= entry["index"]

    def on_batch_ingested_v1(self, entry: Row, event: Row, payload: bytes) -> None:
        assert event["source_id"] not in self.erased

    def on_run_started_v1(self, entry: Row, event: Row, payload: bytes) -> None:
        bare = verify.canonical({**event, "run_id": ""}).encode()
        assert event["run_id"] == "run-" + hashlib.sha256(bare).hexdigest()[:24]

    def on_subject_erased_v1(self, entry: Row, event: Row, payload: bytes) -> None:
        self.erased.add(event["connection_id"])

    def status_of(self, receipt_id: str) -> str:
        """What a receipt is worth, from the entries of its status topic."""
        about = [self.opened[index][0]["type"] for index in self.topics.get(f"status/{receipt_id}", ())]
        if "receipts.recalled.v1" in about:
            return "recalled"
        if not self.receipts[receipt_id]["is_presentable"]:
            return "withheld"
        return "superseded" if about else "valid"


def rests_on(predicate: dict[str, Any], kind: str) -> list[str]:
    """The targets of this kind of recall that a receipt rests on."""
    if kind == "procedure":
        return [f"{predicate['procedure']['name']}/{predicate['procedure']['version']}"]
    if kind == "firmware":
        part = predicate["configuration"]
        return [f"{predicate['source']['source_id']}/{part['firmware']}"] if part else []
    part = predicate["calibration"]
    named = part and part["calibration"]
    return [f"{named['device_id']}/{named['calibration_id']}"] if named else []


def read_book(rows: list[Row]) -> Book:
    """The whole ledger, every step asserted."""
    book = Book()
    for row in rows:
        book.take(row)
    book.end()
    return book
