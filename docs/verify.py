#!/usr/bin/env python3
"""A second verifier for Tallystick receipts: one file, written from docs/format.md, with no product code.

    python3 verify.py RECEIPT.tally.json --key VKEY [--artifact NAME=FILE ...]
    python3 verify.py PROOF.tlog-proof --key VKEY --leaf FILE          a proof of any entry
    python3 verify.py PROOF.tlog-proof --key VKEY --statement FILE     of a statement that was put on record
    python3 verify.py BUNDLE.audit.json --key VKEY            receipts with everything they rest on
    python3 verify.py COMPLETENESS.json --key VKEY --topic TOPIC       that a list of entries is complete
    python3 verify.py ... --policy FILE          instead of --key: logs, witnesses and a quorum (tlog-policy)

It needs Python 3.9 or newer and the `cryptography` package (one with ML-DSA where a ledger has such a key),
and no network, ledger or configuration.  VKEY is a public key of the ledger, `name+id+base64`, that you
have from somewhere you trust and not from whoever gave you the receipt.  Exit status: 0 it holds, 1 it does
not, 2 it could not be read or was asked for wrongly.

The sections below have the names of the sections of docs/format.md, and steps have their numbers.
"""

import argparse
import base64
import binascii
import hashlib
import json
import re
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

INTEGER_MAX = 2**63 - 1
ED25519, COSIGNATURE, ML_DSA_44 = 0x01, 0x04, 0x06
PUBLIC_BYTES = {ED25519: 32, COSIGNATURE: 32, ML_DSA_44: 1_312}


class Malformed(Exception):
    """The bytes are not what they claim to be."""


class Refused(Exception):
    """The bytes parse, and a step of the verification fails."""


def demand(holds, step, what):
    if not holds:
        raise Refused(f"{step}: {what}")


def parse(holds, what):
    if not holds:
        raise Malformed(what)


# --- Spelling -------------------------------------------------------------------------------------


def decimal(text, what):
    parse(
        re.fullmatch("0|[1-9][0-9]{0,18}", text, re.ASCII) and int(text) <= INTEGER_MAX,
        f"{what} is no decimal",
    )
    return int(text)


def unbase64(text, what):
    parse(isinstance(text, str), f"{what} is no text")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed(f"{what} is no base64") from None
    parse(base64.b64encode(data).decode() == text, f"{what} is not the one base64 of its bytes")
    return data


def unhash(text, what):
    data = unbase64(text, what)
    parse(len(data) == 32, f"{what} is no hash of 32 bytes")
    return data


def utf8(data, what):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(f"{what} is not UTF-8") from None


# --- Canonical JSON -------------------------------------------------------------------------------

ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def canonical_number(number):
    """The shortest decimal of a double: plain from 1e-5 up to 1e16, with an exponent outside."""
    parse(number == number and abs(number) != float("inf"), "a number that is not finite")
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    sign = "-" if repr(number).startswith("-") else ""
    if not digits:
        return sign + "0.0"
    if -5 < point <= 16:
        if point <= 0:
            return f"{sign}0.{'0' * -point}{digits}"
        return f"{sign}{digits[:point].ljust(point, '0')}.{digits[point:] or '0'}"
    return f"{sign}{digits[0]}{'.' + digits[1:] if digits[1:] else ''}e{point - 1}"


def canonical_string(text):
    # A pattern and no loop: objects in an audit bundle are texts of many megabytes.
    spelled = re.sub(
        r'["\\\x00-\x1f]', lambda found: ESCAPES.get(found[0]) or f"\\u{ord(found[0]):04x}", text
    )
    return f'"{spelled}"'


def canonical(value):
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return canonical_string(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return canonical_number(value)
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return (
        "{" + ",".join(f"{canonical_string(name)}:{canonical(value[name])}" for name in sorted(value)) + "}"
    )


def parse_json(data, what):
    """A JSON object in its one spelling."""
    text = utf8(data, what)
    try:
        value = json.loads(text)
        spelled = canonical(value)
    except (ValueError, RecursionError):
        raise Malformed(f"{what} is no JSON") from None
    parse(isinstance(value, dict) and spelled == text, f"{what} is not the one spelling of a JSON object")
    return value


def members(value, what, **kinds):
    """The members of an object that has exactly these, each of its kind."""
    parse(
        isinstance(value, dict) and set(value) == set(kinds), f"{what} has other members than {sorted(kinds)}"
    )
    for name, kind in kinds.items():
        # Not isinstance: to Python, true is an integer.
        parse(type(value[name]) is kind, f"{what}.{name} is of another kind")
    return [value[name] for name in kinds]


# --- Tree -----------------------------------------------------------------------------------------


def sha256(data):
    return hashlib.sha256(data).digest()


def leaf_hash(leaf):
    return sha256(b"\x00" + leaf)


def check_inclusion(index, size, leaf, path, root, step):
    demand(0 <= index < size <= INTEGER_MAX, step, f"a tree of {size} leaves has no leaf {index}")
    demand(all(len(h) == 32 for h in (leaf, root, *path)), step, "a hash is not 32 bytes long")
    fn, sn, r = index, size - 1, leaf
    for p in path:
        demand(sn, step, "the inclusion path is too long")
        if fn & 1 or fn == sn:
            r = sha256(b"\x01" + p + r)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = sha256(b"\x01" + r + p)
        fn, sn = fn >> 1, sn >> 1
    demand(sn == 0, step, "the inclusion path is too short")
    demand(r == root, step, f"the path leads to {r.hex()}, not to the signed root {root.hex()}")


# --- Note and key ---------------------------------------------------------------------------------


class Key:
    def __init__(self, name, kind, public):
        self.name, self.kind, self.public = name, kind, public
        self.id = sha256(name.encode() + b"\n" + bytes([kind]) + public)[:4]
        self.hint = f"{name}+{self.id.hex()}"
        self.vkey = f"{self.hint}+{base64.b64encode(bytes([kind]) + public).decode()}"

    def verifies(self, message, signature):
        try:
            if self.kind == ML_DSA_44:
                from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

                MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, message)
            else:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def signed_note(self, text, signature):
        if self.kind == ML_DSA_44:
            if len(signature) != 8 + 2_420 or signature[0] & 0x80:
                return False
            message = subtree_message(self.name, text, signature[:8])
            return message is not None and self.verifies(message, signature[8:])
        if self.kind == COSIGNATURE:
            if len(signature) != 72 or signature[0] & 0x80:
                return False
            seconds = int.from_bytes(signature[:8], "big")
            return self.verifies(f"cosignature/v1\ntime {seconds}\n{text}".encode(), signature[8:])
        return self.verifies(text.encode(), signature)


