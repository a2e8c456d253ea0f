// Receipts: the list, and one receipt that can be verified right here.

import { save } from "./api.js";
import { attempt, bytes, chip, facts, h, id, link, sign, table, time, tone } from "./elements.js";
import { judgedList } from "./list.js";
import { verifyBundle } from "./verify.js";

const KNOWN_KEYS = "tallystick.known-keys";

export async function receipts(page) {
  return [
    h("h1", {}, "Receipts"),
    h("p", { class: "lede" }, "Signed statements that name everything a run rests on. Anybody who has one can check it without us."),
    ...(await judgedList(page, { name: "receipts", show: receiptsTable, none: "No receipt is like that." })),
  ];
}

function receiptsTable(rows) {
  return table(
    "Receipts",
    [
      ["verdict", (row) => chip(row.verdict, row.is_presentable)],
      ["receipt", (row) => link(`#/receipts/${row.receipt_id}`, id(row.receipt_id))],
      ["procedure", (row) => `${row.procedure} ${row.procedure_version}`],
      ["source", (row) => row.source_id],
      ["status", (row) => row.status],
      ["last replay", (row) => row.last_replay_result ?? "–"],
      ["issued", (row) => time(row.recorded_at_ns)],
    ],
    rows,
  );
}

export async function receipt({ api, who, say }, receiptId) {
  const [found, state] = await Promise.all([api.json(`/v1/receipts/${receiptId}`), api.json("/v1/ledger")]);
  const { subject, predicate } = found.statement;
  const held = !found.is_presentable;
  const reportPlace = h("div", {});
  return [
    h("p", { class: "crumbs" }, link("#/receipts", "Receipts"), " / ", id(receiptId)),
    h("h1", {}, `Receipt for ${predicate.procedure.name} ${predicate.procedure.version}`),
    h("p", { class: "lede" }, `On ${predicate.source.source_id}, recorded `, time(found.recorded_at_ns), " as ", link(`#/ledger/${found.index}`, `entry ${found.index}`), "."),
    h("div", { class: `verdict ${tone(found.verdict)}${held ? " held" : ""}` }, sign(found.verdict, 46), h("div", {}, h("div", { class: "word" }, held ? "Withheld" : found.verdict), h("p", {}, reasons(predicate)))),
    worth(found),
    verification(api, receiptId, state, say),
    h("section", {}, h("h2", {}, "What it rests on"), facts(restsOn(predicate))),
    h("section", {}, h("h2", {}, "What was made"), held ? h("p", { class: "soft" }, "Kept as evidence, and not presented as true.") : null, artifacts(api, who, receiptId, subject, held)),
    h("section", {}, h("div", { class: "head" }, h("h2", {}, "Report"), h("button", { type: "button", class: "act quiet", on: { click: () => showReport(api, receiptId, reportPlace) } }, "Show the report")), reportPlace),
    who.may("audit") ? replaySection(api, receiptId, say) : null,
  ];
}

// What came after the receipt was signed, and changes what it is worth.
function worth(found) {
  if (found.status === "recalled") return h("div", { class: "problem", role: "note" }, h("strong", {}, "This receipt was recalled."), h("p", {}, `What it rests on was withdrawn (${found.recall_id}); it is not presented as true any more.`));
  if (found.superseded_by) return h("p", { class: "empty" }, "A newer receipt has taken its place: ", link(`#/receipts/${found.superseded_by}`, id(found.superseded_by)), ".");
  return null;
}

function reasons(predicate) {
  if (predicate.failure) return `${predicate.failure}.`;
  const worse = predicate.gates.filter((gate) => gate.outcome !== "pass").map((gate) => `${gate.gate_id}: ${gate.outcome}${gate.reason === "none" ? "" : ` (${gate.reason.replaceAll("_", " ")})`}`);
  return worse.length ? worse.join("; ") : "Every gate passed.";
}

function restsOn(predicate) {
  const place = (part) => link(`#/ledger/${part.index}`, `entry ${part.index}`);
  return [
    ["Run", link(`#/runs/${predicate.run.run_id}`, id(predicate.run.run_id)), ["started ", time(predicate.run.started_at_ns)]],
    ["Source", predicate.source.source_id, place(predicate.source)],
    ["Contract", `${predicate.contract.contract_id} ${predicate.contract.version}`, place(predicate.contract)],
    ["Procedure", `${predicate.procedure.name} ${predicate.procedure.version}`, place(predicate.procedure)],
    predicate.calibration && ["Calibration", predicate.calibration.calibration.certificate_id, place(predicate.calibration)],
    predicate.configuration && ["Firmware", predicate.configuration.firmware || "not stated", place(predicate.configuration)],
    ...predicate.batches.map((part) => ["Batch", id(part.batch_id), place(part)]),
    ...predicate.datasets.map((part) => ["Dataset", h("span", { class: "hash" }, part.digest.slice(7, 31), "…"), place(part)]),
    predicate.supersedes && ["Supersedes", link(`#/receipts/${predicate.supersedes}`, id(predicate.supersedes))],
  ];
}

