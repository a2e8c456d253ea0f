"""What is fuzzed: for each kind of bytes, what reads them, and what must hold of whatever was read.

A target returns, raises nothing but our own errors, and never another exception; where a format has one
spelling, what was parsed is written back as the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from adapters.contract_files import parse_contract
from adapters.erasure_journal import ERASURE_BYTES_MAX
from adapters.files.arrow_dataset import read_dataset
from adapters.files.csv import read_csv
from adapters.files.miniseed import read_miniseed
from adapters.setup_files import parse_setup
from domain.canonical import canonical_json, parse_canonical
from domain.columns import parse_columns
from domain.errors import TallystickError
from domain.event_codec import decode_event, encode_event
from domain.health.mappers import MAPPERS
from domain.procedures.procedure import ProcedureInput
from ledger.audit_bundle import verify_audit_bundle
from ledger.bundle import format_bundle, parse_bundle
from ledger.checkpoint import format_checkpoint, parse_checkpoint
from ledger.completeness import verify_completeness
from ledger.dsse import format_envelope, parse_envelope, parse_foreign_envelope
from ledger.entry import format_entry, parse_entry
from ledger.merkle import Frontier
from ledger.notes import (
    VerifierKey,
    format_note,
    format_verifier_key,
    open_note,
    parse_note,
    parse_verifier_key,
)
from ledger.policy import format_policy, parse_policy, policy_of_log
from ledger.ports import Erasure
from ledger.receipt import parse_receipt
from ledger.statement import format_statement, parse_foreign_statement, parse_statement
from ledger.tlog_proof import format_tlog_proof, parse_tlog_proof
from ledger.topics import parse_topic_line
from ledger.verify import verify_bundle
from ledger.witness import admit, format_add_checkpoint, parse_add_checkpoint
from tests.fuzz.seeds import CSV_OPTIONS, Seeds

S = TypeVar("S", bytes, str)
T = TypeVar("T")
Target = Callable[[bytes], None]

_RECEIVED_NS = 1_774_850_000_000_000_000
ROOT = Path(__file__).resolve().parents[2]


def targets(seeds: Seeds, second_verifier: Any) -> Mapping[str, Target]:
    """Every target by name; its seeds are those of the same name."""
    key = seeds.key
    return {
        "note": _note(key),
        "entry": _spelled(parse_entry, format_entry),
        "tlog-proof": _spelled(parse_tlog_proof, format_tlog_proof),
        "vkey": _vkey,
        "policy": _policy,
        "envelope": _envelope,
        "statement": _statement,
        "event": _event,
        "topic-line": _spelled(parse_topic_line, lambda state: state.line),
        "frontier": _spelled(Frontier.from_bytes, lambda frontier: frontier.to_bytes()),
        "bundle": _bundle(key, second_verifier),
        "audit-bundle": _audit_bundle(key, second_verifier),
        "completeness": _completeness(key, second_verifier),
        "add-checkpoint": _add_checkpoint(key),
        "erasure": _spelled(lambda data: parse_canonical(data[:ERASURE_BYTES_MAX], Erasure), canonical_json),
        "columns": _read(parse_columns),
        "dataset": _read(read_dataset),
        "miniseed": _read(read_miniseed),
        "csv": _read(lambda data: read_csv(data, CSV_OPTIONS)),
        "setup": _read(lambda data: parse_setup(data, "setup.yaml")),
        "contract": _read(lambda data: parse_contract(data, "contract.yaml")),
        "oura-sleep": _mapper("oura.sleep"),
        "oura-activity": _mapper("oura.daily_activity"),
    }


def _spelled(parse: Callable[[S], T], write: Callable[[T], S]) -> Callable[[S], None]:
    def target(data: S) -> None:
        try:
            parsed = parse(data)
        except TallystickError:
            return
        assert write(parsed) == data, "one value, two spellings"

    return target


def _read(parse: Callable[[bytes], object]) -> Target:
    def target(data: bytes) -> None:
        try:
            parse(data)
        except TallystickError:
            return

    return target


def _note(key: VerifierKey) -> Target:
    def target(data: bytes) -> None:
        try:
            note = parse_note(data)
        except TallystickError:
            return
        assert format_note(note) == data
        try:
            open_note(data, [key])
            opened = True
        except TallystickError:
            opened = False
        try:
            checkpoint = parse_checkpoint(note.text)
        except TallystickError:
            assert not opened, "something that is no checkpoint is signed with the ledger's key"
            return
        assert format_checkpoint(checkpoint) == note.text

    return target


def _vkey(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    _spelled(parse_verifier_key, format_verifier_key)(text)


def _policy(data: bytes) -> None:
    try:
        policy = parse_policy(data)
    except TallystickError:
        return
    assert parse_policy(format_policy(policy)) == policy


def _envelope(data: bytes) -> None:
    try:
        envelope = parse_envelope(data)
    except TallystickError:
        envelope = None
    if envelope is not None:
        assert format_envelope(envelope) == data
        # What is ours is also what anybody else's reader takes it for.
        assert parse_foreign_envelope(data) == envelope
        _read(lambda one: parse_receipt(one))(data)
    _read(parse_foreign_envelope)(data)


def _statement(data: bytes) -> None:
    _spelled(parse_statement, format_statement)(data)
    _read(parse_foreign_statement)(data)


def _event(data: bytes) -> None:
    event_type, _, payload = data.partition(b"\n")
    try:
        event = decode_event(event_type.decode("utf-8", "replace"), payload)
    except TallystickError:
        return
    # Members that a later version adds are passed over; what was understood can be written again.
    written = encode_event(event)
    assert encode_event(decode_event(event.TYPE, written)) == written


def _bundle(key: VerifierKey, second: Any) -> Target:
    policy = policy_of_log(key)
    their_policy = second.Policy([second.parse_key(format_verifier_key(key))])

    def target(data: bytes) -> None:
        _spelled(parse_bundle, format_bundle)(data)
        _agree(lambda: verify_bundle(data, policy), lambda: second.verify_bundle(data, their_policy), second)

    return target


def _audit_bundle(key: VerifierKey, second: Any) -> Target:
    policy = policy_of_log(key)
    their_policy = second.Policy([second.parse_key(format_verifier_key(key))])

    def target(data: bytes) -> None:
        _agree(
            lambda: _now(verify_audit_bundle(data, policy)),
            lambda: second.verify_audit_bundle(data, their_policy),
            second,
        )

    return target


def _completeness(key: VerifierKey, second: Any) -> Target:
    policy = policy_of_log(key)
    their_policy = second.Policy([second.parse_key(format_verifier_key(key))])

    def target(data: bytes) -> None:
        _agree(
            lambda: verify_completeness(data, policy),
            lambda: second.verify_completeness(data, their_policy),
            second,
        )

    return target


def _add_checkpoint(key: VerifierKey) -> Target:
    logs = policy_of_log(key)

    def target(data: bytes) -> None:
        _spelled(parse_add_checkpoint, format_add_checkpoint)(data)
        _read(lambda request: admit(request, logs))(data)

    return target


def _mapper(name: str) -> Target:
    procedure = next(one for one in MAPPERS if one.name == name)

    def target(data: bytes) -> None:
        task = ProcedureInput(
            options={}, payload=data, received_at_ns=_RECEIVED_NS, record_key_secret=b"k" * 32
        )
        try:
            result = procedure.run(task)
        except TallystickError:
            return
        # What is recorded in the clear says nothing that is not a number or a reason.
        canonical_json([result.windows, result.metrics, result.revisions])

    return target


def _agree(ours: Callable[[], object], theirs: Callable[[], object], second: Any) -> None:
    """Both verifiers accept, or both refuse, each in its own words."""
    try:
        ours()
        accepted = True
    except TallystickError:
        accepted = False
    try:
        theirs()
        also = True
    except (second.Malformed, second.Refused):
        also = False
    assert accepted == also, f"one verifier {'accepts' if accepted else 'refuses'}, the other does not"


def _now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    coroutine.close()
    raise AssertionError("verifying waits for something")
