"""A ledger over HTTP as other logs are: tiles for anybody's tools, computed proofs, raw statements."""

from __future__ import annotations

import gzip
import hashlib
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from adapters.tile_web import TileWeb
from api.command_line import main
from ledger.checkpoint import open_checkpoint
from ledger.merkle import leaf_hash, verify_consistency, verify_inclusion
from ledger.notes import VerifierKey, parse_verifier_key
from ledger.policy import Policy, policy_of_log
from ledger.statements import STATEMENT_BYTES_MAX, verify_statement
from ledger.tile_audit import audit_tiles, tiles_of_audit
from ledger.tiles import ENTRIES_LEVEL, Tile, parse_bundle, tile_path
from ledger.tlog_proof import parse_tlog_proof
from tests.api.served import Server, serving
from tests.ledger.go_sumdb import build_oracle

# With the two entries that open a ledger: two full bundles and a partial one.
STATEMENTS = 600


class Served:
    """A server with a grown ledger, and what its clients know."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.writer = server.key("ingest")
        self.reader = server.key("read")
        self.other = server.key("admin", tenant="other")
        self.vkey = ""

    @property
    def key(self) -> VerifierKey:
        return parse_verifier_key(self.vkey)

    @property
    def policy(self) -> Policy:
        return policy_of_log(self.key)

    def add(self, statement: bytes, path: str = "/v1/add", **headers: str) -> Any:
        return self.server.ask("POST", path, key=self.writer, body=statement, headers=headers)

    def tiles(self) -> TileWeb:
        return TileWeb(f"{self.server.url}/v1/tlog", api_key=self.reader)

    def audit(self) -> int:
        """Audit the newest checkpoint from tiles alone; returns its size."""
        tiles = self.tiles()
        checkpoint = open_checkpoint(tiles.checkpoint(), [self.key])
        tiles.expect(tiles_of_audit(0, checkpoint.size))
        return audit_tiles(tiles, checkpoint).size


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("served")
    with serving(home, {"TALLY_PUBLIC_TLOG": "demo, absent"}) as server:
        found = Served(server)
        found.vkey = server.get("/v1/ledger", found.reader).json["verifier_key"]
        assert server.get("/v1/ledger", found.other).status == 200
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda n: found.add(b"statement %d" % n), range(STATEMENTS)))
        assert {answer.status for answer in answers} == {201}
        yield found


# -- tiles


def test_the_checkpoint_is_signed_by_the_log_and_is_asked_for_anew_each_time(served: Served) -> None:
    answer = served.server.get("/v1/tlog/checkpoint", served.reader)
    assert open_checkpoint(answer.body, [served.key]).size >= STATEMENTS + 2
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    again = served.server.get("/v1/tlog/checkpoint", served.reader, If_None_Match=answer.headers["etag"])
    assert (again.status, again.body) == (304, b"")


def test_the_whole_log_audits_from_its_tiles(served: Served) -> None:
    assert served.audit() >= STATEMENTS + 2


def test_a_log_that_grows_audits_at_every_checkpoint(served: Served) -> None:
    stop = threading.Event()

    def grow(writer: int) -> int:
        count = 0
        while not stop.is_set() and count < 2_000:
            served.add(b"meanwhile %d %d" % (writer, count))
            count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        growing = [pool.submit(grow, writer) for writer in range(3)]
        sizes = [served.audit() for _ in range(5)]
        # On a busy machine five audits can pass before a writer is answered.
        until = time.monotonic() + 60
        while sizes[-1] <= sizes[0] and time.monotonic() < until:
            sizes.append(served.audit())
        stop.set()
        assert all(one.result() for one in growing)
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0]


def test_tiles_may_be_kept_for_ever(served: Served) -> None:
    for path in (
        "tile/0/000",
        "tile/0/001.p/7",
        "tile/1/000.p/2",
        "tile/entries/001",
        "tile/entries/002.p/1",
    ):
        answer = served.server.get(f"/v1/tlog/{path}", served.reader)
        assert answer.status == 200, path
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        kept = served.server.get(f"/v1/tlog/{path}", served.reader, If_None_Match=answer.headers["etag"])
        assert (kept.status, kept.body) == (304, b"")


def test_a_narrower_tile_is_the_beginning_of_the_wider_one(served: Served) -> None:
    full = served.server.get("/v1/tlog/tile/0/000", served.reader).body
    assert len(full) == 8_192
    assert served.server.get("/v1/tlog/tile/0/000.p/3", served.reader).body == full[:96]
    bundle = served.server.get("/v1/tlog/tile/entries/000", served.reader).body
    narrow = served.server.get("/v1/tlog/tile/entries/000.p/3", served.reader).body
    assert bundle.startswith(narrow)
    entries = parse_bundle(bundle, 256)
    assert b"".join(map(leaf_hash, entries)) == full


def test_a_bundle_comes_compressed_to_those_who_take_it_so(served: Served) -> None:
    path = "/v1/tlog/tile/entries/000"
    plain = served.server.get(path, served.reader)
    packed = served.server.get(path, served.reader, Accept_Encoding="br, gzip;q=0.5")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body)
    assert packed.headers["etag"] != plain.headers["etag"]
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert (
        "content-encoding" not in served.server.get(path, served.reader, Accept_Encoding="gzip;q=0").headers
    )


@pytest.mark.parametrize(
    "path",
    [
        "0/999",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/01",
        "0/0",
        "0/x000/000",
        "0/x001/999",
        "00/000",
        "64/000",
        "-1/000",
        "entries/x001/000",
        "entries/000.p/",
        "entries/",
        "1/000",
        "5/000",
        "0/000/",
        "0//000",
        "0/%30%30%30",
        "0/000.P/3",
        "data/000",
        "../checkpoint",
    ],
)
def test_what_is_not_there_or_not_spelled_right_is_not_found(served: Served, path: str) -> None:
    answer = served.server.get(f"/v1/tlog/tile/{path}", served.reader)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["type"] == "urn:tallystick:problem:unknown"


def test_head_tells_what_get_would_send(served: Served) -> None:
    answer = served.server.ask("HEAD", "/v1/tlog/tile/0/000", key=served.reader)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["etag"] == served.server.get("/v1/tlog/tile/0/000", served.reader).headers["etag"]


# -- whose they are


def test_each_caller_sees_the_tiles_of_his_own_tenant(served: Served) -> None:
    own = served.server.get("/v1/tlog/tile/entries/000.p/2", served.reader)
    others = served.server.get("/v1/tlog/tile/entries/000.p/2", served.other)
    assert b"/other\n" in others.body
    assert b"/demo\n" not in others.body
    assert own.headers["etag"] != others.headers["etag"]
    assert served.server.get("/v1/tlog/tile/0/000", served.other).status == 404


def test_without_a_key_or_the_scope_there_are_no_tiles(served: Served) -> None:
    for path in ("checkpoint", "tile/0/000"):
        assert served.server.get(f"/v1/tlog/{path}").status == 401
        assert served.server.get(f"/v1/tlog/{path}", served.writer).status == 403


def test_a_public_ledger_needs_no_key_and_shared_caches_may_keep_its_tiles(served: Served) -> None:
    tiles = TileWeb(f"{served.server.url}/tlog/demo")
    checkpoint = open_checkpoint(tiles.checkpoint(), [served.key])
    assert audit_tiles(tiles, checkpoint).size == checkpoint.size
    headers = served.server.get("/tlog/demo/tile/0/000").headers
    assert headers["cache-control"] == "public, max-age=31536000, immutable"


def test_other_ledgers_cannot_be_told_from_none_and_asking_makes_none(served: Served) -> None:
    def told(tenant: str) -> tuple[int, Any]:
        answer = served.server.get(f"/tlog/{tenant}/checkpoint")
        return answer.status, {**answer.json, "instance": ""}

    assert told("other") == told("nobody") == told("absent")
    assert told("other")[0] == 404
    assert served.server.get("/tlog/other/tile/0/000").status == 404
    assert not (served.server.home / "ledgers" / "ledger-absent.sqlite").exists()


# -- computed proofs


def test_inclusion_is_proven_at_every_size(served: Served) -> None:
    for index, size in ((0, 1), (0, 2), (1, 2), (5, 256), (255, 256), (256, 257), (300, 511), (599, 602)):
        proof = served.server.get(f"/v1/proofs/inclusion?index={index}&size={size}", served.reader).json
        path = [b64decode(node) for node in proof["path_base64"]]
        leaf, root = bytes.fromhex(proof["leaf_sha256"]), bytes.fromhex(proof["root_sha256"])
        assert (proof["index"], proof["size"]) == (index, size)
        verify_inclusion(index, size, leaf, path, root)
        if proof["checkpoint"]:
            assert open_checkpoint(proof["checkpoint"].encode(), [served.key]).root == root
        entry = served.server.get(f"/v1/entries/{index}", served.reader).json
        assert leaf_hash(b64decode(entry["entry_base64"])) == leaf


def test_inclusion_is_proven_by_leaf_hash(served: Served) -> None:
    for index in (0, 255, 256, 601):
        leaf = served.server.get(f"/v1/entries/{index}", served.reader).json["leaf_sha256"]
        proof = served.server.get(f"/v1/proofs/inclusion?leaf_sha256={leaf}", served.reader).json
        assert proof["index"] == index
        assert open_checkpoint(proof["checkpoint"].encode(), [served.key]).size == proof["size"]
    assert served.server.get(f"/v1/proofs/inclusion?leaf_sha256={leaf}&size=601", served.reader).status == 404
    unknown = served.server.get(f"/v1/proofs/inclusion?leaf_sha256={'ab' * 32}", served.reader)
    assert unknown.status == 404


def test_growth_is_proven_between_any_two_sizes(served: Served) -> None:
    for old, new in ((1, 1), (1, 602), (2, 3), (255, 256), (256, 512), (257, 600), (600, 601)):
        proof = served.server.get(f"/v1/proofs/consistency?size_old={old}&size_new={new}", served.reader).json
        path = [b64decode(node) for node in proof["path_base64"]]
        roots = [bytes.fromhex(proof[name]) for name in ("root_old_sha256", "root_new_sha256")]
        verify_consistency(old, new, roots[0], roots[1], path)
    newest = served.server.get("/v1/proofs/consistency?size_old=2", served.reader).json
    assert open_checkpoint(newest["checkpoint_new"].encode(), [served.key]).size == newest["size_new"]
    # The append that opened the ledger ended at two entries.
    assert open_checkpoint(newest["checkpoint_old"].encode(), [served.key]).size == 2


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("inclusion", 400),
        ("inclusion?index=1&leaf_sha256=" + "ab" * 32, 400),
        ("inclusion?index=999999999", 404),
        ("inclusion?index=5&size=5", 404),
        ("inclusion?index=0&size=0", 404),
        ("inclusion?index=0&size=999999999", 404),
        ("inclusion?index=-1", 400),
        ("inclusion?leaf_sha256=AB", 400),
        ("inclusion?index=0&at=3", 400),
        ("consistency", 400),
        ("consistency?size_old=0", 400),
        ("consistency?size_old=3&size_new=2", 400),
        ("consistency?size_old=999999999", 404),
        ("consistency?size_old=1&size_new=9223372036854775807", 404),
    ],
)
def test_proofs_of_what_is_not_there_are_problems(served: Served, query: str, status: int) -> None:
    answer = served.server.get(f"/v1/proofs/{query}", served.reader)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"


def test_go_believes_the_proofs(served: Served, tmp_path: Path) -> None:
    ask = build_oracle(tmp_path)
    inclusion = served.server.get("/v1/proofs/inclusion?index=300&size=511", served.reader).json
    growth = served.server.get("/v1/proofs/consistency?size_old=257&size_new=600", served.reader).json

    def path_of(proof: dict[str, Any]) -> list[str]:
        return [b64decode(node).hex() for node in proof["path_base64"]]

    checkpoint = served.server.get("/v1/tlog/checkpoint", served.reader).body
    answer = ask(
        Notes=[{"Note": checkpoint.decode(), "Keys": [served.vkey]}],
        Records=[
            {
                "Size": 511,
                "Index": 300,
                "Leaf": inclusion["leaf_sha256"],
                "Root": inclusion["root_sha256"],
                "Path": path_of(inclusion),
            }
        ],
        Trees=[
            {
                "SizeNew": 600,
                "SizeOld": 257,
                "RootNew": growth["root_new_sha256"],
                "RootOld": growth["root_old_sha256"],
                "Path": path_of(growth),
            }
        ],
    )
    assert answer["Notes"][0]["Error"] == ""
    assert (answer["Records"], answer["Trees"]) == ([""], [""])


# -- statements


def test_a_statement_is_answered_with_a_proof_that_verifies_offline(served: Served) -> None:
    statement = b'{"tank": "full"}'
    answer = served.add(statement, **{"Content-Type": "Application/JSON; charset=utf-8"})
    assert answer.status == 201
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    proof = parse_tlog_proof(answer.body)
    entry, witnessed = verify_statement(statement, proof, served.policy)
    assert entry.subject == "statement/application/json"
    assert witnessed.checkpoint.size > proof.index
    assert answer.headers["location"] == f"/v1/entries/{proof.index}"
    stored = served.server.get(answer.headers["location"], served.reader).json
    assert b64decode(stored["payload_base64"]) == statement
    assert b64decode(stored["entry_base64"]) == proof.extra


def test_the_same_statement_again_has_the_same_place(served: Served) -> None:
    first, again = served.add(b"said twice"), served.add(b"said twice")
    assert (first.status, again.status) == (201, 200)
    assert first.headers["location"] == again.headers["location"]
    verify_statement(b"said twice", parse_tlog_proof(again.body), served.policy)


def test_other_logs_tools_get_the_index_and_find_it_under_the_next_checkpoint(served: Served) -> None:
    answer = served.add(b"as tessera's hammer does", "/v1/tlog/add")
    assert answer.status == 200
    index = int(answer.body)
    checkpoint = open_checkpoint(served.tiles().checkpoint(), [served.key])
    assert checkpoint.size > index
    number, place = divmod(index, 256)
    tile = Tile(ENTRIES_LEVEL, number, place + 1)
    entries = parse_bundle(served.tiles()(tile), place + 1)
    assert hashlib.sha256(b"as tessera's hammer does").hexdigest().encode() in entries[place]


def test_the_route_and_its_fast_lane_give_the_same_answers(served: Served) -> None:
    def shown(answer: Any) -> dict[str, str]:
        varying = {"x-request-id", "date", "location", "content-length"}
        return {name: value for name, value in answer.headers.items() if name not in varying}

    for path in ("/v1/add", "/v1/tlog/add"):
        statement = f"by the lane {path}".encode()
        lane = served.add(statement, path)
        # The lane leaves requests with a Content-Digest to the route.
        digest = b64encode(hashlib.sha256(statement).digest()).decode()
        route = served.add(statement, path, **{"Content-Digest": f"sha-256=:{digest}:"})
        assert lane.headers["location"] == route.headers["location"]
        assert shown(lane) == shown(route)
        assert route.status == 200


def test_a_statement_may_have_any_bytes_up_to_its_limit(served: Served) -> None:
    for statement in (b"\x00", bytes(range(256)), b"\xff" * STATEMENT_BYTES_MAX):
        answer = served.add(statement)
        verify_statement(statement, parse_tlog_proof(answer.body), served.policy)


@pytest.mark.parametrize("path", ["/v1/add", "/v1/tlog/add"])
def test_statements_that_cannot_be_taken_are_refused_by_name(served: Served, path: str) -> None:
    ask = served.server.ask

    def refusal(**given: Any) -> tuple[int, str]:
        asked = {"key": served.writer, "body": b"refused", **given}
        answer = ask("POST", asked.pop("path", path), **asked)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"]
        return answer.status, answer.json["type"].rpartition(":")[2]

    assert refusal(body=b"") == (422, "invalid")
    assert refusal(body=b"x" * (STATEMENT_BYTES_MAX + 1)) == (413, "limit")
    assert refusal(body=b"x" * 5_000_000) == (413, "limit")
    assert refusal(key="") == (401, "unauthorised")
    assert refusal(key=served.writer[:-1] + "!") == (401, "unauthorised")
    assert refusal(key=served.reader) == (403, "scope")
    assert refusal(headers={"Content-Type": "no media type"}) == (400, "malformed")
    assert refusal(headers={"Content-Encoding": "gzip"}) == (415, "media-type")
    assert refusal(headers={"Content-Digest": "sha-256=:" + "A" * 43 + "=:"}) == (422, "invalid")
    assert refusal(path=path + "?because=1") == (400, "malformed")
    assert ask("GET", path, key=served.writer).status == 405


def test_a_revoked_key_puts_nothing_on_record_any_more(served: Served) -> None:
    text = served.server.key("ingest")
    assert served.server.ask("POST", "/v1/add", key=text, body=b"while in force").status == 201
    served.server.keys.revoke("demo", text.split("_")[1])
    threading.Event().wait(1.1)  # The fast lane looks a key up again after one second.
    assert served.server.ask("POST", "/v1/add", key=text, body=b"once revoked").status == 401


def test_tenants_put_statements_on_their_own_ledgers(served: Served) -> None:
    own = served.add(b"said by both")
    others = served.server.ask("POST", "/v1/add", key=served.other, body=b"said by both")
    assert others.status == own.status == 201
    assert b"/other\n" in parse_tlog_proof(others.body).extra


# -- the commands


def test_the_log_verifies_from_its_address(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TALLY_API_KEY", served.reader)
    assert main(["verify-log", f"{served.server.url}/v1/tlog", "--key", served.vkey]) == 0
    assert "every entry, link, tile and root holds" in capsys.readouterr().out
    monkeypatch.delenv("TALLY_API_KEY")
    assert main(["verify-log", f"{served.server.url}/v1/tlog", "--key", served.vkey]) == 1
    assert "TALLY_API_KEY" in capsys.readouterr().err
    assert main(["verify-log", f"{served.server.url}/tlog/demo", "--key", served.vkey]) == 0


def test_a_mirror_of_the_address_and_one_of_the_ledger_are_the_same_files(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TALLY_API_KEY", served.reader)
    url = f"{served.server.url}/v1/tlog"
    assert main(["mirror", str(tmp_path / "a"), "--from", url, "--key", served.vkey]) == 0
    assert main(["mirror", str(tmp_path / "b"), "--home", str(served.server.home)]) == 0
    assert main(["verify-log", str(tmp_path / "a"), "--key", served.vkey]) == 0

    def files(name: str) -> dict[str, bytes]:
        folder = tmp_path / name
        found = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
        return {str(path.relative_to(folder)): path.read_bytes() for path in found}

    assert files("a") == files("b")
    kept = tmp_path / "a" / "checkpoint"
    changed = tmp_path / "b" / tile_path(0, 1)
    changed.write_bytes(changed.read_bytes()[:-1] + b"?")
    capsys.readouterr()
    arguments = ["verify-log", str(tmp_path / "b"), "--key", served.vkey, "--checkpoint", str(kept)]
    assert main(arguments) == 1
    assert "[511] tile/0/001" in capsys.readouterr().err
