// Telemetry: a metric of a source over time.

import { at } from "./api.js";
import { chart } from "./chart.js";
import { empty, h } from "./elements.js";
import { filters } from "./list.js";

const SPANS = { "24 hours": 1, "7 days": 7, "30 days": 30, "365 days": 365 };

export async function telemetry({ api, query, say }) {
  const sources = (await api.json(at("/v1/sources", { page_size: 500 }))).items.map((row) => row.source_id);
  const heading = h("h1", {}, "Telemetry");
  if (!sources.length) return [heading, empty("No device or connection is registered yet. ", h("code", {}, "tally apply setup.yaml"), " registers them.")];
  const source = query.get("source") || sources.at(-1);
  const metrics = (await api.json(`/v1/sources/${encodeURIComponent(source)}/metrics`)).map((row) => row.metric);
  const wanted = query.get("metric") ?? "";
  const metric = metrics.includes(wanted) ? wanted : (metrics[0] ?? "");
  const within = query.get("within") ?? "";
  const from = SPANS[within] ? String(BigInt(Date.now() - SPANS[within] * 86_400_000) * 1_000_000n) : "";
  const form = filters("/telemetry", { source, metric, within }, { source: sources, metric: metrics, within: Object.keys(SPANS) });
  if (!metric) return [heading, form, empty("Nothing was measured of this source yet.")];
  const found = await api.json(at("/v1/telemetry", { source, metric, from_ns: from, parts: 800 }));
  return [heading, h("p", { class: "lede" }, "Measured in every window of every run. Of a withheld run only what its gates looked at is shown."), form, h("h2", {}, metric), chart(found, say)];
}
