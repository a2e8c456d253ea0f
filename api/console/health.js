// Health: how devices and providers have been doing.

import { empty, h, link, number, table, time, words } from "./elements.js";
import { span } from "./chart.js";

export async function health({ api }) {
  const [devices, providers] = await Promise.all([api.json("/v1/device-health"), api.json("/v1/provider-health")]);
  return [
    h("h1", {}, "Health"),
    h("section", {}, h("h2", {}, "Devices"), devices.length ? deviceTable(devices) : empty("No device is registered yet.")),
    h("section", {}, h("h2", {}, "Providers"), providers.length ? providerTable(providers) : empty("No connection has sent anything yet.")),
  ];
}

function deviceTable(rows) {
  return table(
    "Devices",
    [
      ["device", (row) => [link(`#/runs?source=${row.source_id}`, row.source_id), h("div", { class: "soft" }, `${row.manufacturer} ${row.model}${row.firmware ? `, firmware ${row.firmware}` : ""}`)]],
      ["last sample", (row) => time(row.last_sample_at_ns)],
      ["came of what was promised", (row) => (row.availability === null ? "–" : `${number(100 * row.availability)} %${row.gap_count ? `, ${number(row.gap_count)} gaps` : ""}`)],
      ["verdicts", verdicts],
      ["in quarantine", (row) => number(row.quarantined_count), true],
      ["calibration valid until", (row) => [time(row.calibration_valid_until_ns), row.calibration_id ? h("div", { class: "soft" }, row.calibration_id) : null]],
      ["last that did not pass", why],
    ],
    rows,
  );
}

function providerTable(rows) {
  return table(
    "Providers",
    [
      ["connection", (row) => [link(`#/runs?source=${row.source_id}`, row.source_id), h("div", { class: "soft" }, row.kind), row.erased_at_ns ? h("div", { class: "soft" }, "erased ", time(row.erased_at_ns)) : null]],
      ["last received", (row) => time(row.last_received_at_ns)],
      ["last that may be believed", (row) => time(row.last_success_at_ns)],
      ["delay, median and 95 %", (row) => (row.freshness_p50_seconds === null ? "–" : `${seconds(row.freshness_p50_seconds)}, ${seconds(row.freshness_p95_seconds)}`)],
      ["verdicts", verdicts],
      ["in quarantine", (row) => number(row.quarantined_count), true],
      ["last change of shape", (row) => time(row.last_drift_at_ns)],
      ["last that did not pass", why],
    ],
    rows,
  );
}

const seconds = (value) => (value > 0 ? span(value * 1e9) : "0 s");
const verdicts = (row) => ["pass", "borderline", "fail", "abstain"].filter((one) => row[`${one}_count`]).map((one) => `${row[`${one}_count`]} ${one}`).join(", ") || "–";
const why = (row) => (row.last_reason ? [words(row.last_reason), h("div", { class: "soft" }, time(row.last_reason_at_ns))] : "–");
