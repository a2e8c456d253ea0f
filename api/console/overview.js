// Overview: what may be believed right now, and what may not.

import { at } from "./api.js";
import { empty, facts, h, id, link, number, sign, table, time, tone, words } from "./elements.js";
import { runsTable } from "./runs.js";

const NOTCHES = 90;
const OUTCOMES = ["pass", "borderline", "fail", "abstain"];

export async function overview({ api }) {
  const [state, runs, quarantined, devices, providers] = await Promise.all([
    api.json("/v1/ledger"),
    api.json(at("/v1/runs", { page_size: NOTCHES })),
    api.json(at("/v1/batches", { status: "quarantined", page_size: 5 })),
    api.json("/v1/device-health"),
    api.json("/v1/provider-health"),
  ]);
  return [
    h("h1", {}, "Overview"),
    h("p", { class: "lede" }, "Every run of a procedure ends in a receipt. What its gates did not let through is withheld, and that has a receipt, too."),
    facts([
      ["Ledger", state.origin, `${number(state.size)} entries, sealed`],
      ["Root", h("span", { class: "hash" }, state.root_sha256.slice(0, 24), "…"), link("#/ledger", "checkpoint and key")],
      ["Devices", number(devices.length), devices.length ? `${number(sum(devices, "run_count"))} runs` : "none registered yet"],
      ["Connections", number(new Set(providers.map((row) => row.source_id)).size), providers.length ? `${number(sum(providers, "batch_count"))} payloads` : "nothing sent yet"],
    ]),
    h(
      "section",
      {},
      h("h2", {}, "The stick"),
      runs.items.length
        ? [h("p", { class: "soft" }, `One notch for each of the last ${runs.items.length} runs, the newest on the right; the deeper, the worse.`), stick(runs.items), counts(runs.items)]
        : empty("No runs yet. Deploy a procedure with ", h("code", {}, "tally apply"), " and send it something with ", h("code", {}, "tally ingest"), ", or see it all at once with ", h("code", {}, "tally demo"), "."),
    ),
    runs.items.length ? h("section", {}, h("div", { class: "head" }, h("h2", {}, "Newest runs"), link("#/runs", "all runs")), runsTable(runs.items.slice(0, 8))) : null,
    quarantined.items.length ? h("section", {}, h("h2", {}, "In quarantine"), h("p", { class: "soft" }, "Kept byte for byte, and not used. A newer version of the procedure can take them up: ", h("code", {}, "tally reprocess"), "."), quarantineTable(quarantined.items)) : null,
  ];
}

function stick(runs) {
  const counted = OUTCOMES.map((outcome) => `${runs.filter((row) => row.verdict === outcome).length} ${outcome}`).join(", ");
  return h(
    "div",
    { class: "stick", role: "img", "aria-label": `Verdicts of the last ${runs.length} runs: ${counted}` },
    [...runs].reverse().map((row) => h("i", { class: `${tone(row.verdict)} n-${(row.verdict ?? "abstain")[0]}`, title: `${row.procedure} on ${row.source_id}: ${row.verdict ?? row.status}` })),
  );
}

function counts(runs) {
  return h(
    "ul",
    { class: "counts" },
    OUTCOMES.map((outcome) => h("li", { class: tone(outcome) }, sign(outcome, 20), h("b", {}, number(runs.filter((row) => row.verdict === outcome).length)), outcome)),
    h("li", {}, h("b", {}, number(runs.filter((row) => row.is_presentable === false).length)), "withheld"),
  );
}

function quarantineTable(rows) {
  return table(
    "Batches in quarantine",
    [
      ["batch", (row) => id(row.batch_id)],
      ["source", (row) => row.source_id],
      ["kind", (row) => row.kind],
      ["received", (row) => time(row.received_at_ns)],
      ["why", (row) => words(row.quarantine_reason)],
      ["bytes", (row) => number(row.byte_count), true],
    ],
    rows,
  );
}

const sum = (rows, name) => rows.reduce((total, row) => total + (row[name] ?? 0), 0);
