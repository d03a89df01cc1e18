// Deliveries: what left the house, what is stuck and why, and making it go again.

import { get, ifAllowed, post, query, remove } from "/web/api.js";
import { button, card, choice, field, h, link, pager, table, tag, when, wide } from "/web/dom.js";
import { act, draw, say } from "/web/hub.js";
import { taskLink } from "/web/overview.js";

const STATES = ["pending", "delivered", "dead", "cancelled"];
const AGAIN = ["dead", "delivered", "cancelled"];
const SPANS = [["", "any"], ["1", "up to an hour"], ["24", "up to a day"], ["168", "up to a week"]];
const HOUR_MS = 3600000;
const LOOK_MS = 2000;
const filter = { state: "", connector: "" };
let older = [];
let job = null; // the bulk replay that was begun here
let asking = false; // whether the form for many is open

const named = (names, none) => [["", none], ...names.map((name) => [name, name])];
const due = (iso) => (Date.parse(iso) > Date.now() ? when(iso) : h("span", { title: iso }, "due"));

export const deliveries = {
  hears: (message) => message.topic === "deliveries" || (message.topic === "events" && message.event.type.startsWith("connector_")),
  async load() {
    const asked = new URLSearchParams(location.hash.split("?")[1] || "");
    if (asked.size) { filter.state = asked.get("state") || ""; filter.connector = asked.get("connector") || ""; older = []; history.replaceState(null, "", "#/deliveries"); }
    const [found, known] = await Promise.all([get(`/deliveries${query({ limit: 50, ...filter, cursor: older.at(-1) })}`), ifAllowed(get("/connectors"))]);
    return { found, names: (known?.connectors || []).map((item) => item.name) };
  },
  view({ found, names }) {
    if (asking) return [many(names)];
    const controls = { state: choice(named(STATES, "every state"), filter.state), connector: choice(named(names, "every connector"), filter.connector) };
    for (const [name, control] of Object.entries(controls)) control.addEventListener("change", () => { filter[name] = control.value; older = []; draw(); });
    return [
      h("h1", {}, `Deliveries (${found.total})`),
      h("div", { class: "bar" }, field("state", "State", controls.state), field("connector", "Connector", controls.connector), button("Replay many…", () => { asking = true; draw(); })),
      job ? progress() : null,
      h("div", { class: "card" }, table("Deliveries, newest first", ["State", "Event", "Task", "Connector", "Attempts", "Next", "Last error"], found.deliveries.map((row) =>
        [tag(row.state), link(`#/deliveries/${row.id}`, row.event_type.replaceAll("_", " ")), row.task_id ? taskLink(row.task_id) : "", row.connector, String(row.attempts), row.next_attempt_at ? due(row.next_attempt_at) : "", row.last_error || ""]), "No delivery fits. Choose another state or connector."),
        pager(older, found.next_cursor, draw)),
    ];
  },
};

// Choose, see how many these are, and only then let them go again. The job itself is durable and runs in the hub.
function many(names) {
  const state = choice(AGAIN.map((name) => [name, name]), AGAIN.includes(filter.state) ? filter.state : "dead");
  const connector = choice(named(names, "every connector"), filter.connector);
  const age = choice(SPANS, "");
  const go = h("button", { class: "main", disabled: true }, "Counting…");
  const wanted = () => ({ state: state.value, ...(connector.value ? { connector: connector.value } : {}), ...(age.value ? { since: new Date(Date.now() - age.value * HOUR_MS).toISOString() } : {}) });
  let turn = 0;
  const count = async () => {
    const mine = ++turn;
    go.disabled = true;
    try {
      const { count: n } = await post("/deliveries/replay", { ...wanted(), dry_run: true });
      if (mine !== turn) return;
      go.textContent = n ? `Replay ${n} ${state.value} ${n === 1 ? "delivery" : "deliveries"}` : "None fits";
      go.disabled = !n;
    } catch (error) {
      say(error.message, "bad");
    }
  };
  for (const control of [state, connector, age]) control.addEventListener("change", count);
  count();
  const begin = async (event) => {
    event.preventDefault();
    asking = false;
    await act(async () => { job = (await post("/deliveries/replay", wanted())).job; }, "They are made due again.");
    follow();
  };
  return [h("h1", {}, "Replay many deliveries"), h("div", { class: "card" },
    h("p", { class: "soft" }, "Each is sent again as it was. A receiver that has seen it may be told twice."),
    h("form", { class: "stack keep", onsubmit: begin }, field("many-state", "State", state), field("many-connector", "Connector", connector), field("many-age", "Age", age),
      h("div", { class: "bar" }, go, button("Back", () => { asking = false; draw(); }))))];
}

function progress() {
  const running = job.state === "running";
  return h("div", { class: "card between", role: "status" }, h("p", {}, `Replay of ${job.count}: ${job.done} done, ${job.state}.`), h("progress", { max: Math.max(job.count, 1), value: job.done, "aria-label": "Replayed" }),
    h("div", { class: "bar after" }, running ? button("Stop it", () => act(async () => { job = await remove(`/jobs/${job.id}`); }), "bad") : button("Hide", () => { job = null; draw(); })));
}

async function follow() {
  while (job?.state === "running") {
    await new Promise((done) => { setTimeout(done, LOOK_MS); });
    try { if (job) job = await get(`/jobs/${job.id}`); } catch { /* asked again */ }
  }
  if (location.hash.startsWith("#/deliveries")) draw({ unasked: true });
}

export const delivery = {
  hears: (message, id) => String(message.delivery?.id) === id || (message.topic === "events" && message.event.type.startsWith("connector_")),
  load: (id) => get(`/deliveries/${encodeURIComponent(id)}`),
  view(found) {
    const path = `/deliveries/${found.id}`;
    const pairs = [["Event", `${found.event_type} (${found.event_id})`], ["Connector", link("#/connectors", found.connector)], ["Action", found.action], ["Task", found.task_id ? taskLink(found.task_id) : "–"], ["Made", when(found.created_at)], ["Delivered", when(found.delivered_at)]];
    return [
      h("h1", {}, `Delivery ${found.id}`),
      h("p", { class: "explain", id: "explain" }, found.explain),
      h("div", { class: "bar" }, tag(found.state),
        button(found.state === "pending" ? "Try now" : "Replay", () => act(() => post(`${path}/replay`), "It is due now."), "main"),
        ["pending", "dead"].includes(found.state) ? button("Cancel delivery", () => confirm("Give this delivery up?") && act(() => post(`${path}/cancel`)), "bad") : null),
      h("div", { class: "grid two" },
        card("What and where", h("dl", {}, pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]))),
        card("What is sent", h("pre", { tabindex: "0", "aria-label": "Payload" }, JSON.stringify(found.payload, null, 2))),
        wide("Attempts", table("Every try, oldest first", ["When", "Outcome", "Status", "Took", "Error", "Answer"], found.attempts.map((attempt) => [when(attempt.started_at), tag(attempt.outcome), attempt.status_code === null ? "–" : String(attempt.status_code), `${attempt.duration_ms} ms`, attempt.error || "", attempt.response || ""]), "It was not tried yet.")),
      ),
    ];
  },
};
