"""The second verifier judges meta-logs by their steps too."""

from __future__ import annotations

from typing import Any

import pytest

from domain.canonical import canonical_json
from ledger.bundle import FORMAT, FORMAT_2, Bundle, MalformedBundleError, format_bundle, parse_bundle
from ledger.meta_proof import MetaProof
from ledger.notes import format_verifier_key
from ledger.policy import format_policy
from ledger.tlog_proof import parse_tlog_proof
from tests.docs.test_verify import LOG, VKEY, bundle_of, parts_of, verify
from tests.ledger.meta_logs import META, WITNESSES, meta_proof, policy_for
from tests.ledger.signing_key import SigningKey

FULL = verify.parse_policy(format_policy(policy_for(LOG.verifier_key, META.verifier_key)))
BARE = verify.Policy([verify.parse_key(VKEY)])
PLAIN = parse_bundle(bundle_of())
CHECKPOINT = parse_tlog_proof(PLAIN.proof).checkpoint


def with_meta(meta: MetaProof | None = None, **changes: Any) -> bytes:
    found = meta or meta_proof(CHECKPOINT, changes.pop("tenant", LOG.verifier_key), **changes)
    return format_bundle(Bundle(entry=PLAIN.entry, envelope=PLAIN.envelope, proof=PLAIN.proof, meta=found))


def test_a_bundle_without_meta_is_still_spelled_as_version_1() -> None:
    assert parts_of(bundle_of())["format"] == FORMAT
    assert parts_of(with_meta())["format"] == FORMAT_2
    assert parse_bundle(with_meta()).meta == meta_proof(CHECKPOINT, LOG.verifier_key)


def test_witnesses_of_the_meta_log_count_for_the_receipt() -> None:
    found = verify.verify_bundle(with_meta(), FULL)
    assert found["cosigners"] == [key.name for key in WITNESSES[:2]]
    assert (found["meta"]["log"], found["meta"]["size"], found["meta"]["is_judged"]) == (META.name, 3, True)
    with pytest.raises(verify.Refused, match=r"^step 4: too few"):
        verify.verify_bundle(bundle_of(), FULL)


def test_a_bare_key_tells_that_the_meta_log_was_not_judged() -> None:
    found = verify.verify_bundle(with_meta(), BARE)
    assert (found["meta"]["is_judged"], found["cosigners"]) == (False, [])


@pytest.mark.parametrize(
    ("step", "bundle"),
    [
        ("1", with_meta(event_type="receipt.issued.v1")),
        ("2", with_meta(payload_sha256="00" * 32)),
        ("3", with_meta(tenant=SigningKey("tally.example/other").verifier_key)),
        ("3", with_meta(origin=LOG.name)),
        ("4", with_meta(index=2)),
        ("5", with_meta(witnesses=WITNESSES[:1])),
    ],
)
def test_a_meta_log_that_is_wrong_is_refused_at_its_step(step: str, bundle: bytes) -> None:
    with pytest.raises(verify.Refused, match=f"^step 4, meta-log step {step}: "):
        verify.verify_bundle(bundle, FULL)


def test_every_single_byte_of_a_bundle_with_meta_matters() -> None:
    bundle = with_meta()
    for position in range(len(bundle)):
        changed = bytearray(bundle)
        changed[position] ^= 1 << position % 8
        with pytest.raises((verify.Malformed, verify.Refused)):
            verify.verify_bundle(bytes(changed), FULL)


def test_a_version_that_does_not_go_with_what_is_in_it_is_malformed() -> None:
    one, two = parts_of(bundle_of()), parts_of(with_meta())
    for parts in (
        {**one, "format": FORMAT_2},
        {**two, "format": FORMAT},
        {**two, "format": "tallystick/bundle/v3"},
        {**two, "meta": None},
        {**two, "meta": {}},
        {**two, "meta": {**dict(two["meta"]), "more": ""}},  # type: ignore[arg-type]
        {**one, "more": "x"},
    ):
        with pytest.raises(verify.Malformed):
            verify.verify_bundle(canonical_json(parts), FULL)
        with pytest.raises(MalformedBundleError):
            parse_bundle(canonical_json(parts))


def test_the_label_is_over_the_vkey_as_it_is_handed_out() -> None:
    assert verify.parse_key(VKEY).vkey == VKEY == format_verifier_key(LOG.verifier_key)
