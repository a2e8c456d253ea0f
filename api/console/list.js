// A list that can be narrowed down and read on: filters above, what was asked in the address, older rows below.

import { at } from "./api.js";
import { attempt, empty, h } from "./elements.js";

const PAGE = 50;
const VERDICTS = ["pass", "borderline", "fail", "abstain"];

// Filters, rows and "Show older" of runs or of receipts; `show` makes a table of rows, `none` says that there is no such row.
export async function judgedList({ api, query, say }, { name, show, none }) {
  const asked = Object.fromEntries(["source", "procedure", "verdict"].map((field) => [field, query.get(field) ?? ""]));
  const ask = (more) => api.json(at(`/v1/${name}`, { ...asked, page_size: PAGE, ...more }));
  const [sources, first] = await Promise.all([api.json(at("/v1/sources", { page_size: 500 })), ask({})]);
  const rows = [...first.items];
  const list = h("div", {}, rows.length ? show(rows) : empty(none));
  const told = h("div", {});
  let token = first.next_page_token;
  const more = h("button", { type: "button", class: "act quiet", hidden: !token, on: { click: next } }, "Show older");

  async function next() {
    more.disabled = true;
    await attempt(told, async () => {
      const page = await ask({ page_token: token });
      rows.push(...page.items);
      token = page.next_page_token;
      list.replaceChildren(show(rows));
      say(`${rows.length} ${name} are shown`);
    });
    more.disabled = false;
    more.hidden = !token;
  }

  return [filters(`/${name}`, asked, { source: sources.items.map((row) => row.source_id), procedure: null, verdict: VERDICTS }), list, told, h("div", { class: "actions" }, more)];
}

// A form that puts what is asked into the address, where it can be kept and sent.
export function filters(path, asked, choices) {
  const fields = Object.entries(choices).map(([name, options]) => [name, options ? select(name, asked[name], options) : h("input", { name, value: asked[name], placeholder: "any" })]);
  const go = (event) => {
    event.preventDefault();
    location.hash = at(path, Object.fromEntries(fields.map(([name, field]) => [name, field.value.trim()])));
  };
  return h("form", { class: "filters", "aria-label": "Filter", on: { submit: go, change: go } }, fields.map(([name, field]) => h("label", {}, name, field)), h("button", { type: "submit", class: "act quiet" }, "Show"));
}

function select(name, chosen, options) {
  return h("select", { name }, h("option", { value: "" }, "any"), options.map((option) => h("option", { value: option, selected: option === chosen }, option)));
}
