// Elements: everything on a page is made here, from text and attributes, never from markup.

const SVG = "http://www.w3.org/2000/svg";

// An HTML element. Attributes that are null or false are left out; `on` holds listeners.
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

// An SVG element.
export function s(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(4).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SIGNS = {
  pass: "M4.2 8.4 7 11.2 12 5",
  borderline: "M3.6 9.2c1.5-2.6 3-2.6 4.4-1.2s2.9 1.4 4.4-1.2",
  fail: "M5 5l6 6M11 5l-6 6",
  abstain: "M6 6.2a2 2 0 1 1 2.9 1.8c-.6.3-.9.7-.9 1.4M8 11.6v.2",
  none: "M4.5 8h7",
};
const TONES = { pass: "t-p", borderline: "t-b", fail: "t-f", abstain: "t-a" };

export const tone = (outcome) => TONES[outcome] ?? "t-a";

// A circle with the outcome's own sign, so that colour is never alone.
export function sign(outcome, size = 16) {
  return s(
    "svg",
    { class: "sign", width: size, height: size, viewBox: "0 0 16 16", "aria-hidden": "true", fill: "none", stroke: "currentColor" },
    s("circle", { cx: 8, cy: 8, r: 7, "stroke-width": 1.3 }),
    s("path", { d: SIGNS[outcome] ?? SIGNS.none, "stroke-width": 1.8, "stroke-linecap": "round", "stroke-linejoin": "round" }),
  );
}

// An outcome in a word; what is withheld says so.
export function chip(outcome, isPresentable = true) {
  if (!outcome) return h("span", { class: "chip t-a" }, sign("none"), "under way");
  const held = isPresentable === false;
  return h("span", { class: `chip ${tone(outcome)}${held ? " held" : ""}` }, sign(outcome), held ? `${outcome}, withheld` : outcome);
}

export function score(value, outcome) {
  if (value === null || value === undefined) return "–";
  return h(
    "span",
    { class: tone(outcome) },
    s("svg", { class: "score", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { class: "whole", width: 100, height: 10 }), s("rect", { class: "part", width: 100 * value, height: 10 })),
    ` ${number(value)}`,
  );
}

// A table in a box that scrolls by itself; `columns` are [heading, cell of a row, isNumber].
export function table(caption, columns, rows) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: "visually-hidden" }, caption),
      h("thead", {}, h("tr", {}, columns.map(([heading, , isNumber]) => h("th", { scope: "col", class: isNumber ? "number" : null }, heading)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, columns.map(([, cell, isNumber]) => h("td", { class: isNumber ? "number" : null }, cell(row)))))),
    ),
  );
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value, note]) => h("div", {}, h("dt", {}, name), h("dd", {}, value, note ? h("small", {}, note) : null))));
}

export function empty(...children) {
  return h("p", { class: "empty" }, ...children);
}

// A problem as the API tells it (RFC 9457), or whatever else went wrong.
export function problem(error, retry = null) {
  const told = error.problem ?? { title: "This did not work", detail: error.message };
  return h(
    "div",
    { class: "problem", role: "alert" },
    h("strong", {}, told.title),
    told.detail ? h("p", {}, told.detail) : null,
    told.remedy ? h("p", {}, told.remedy) : null,
    told.instance ? h("p", { class: "soft mono" }, told.instance) : null,
    retry ? h("div", { class: "actions" }, h("button", { type: "button", class: "act quiet", on: { click: retry } }, "Try again")) : null,
  );
}

// Does something that a person asked for; what goes wrong is told at `place`, unless he has left the page.
export async function attempt(place, action) {
  try {
    await action();
  } catch (error) {
    if (error.name !== "AbortError") place.replaceChildren(problem(error));
  }
}

// Unix nanoseconds as UTC to the second.
export function time(ns) {
  if (ns === null || ns === undefined || !ns) return "–";
  const text = new Date(ns / 1e6).toISOString();
  return h("time", { datetime: text }, `${text.slice(0, 10)} ${text.slice(11, 19)}Z`);
}

export function number(value, unit = "") {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const text = Number.isInteger(value) && size < 1e9 ? value.toLocaleString("en") : size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(3) : String(Number(value.toPrecision(5)));
  return unit && unit !== "1" ? `${text} ${unit}` : text;
}

// A reason code in words.
export function words(reason) {
  return { MalformedError: "cannot be read", InvalidError: "does not hold", LimitError: "too large", shredded: "erased for ever" }[reason] ?? (reason ?? "–").replaceAll("_", " ");
}

export const short = (text, length = 16) => (text.length > length ? `${text.slice(0, length)}…` : text);
export const bytes = (count) => (count < 1024 ? `${count} B` : count < 1048576 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / 1048576).toFixed(1)} MiB`);
export const link = (href, ...children) => h("a", { href }, ...children);
export const id = (text) => h("span", { class: "id" }, text);
