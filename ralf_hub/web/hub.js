// The dashboard: routes, what is known, and redrawing the page that is open when something changes.

import { allowance, forgetKey, get, health, setKey, takeKey } from "/web/api.js";
import { button, field, h, link } from "/web/dom.js";
import { Live } from "/web/live.js";
import { overview } from "/web/overview.js";
import { task, tasks } from "/web/tasks.js";
import { deliveries, delivery } from "/web/deliveries.js";
import { connectors, keys, webhooks, workspace } from "/web/pages.js";

// A page is `load(id)`, which asks the hub; `view(data)`, which draws; `hears(message, id)`: does it change the page?
const PAGES = [["", "Overview"], ["tasks", "Tasks"], ["deliveries", "Deliveries"], ["connectors", "Connectors"], ["webhooks", "Webhooks"], ["workspace", "Workspace"], ["keys", "Keys and usage"]];
const ROUTES = { "": overview, tasks, deliveries, connectors, webhooks, workspace, keys };
const DETAILS = { tasks: task, deliveries: delivery };
const NEWEST = 9007199254740991;
const REDRAW_EVERY = 5;
const HEALTH_EVERY = 10;

const main = document.getElementById("main");
const live = document.getElementById("live");
const notice = document.getElementById("notice");
const trouble = document.getElementById("trouble");

export const known = { metrics: null, events: [], alerts: [], p95: [], beats: 0 };
let drawn = 0;
let pending = null;
let stale = false; // something changed while somebody typed
let shown = null; // the page that is drawn, with its data

function nav(current) {
  document.getElementById("nav").replaceChildren(...PAGES.map(([path, text]) =>
    h("a", { href: `#/${path}`, "aria-current": path === current ? "page" : null }, text)), link("/docs", "API"));
  document.querySelector("nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" }); // on a small screen the row scrolls
}

export function say(text, kind = "") {
  notice.className = `notice ${kind}`;
  notice.textContent = text;
  notice.hidden = false;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { notice.hidden = true; }, 6000);
}

// Runs what a button does; a problem is said, never swallowed.
export async function act(doing, done) {
  try {
    await doing();
    if (done) say(done);
    draw();
  } catch (error) {
    say(error.message, "bad");
  }
}

function here() {
  const [, path = "", rest = ""] = /^#\/([^/?]*)\/?([^?]*)/.exec(location.hash) || [];
  let id = "";
  try { id = decodeURIComponent(rest); } catch { /* not an id of ours */ }
  return { path, id, page: id && DETAILS[path] ? DETAILS[path] : ROUTES[path] };
}

function put(content) {
  const focused = document.activeElement?.id;
  const scroll = main.querySelector(".scroll")?.scrollLeft;
  main.replaceChildren(...content.flat().filter(Boolean));
  document.title = `${main.querySelector("h1")?.textContent || ""} · ralf-hub`;
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  if (scroll) main.querySelector(".scroll").scrollLeft = scroll;
}

export async function draw({ moved = false, unasked = false } = {}) {
  const { path, id, page } = here();
  nav(path);
  const turn = ++drawn;
  if (!page) { put([h("h1", {}, "There is no such page"), link("#/", "Back to the overview")]); return; }
  try {
    const data = await page.load(id);
    if (turn !== drawn) return; // something newer was drawn meanwhile
    shown = { page, data };
    put(page.view(data));
    if (moved) { scrollTo(0, 0); main.focus(); }
  } catch (error) {
    if (turn !== drawn) return;
    if (error.status === 401) { forgetKey(); welcome("This key is not valid (any more)."); return; }
    if (unasked && (error.status === 429 || error.status === 0)) { later(1000 * (error.retryAfter || 5)); return; } // what is shown stays
    shown = null;
    put([h("h1", {}, "This page cannot be shown"), h("p", {}, error.message), button("Try again", () => draw())]);
  }
}

const busy = () => main.querySelector("form.keep, input:focus, textarea:focus, select:focus, dialog[open]");

function later(ms) {
  stale = false;
  pending ??= setTimeout(() => { pending = null; if (busy()) stale = true; else draw({ unasked: true }); }, ms);
}

// Redraws soon, once for many changes; the fewer calls the key's rate limit leaves, the later. Not while somebody types.
function changed() {
  const left = allowance.remaining;
  if (busy()) stale = true;
  else later(left > 40 ? 250 : left > 20 ? 2000 : 10000);
}

// Ages and charts move on without asking the hub.
function refresh() {
  if (shown && !busy() && !pending) put(shown.page.view(shown.data));
}

async function look() {
  const problems = Object.entries((await health()) || {}).filter(([, told]) => told !== "ok");
  trouble.hidden = !problems.length;
  trouble.replaceChildren(...problems.map(([name, told]) => h("p", {}, h("strong", {}, `${name}: `), told)));
}

function take(message) {
  if (message.topic === "events") {
    known.events = [message.event, ...known.events].slice(0, 100);
    if (message.event.type === "system_alert") { known.alerts = [message.event, ...known.alerts].slice(0, 5); look(); }
  } else if (message.topic === "metrics") {
    const before = known.metrics?.webhooks;
    known.metrics = message.metrics;
    const slowest = Math.max(0, ...Object.values(message.metrics.deliveries).map((numbers) => numbers.p95_ms || 0));
    known.p95 = [...known.p95, slowest].slice(-120);
    known.beats += 1;
    if (known.beats % HEALTH_EVERY === 0) look();
    if (stale) changed();
    if (known.beats % REDRAW_EVERY === 0) refresh();
    if (JSON.stringify(before) !== JSON.stringify(message.metrics.webhooks)) take({ topic: "webhooks" });
    return;
  }
  const { id, page } = here();
  if (page?.hears(message, id)) changed();
}

function state(now) {
  live.className = `live ${now === "off" || now === "refused" ? "off" : "on"}`;
  live.textContent = { on: "Live", resumed: "Live again: nothing was missed", off: "Not connected, trying again…", refused: "Live updates are not allowed for this key" }[now];
  if (now === "resumed") { look(); if (!busy()) draw({ unasked: true }); }
}

function welcome(problem) {
  shown = null;
  const key = h("input", { type: "password", autocomplete: "off", required: true });
  put([h("h1", {}, "Welcome to ralf-hub"),
    h("p", {}, "Paste an API key. The hub printed one when it first started; ", h("code", {}, "ralf-hub keys create --name me --scopes '*'"), " makes another."),
    h("form", { class: "stack keep", onsubmit: async (event) => { event.preventDefault(); setKey(key.value.trim()); await begin(); } },
      field("key", "API key", key, problem), h("button", { class: "main" }, "Open the dashboard"))]);
  key.focus();
}

let stream = null;
async function begin() {
  stream?.stop();
  look();
  let since = null;
  try {
    const [last, alerts] = await Promise.all([get(`/events?limit=50&before=${NEWEST}`), get(`/events?type=system_alert&limit=5&before=${NEWEST}`)]);
    known.events = last.events;
    known.alerts = alerts.events;
    since = Math.max(last.last_seq, known.events[0]?.seq || 0); // what happens from here on is told
  } catch (error) {
    if (error.status === 401) { forgetKey(); welcome("This key is not valid."); return; }
  }
  stream = new Live(take, state, since);
  stream.start();
  await draw();
}

addEventListener("hashchange", () => (takeKey() ? draw({ moved: true }) : welcome()));
if (takeKey()) begin(); else { nav(""); welcome(); }