def subtree_message(name, text, time):
    """What an ML-DSA-44 key signs for a checkpoint."""
    try:
        origin, size, root = parse_checkpoint(text)
    except Malformed:
        return None
    names = [one.encode() for one in (name, origin)]
    if any(len(one) > 255 for one in names):
        return None
    signer, log = (bytes([len(one)]) + one for one in names)
    return b"subtree/v1\n\0" + signer + time + log + bytes(8) + size.to_bytes(8, "big") + root


def is_name(name):
    return name and not re.search("[\x00-\x1f+\ud800-\udfff]", name) and not any(c.isspace() for c in name)


def parse_key(vkey):
    parts = vkey.split("+", 2)
    parse(len(parts) == 3 and is_name(parts[0]), f"not a verifier key: {vkey!r}")
    data = unbase64(parts[2], "the verifier key")
    parse(
        len(data) == 1 + PUBLIC_BYTES.get(data[0] if data else None, -2),
        "the verifier key is of a kind that is not supported",
    )
    key = Key(parts[0], data[0], data[1:])
    parse(key.id.hex() == parts[1], "the verifier key's id does not belong to its name and key")
    return key


def parse_note(data):
    """The text, and name, key id and signature of every line."""
    parse(len(data) <= 1_000_000, "a note that is too long")
    whole = utf8(data, "the note")
    parse(not re.search("[\x00-\x09\x0b-\x1f]", whole), "a control character in a note")
    text, blank, tail = whole.rpartition("\n\n")
    parse(blank and tail.endswith("\n"), "a note without its signatures")
    lines = []
    for line in tail[:-1].split("\n"):
        parts = line.split(" ")
        parse(
            len(parts) == 3 and parts[0] == "\u2014" and is_name(parts[1]),
            f"not a signature line: {line[:60]!r}",
        )
        raw = unbase64(parts[2], "a signature")
        parse(len(raw) > 4, "a signature line without signature")
        lines.append((parts[1], raw[:4], raw[4:]))
    parse(len(lines) <= 100, "too many signatures")
    return text + "\n", lines


def open_note(data, keys, step):
    """The text, and the known keys that have signed it."""
    text, lines = parse_note(data)
    known, signers = {(key.name, key.id): key for key in keys}, []
    demand(len(known) == len(keys), step, "two known keys share name and key id")
    for name, key_id, signature in lines:
        key = known.get((name, key_id))
        if key and key not in signers:
            demand(key.signed_note(text, signature), step, f"the signature of {key.hint} is wrong")
            signers.append(key)
    demand(signers, step, "no known key has signed " + ", ".join(f"{name}+{i.hex()}" for name, i, _ in lines))
    return text, signers


# --- Checkpoint -----------------------------------------------------------------------------------


def parse_checkpoint(text):
    lines = text[:-1].split("\n")
    parse(3 <= len(lines) <= 19 and all(lines), "not a checkpoint")
    size, root = decimal(lines[1], "the tree size"), unhash(lines[2], "the root")
    parse(size or root == sha256(b""), "an empty tree with another root")
    return lines[0], size, root


# --- Policy ---------------------------------------------------------------------------------------


class Policy:
    def __init__(self, logs, witnesses=(), groups=(), quorum="none"):
        self.logs, self.witnesses, self.groups, self.quorum = logs, dict(witnesses), groups, quorum

    def open_checkpoint(self, note, step):
        """Origin, size, root and the witnesses who have cosigned."""
        text, signers = open_note(note, [*self.logs, *self.witnesses.values()], step)
        origin, size, root = parse_checkpoint(text)
        by_log = [key for key in signers if key.kind == ED25519 and key.name == origin]
        demand(by_log, step, f"the log {origin!r} itself has not signed with a known key")
        satisfied = {name for name, key in self.witnesses.items() if key in signers}
        for name, least, group in self.groups:
            if sum(member in satisfied for member in group) >= least:
                satisfied.add(name)
        demand(
            self.quorum == "none" or self.quorum in satisfied, step, f"too few witnesses for {self.quorum!r}"
        )
        return origin, size, root, [key.name for key in signers if key.kind == COSIGNATURE]


def parse_policy(data):
    parse(len(data) <= 262_144, "a policy that is too long")
    parse(not re.search(rb"[^\x09\x0a\x20-\x7e\x80-\xff]", data) and data.endswith(b"\n"), "not a policy")
    logs, witnesses, groups, quorum, placed = [], {}, [], None, set()
    defined = {"none"}

    def define(name):
        parse(name not in defined, f"{name!r} is defined twice")
        defined.add(name)

    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        items = [item for item in re.split("[ \t]+", line) if item]
        if not items or items[0].startswith("#"):
            continue
        word, *rest = items
        if word == "log" and len(rest) in (1, 2):
            logs.append(parse_key(rest[0]))
        elif word == "witness" and len(rest) in (2, 3):
            define(rest[0])
            witnesses[rest[0]] = parse_key(rest[1])
        elif word == "group" and len(rest) >= 3:
            name, least, *group = rest
            parse(set(group) <= defined - {"none"}, f"group {name!r} has a member that is not defined before")
            parse(len(set(group)) == len(group) and not placed & set(group), "a name is a member twice")
            placed |= set(group)
            least = {"any": 1, "all": len(group)}.get(least) or decimal(least, "a threshold")
            parse(1 <= least <= len(group), f"the threshold of group {name!r} cannot be met")
            define(name)
            groups.append((name, least, group))
        elif word == "quorum" and len(rest) == 1:
            parse(quorum is None and rest[0] in defined, "a quorum that is not defined, or a second one")
            quorum = rest[0]
        else:
            raise Malformed(f"not a line of a policy: {line[:60]!r}")
    parse(quorum is not None, "a policy without a quorum line")
    for keys, kind in ((logs, ED25519), (list(witnesses.values()), COSIGNATURE)):
        parse(all(key.kind == kind for key in keys), "a key of the wrong kind in a policy")
        parse(len({key.public for key in keys}) == len(keys) <= 64, "a key twice, or too many, in a policy")
    parse(len(groups) <= 64, "too many groups")
    return Policy(logs, witnesses, groups, quorum)


# --- Proof ----------------------------------------------------------------------------------------


