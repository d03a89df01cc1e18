// The dashboard: routes, what is known, and redrawing the page that is open when something changes.

import { forgetKey, get, setKey, takeKey } from "/web/api.js";
import { button, field, h, link } from "/web/dom.js";
import { Live } from "/web/live.js";
import { overview } from "/web/overview.js";
import { task, tasks } from "/web/tasks.js";
import { deliveries, delivery } from "/web/deliveries.js";
import { connectors, keys, webhooks, workspace } from "/web/pages.js";

const PAGES = [["", "Overview"], ["tasks", "Tasks"], ["deliveries", "Deliveries"], ["connectors", "Connectors"], ["webhooks", "Webhooks"], ["workspace", "Workspace"], ["keys", "Keys and usage"]];
const ROUTES = { "": overview, tasks, deliveries, connectors, webhooks, workspace, keys };
const DETAILS = { tasks: task, deliveries: delivery };
const MINUTES = 30;
const REDRAW_EVERY = 5;

const main = document.getElementById("main");
const live = document.getElementById("live");
const notice = document.getElementById("notice");

export const known = { metrics: null, events: [], perMinute: new Array(MINUTES).fill(0), minute: 0, p95: [], beats: 0 };
let drawn = 0;
let pending = null;

function nav(current) {
  document.getElementById("nav").replaceChildren(...PAGES.map(([path, text]) =>
    h("a", { href: `#/${path}`, "aria-current": path === current ? "page" : null }, text)), link("/docs", "API"));
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

export async function draw({ moved = false } = {}) {
  const [, path = "", ...rest] = /^#\/([^/?]*)\/?(.*)$/.exec(location.hash) || [];
  const id = decodeURIComponent(rest[0] || "");
  const page = id && DETAILS[path] ? DETAILS[path] : ROUTES[path];
  nav(path);
  const turn = ++drawn;
  if (!page) { main.replaceChildren(h("h1", {}, "There is no such page"), link("#/", "Back to the overview")); return; }
  try {
    const content = await page(id);
    if (turn !== drawn) return; // something newer was drawn meanwhile
    const focused = document.activeElement?.id;
    const scroll = main.querySelector(".scroll")?.scrollLeft;
    main.replaceChildren(...content.filter(Boolean));
    document.title = `${main.querySelector("h1")?.textContent || ""} · ralf-hub`;
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    if (scroll) main.querySelector(".scroll").scrollLeft = scroll;
    if (moved) main.focus();
  } catch (error) {
    if (turn !== drawn) return;
    if (error.status === 401) { forgetKey(); welcome("This key is not valid (any more)."); return; }
    main.replaceChildren(h("h1", {}, "This page cannot be shown"), h("p", {}, error.message), button("Try again", () => draw()));
  }
}

// Redraws soon, once for many changes; not while somebody types into a form.
function changed() {
  if (pending || main.querySelector("form :focus, dialog[open]")) return;
  pending = setTimeout(() => { pending = null; draw(); }, 250);
}

function take(message) {
  if (message.topic === "events") {
    known.events = [message.event, ...known.events].slice(0, 100);
    changed();
  } else if (message.topic === "deliveries") {
    const minute = Math.floor(Date.now() / 60000);
    const moved = known.minute ? Math.min(minute - known.minute, MINUTES) : 0;
    if (moved > 0) known.perMinute = [...known.perMinute.slice(moved), ...new Array(moved).fill(0)];
    known.minute = minute;
    if (message.delivery.outcome === "delivered") known.perMinute[MINUTES - 1] += 1;
    changed();
  } else if (message.topic === "metrics") {
    known.metrics = message.metrics;
    const slowest = Math.max(0, ...Object.values(message.metrics.deliveries).map((numbers) => numbers.p95_ms || 0));
    known.p95 = [...known.p95, slowest].slice(-120);
    known.beats += 1;
    if (known.beats % REDRAW_EVERY === 0) changed(); // ages and charts move on even where nothing happens
  }
}

function state(now) {
  live.className = `live ${now === "off" || now === "refused" ? "off" : "on"}`;
  live.textContent = { on: "Live", resumed: "Live again: nothing was missed", off: "Not connected, trying again…", refused: "Live updates are not allowed for this key" }[now];
  if (now === "resumed") draw();
}

function welcome(problem) {
  const key = h("input", { type: "password", autocomplete: "off", required: true });
  main.replaceChildren(h("h1", {}, "Welcome to ralf-hub"),
    h("p", {}, "Paste an API key. The hub printed one when it first started; ", h("code", {}, "ralf-hub keys create --name me --scopes '*'"), " makes another."),
    h("form", { class: "stack", onsubmit: async (event) => { event.preventDefault(); setKey(key.value.trim()); await begin(); } },
      field("key", "API key", key, problem), h("button", { class: "main" }, "Open the dashboard")));
  key.focus();
}

let stream = null;
async function begin() {
  stream?.stop();
  let since = null;
  try {
    const last = await get("/events?limit=1&after=9007199254740000");
    known.events = last.last_seq ? (await get(`/events?limit=100&after=${Math.max(0, last.last_seq - 100)}`)).events.reverse() : [];
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
