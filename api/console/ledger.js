// The ledger: where it stands, its entries, and one entry with its body and proof.

import { at, save } from "./api.js";
import { attempt, empty, facts, h, link, number, sign, table, time, tone } from "./elements.js";
import { hexOf, leafHash, ofBase64, sha256 } from "./proof.js";

const PAGE = 50;

export async function ledger({ api, query }) {
  const type = query.get("type") ?? "";
  const state = await api.json("/v1/ledger");
  const from = query.has("start") ? Number(query.get("start")) || 0 : type ? 0 : Math.max(0, state.size - PAGE);
  const [checkpoint, page] = await Promise.all([api.text("/v1/checkpoint"), api.json(at("/v1/entries", { start: from, event_type: type, page_size: PAGE, page_token: query.get("token") ?? "" }))]);
  const start = h("input", { name: "start", type: "number", min: "0", value: String(from), inputmode: "numeric" });
  const kind = h("input", { name: "type", value: type, placeholder: "any, such as receipt.issued.v1" });
  const go = (event) => {
    event.preventDefault();
    location.hash = at("/ledger", { start: start.value, type: kind.value.trim() });
  };
  return [
    h("h1", {}, "Ledger"),
    h("p", { class: "lede" }, "Every fact in order, each chained to the one before, all of them under one signed root."),
    facts([
      ["Origin", state.origin],
      ["Entries", number(state.size)],
      ["Root", h("span", { class: "hash" }, state.root_sha256)],
      ["Public key", h("span", { class: "hash" }, state.verifier_key)],
    ]),
    h("details", {}, h("summary", {}, "The newest checkpoint, to be kept elsewhere"), h("pre", {}, checkpoint), h("p", { class: "soft" }, "Whoever keeps it can show later that nothing before it was changed or removed: ", h("code", {}, "tally audit --checkpoint FILE"), "."), h("div", { class: "actions" }, h("button", { type: "button", class: "act quiet", on: { click: () => save(checkpoint, `checkpoint-${state.size}.txt`, "text/plain") } }, "Save"))),
    h("form", { class: "filters", "aria-label": "Filter", on: { submit: go } }, h("label", {}, "from entry", start), h("label", {}, "type", kind), h("button", { type: "submit", class: "act quiet" }, "Show")),
    page.items.length ? entriesTable(page.items) : empty("No entry is like that from here on."),
    h("div", { class: "actions" }, from > 0 ? link(at("#/ledger", { start: Math.max(0, from - PAGE), type }), "earlier") : null, page.next_page_token ? link(at("#/ledger", { start: from, type, token: page.next_page_token }), "later") : null),
  ];
}

function entriesTable(rows) {
  return table(
    "Entries",
    [
      ["entry", (row) => link(`#/ledger/${row.index}`, String(row.index)), true],
      ["type", (row) => row.event_type],
      ["about", (row) => h("span", { class: "mono" }, row.subject)],
      ["recorded", (row) => time(row.recorded_at_ns)],
      ["by", (row) => row.actor],
      ["sealed here", (row) => (row.seal ? "yes" : "")],
    ],
    rows,
  );
}

export async function entry({ api }, index) {
  const row = await api.json(`/v1/entries/${index}`);
  const raw = ofBase64(row.entry_base64);
  const body = ofBase64(row.payload_base64);
  const told = h("div", {});
  const [leaf, digest] = await Promise.all([leafHash(raw), sha256(body)]);
  return [
    h("p", { class: "crumbs" }, link("#/ledger", "Ledger"), " / ", link(`#/ledger?start=${row.index}`, `entry ${row.index}`)),
    h("h1", {}, row.event_type),
    h("p", { class: "lede" }, "Recorded ", time(row.recorded_at_ns), ` by ${row.actor}, about `, h("span", { class: "mono" }, row.subject), row.causation.length ? [", because of ", row.causation.map((one, place) => [place ? ", " : "", link(`#/ledger/${one}`, `entry ${one}`)])] : null, "."),
    h(
      "ol",
      { class: "steps" },
      checked(hexOf(leaf) === row.leaf_sha256, "The leaf hash is computed from the entry's bytes here", row.leaf_sha256),
      row.is_withheld ? checked(null, "The body belongs to a withheld run and is shown to auditors only", row.payload_sha256) : checked(hexOf(digest) === row.payload_sha256, "The body is the one that the entry commits to", row.payload_sha256),
    ),
    h("section", {}, h("h2", {}, "Body"), row.is_withheld ? empty("Withheld: an API key with the scope audit shows it.") : h("pre", { tabindex: "0" }, pretty(body))),
    h("section", {}, h("h2", {}, "Entry, as it is hashed"), h("pre", { tabindex: "0" }, new TextDecoder().decode(raw))),
    row.seal ? h("section", {}, h("h2", {}, "Seal"), h("pre", { tabindex: "0" }, row.seal)) : null,
    h("div", { class: "actions" }, h("button", { type: "button", class: "act quiet", on: { click: () => attempt(told, async () => save(await api.bytes(`/v1/entries/${index}/proof`), `entry-${index}.tlog-proof`, "text/plain")) } }, "Save its proof"), row.index > 0 ? link(`#/ledger/${row.index - 1}`, "entry before") : null, link(`#/ledger/${row.index + 1}`, "entry after")),
    told,
  ];
}

function checked(isRight, text, detail) {
  const outcome = isRight === null ? "abstain" : isRight ? "pass" : "fail";
  return h("li", { class: tone(outcome) }, sign(outcome, 18), h("div", {}, text, h("small", { class: "hash" }, detail)));
}

function pretty(body) {
  const text = new TextDecoder().decode(body);
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