function artifacts(api, who, receiptId, subject, held) {
  const told = h("div", {});
  const take = (name) => attempt(told, async () => save(await api.bytes(`/v1/receipts/${receiptId}/artifacts/${encodeURIComponent(name)}`), name));
  const mayTake = (part) => !held || who.may("audit") || part.name.startsWith("report.");
  return [
    table(
      "Artifacts",
      [
        ["name", (part) => part.name],
        ["media type", (part) => part.mediaType],
        ["size", (part) => bytes(Number(part.annotations?.byte_count ?? 0)), true],
        ["SHA-256 of what is stored", (part) => h("span", { class: "hash" }, part.digest.sha256.slice(0, 24), "…")],
        ["", (part) => (mayTake(part) ? h("button", { type: "button", class: "act quiet", on: { click: () => take(part.name) } }, "Save", h("span", { class: "visually-hidden" }, ` ${part.name}`)) : "withheld")],
      ],
      subject,
    ),
    told,
  ];
}

function showReport(api, receiptId, place) {
  return attempt(place, async () => {
    const { path } = await api.json(`/v1/receipts/${receiptId}/report-link`);
    place.replaceChildren(h("iframe", { class: "report", src: path, title: "Report", sandbox: "" }));
  });
}

function replaySection(api, receiptId, say) {
  const told = h("div", { role: "status" });
  const again = async (event) => {
    event.target.disabled = true;
    told.replaceChildren(h("p", { class: "soft" }, "Running it again from the events …"));
    await attempt(told, async () => {
      const found = await api.post(`/v1/receipts/${receiptId}/replay`);
      const isGood = found.result !== "diverged";
      told.replaceChildren(h("p", { class: isGood ? "t-p" : "t-f" }, sign(isGood ? "pass" : "fail"), ` ${found.result}, recorded as `, link(`#/ledger/${found.recorded_index}`, `entry ${found.recorded_index}`), found.first_difference ? h("code", {}, ` ${found.first_difference}`) : null));
      say(found.result);
    });
    event.target.disabled = false;
  };
  return h("section", {}, h("h2", {}, "Replay"), h("p", { class: "soft" }, "The server runs it again from the recorded events and compares byte for byte; what it finds is recorded."), h("div", { class: "actions" }, h("button", { type: "button", class: "act quiet", on: { click: again } }, "Run it again")), told);
}

// Verifying in this browser: with the key that this browser saw first, or one that the person brings.
function verification(api, receiptId, state, say) {
  const known = knownKey(state);
  const field = h("input", { value: known.key, spellcheck: "false", class: "mono", "aria-describedby": "key-note" });
  const steps = h("ol", { class: "steps", hidden: true });
  const told = h("p", { role: "status" });
  let bundle = null;

  async function fetchBundle() {
    bundle ??= await api.bytes(`/v1/receipts/${receiptId}/bundle`);
    return bundle;
  }

  async function verify() {
    told.replaceChildren();
    steps.hidden = false;
    steps.replaceChildren();
    await attempt(told, async () => {
      const outcome = await verifyBundle(await fetchBundle(), field.value.trim(), (step) => steps.append(stepRow(step)));
      const word = { pass: "This receipt verifies.", fail: "This receipt does NOT verify.", abstain: "This browser cannot decide it." }[outcome];
      told.replaceChildren(h("span", { class: `outcome ${tone(outcome)}` }, sign(outcome, 30), word));
      say(word);
    });
  }

  return h(
    "section",
    {},
    h("h2", {}, "Verify it in this browser"),
    h("p", { class: "soft" }, "Nothing is asked of the server but the receipt's file: the signatures, the digests and the place in the ledger are computed here."),
    h("label", {}, "Public key of the ledger", field),
    h("p", { class: "soft", id: "key-note" }, known.note),
    h("div", { class: "actions" }, h("button", { type: "button", class: "act", on: { click: verify } }, "Verify"), h("button", { type: "button", class: "act quiet", on: { click: () => attempt(told, async () => save(await fetchBundle(), `${receiptId}.tally.json`, "application/json")) } }, "Save the file"), h("span", { class: "soft" }, h("code", {}, `tally verify ${receiptId}.tally.json --key …`))),
    steps,
    told,
  );
}

function stepRow({ step, text, outcome, detail }) {
  return h("li", { class: tone(outcome) }, sign(outcome, 18), h("div", {}, `${step}. ${text}`, detail ? h("small", {}, detail) : null));
}

// The key that this browser saw first for an origin; a later one that differs is told, not taken.
function knownKey(state) {
  const known = JSON.parse(localStorage.getItem(KNOWN_KEYS) ?? "{}");
  const first = known[state.origin];
  if (!first) {
    localStorage.setItem(KNOWN_KEYS, JSON.stringify({ ...known, [state.origin]: { key: state.verifier_key, seen: new Date().toISOString().slice(0, 10) } }));
    return { key: state.verifier_key, note: "This is the key that the server states, seen here for the first time. Compare it with one that you got another way, or put that one in." };
  }
  if (first.key !== state.verifier_key) return { key: first.key, note: `The server now states another key than on ${first.seen}: ${state.verifier_key}. If nobody told you of a new key, ask why.` };
  return { key: first.key, note: `The same key that this browser saw on ${first.seen}. A key that you got another way says more.` };
}