def parse_proof(data):
    head, blank, checkpoint = data.partition(b"\n\n")
    parse(blank and head.isascii(), "not a tlog-proof")
    lines = head.decode("ascii").split("\n")
    parse(lines.pop(0) == "c2sp.org/tlog-proof@v1", "a proof of another version")
    if lines and lines[0].startswith("extra "):
        parse(
            0 < len(unbase64(lines.pop(0)[6:], "extra data")) <= 65_536,
            "extra data that is empty or too long",
        )
    parse(lines and lines[0].startswith("index "), "a proof without index")
    index = decimal(lines.pop(0)[6:], "the index")
    parse(len(lines) <= 64, "a path that is too long")
    path = [unhash(line, "a hash of the path") for line in lines]
    parse_note(checkpoint)
    return index, path, checkpoint


def verify_proof(data, leaf, policy):
    index, path, checkpoint = parse_proof(data)
    origin, size, root, cosigners = policy.open_checkpoint(checkpoint, "steps 2 and 3")
    check_inclusion(index, size, leaf_hash(leaf), path, root, "step 4")
    return {"log": origin, "index": index, "size": size, "root": root.hex(), "cosigners": cosigners}


def verify_statement(data, statement, policy):
    lines = data.split(b"\n", 2)
    parse(len(lines) == 3 and lines[1].startswith(b"extra "), "a proof without the statement's entry")
    entry_bytes = unbase64(utf8(lines[1][6:], "extra data"), "extra data")
    found = verify_proof(data, entry_bytes, policy)
    entry = parse_entry(entry_bytes)
    demand(entry["type"] == "statement.added.v1", "step 5", f"the entry is a {entry['type']}")
    demand(entry["index"] == found["index"], "step 5", f"the proof is of entry {found['index']}")
    demand(entry["origin"] == found["log"], "step 5", f"the entry is of {entry['origin']!r}")
    body = (len(statement), hashlib.sha256(statement).hexdigest())
    demand((entry["payload_size"], entry["payload_digest"]) == body, "step 6", "it is of another statement")
    return {**found, "recorded_at_ns": entry["recorded_at_ns"], "subject": entry["subject"]}


# --- Envelope -------------------------------------------------------------------------------------


def parse_envelope(data):
    parse(len(data) <= 900_000, "an envelope that is too long")
    wire = parse_json(data, "the envelope")
    payload, kind, wire_signatures = members(
        wire, "the envelope", payload=str, payloadType=str, signatures=list
    )
    parse(0 < len(kind) <= 255 and 0 < len(wire_signatures) <= 16, "an envelope without type or signatures")
    signatures = []
    for wire_signature in wire_signatures:
        keyid, signature = members(wire_signature, "a signature", keyid=str, sig=str)
        signatures.append((keyid, unbase64(signature, "a signature")))
    return unbase64(payload, "the payload"), kind, signatures


def open_envelope(data, keys, payload_type, step):
    """The payload, and the known keys that have signed it."""
    payload, kind, signatures = parse_envelope(data)
    demand(kind == payload_type, step, f"the envelope holds {kind!r}")
    type_bytes = kind.encode()
    message = b"DSSEv1 %d %b %d %b" % (len(type_bytes), type_bytes, len(payload), payload)
    known, signers = {key.hint: key for key in keys}, []
    for keyid, signature in signatures:
        for key in [known[keyid]] if keyid in known else keys:
            holds = key.verifies(message, signature)
            demand(holds or keyid != key.hint, step, f"the signature of {keyid} is wrong")
            if holds and key not in signers:
                signers.append(key)
    demand(signers, step, f"no known key has signed: {', '.join(known)}")
    return payload, signers


def verify_envelope(data, key, payload_type, step):
    return open_envelope(data, [key], payload_type, step)[0]


# --- Statement ------------------------------------------------------------------------------------


def parse_statement(data):
    """Predicate type, predicate, and the subjects' digests by name."""
    statement = parse_json(data, "the statement")
    kind, predicate, predicate_type, subjects = members(
        statement, "the statement", _type=str, predicate=dict, predicateType=str, subject=list
    )
    parse(kind == "https://in-toto.io/Statement/v1", "a statement of another version")
    parse(0 < len(subjects) <= 1_024, "a statement without subjects")
    named = {}
    for subject in subjects:
        parse(
            isinstance(subject, dict) and isinstance(subject.get("digest"), dict), "a subject without digest"
        )
        name, digest = subject.get("name", ""), subject["digest"].get("sha256", "")
        parse(isinstance(name, str) and name not in named, "two subjects of one name")
        parse(not digest or re.fullmatch("[0-9a-f]{64}", digest), "a digest that is no SHA-256")
        named[name] = digest
    return predicate_type, predicate, named


# --- Entry ----------------------------------------------------------------------------------------


