// The console: which page is shown, for whom.

import { client, key } from "./api.js";
import { h, problem } from "./elements.js";
import { overview } from "./overview.js";
import { run, runs } from "./runs.js";
import { telemetry } from "./telemetry.js";
import { health } from "./health.js";
import { receipt, receipts } from "./receipts.js";
import { entry, ledger } from "./ledger.js";

// A page is made from what the address says: [pattern, page, heading of the window].
const PAGES = [
  [/^\/$/, overview, "Overview"],
  [/^\/runs$/, runs, "Runs"],
  [/^\/runs\/([\w-]+)$/, run, "Run"],
  [/^\/telemetry$/, telemetry, "Telemetry"],
  [/^\/health$/, health, "Health"],
  [/^\/receipts$/, receipts, "Receipts"],
  [/^\/receipts\/(\w+)$/, receipt, "Receipt"],
  [/^\/ledger$/, ledger, "Ledger"],
  [/^\/ledger\/(\d+)$/, entry, "Entry"],
];

const main = document.getElementById("main");
const pages = document.getElementById("pages");
const whose = document.getElementById("whose");
let leaving = new AbortController();
let isFirst = true;

// Says something to whoever listens instead of looking.
export function say(text) {
  document.getElementById("said").textContent = text;
}

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  if (!key.get()) return showSignIn();
  const [path, query] = (location.hash.slice(1) || "/").split("?");
  const found = PAGES.map(([pattern, page, title]) => [pattern.exec(path), page, title]).find(([match]) => match);
  mark(path);
  if (!found) return put("Not found", h("h1", {}, "There is no such page"), h("p", {}, h("a", { href: "#/" }, "Go to the overview")));
  const [match, page, title] = found;
  const api = client(signal, () => signOut("This key is no longer in force."));
  const waiting = setTimeout(() => main.replaceChildren(h("p", { class: "loading", role: "status" }, "Loading …")), 150);
  try {
    const who = await whoami(api);
    const content = await page({ api, who, signal, query: new URLSearchParams(query ?? ""), say }, ...match.slice(1));
    if (!signal.aborted) put(title, ...[content].flat());
  } catch (error) {
    if (!signal.aborted && error.name !== "AbortError") put(title, h("h1", {}, title), problem(error, show));
  } finally {
    clearTimeout(waiting);
  }
}

let known = null;

async function whoami(api) {
  if (known?.text !== key.get()) {
    const [own, state] = await Promise.all([api.json("/v1/key"), api.json("/v1/ledger").catch((error) => ({ error }))]);
    known = { text: key.get(), ...own, origin: state.origin ?? own.tenant };
  }
  whose.textContent = known.origin;
  whose.title = `Key ${known.key_id} (${known.scopes.join(", ")})`;
  pages.hidden = false;
  return { ...known, may: (scope) => known.scopes.includes("admin") || known.scopes.includes(scope) };
}

function put(title, ...content) {
  document.title = `${title} · Tallystick`;
  main.replaceChildren(...content.filter(Boolean));
  // A new page is read from its beginning; the first one is not, so that the browser's own focus stays.
  if (!isFirst) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
    say(title);
  }
  isFirst = false;
}

function mark(path) {
  for (const anchor of pages.querySelectorAll("a[href^='#']")) {
    const target = anchor.getAttribute("href").slice(1);
    const isHere = target === "/" ? path === "/" : path.startsWith(target);
    if (isHere) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
}

function showSignIn(reason = "") {
  known = null;
  pages.hidden = true;
  whose.textContent = "";
  const field = h("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true, placeholder: "tl_…", "aria-describedby": "key-help" });
  const told = h("div", { role: "alert" }, reason ? h("p", { class: "problem" }, reason) : null);
  const enter = async (event) => {
    event.preventDefault();
    key.set(field.value.trim());
    try {
      await client(new AbortController().signal, () => {}).json("/v1/key");
      await show();
    } catch (error) {
      key.forget();
      told.replaceChildren(problem(error));
      field.select();
    }
  };
  put(
    "Sign in",
    h(
      "form",
      { class: "sign-in form", on: { submit: enter } },
      h("h1", {}, "Sign in with an API key"),
      h("p", { class: "soft", id: "key-help" }, "It stays in this tab, is sent to this server only, and is forgotten when the tab is closed."),
      h("label", {}, "API key", field),
      told,
      h("button", { type: "submit" }, "Sign in"),
      h("p", { class: "soft" }),
      h("p", { class: "soft" }, h("code", {}, "tally serve"), " shows the first key of a tenant once; ", h("code", {}, "tally keys --create console --scopes read"), " makes another."),
    ),
  );
  field.focus();
}

function signOut(reason = "") {
  leaving.abort();
  key.forget();
  showSignIn(reason);
}

document.getElementById("sign-out").addEventListener("click", () => signOut());
addEventListener("hashchange", show);
show();
