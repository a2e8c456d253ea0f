// Verifying a receipt bundle: the ten steps of docs/format.md, computed in the browser.

import { Undecided, followKeys } from "./keys.js";
import { areEqual, bytesOf, canVerify, canonical, hexOf, joined, leafHash, ofBase64, parseCheckpoint, parseEntry, parseNote, parseProof, parseVerifierKey, rootOf, sha256, textOf, verifyEd25519 } from "./proof.js";

const PAYLOAD_TYPE = "application/vnd.in-toto+json";
const RECEIPT_TYPE = "urn:tallystick:receipt:v1";

export const STEPS = {
  1: "The file is a bundle",
  2: "Its entry is a receipt of this ledger",
  3: "The entry commits to the receipt",
  4: "The checkpoint is signed by the key",
  5: "The entry is in the ledger",
  6: "The receipt is signed by the key",
  7: "The statement is this receipt",
  8: "Everything it rests on came before",
  9: "The verdict follows from the gates",
};

// Verifies `data` (bytes of a bundle) with the ledger's public key; tells each step as it is done, and returns
// `pass`, `fail`, or `abstain` where this browser cannot decide.
export async function verifyBundle(data, keyText, tell) {
  let step = 1;
  const passed = (detail = "") => tell({ step, text: STEPS[step++], outcome: "pass", detail });
  try {
    if (!(await canVerify())) throw new Undecided("This browser has no Ed25519 (or this page is not on https or this machine). Use `tally verify`.");
    const key = await parseVerifierKey(keyText);
    const bundle = parseBundle(data);
    passed(`${data.length} bytes`);

    const entry = parseEntry(bundle.entry);
    must(entry.eventType === "receipt.issued.v1", `it is a ${entry.eventType}`);
    must(entry.origin === key.name, `it is of ${entry.origin}, the key is of ${key.name}`);
    passed(`${entry.origin}, entry ${entry.index}`);

    const digest = hexOf(await sha256(bundle.envelope));
    must(digest === entry.payloadSha256 && bundle.envelope.length === entry.payloadSize, "another receipt was put in");
    passed(digest);

    const proof = parseProof(bundle.proof);
    const note = parseNote(proof.checkpoint);
    const checkpoint = parseCheckpoint(note.text);
    must(checkpoint.origin === entry.origin, `the checkpoint is of ${checkpoint.origin}`);
    const history = bundle.keys ? await followKeys(bundle.keys, checkpoint) : null;
    must(history || !checkpoint.extensions.some((line) => line.startsWith("keys ")), "the ledger's keys have changed, and the file does not say how");
    must(!history || history.spans.some((span) => span.vkey === keyText), "the key is none of this ledger's");
    const known = history ? history.spans.map((span) => span.key) : [key];
    const signers = await signersOf(note, known);
    const ruling = history ? history.ruling(checkpoint.size - 1)?.key : key;
    must(ruling && signers.some((one) => one.id === ruling.id), "the key that rules has not signed it");
    if (history) must(checkpoint.extensions.join() === (history.count > 1 ? `keys ${history.head}` : ""), "it covers other key events than these");
    passed(`over ${checkpoint.size} entries${bundle.hasMeta ? "; its place in a log of logs was not looked at" : ""}`);

    must(proof.index === entry.index, `the proof is of entry ${proof.index}`);
    const root = await rootOf(await leafHash(bundle.entry), proof.index, checkpoint.size, proof.path);
    must(areEqual(root, checkpoint.root), "the path leads to another root");
    passed(`${proof.path.length} hashes lead to the root ${hexOf(root).slice(0, 16)}…`);

    const envelope = parseEnvelope(bundle.envelope);
    const signed = joined(bytesOf(`DSSEv1 ${PAYLOAD_TYPE.length} ${PAYLOAD_TYPE} ${envelope.payload.length} `), envelope.payload);
    const author = history ? history.ruling(entry.index)?.key : key;
    const by = [];
    for (const one of envelope.signatures) {
      const own = known.find((candidate) => one.keyid === `${candidate.name}+${candidate.id}`);
      if (!own) continue;
      must(await verifyEd25519(own.publicKey, ofBase64(one.sig), signed), "a signature is not the key's");
      by.push(own.id);
    }
    must(author && by.includes(author.id), "the key that ruled when it was recorded has not signed it");
    passed(history && author.id !== key.id ? `Ed25519, by the key ${author.id} that ruled then` : "Ed25519");

    const statement = JSON.parse(textOf(envelope.payload));
    const receiptId = `r${hexOf(await sha256(envelope.payload)).slice(0, 24)}`;
    must(statement.predicateType === RECEIPT_TYPE, "it is no receipt");
    must(statement.predicate.ledger === entry.origin && entry.subject === `receipt/${receiptId}`, `it is ${receiptId}, filed as ${entry.subject}`);
    passed(receiptId);

    const late = indices(statement.predicate).filter((index) => !(Number.isInteger(index) && index >= 0 && index < entry.index));
    must(late.length === 0, `it names entry ${late[0]}`);
    passed();

    const verdict = verdictOf(statement.predicate.gates);
    must(verdict === statement.predicate.verdict, `the gates say ${verdict}, the receipt ${statement.predicate.verdict}`);
    must(!(statement.predicate.is_presentable && ["fail", "abstain"].includes(verdict)), "it is presented although it must not be");
    passed(`${verdict}, ${statement.predicate.is_presentable ? "presented" : "withheld"}`);
    return "pass";
  } catch (error) {
    const outcome = error instanceof Undecided ? "abstain" : "fail";
    tell({ step, text: STEPS[step], outcome, detail: error.message });
    return outcome;
  }
}