def check_field(text, what):
    parse(0 < len(text) <= 256, f"{what} is empty or too long")
    parse(not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", text), f"a control character in {what}")


def parse_entry(data):
    parse(len(data) <= 65_535, "an entry that is too long")
    lines = utf8(data, "the entry").split("\n")
    parse(len(lines) == 12 and not lines[11] and lines[0] == "tallystick/entry/v1", "not an entry")
    for field in (lines[1], lines[5], lines[6]):
        check_field(field, "a field of an entry")
    parse(re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+\.v[1-9][0-9]*", lines[3]), "not an event type")
    for digest in lines[9:11]:
        parse(re.fullmatch("[0-9a-f]{64}", digest), "a digest that is no SHA-256")
    index = decimal(lines[2], "the index")
    causes = [] if lines[7] == "-" else [decimal(cause, "a cause") for cause in lines[7].split(",")]
    parse(
        causes == sorted({cause for cause in causes if cause < index}),
        "causes that are not earlier, ascending",
    )
    parse(len(causes) <= 1_024, "too many causes")
    return {
        "origin": lines[1],
        "index": index,
        "type": lines[3],
        "recorded_at_ns": decimal(lines[4], "the time"),
        "subject": lines[6],
        "payload_size": decimal(lines[8], "the payload size"),
        "payload_digest": lines[9],
    }


# --- Receipt --------------------------------------------------------------------------------------

RANK = {"pass": 0, "borderline": 1, "abstain": 2, "fail": 3}


def worst(outcomes):
    return max(outcomes, key=RANK.__getitem__, default="abstain")


def indices_of(predicate):
    """Where each thing stands that the receipt rests on."""
    found = {f"run.{name}": predicate["run"][name] for name in ("started_index", "decided_index")}
    for name in ("source", "contract", "procedure", "configuration", "calibration"):
        if predicate[name] is not None:
            found[name] = predicate[name]["index"]
    for name in ("batches", "datasets"):
        for number, part in enumerate(predicate[name]):
            found[f"{name}[{number}]"] = part["index"]
    return found


def check_predicate(predicate, entry):
    try:
        for name, index in indices_of(predicate).items():
            parse(type(index) is int, f"{name} has no index")
            demand(
                0 <= index < entry["index"], "step 8", f"{name} is entry {index}, not before {entry['index']}"
            )
        gates = [(gate["outcome"], gate["required"]) for gate in predicate["gates"]]
        parse(all(outcome in RANK and isinstance(needed, bool) for outcome, needed in gates), "not a gate")
        required = worst(outcome for outcome, needed in gates if needed)
        optional = [outcome for outcome, needed in gates if not needed and outcome != "abstain"]
        verdict, presentable = predicate["verdict"], predicate["is_presentable"]
        parse(isinstance(presentable, bool), "is_presentable is neither true nor false")
        follows = worst([required, *optional])
        demand(
            verdict == follows, "step 9", f"the verdict is {verdict!r}; from the gates follows {follows!r}"
        )
        withheld = verdict in ("fail", "abstain")
        demand(not (presentable and withheld), "step 9", f"a run that is {verdict!r} is presented")
    except (KeyError, TypeError, AttributeError) as error:
        raise Malformed(f"the receipt lacks a member or has one of another kind: {error}") from None


# --- Meta-log -------------------------------------------------------------------------------------


def verify_meta(wire, checkpoint, keys, policy):
    """That the checkpoint of the ledger with these keys is recorded in a meta-log."""
    parts = wire.get("keys")
    more = {} if parts is None else {"keys": list}
    entry_text, proof_text, *_ = members(wire, "the bundle's meta", entry=str, proof=str, **more)
    entry_bytes = unbase64(entry_text, "meta.entry")
    entry = parse_entry(entry_bytes)
    index, path, covering = parse_proof(unbase64(proof_text, "meta.proof"))
    step = "step 4, meta-log step "

    demand(entry["type"] == "tenant.checkpointed.v1", step + "1", f"the entry is a {entry['type']}")
    body = (len(checkpoint), hashlib.sha256(checkpoint).hexdigest())
    demand(
        (entry["payload_size"], entry["payload_digest"]) == body,
        step + "2",
        "the entry commits to another checkpoint",
    )
    labels = ["ledger/" + sha256(f"tallystick/meta/v1\n{key.vkey}\n".encode()).hex() for key in keys]
    demand(entry["subject"] in labels, step + "3", f"the entry is filed under {entry['subject']!r}")
    demand(entry["origin"] != keys[0].name, step + "3", "a ledger cannot vouch for itself")
    demand(index == entry["index"], step + "4", f"the proof is of entry {index}, not of {entry['index']}")
    origin, size, root = parse_checkpoint(parse_note(covering)[0])
    demand(origin == entry["origin"], step + "4", f"the checkpoint is of {origin!r}")
    check_inclusion(index, size, leaf_hash(entry_bytes), path, root, step + "4")
    is_judged, cosigners = any(key.name == origin for key in policy.logs), []
    if is_judged:
        _, _, judging = judge(covering, parts, policy, step + "5")
        cosigners = judging.open_checkpoint(covering, step + "5")[3]
    elif parts is not None:
        verify_keys(parts, covering, None, step + "4, keys step")
    else:
        demand(not names_keys(covering), step + "4", "the meta-log's key events are missing")
    return {"log": origin, "index": index, "size": size, "is_judged": is_judged, "cosigners": cosigners}


def open_covering(note, parts, wire_meta, policy, step):
    """A ledger's checkpoint with its key events, by itself or through a meta-log: what is signed, and who the
    ledger's keys are."""
    keys, known, policy = judge(note, parts, policy, step)
    # The quorum is asked of the checkpoint that witnesses have seen, where the policy can judge that.
    meta = None if wire_meta is None else verify_meta(wire_meta, note, keys, policy)
    through = meta is not None and meta["is_judged"]
    asked = Policy(policy.logs, policy.witnesses, policy.groups, "none") if through else policy
    origin, size, root, cosigners = asked.open_checkpoint(note, step)
    return {
        "origin": origin,
        "size": size,
        "root": root,
        "cosigners": meta["cosigners"] if through else cosigners,
        "meta": meta,
        "keys": keys,
        "known": known,
    }


# --- Keys -----------------------------------------------------------------------------------------

KEY_EVENTS_MAX, KEYS_IN_FORCE_MAX = 1_024, 8
KINDS = {"Ed25519": ED25519, "ML-DSA-44": ML_DSA_44}
KEY_EVENTS = {
    "key.created.v1": {"algorithm": str, "verifier_key": str},
    "key.rotated.v1": {
        "algorithm": str,
        "previous": str,
        "reason": str,
        "signatures": list,
        "verifier_key": str,
    },
    "key.revoked.v1": {"previous": str, "reason": str, "signatures": list, "verifier_key": str},
    "key.compromised.v1": {
        "from_index": int,
        "previous": str,
        "reason": str,
        "signatures": list,
        "verifier_key": str,
    },
}


class Span:
    """A key and the entries it counts for."""

    def __init__(self, key, start):
        self.key, self.start, self.until, self.believed_until = key, start, INTEGER_MAX, INTEGER_MAX

    def standing(self, index):
        if index < self.start:
            return "not yet in force"
        if index >= self.believed_until:
            return "compromised"
        return "retired" if index >= self.until else "valid"


class Keys:
    """Every key of a ledger, oldest first, folded from its key events."""

    def __init__(self, origin):
        self.origin, self.spans, self.count, self.last, self.head = origin, {}, 0, -1, ""

    def in_force(self, index):
        return [span.key for span in self.spans.values() if span.standing(index) == "valid"]

    def ruling(self, index):
        return list({key.kind: key for key in self.in_force(index)}.values())

    def demand_ruled(self, index, signers, step):
        ruling = self.ruling(index)
        if not ruling or any(key not in signers for key in ruling):
            told = ", ".join(f"{key.hint} is {self.spans[key.vkey].standing(index)}" for key in signers)
            raise Refused(f"{step}: not signed by the keys that rule at entry {index}: {told}")

    def take(self, entry, payload, step):
        """Check the next key event; the numbers after `step` are those of the section Keys."""
        index, kind = entry["index"], entry["type"]
        demand(kind in KEY_EVENTS, f"{step} 1", f"entry {index} is a {kind}")
        event = parse_json(payload, f"the body of entry {index}")
        members(event, f"the body of entry {index}", **KEY_EVENTS[kind])
        vkey, word = event["verifier_key"], kind.split(".")[1]
        demand(
            index > self.last and self.count < KEY_EVENTS_MAX, f"{step} 2", f"entry {index} is out of order"
        )
        demand((word == "created") == (self.count == 0), f"{step} 2", f"entry {index} is a {kind}")
        demand(
            event.get("previous", "") == self.head, f"{step} 2", f"entry {index} follows another key event"
        )
        if word in ("created", "rotated"):
            key = parse_key(vkey)
            same = key.kind == KINDS.get(event["algorithm"]) and (word == "rotated" or key.kind == ED25519)
            demand(key.name == self.origin and same, f"{step} 3", f"{key.hint} is of another ledger or kind")
            ids = [span.key.id for span in self.spans.values()]
            demand(key.id not in ids, f"{step} 3", f"{key.hint} is in force a second time")
            full = len(self.in_force(index)) >= KEYS_IN_FORCE_MAX
            demand(not full, f"{step} 3", "too many keys are in force")
        else:
            demand(vkey in self.spans, f"{step} 3", f"entry {index} is about an unknown key")
            key = self.spans[vkey].key
            is_last = key.kind == ED25519 and key in self.ruling(index)
            demand(not is_last, f"{step} 3", f"{key.hint} has no successor")
        if word != "created":
            self.check_signatures(index, kind, event, key, step)
        if word in ("created", "rotated"):
            self.spans[vkey] = Span(key, index)
        elif word == "revoked":
            demand(self.spans[vkey].standing(index) == "valid", f"{step} 3", f"{key.hint} is not in force")
            self.spans[vkey].until = index
        else:
            back, bound = event["from_index"], min(self.spans[vkey].believed_until, index + 1)
            demand(0 <= back < bound, f"{step} 3", f"{key.hint} is disowned from entry {back} on")
            self.spans[vkey].believed_until = back
        self.count, self.last = self.count + 1, index
        self.head = "sha256:" + hashlib.sha256(payload).hexdigest()

    def check_signatures(self, index, kind, event, key, step):
        reason = event["reason"]
        check_field(reason, "a reason")
        lines = [f"tallystick/{kind}", self.origin, event["previous"], event["verifier_key"]]
        lines += [str(event[name]) for name in ("algorithm", "from_index") if name in event]
        statement = "".join(f"{line}\n" for line in [*lines, reason]).encode()
        signers = self.ruling(index) + ([key] if kind == "key.rotated.v1" else [])
        signatures = [members(one, "a signature", keyid=str, signature=str) for one in event["signatures"]]
        demand(
            [keyid for keyid, _ in signatures] == [signer.hint for signer in signers],
            f"{step} 4",
            f"entry {index} is signed by other keys",
        )
        for place, signer in enumerate(signers):
            keyid, signature = signatures[place]
            holds = signer.verifies(statement, unbase64(signature, "a signature"))
            demand(holds, f"{step} 4", f"the signature of {keyid} under entry {index} is wrong")


def verify_keys(parts, checkpoint, trusted, step):
    """The keys of the ledger, from the key events that a checkpoint covers; with `trusted` None, only that
    they vouch for each other."""
    text, _ = parse_note(checkpoint)
    origin, size, root = parse_checkpoint(text)
    keys = Keys(origin)
    parse(parts, "a list of key events without one")
    for number, part in enumerate(parts):
        entry, payload, _ = open_proven(part, f"keys[{number}]", origin, size, root, f"{step} 1")
        keys.take(entry, payload, step)
    known = [span.key for span in keys.spans.values()]
    is_trusted = trusted is None or any(key.vkey in keys.spans for key in trusted)
    demand(
        is_trusted, f"{step} 5", "none of them is a key you trust: " + ", ".join(key.hint for key in known)
    )
    keys.demand_ruled(size - 1, open_note(checkpoint, known, f"{step} 6")[1], f"{step} 6")
    line = [f"keys {keys.head}"] if keys.count > 1 else []
    demand(text.split("\n")[3:-1] == line, f"{step} 6", "the checkpoint covers other key events")
    return keys


def names_keys(checkpoint):
    """Whether a checkpoint covers a change of keys."""
    return any(line.startswith("keys ") for line in parse_note(checkpoint)[0].split("\n")[3:])


def judge(checkpoint, parts, policy, step):
    """All known keys of the checkpoint's ledger, which of them ruled where (None while they have never
    changed), and the policy with the keys in force."""
    origin, size, _ = parse_checkpoint(parse_note(checkpoint)[0])
    trusted = [key for key in policy.logs if key.name == origin]
    is_whole = parts is not None or not names_keys(checkpoint)
    demand(is_whole, step, "the key events that the checkpoint names are missing")
    if parts is None:
        return trusted, None, policy
    known = verify_keys(parts, checkpoint, trusted, f"{step}, keys step")
    others = [key for key in policy.logs if key.name != origin]
    judging = Policy(
        [*others, *known.in_force(size - 1)], policy.witnesses.items(), policy.groups, policy.quorum
    )
    return [span.key for span in known.spans.values()], known, judging


# --- Bundle ---------------------------------------------------------------------------------------


def verify_bundle(data, policy, artifacts=None):
    wire = parse_json(data[:-1] if data.endswith(b"\n") else data, "the bundle")
    more = {name: kind for name, kind in (("keys", list), ("meta", dict)) if name in wire}
    entry_text, envelope_text, version, proof_text, *_ = members(
        wire, "the bundle", entry=str, envelope=str, format=str, proof=str, **more
    )
    number = 3 if "keys" in wire.get("meta", {}) else 2 if more else 1
    parse(version == f"tallystick/bundle/v{number}", "a bundle of another version")
    entry_bytes, envelope = unbase64(entry_text, "entry"), unbase64(envelope_text, "envelope")
    index, path, checkpoint = parse_proof(unbase64(proof_text, "proof"))  # 1

    entry = parse_entry(entry_bytes)  # 2
    demand(entry["type"] == "receipt.issued.v1", "step 2", f"the entry is a {entry['type']}")
    keys = [key for key in policy.logs if key.name == entry["origin"]]
    demand(keys, "step 2", f"no key of the ledger {entry['origin']!r} is known")

    digest = hashlib.sha256(envelope).hexdigest()
    demand(
        digest == entry["payload_digest"],
        "step 3",
        f"the envelope is {digest}, not {entry['payload_digest']}",
    )
    demand(len(envelope) == entry["payload_size"], "step 3", "the envelope has another length")

    covering = open_covering(checkpoint, wire.get("keys"), wire.get("meta"), policy, "step 4")  # 4
    origin, size, root = (covering[name] for name in ("origin", "size", "root"))
    keys, known = covering["keys"], covering["known"]
    demand(origin == entry["origin"], "step 4", f"the checkpoint is of {origin!r}")

    demand(index == entry["index"], "step 5", f"the proof is of entry {index}, not of {entry['index']}")
    check_inclusion(index, size, leaf_hash(entry_bytes), path, root, "step 5")

    payload, signers = open_envelope(envelope, keys, "application/vnd.in-toto+json", "step 6")
    if known is not None:
        known.demand_ruled(index, signers, "step 6")

    predicate_type, predicate, named = parse_statement(payload)
    receipt_id = "r" + hashlib.sha256(payload).hexdigest()[:24]
    demand(
        predicate_type == "urn:tallystick:receipt:v1", "step 7", f"a statement of the type {predicate_type!r}"
    )
    demand(
        entry["subject"] == f"receipt/{receipt_id}",
        "step 7",
        f"the entry is filed under {entry['subject']!r}",
    )
    demand(predicate.get("ledger") == origin, "step 7", f"the receipt is of {predicate.get('ledger')!r}")

    check_predicate(predicate, entry)  # 8, 9

    for name, content in (artifacts or {}).items():
        demand(name in named, "step 10", f"the receipt names no artifact {name!r}")
        actual = hashlib.sha256(content).hexdigest()
        demand(actual == named[name], "step 10", f"artifact {name!r} is {actual}, not {named[name]}")
    return {
        "receipt": receipt_id,
        "verdict": predicate["verdict"],
        "presented": predicate["is_presentable"],
        "log": origin,
        "index": index,
        "size": size,
        "root": root.hex(),
        "recorded_at_ns": entry["recorded_at_ns"],
        "cosigners": covering["cosigners"],
        "meta": covering["meta"],
        "artifacts": named,
        "checked_artifacts": sorted(artifacts or {}),
    }


# --- Completeness ---------------------------------------------------------------------------------


def open_proven(wire, what, origin, size, root, step):
    """A proven entry: (parsed entry, body, leaf hash)."""
    entry_text, path, payload_text = members(wire, what, entry=str, path=list, payload=str)
    data, payload = unbase64(entry_text, f"{what}.entry"), unbase64(payload_text, f"{what}.payload")
    entry = parse_entry(data)
    demand(entry["origin"] == origin, step, f"{what} is of {entry['origin']!r}")
    body = (len(payload), hashlib.sha256(payload).hexdigest())
    demand((entry["payload_size"], entry["payload_digest"]) == body, step, f"{what} has another body")
    hashes = [unhash(node, f"{what}.path") for node in path]
    check_inclusion(entry["index"], size, leaf_hash(data), hashes, root, step)
    return entry, payload, leaf_hash(data)


def parse_topic(line):
    parts = line.split("\n")
    parse(len(parts) == 6 and parts[0] == "tallystick/topic/v1" and not parts[5], "a line of no topic")
    parse(re.fullmatch("[0-9a-f]{64}", parts[4], re.ASCII), "a topic's chain is no hash")
    count, last = decimal(parts[2], "the topic's count"), decimal(parts[3], "the topic's last index")
    check_field(parts[1], "a topic")
    parse(count > 0, "a topic without entries")
    return parts[1], count, last, bytes.fromhex(parts[4])


def status_of(topic, opened):
    """What the entries of a receipt's status topic say of it; whether it is withheld, it says itself."""
    receipt_id, recalled_by, superseded_by = topic[len("status/") :], [], []
    for number, (entry, body, _) in enumerate(opened):
        try:
            if entry["type"] == "receipts.recalled.v1":
                event = parse_json(body, f"the body of entries[{number}]")
                if any(one["receipt_id"] == receipt_id for one in event["receipts"]):
                    recalled_by.append(event["recall_id"])
            elif entry["type"] == "receipt.issued.v1":
                payload = parse_envelope(body)[0]
                if parse_statement(payload)[1]["supersedes"] == receipt_id:
                    superseded_by.append("r" + hashlib.sha256(payload).hexdigest()[:24])
        except (KeyError, TypeError) as error:
            raise Malformed(f"entries[{number}] lacks a member: {error}") from None
    return {"recalled_by": recalled_by, "superseded_by": superseded_by}


def is_absent(topic, found, places, count):
    """Whether these neighbouring lines leave no room for the topic."""
    key, keys = topic.encode(), [name.encode() for name in found]
    if not places:
        return count == 0
    if len(places) == 1:
        first = places[0] == 0 and key < keys[0]
        return first or (places[0] == count - 1 and keys[0] < key)
    return len(places) == 2 and places[1] == places[0] + 1 and keys[0] < key < keys[1]


def verify_completeness(data, policy, asked=None):
    wire = parse_json(data[:-1] if data.endswith(b"\n") else data, "the proof")
    more = {name: kind for name, kind in (("keys", list), ("meta", dict)) if name in wire}
    note, commitment, entries, version, lines, topic, *_ = members(
        wire,
        "the proof",
        checkpoint=str,
        commitment=dict,
        entries=list,
        format=str,
        lines=list,
        topic=str,
        **more,
    )
    number = 2 if "meta" in wire else 1
    parse(version == f"tallystick/completeness/v{number}", "a completeness proof of another version")
    covering = open_covering(note.encode(), wire.get("keys"), wire.get("meta"), policy, "step 1")
    origin, size, root = (covering[name] for name in ("origin", "size", "root"))

    entry, body, _ = open_proven(commitment, "commitment", origin, size, root, "step 2")
    demand(entry["type"] == "topics.committed.v1", "step 2", f"the commitment is a {entry['type']}")
    committed = parse_json(body, "the commitment's body")
    root_hex, covered, count = members(
        committed, "the commitment's body", root_sha256=str, size=int, topic_count=int
    )
    demand(covered == entry["index"], "step 2", f"it covers {covered} entries, not {entry['index']}")
    parse(re.fullmatch("[0-9a-f]{64}", root_hex, re.ASCII), "the commitment's root is no hash")

    places, found = [], []
    for number, wire_line in enumerate(lines):
        line, path, place = members(wire_line, f"lines[{number}]", line=str, path=list, place=int)
        hashes = [unhash(node, f"lines[{number}].path") for node in path]
        check_inclusion(place, count, leaf_hash(line.encode()), hashes, bytes.fromhex(root_hex), "step 3")
        places.append(place)
        found.append(parse_topic(line))

    names = [name for name, *_ in found]
    is_there = names == [topic]
    demand(is_there or is_absent(topic, names, places, count), "step 4", "neither there nor shown absent")

    opened = [
        open_proven(part, f"entries[{number}]", origin, size, root, "step 5")
        for number, part in enumerate(entries)
    ]
    indices = [one["index"] for one, _, _ in opened]
    ascending = indices == sorted(set(indices)) and all(index < entry["index"] for index in indices)
    demand(ascending, "step 5", "the entries are not in order below the commitment")

    chain = bytes(32)
    for _, _, leaf in opened:
        chain = sha256(b"tallystick/topic-chain/v1\x00" + chain + leaf)
    if is_there:
        shown = (len(opened), indices[-1] if indices else None, chain)
        demand(shown == found[0][1:], "step 6", "the entries are not all there are")
    else:
        demand(not opened, "step 6", "there are entries about a topic that is not there")
    demand(asked in (None, topic), "step 7", f"it is about {topic!r}")
    return {
        "topic": topic,
        "log": origin,
        "complete_to_size": covered,
        "entries": [
            {"index": one["index"], "type": one["type"], "subject": one["subject"]} for one, _, _ in opened
        ],
        "cosigners": covering["cosigners"],
        "meta": covering["meta"],
        **(status_of(topic, opened) if topic.startswith("status/") else {}),
    }


# --- Audit bundle ---------------------------------------------------------------------------------

RECIPE = (
    "Check out the version of Tallystick whose procedure sources the receipts name.",
    "Open the ledger and the vault they came from (TALLY_HOME).",
)


class Entries:
    """The proven entries of a bundle: bodies are read as events when somebody asks for them."""

    def __init__(self, opened):
        self.found = {entry["index"]: (entry, payload) for entry, payload, _ in opened}
        self.named = set()

    def event(self, index, *types):
        demand(index in self.found, "step 5", f"entry {index} is named and not in the bundle")
        entry, payload = self.found[index]
        demand(entry["type"] in types, "step 5", f"entry {index} is a {entry['type']}, not a {types[0]}")
        self.named.add(index)
        return parse_json(payload, f"the body of entry {index}")


def expected_predicate(entries, tenant, origin, run):
    """What a receipt about this run must say, from the events alone; and the decision."""
    started = entries.event(run["started_index"], "run.started.v1")
    decided = entries.event(run["decided_index"], "run.gates_decided.v1")
    source = entries.event(started["source_index"], "device.registered.v1", "connection.registered.v1")
    contract = entries.event(started["contract_index"], "contract.published.v1")
    deployed = entries.event(started["deployment_index"], "procedure.deployed.v1")
    batches, datasets = [], []
    for used in started["datasets"]:
        batch = entries.event(used["batch_index"], "batch.ingested.v1")
        named = ("batch_id", "digest", "kind", "byte_count", "received_at_ns", "is_encrypted")
        batches.append({"index": used["batch_index"], **{name: batch[name] for name in named}})
        dataset = entries.event(used["index"], "dataset.derived.v1")
        part = {name: dataset[name] for name in ("digest", "parser")}
        datasets.append({"index": used["index"], "batch_index": used["batch_index"], **part})
    configuration = calibration = None
    if (at := started.get("configuration_index")) is not None:
        event = entries.event(at, "device.configured.v1")
        configuration = {"index": at, **{name: event[name] for name in ("firmware", "configuration")}}
    if (at := started.get("calibration_index")) is not None:
        calibration = {"index": at, "calibration": entries.event(at, "calibration.set.v1")}
    is_device = "device_id" in source
    outcome = {gate["gate_id"]: gate["outcome"] for gate in decided["gates"]}
    predicate = {
        "tenant": tenant,
        "ledger": origin,
        "run": {
            "run_id": started["run_id"],
            "started_index": run["started_index"],
            "started_at_ns": entries.found[run["started_index"]][0]["recorded_at_ns"],
            "decided_index": run["decided_index"],
        },
        "source": {
            "index": started["source_index"],
            "source_id": source["device_id" if is_device else "connection_id"],
            "kind": "device" if is_device else "connection",
            **{name: source.get(name, "") for name in ("provider", "manufacturer", "model", "serial_number")},
        },
        "batches": batches,
        "datasets": datasets,
        "configuration": configuration,
        "calibration": calibration,
        "contract": {
            "index": started["contract_index"],
            "contract_id": contract["contract"]["contract_id"],
            "version": contract["contract"]["version"],
            "digest": contract["digest"],
        },
        "procedure": {
            "index": started["deployment_index"],
            "name": deployed["procedure"],
            **{name: deployed[name] for name in ("version", "source_digest", "options")},
            "channels": deployed.get("channels", []),
        },
        **{name: decided[name] for name in ("environment", "windows", "window_scores", "gates")},
        "abstentions": [gate for gate, said in outcome.items() if said == "abstain"],
        "failures": [gate for gate, said in outcome.items() if said == "fail"],
        "failure": decided.get("failure", ""),
        "verdict": decided["verdict"],
        "is_presentable": decided["is_presentable"],
        "supersedes": started.get("supersedes", ""),
    }
    return predicate, decided


def expected_subject(artifact):
    annotations = {
        "byte_count": str(artifact["byte_count"]),
        "is_encrypted": "true" if artifact.get("is_encrypted") else "false",
    }
    if artifact.get("quantised_digest") is not None:
        annotations["quantised_digest"] = artifact["quantised_digest"]
    return {
        "annotations": annotations,
        "digest": {"sha256": artifact["digest"].removeprefix("sha256:")},
        "mediaType": artifact["media_type"],
        "name": artifact["name"],
    }


def verify_audit_bundle(data, policy):
    wire = parse_json(data[:-1] if data.endswith(b"\n") else data, "the bundle")  # 1
    more = {"meta": dict} if "meta" in wire else {}
    text, parts, version, objects, stated, receipts, recipe, *_ = members(
        wire,
        "the bundle",
        checkpoint=str,
        entries=list,
        format=str,
        objects=dict,
        policy=str,
        receipts=list,
        recipe=list,
        **more,
    )
    note, meta, stated_policy = text.encode(), wire.get("meta"), parse_policy(stated.encode())
    number = 2 if meta is not None or stated_policy.witnesses else 1
    parse(version == f"tallystick/audit-bundle/v{number}", "an audit bundle of another version")
    key_parts = [part for part in parts if is_key_event(part)] if names_keys(note) else None
    covering = open_covering(note, key_parts, meta, policy, "step 2")  # 2
    origin, size, root = (covering[name] for name in ("origin", "size", "root"))
    keys, ruled = covering["keys"], covering["known"]
    known = {(key.name, key.id) for key in [*policy.logs, *policy.witnesses.values(), *keys]}
    for name, key_id, signature in parse_note(note)[1]:  # 1
        is_others = name != origin and len(signature) in (72, 2_428)
        demand(is_others or (name, key_id) in known, "step 1", f"{name!r} has signed it, and is not known")
    opened = [
        open_proven(part, f"entries[{number}]", origin, size, root, "step 3")
        for number, part in enumerate(parts)
    ]  # 3
    indices = [entry["index"] for entry, _, _ in opened]
    demand(indices == sorted(set(indices)), "step 3", "entries are not ascending, each once")
    entries, digests, ids = Entries(opened), set(), []
    tenant = entries.event(0, "ledger.opened.v1").get("tenant")
    demand(receipts, "step 4", "there is no receipt in it")
    for index in receipts:
        parse(type(index) is int, "the place of a receipt is no number")
        demand(index in entries.found, "step 4", f"receipt {index} is not in the bundle")
        entry, envelope = entries.found[index]
        demand(entry["type"] == "receipt.issued.v1", "step 4", f"entry {index} is a {entry['type']}")
        entries.named.add(index)
        payload, signers = open_envelope(envelope, keys, "application/vnd.in-toto+json", "step 4")  # 4
        if ruled is not None:
            ruled.demand_ruled(index, signers, "step 4")
        receipt_id = "r" + hashlib.sha256(payload).hexdigest()[:24]
        demand(entry["subject"] == f"receipt/{receipt_id}", "step 5", f"it is filed as {entry['subject']!r}")
        statement = parse_json(payload, "the statement")
        try:  # 5
            run = statement["predicate"]["run"]
            predicate, decided = expected_predicate(entries, tenant, origin, run)
            expected = {
                "_type": "https://in-toto.io/Statement/v1",
                "predicate": predicate,
                "predicateType": "urn:tallystick:receipt:v1",
                "subject": [expected_subject(artifact) for artifact in decided["artifacts"]],
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise Malformed(f"an event or the receipt lacks a member: {error}") from None
        same = canonical(expected).encode() == payload
        demand(same, "step 5", f"receipt {receipt_id} says something else than its events")
        check_predicate(statement["predicate"], entry)
        ids.append(receipt_id)
        digests |= {batch["digest"] for batch in predicate["batches"]}
        digests |= {artifact["digest"] for artifact in decided["artifacts"]}
        for dataset in predicate["datasets"]:
            digests.add(entries.event(dataset["index"], "dataset.derived.v1")["object_digest"])
    for index, (entry, _) in entries.found.items():  # 6
        may_stay = index in entries.named or index < 2 or entry["type"].startswith("key.")
        demand(may_stay, "step 6", f"no receipt names entry {index}")
    check_stated_policy(stated, stated_policy, keys, meta)  # 7
    open_covering(note, key_parts, meta, stated_policy, "step 7")
    lines = [*RECIPE, *(f"tally replay {receipt_id}" for receipt_id in ids)]
    demand(recipe == lines, "step 7", "the recipe is not the one for these receipts")
    for name, content in objects.items():  # 8
        demand(name in digests, "step 8", f"nothing names the object {name}")
        parse(isinstance(content, str), "an object is no text")
        actual = "sha256:" + hashlib.sha256(unbase64(content, name)).hexdigest()
        demand(actual == name, "step 8", f"the object {name} is {actual}")
    return {
        "log": origin,
        "size": size,
        "receipts": ids,
        "entries": len(opened),
        "objects": len(objects),
        "cosigners": covering["cosigners"],
        "meta": covering["meta"],
    }


def check_stated_policy(text, policy, keys, meta):
    """A bundle's own policy: one key of the ledger, one of the meta-log, and all the witnesses it names."""
    logs, cosigners = policy.logs, list(policy.witnesses.values())
    demand(len(logs) == (1 if meta is None else 2), "step 7", "the policy names other logs")
    demand(any(key.vkey == logs[0].vkey for key in keys), "step 7", "the policy is not of the ledger's key")
    lines = [f"log {key.vkey}" for key in logs]
    lines += [f"witness w{number} {key.vkey}" for number, key in enumerate(cosigners, 1)]
    names = [f"w{number}" for number in range(1, len(cosigners) + 1)]
    lines += [f"group cosigners {'any' if len(names) == 1 else 'all'} {' '.join(names)}"] if names else []
    lines.append(f"quorum {'cosigners' if names else 'none'}")
    demand(text == "".join(f"{line}\n" for line in lines), "step 7", "the policy is spelled another way")


def is_key_event(part):
    data = part.get("entry") if isinstance(part, dict) else None
    parse(isinstance(data, str), "an entry that is none")
    return parse_entry(unbase64(data, "entry"))["type"].startswith("key.")


# --- Command line ---------------------------------------------------------------------------------


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Verify a Tallystick receipt or a tlog-proof, offline.")
    parser.add_argument("file", type=Path, help="a bundle (*.tally.json) or a proof (*.tlog-proof)")
    trust = parser.add_mutually_exclusive_group(required=True)
    trust.add_argument("--key", help="the ledger's public key: name+id+base64")
    trust.add_argument("--policy", type=Path, help="a tlog-policy file")
    parser.add_argument("--leaf", type=Path, help="the entry that a proof is of")
    parser.add_argument("--statement", type=Path, help="the statement that a proof is of")
    parser.add_argument("--topic", help="what a list is to be complete of, such as receipts/DEVICE")
    parser.add_argument(
        "--artifact", action="append", default=[], metavar="NAME=FILE", help="check a file you hold"
    )
    asked = parser.parse_args(arguments)
    try:
        data = asked.file.read_bytes()
        policy = (
            parse_policy(asked.policy.read_bytes())
            if asked.policy
            else Policy([parse_key(asked.key.strip())])
        )
        if data.startswith(b"c2sp.org/tlog-proof@"):
            if asked.statement is not None:
                found = verify_statement(data, asked.statement.read_bytes(), policy)
            else:
                parse(asked.leaf is not None, "a proof is verified with --leaf FILE or --statement FILE")
                found = verify_proof(data, asked.leaf.read_bytes(), policy)
        elif b'"format":"tallystick/audit-bundle/' in data:
            found = verify_audit_bundle(data, policy)
        elif b'"format":"tallystick/completeness/' in data:
            found = verify_completeness(data, policy, asked.topic)
        else:
            pairs = [pair.partition("=") for pair in asked.artifact]
            parse(all(separator for _, separator, _ in pairs), "write --artifact NAME=FILE")
            found = verify_bundle(data, policy, {name: Path(file).read_bytes() for name, _, file in pairs})
    except Refused as refusal:
        print(f"REFUSED {asked.file}: {refusal}", file=sys.stderr)
        return 1
    except (Malformed, OSError) as error:
        print(f"UNREADABLE {asked.file}: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
