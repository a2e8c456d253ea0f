// A chart of one metric over time: the mean as a line, least and greatest as a band, holes marked where nothing
// could be measured. The arrow keys move a cursor; the same numbers stand in a table below.

import { empty, h, number, s, table, time } from "./elements.js";

// Drawn for the width there is, so that its words stay readable on a small screen.
const width = () => Math.max(320, Math.min(1100, document.documentElement.clientWidth - 90));
const HEIGHT = 260;
const LEFT = 70;
const BOTTOM = 30;
const TOP = 12;
const RIGHT = 14;

// `found` is what /v1/telemetry gave.
export function chart(found, say) {
  const parts = found.parts;
  const held = found.withheld_count ? h("p", { class: "soft" }, `${number(found.withheld_count)} windows of withheld runs are not shown.`) : null;
  const shown = parts.filter((part) => part.average !== null);
  if (!parts.length) return empty("Nothing was measured in this time.");
  if (!shown.length) return [empty("Nothing that may be shown was measured in this time."), held];
  const unit = parts[0].unit;
  const whole = width();
  const scale = scales(parts, shown, whole);
  const cursor = s("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  const reading = h("p", { class: "reading" }, "Move with the arrow keys to read a value.");
  let place = -1;

  function move(to) {
    place = Math.max(0, Math.min(parts.length - 1, to));
    const part = parts[place];
    const x = scale.x(part.time_ns);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.setAttribute("visibility", "visible");
    reading.replaceChildren(time(part.time_ns), ": ", ...describe(part));
    say(reading.textContent);
  }

  function onKey(event) {
    const steps = { ArrowLeft: place - 1, ArrowRight: place + 1, PageUp: place - 25, PageDown: place + 25, Home: 0, End: parts.length - 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    move(steps[event.key]);
  }

  function onPointer(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * whole;
    move(parts.reduce((best, part, at) => (Math.abs(scale.x(part.time_ns) - x) < Math.abs(scale.x(parts[best].time_ns) - x) ? at : best), 0));
  }

  const label = `${found.metric}, ${number(found.window_count)} windows from ${number(scale.low)} to ${number(scale.high, unit)}`;
  return h(
    "div",
    {},
    h(
      "div",
      { class: "chart", tabindex: "0", role: "group", "aria-roledescription": "chart", "aria-label": `${label}. Arrow keys read values.`, on: { keydown: onKey } },
      s("svg", { viewBox: `0 0 ${whole} ${HEIGHT}`, "aria-hidden": "true", on: { pointermove: onPointer } }, axes(scale, unit), marks(parts, scale), cursor),
      reading,
    ),
    found.bucket_ns ? h("p", { class: "soft" }, `${number(found.window_count)} windows, put together in parts of ${span(found.bucket_ns)}.`) : null,
    held,
    h("details", {}, h("summary", {}, "The same as a table"), numbers(parts)),
  );
}

function describe(part) {
  if (part.average === null) return [part.reason.replaceAll("_", " ")];
  if (part.window_count === 1) return [number(part.average, part.unit)];
  return [`${number(part.average, part.unit)} on average of ${part.window_count} windows, ${number(part.minimum)} to ${number(part.maximum)}`];
}

function scales(parts, shown, whole) {
  const first = parts[0].time_ns;
  const last = parts.at(-1).time_ns;
  let low = Math.min(...shown.map((part) => part.minimum));
  let high = Math.max(...shown.map((part) => part.maximum));
  const pad = high > low ? (high - low) * 0.06 : Math.abs(high) * 0.05 || 1;
  // What is never negative has its ground at zero.
  [low, high] = [low >= 0 ? Math.max(0, low - pad) : low - pad, high + pad];
  return {
    right: whole - RIGHT,
    first,
    last,
    low,
    high,
    x: (ns) => LEFT + (last > first ? ((ns - first) / (last - first)) * (whole - LEFT - RIGHT) : (whole - LEFT - RIGHT) / 2),
    y: (value) => TOP + (1 - (value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM),
  };
}

function axes(scale, unit) {
  const steps = ticks(scale.low, scale.high);
  const times = (scale.right > 600 ? [0, 0.25, 0.5, 0.75, 1] : [0, 0.5, 1]).map((part) => scale.first + part * (scale.last - scale.first));
  return [
    steps.map((value) => [s("line", { class: "grid", x1: LEFT, x2: scale.right, y1: scale.y(value), y2: scale.y(value) }), s("text", { x: LEFT - 8, y: scale.y(value) + 4, "text-anchor": "end" }, number(value))]),
    unit && unit !== "1" ? s("text", { x: LEFT - 8, y: HEIGHT - 10, "text-anchor": "end" }, unit) : null,
    s("line", { class: "axis", x1: LEFT, x2: scale.right, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }),
    (scale.last > scale.first ? times : times.slice(0, 1)).map((ns, at, all) => s("text", { x: scale.x(ns), y: HEIGHT - 10, "text-anchor": all.length === 1 ? "middle" : at === 0 ? "start" : at === all.length - 1 ? "end" : "middle" }, clock(ns, scale.last - scale.first))),
  ];
}

function marks(parts, scale) {
  const band = parts.filter((part) => part.average !== null);
  const isBand = band.some((part) => part.maximum > part.minimum);
  const upper = band.map((part) => `${scale.x(part.time_ns)},${scale.y(part.maximum)}`);
  const lower = band.map((part) => `${scale.x(part.time_ns)},${scale.y(part.minimum)}`).reverse();
  const line = parts.map((part, at) => (part.average === null ? "" : `${at && parts[at - 1].average !== null ? "L" : "M"}${scale.x(part.time_ns).toFixed(1)} ${scale.y(part.average).toFixed(1)}`)).join("");
  return [
    isBand ? s("polygon", { class: "band", points: [...upper, ...lower].join(" ") }) : null,
    s("path", { class: "line", d: line }),
    band.length <= 120 ? band.map((part) => s("circle", { class: "dot", cx: scale.x(part.time_ns), cy: scale.y(part.average), r: 2.6 })) : null,
    parts.filter((part) => part.missing_count).map((part) => s("line", { class: "gap", x1: scale.x(part.time_ns), x2: scale.x(part.time_ns), y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM - 7 })),
  ];
}

function numbers(parts) {
  const shown = parts.slice(0, 500);
  return [
    table(
      "Values",
      [
        ["time", (part) => time(part.time_ns)],
        ["value", (part) => number(part.average, part.unit), true],
        ["least", (part) => number(part.minimum), true],
        ["greatest", (part) => number(part.maximum), true],
        ["windows", (part) => number(part.window_count), true],
        ["not measured", (part) => (part.missing_count ? `${part.missing_count}: ${part.reason.replaceAll("_", " ")}` : "–")],
      ],
      shown,
    ),
    parts.length > shown.length ? h("p", { class: "soft" }, `The first ${shown.length} of ${parts.length} are shown.`) : null,
  ];
}

// Round numbers that lie between.
function ticks(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) found.push(Number(value.toPrecision(12)));
  return found;
}

function clock(ns, spanNs) {
  const text = new Date(ns / 1e6).toISOString();
  return spanNs > 3 * 86_400e9 ? text.slice(0, 10) : spanNs > 86_400e9 ? text.slice(5, 16).replace("T", " ") : text.slice(11, 19);
}

export function span(ns) {
  const units = [[86_400e9, "d"], [3_600e9, "h"], [60e9, "min"], [1e9, "s"], [1e6, "ms"], [1, "ns"]];
  const [size, name] = units.find(([one]) => ns >= one);
  return `${number(ns / size)} ${name}`;
}
