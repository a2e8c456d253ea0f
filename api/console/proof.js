// Bytes, digests and proofs, by the specification in docs/format.md and WebCrypto alone.

const encoder = new TextEncoder();

// Strict base64 of RFC 4648 §4: one spelling for each value. Throws on any other.
export function ofBase64(text) {
  const raw = atob(text);
  const data = Uint8Array.from(raw, (letter) => letter.charCodeAt(0));
  if (toBase64(data) !== text) throw new Error("not base64 in its one spelling");
  return data;
}

export function toBase64(data) {
  let raw = "";
  for (const byte of data) raw += String.fromCharCode(byte);
  return btoa(raw);
}

export const hexOf = (data) => Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
export const bytesOf = (text) => encoder.encode(text);
export const areEqual = (one, other) => one.length === other.length && one.every((byte, place) => byte === other[place]);

export function joined(...parts) {
  const data = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let place = 0;
  for (const part of parts) {
    data.set(part, place);
    place += part.length;
  }
  return data;
}

// UTF-8 text; throws when it is none.
export const textOf = (data) => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);

export const sha256 = async (data) => new Uint8Array(await crypto.subtle.digest("SHA-256", data));
export const leafHash = (data) => sha256(joined(Uint8Array.of(0), data));
const nodeHash = (left, right) => sha256(joined(Uint8Array.of(1), left, right));

export async function verifyEd25519(publicKey, signature, data) {
  const key = await crypto.subtle.importKey("raw", publicKey, { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify("Ed25519", key, signature, data);
}

// Whether this browser can do it at all: a secure context, and Ed25519 in WebCrypto.
export async function canVerify() {
  if (!globalThis.crypto?.subtle) return false;
  try {
    await crypto.subtle.importKey("raw", new Uint8Array(32), { name: "Ed25519" }, false, ["verify"]);
    return true;
  } catch {
    return false;
  }
}

// RFC 9162 §2.1.3.2: the root that a path leads to; throws when the path has not the length it must have.
export async function rootOf(leaf, index, size, path) {
  if (index >= size) throw new Error("the index is not in the tree");
  let fn = BigInt(index);
  let sn = BigInt(size) - 1n;
  let root = leaf;
  for (const hash of path) {
    if (sn === 0n) throw new Error("the path is too long");
    if (fn % 2n === 1n || fn === sn) {
      root = await nodeHash(hash, root);
      while (fn % 2n === 0n && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n];
    } else {
      root = await nodeHash(root, hash);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  if (sn !== 0n) throw new Error("the path is too short");
  return root;
}

// A verifier key of C2SP signed-note, type 1 (Ed25519).
export async function parseVerifierKey(text) {
  const [, name, id, encoded] = /^([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(text) ?? [];
  if (!name) throw new Error("not a public key: name+id+base64 is expected");
  const typed = ofBase64(encoded);
  if (typed[0] !== 1 || typed.length !== 33) throw new Error("not an Ed25519 key of a ledger");
  const expected = (await sha256(joined(bytesOf(`${name}\n`), typed))).slice(0, 4);
  if (hexOf(expected) !== id) throw new Error("the key's id is not its own; it was cut or mistyped");
  return { name, id, publicKey: typed.slice(1) };
}

// A signed note: its text (with the last line feed) and its signature lines.
export function parseNote(data) {
  const whole = textOf(data);
  const cut = whole.lastIndexOf("\n\n");
  if (cut < 0 || !whole.endsWith("\n")) throw new Error("not a signed note");
  const signatures = whole.slice(cut + 2, -1).split("\n").map((line) => {
    const [, name, encoded] = /^— (\S+) ([A-Za-z0-9+/=]+)$/.exec(line) ?? [];
    if (!name) throw new Error("not a signature line");
    const raw = ofBase64(encoded);
    return { name, id: hexOf(raw.slice(0, 4)), signature: raw.slice(4) };
  });
  return { text: whole.slice(0, cut + 1), signatures };
}

// A checkpoint: origin, size, root and extension lines.
export function parseCheckpoint(text) {
  const [origin, size, root, ...extensions] = text.slice(0, -1).split("\n");
  if (!/^(0|[1-9]\d{0,18})$/.test(size ?? "")) throw new Error("not a checkpoint");
  return { origin, size: decimal(size), root: ofBase64(root), extensions };
}

// A tlog-proof: index, path and the signed checkpoint's bytes.
export function parseProof(data) {
  const whole = textOf(data);
  const cut = whole.indexOf("\n\n");
  const [magic, ...lines] = whole.slice(0, cut).split("\n");
  if (magic !== "c2sp.org/tlog-proof@v1" || cut < 0) throw new Error("not a proof");
  if (lines[0]?.startsWith("extra ")) lines.shift();
  const [, index] = /^index (0|[1-9]\d{0,18})$/.exec(lines.shift() ?? "") ?? [];
  if (index === undefined || lines.length > 64) throw new Error("not a proof");
  return { index: decimal(index), path: lines.map(ofBase64), checkpoint: bytesOf(whole.slice(cut + 2)) };
}

// An entry's eleven lines.
export function parseEntry(data) {
  const lines = textOf(data).split("\n");
  if (lines.length !== 12 || lines[0] !== "tallystick/entry/v1" || lines[11] !== "") throw new Error("not an entry");
  const [, origin, index, eventType, recordedAt, actor, subject, causation, payloadSize, payloadSha256, previous] = lines;
  return { origin, index: decimal(index), eventType, recordedAt, actor, subject, causation, payloadSize: decimal(payloadSize), payloadSha256, previous };
}

// Objects, lists, strings and whole numbers as canonical JSON spells them: members in order, no white space.
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value && typeof value === "object") return `{${Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
  return JSON.stringify(value);
}

// A count that JavaScript holds exactly.
function decimal(text) {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || String(value) !== text) throw new Error("a number that this browser does not hold");
  return value;
}