// The bundle's parts. Its one spelling is canonical JSON, so spelling it again must give the same bytes.
function parseBundle(data) {
  const text = textOf(data);
  const wire = JSON.parse(text);
  const hasKeys = "keys" in wire;
  const hasMeta = "meta" in wire;
  const version = hasMeta && "keys" in wire.meta ? 3 : hasKeys || hasMeta ? 2 : 1;
  must(wire.format === `tallystick/bundle/v${version}`, `unknown format ${wire.format}`);
  must(canonical(wire) === text.replace(/\n$/, ""), "it is not in its one spelling");
  return { entry: ofBase64(wire.entry), envelope: ofBase64(wire.envelope), proof: ofBase64(wire.proof), keys: wire.keys, hasMeta };
}

// The known keys that have signed a note; a line in the name of one that does not verify refuses the note.
async function signersOf(note, known) {
  const found = [];
  for (const one of known) {
    const line = note.signatures.find((signature) => signature.name === one.name && signature.id === one.id);
    if (!line) continue;
    must(await verifyEd25519(one.publicKey, line.signature, bytesOf(note.text)), "a signature is not the key's");
    found.push(one);
  }
  must(found.length > 0, "the key has not signed it");
  return found;
}

function parseEnvelope(data) {
  const wire = JSON.parse(textOf(data));
  must(wire.payloadType === PAYLOAD_TYPE, `its payload is ${wire.payloadType}`);
  return { payload: ofBase64(wire.payload), signatures: wire.signatures };
}

function indices(predicate) {
  const { run, source, contract, procedure, batches, datasets, calibration, configuration } = predicate;
  return [run.started_index, run.decided_index, source.index, contract.index, procedure.index, ...batches.map((part) => part.index), ...datasets.map((part) => part.index), ...(calibration ? [calibration.index] : []), ...(configuration ? [configuration.index] : [])];
}

// fail > abstain (of a required gate) > borderline > pass; nothing required is an abstention.
function verdictOf(gates) {
  const order = ["pass", "borderline", "abstain", "fail"];
  const worst = (outcomes) => outcomes.reduce((one, other) => (order.indexOf(other) > order.indexOf(one) ? other : one), "pass");
  const required = gates.filter((gate) => gate.required).map((gate) => gate.outcome);
  const optional = gates.filter((gate) => !gate.required && gate.outcome !== "abstain").map((gate) => gate.outcome);
  return worst([required.length ? worst(required) : "abstain", ...optional]);
}

function must(condition, otherwise) {
  if (!condition) throw new Error(otherwise);
}
