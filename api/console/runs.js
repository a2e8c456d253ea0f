// Runs: the list, and one run with its gates, windows, and what led to it.

import { at } from "./api.js";
import { chart } from "./chart.js";
import { attempt, chip, empty, facts, h, id, link, number, score, sign, table, time, tone } from "./elements.js";
import { judgedList } from "./list.js";
import { strip } from "./strip.js";

export async function runs(page) {
  return [h("h1", {}, "Runs"), ...(await judgedList(page, { name: "runs", show: runsTable, none: "No run is like that." }))];
}

export function runsTable(rows) {
  return table(
    "Runs",
    [
      ["verdict", (row) => chip(row.verdict, row.is_presentable)],
      ["procedure", (row) => link(`#/runs/${row.run_id}`, `${row.procedure} ${row.procedure_version}`)],
      ["source", (row) => row.source_id],
      ["lowest score", (row) => score(row.score_min, row.verdict)],
      ["windows", (row) => number(row.window_count), true],
      ["started", (row) => time(row.started_at_ns)],
      ["receipt", (row) => (row.receipt_id ? link(`#/receipts/${row.receipt_id}`, id(row.receipt_id.slice(0, 10))) : "–")],
    ],
    rows,
  );
}

export async function run({ api, say }, runId) {
  const [found, history] = await Promise.all([api.json(`/v1/runs/${runId}`), api.json(`/v1/runs/${runId}/history`)]);
  const { run: row, gates, windows } = found;
  return [
    h("p", { class: "crumbs" }, link("#/runs", "Runs"), " / ", id(row.run_id)),
    h("h1", {}, `${row.procedure} ${row.procedure_version} on ${row.source_id}`),
    h("p", { class: "lede" }, "Started ", time(row.started_at_ns), row.start_ns ? [", over data from ", time(row.start_ns), " to ", time(row.end_ns)] : null, "."),
    banner(row),
    facts([
      ["Receipt", row.receipt_id ? link(`#/receipts/${row.receipt_id}`, id(row.receipt_id)) : "not yet", row.superseded_by ? ["superseded by ", link(`#/receipts/${row.superseded_by}`, row.superseded_by.slice(0, 10))] : row.supersedes ? ["supersedes ", link(`#/receipts/${row.supersedes}`, row.supersedes.slice(0, 10))] : null],
      ["Windows", number(row.window_count), row.score_min === null ? null : `lowest score ${number(row.score_min)}, median ${number(row.score_median)}`],
      ["Contract", link(`#/ledger/${found.contract_index}`, `entry ${found.contract_index}`)],
      ["Calibration", found.calibration_index === null ? "none" : link(`#/ledger/${found.calibration_index}`, `entry ${found.calibration_index}`)],
    ]),
    windows.length > 1 ? h("section", {}, h("h2", {}, "Validity of each window"), h("p", { class: "soft" }, "The least margin of its required gates: 1 is well inside the limits, 0 is at the limit or beyond."), strip(windows.map((window) => window.outcome[0]).join(""), windows.map((window) => window.score), "Windows")) : null,
    h("section", {}, h("h2", {}, "Gates"), gates.length ? h("div", { class: "board" }, byUrgency(gates).map(gateRow)) : empty("The gates have not decided yet.")),
    windows.length > 1 ? measurements(api, row, gates, say) : null,
    h("section", {}, h("h2", {}, "What led to it"), historyTable(history)),
  ];
}

function banner(row) {
  const held = row.is_presentable === false;
  const sentence = (row.failure && `${row.failure}.`) || (row.reason && row.reason !== "none" ? `Reason: ${row.reason.replaceAll("_", " ")}.` : held ? "" : row.verdict ? "Its gates let it through." : "It has not been decided yet.");
  return h(
    "div",
    { class: `verdict ${tone(row.verdict)}${held ? " held" : ""}` },
    sign(row.verdict ?? "none", 46),
    h("div", {}, h("div", { class: "word" }, held ? "Withheld" : (row.verdict ?? row.status)), h("p", {}, held ? `${sentence} Its results are not presented as true (verdict ${row.verdict}).` : sentence)),
  );
}

// What did not pass comes first, in the contract's own order otherwise.
function byUrgency(gates) {
  const order = ["fail", "abstain", "borderline", "pass"];
  return [...gates].sort((one, other) => order.indexOf(one.outcome) - order.indexOf(other.outcome));
}

function gateRow(gate) {
  const reasons = gate.reason === "none" ? "" : gate.reason.replaceAll("_", " ");
  return h(
    "div",
    { class: `gate ${tone(gate.outcome)}` },
    h("div", { class: "said" }, chip(gate.outcome)),
    h("div", { class: "name" }, h("b", {}, gate.gate_id), h("small", {}, gate.metric, gate.required ? "" : ", not required"), reasons ? h("small", {}, reasons) : null),
    h("div", { class: "figure" }, h("b", {}, number(gate.value, gate.unit)), h("small", {}, gate.margin === null ? "no margin" : `margin ${number(gate.margin)}`)),
    h("div", { class: "wide" }, gate.outcomes.length > 1 ? strip(gate.outcomes, gate.margins, gate.gate_id) : null),
  );
}

// One metric at a time, chosen among those that the gates looked at.
function measurements(api, row, gates, say) {
  const names = [...new Set(gates.map((gate) => gate.metric))].filter((name) => gates.find((gate) => gate.metric === name && gate.outcomes.length > 1));
  const place = h("div", {});
  const choose = h("select", { "aria-label": "Metric", on: { change: draw } }, names.map((name) => h("option", {}, name)));

  async function draw() {
    await attempt(place, async () => {
      const found = await api.json(at("/v1/telemetry", { metric: choose.value, run_id: row.run_id, parts: 800 }));
      place.replaceChildren(...[chart(found, say)].flat().filter(Boolean));
    });
  }

  if (!names.length) return null;
  draw();
  return h("section", {}, h("h2", {}, "Measured in each window"), h("div", { class: "filters" }, h("label", {}, "metric", choose)), place);
}

export function historyTable(rows) {
  return table(
    "Entries that led to it and came of it",
    [
      ["entry", (row) => link(`#/ledger/${row.index}`, String(row.index)), true],
      ["event", (row) => row.event_type],
      ["about", (row) => h("span", { class: "mono" }, row.subject)],
      ["recorded", (row) => time(row.recorded_at_ns)],
      ["by", (row) => row.actor],
      ["because of", (row) => row.causation.map((index, place) => [place ? ", " : "", link(`#/ledger/${index}`, String(index))])],
    ],
    rows,
  );
}
