"""What earlier versions handed out where witnesses cosign: every folder of tests/vectors/cosigned.

Each file is read and judged by our verifier, and by the one that shares no code with it.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from adapters.sqlite_log import SQLiteLog
from domain.errors import TallystickError
from ledger.audit import audit
from ledger.ledger import ledger_name
from ledger.metalog import META_TENANT
from ledger.notes import parse_verifier_key
from ledger.policy import Policy, format_policy, parse_policy
from tests.docs.by_the_book import read_book, rows_of
from tests.docs.test_verify import verify
from tests.ledger.cosigned_fixtures import FOLDERS, WAYS, fixtures
from tests.ledger.test_formats import stored
from tests.ledger.vouched import OURS, THEIRS

VERSIONS = sorted(path for path in FOLDERS.iterdir() if path.is_dir())
NAMES = {"receipt": "{}.tally.json", "audit": "{}.audit.json", "complete": "topics-{}.json"}
# The version that each way takes, of a bundle, an audit bundle and a complete list.
FORMATS = {"itself": (1, 2, 1), "meta": (2, 2, 2), "meta-rotated": (3, 2, 2)}

every_version = pytest.mark.parametrize("folder", VERSIONS, ids=lambda folder: folder.name)


def witnesses_of(found: Any) -> list[str]:
    return [one.key.name for one in found.witnessed.cosignatures]


@every_version
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", NAMES)
def test_what_witnesses_vouch_for_is_read_and_both_verifiers_say_the_same(
    folder: Path, kind: str, way: str
) -> None:
    data = (folder / NAMES[kind].format(way)).read_bytes()
    assert b"/v%d" % FORMATS[way][list(NAMES).index(kind)] in data
    policy = parse_policy((folder / "policy").read_bytes())
    ours, theirs = OURS[kind](data, policy), THEIRS[kind](data, verify.parse_policy(format_policy(policy)))
    assert witnesses_of(ours) == theirs["cosigners"]
    assert len(theirs["cosigners"]) >= 2
    assert (theirs["meta"] is None) == (way == "itself")
    for bad in (asking_for_one_more(policy), without_own_log(policy)):
        with pytest.raises(TallystickError):
            OURS[kind](data, parse_policy(bad))
        with pytest.raises((verify.Malformed, verify.Refused)):
            THEIRS[kind](data, verify.parse_policy(bad))


def asking_for_one_more(policy: Policy) -> bytes:
    """The policy, with a witness who has not cosigned."""
    stranger = verify.Key("witness.example/none", 4, bytes(32)).vkey.encode()
    text = format_policy(policy)
    group = text.partition(b"group enough 2 ")[2].partition(b"\n")[0]
    asked = b"witness w9 %b\ngroup enough 4 %b w9" % (stranger, group)
    return text.replace(b"group enough 2 " + group, asked)


def without_own_log(policy: Policy) -> bytes:
    """The policy, with the ledger's own key left out."""
    lines = format_policy(policy).splitlines(keepends=True)
    return b"".join(lines[1:])


@every_version
@pytest.mark.anyio
async def test_a_meta_log_is_whole_by_ours_and_by_the_specification_alone(
    folder: Path, tmp_path: Path
) -> None:
    vkeys = (folder / "meta-keys").read_text().splitlines()
    rows = rows_of(folder / "meta.jsonl")
    book = read_book(rows)
    types = {row["event_type"] for row in rows}
    keys = {"key.created.v1", "key.rotated.v1", "key.revoked.v1"}
    assert types == {"ledger.opened.v1", "tenant.checkpointed.v1"} | keys
    assert [span.key.vkey for span in book.keys.spans.values()] == vkeys
    owner = verify.parse_policy((folder / "policy").read_bytes()).logs[0]
    label = hashlib.sha256(f"tallystick/meta/v1\n{owner.vkey}\n".encode()).hexdigest()
    for row, (entry, payload, _) in zip(rows, book.opened, strict=True):
        if row["event_type"] == "tenant.checkpointed.v1":
            assert entry["subject"] == f"ledger/{label}"
            verify.open_note(payload, [owner], "step")

    log = SQLiteLog(tmp_path / "log")
    try:
        size = await stored(folder, log, file="meta.jsonl", tenant=META_TENANT)
        for vkey in vkeys:
            report = await audit(log, ledger_name(META_TENANT), trusted=parse_verifier_key(vkey))
            assert (report.findings, report.size) == ((), size)
    finally:
        await log.close()


def test_this_version_writes_what_the_newest_folder_holds() -> None:
    """When this fails a format has changed: keep the old folder, and make a new one beside it."""
    made, newest = asyncio.run(fixtures()), VERSIONS[-1]
    assert {path.name for path in newest.iterdir()} == set(made)
    for name, data in made.items():
        assert data == (newest / name).read_bytes(), name
