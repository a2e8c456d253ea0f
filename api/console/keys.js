// The keys of a ledger up to a checkpoint, from its key events: the steps under "Keys" in docs/format.md.
// Ed25519 alone; a ledger that also signs with ML-DSA-44 is left to `tally verify`.

import { areEqual, bytesOf, canonical, hexOf, leafHash, ofBase64, parseEntry, parseVerifierKey, rootOf, sha256, textOf, verifyEd25519 } from "./proof.js";

const MEMBERS = {
  "key.created.v1": ["algorithm", "verifier_key"],
  "key.rotated.v1": ["algorithm", "previous", "reason", "signatures", "verifier_key"],
  "key.revoked.v1": ["previous", "reason", "signatures", "verifier_key"],
  "key.compromised.v1": ["from_index", "previous", "reason", "signatures", "verifier_key"],
};
const EVENTS_MAX = 1024;
const IN_FORCE_MAX = 8;

export class Undecided extends Error {}

// Follows the key events `parts` (of a bundle) under `checkpoint`; returns the history of keys.
export async function followKeys(parts, checkpoint) {
  must(Array.isArray(parts) && parts.length > 0 && parts.length <= EVENTS_MAX, "there are no key events");
  const history = new KeyHistory(checkpoint.origin);
  for (const part of parts) {
    const { entry, body, event } = await openEvent(part, checkpoint);
    await history.take(entry, event);
    history.head = `sha256:${hexOf(await sha256(body))}`;
  }
  return history;
}

class KeyHistory {
  constructor(origin) {
    this.origin = origin;
    this.spans = [];
    this.head = "";
    this.count = 0;
    this.last = -1;
  }

  // The keys that count for the entry at `index`, oldest first.
  inForce(index) {
    return this.spans.filter((span) => span.from <= index && index < span.until && index < span.believedUntil);
  }

  // The newest of them; without its signature nothing counts.
  ruling(index) {
    return this.inForce(index).at(-1);
  }

  async take(entry, event) {
    const { index, eventType } = entry;
    must(index > this.last, "the key events are not in order");
    must((this.count === 0) === (eventType === "key.created.v1"), "a ledger has one first key, and it comes first");
    if (this.count) must(event.previous === this.head, "a key event does not follow the one before it");
    if (event.algorithm === "ML-DSA-44") throw new Undecided("This ledger also signs with ML-DSA-44, which browsers do not know. Use `tally verify`.");
    const before = this.ruling(index);
    const key = await parseVerifierKey(event.verifier_key);
    must(key.name === this.origin, "a key of another ledger");
    const own = this.spans.find((span) => span.vkey === event.verifier_key);
    if (eventType === "key.created.v1" || eventType === "key.rotated.v1") {
      must(event.algorithm === "Ed25519" && !this.spans.some((span) => span.key.id === key.id), "a key that cannot come into force");
      must(this.inForce(index).length < IN_FORCE_MAX, "too many keys in force");
    } else {
      must(own && own !== before, "a key that cannot go");
    }
    if (this.count) await this.checkSignatures(event, eventType, before, key);
    if (eventType === "key.revoked.v1") {
      must(this.inForce(index).includes(own), "only a key in force can retire");
      own.until = index;
    } else if (eventType === "key.compromised.v1") {
      must(Number.isInteger(event.from_index) && event.from_index >= 0 && event.from_index <= index && event.from_index < own.believedUntil, "not a past index");
      own.believedUntil = event.from_index;
    } else {
      this.spans.push({ vkey: event.verifier_key, key, from: index, until: Infinity, believedUntil: Infinity });
    }
    this.count += 1;
    this.last = index;
  }

  async checkSignatures(event, eventType, before, key) {
    must(before, "no key rules here");
    const extra = { "key.rotated.v1": event.algorithm, "key.compromised.v1": event.from_index }[eventType];
    const lines = [`tallystick/${eventType}`, this.origin, event.previous, event.verifier_key, ...(extra === undefined ? [] : [extra]), event.reason];
    const statement = bytesOf(lines.map((line) => `${line}\n`).join(""));
    const signers = eventType === "key.rotated.v1" ? [before.key, key] : [before.key];
    must(event.signatures.length === signers.length, "it is not signed by the keys before it");
    for (const [place, signer] of signers.entries()) {
      const { keyid, signature } = event.signatures[place];
      must(keyid === `${signer.name}+${signer.id}`, "it is signed by another key");
      must(await verifyEd25519(signer.publicKey, ofBase64(signature), statement), "the signature under a change of keys is wrong");
    }
  }
}

// An entry with its body, proven under the checkpoint, whose body is the one spelling of a key event.
async function openEvent(part, checkpoint) {
  const raw = ofBase64(part.entry);
  const body = ofBase64(part.payload);
  const entry = parseEntry(raw);
  must(entry.origin === checkpoint.origin, "a key event of another ledger");
  must(entry.payloadSize === body.length && entry.payloadSha256 === hexOf(await sha256(body)), "a key event with another body");
  const root = await rootOf(await leafHash(raw), entry.index, checkpoint.size, part.path.map(ofBase64));
  must(areEqual(root, checkpoint.root), "a key event that is not in the ledger");
  const members = MEMBERS[entry.eventType];
  must(members, `${entry.eventType} is no key event`);
  const text = textOf(body);
  const event = JSON.parse(text);
  must(Object.keys(event).sort().join() === members.join() && canonical(event) === text, "a key event in another spelling");
  return { entry, body, event };
}

function must(condition, otherwise) {
  if (!condition) throw new Error(otherwise);
}
