// Deliveries: what left the house, what is stuck and why, and making it go again.

import { get, post, query } from "/web/api.js";
import { button, card, choice, field, h, link, table, tag, when, wide } from "/web/dom.js";
import { act, draw, say } from "/web/hub.js";
import { taskLink } from "/web/overview.js";

const filter = { state: "", connector: "" };
let older = [];

export async function deliveries() {
  const [found, known] = await Promise.all([get(`/deliveries${query({ limit: 50, ...filter, cursor: older.at(-1) })}`), get("/connectors")]);
  const state = choice([["", "every state"], ...["pending", "delivered", "dead", "cancelled"].map((name) => [name, name])], filter.state);
  const connector = choice([["", "every connector"], ...known.connectors.map((item) => [item.name, item.name])], filter.connector);
  for (const [name, control] of [["state", state], ["connector", connector]]) {
    control.addEventListener("change", () => { filter[name] = control.value; older = []; draw(); });
  }
  return [
    h("h1", {}, `Deliveries (${found.total})`),
    h("div", { class: "bar" }, field("state", "State", state), field("connector", "Connector", connector), button("Replay many…", replayMany)),
    h("div", { class: "card" }, table("Deliveries, newest first", ["State", "Event", "Task", "Connector", "Attempts", "Next", "Last error"], found.deliveries.map((row) =>
      [tag(row.state), link(`#/deliveries/${row.id}`, row.event_type.replaceAll("_", " ")), row.task_id ? taskLink(row.task_id) : "", row.connector, String(row.attempts), row.next_attempt_at ? when(row.next_attempt_at) : "", row.last_error || ""]), "No delivery fits. Choose another state or connector."),
      h("div", { class: "bar" }, older.length ? button("Newer", () => { older.pop(); draw(); }) : null, found.next_cursor ? button("Older", () => { older.push(found.next_cursor); draw(); }) : null)),
  ];
}

// Counts first, then asks; the job itself is durable and runs in the hub.
async function replayMany() {
  const wanted = { state: ["dead", "delivered", "cancelled"].includes(filter.state) ? filter.state : "dead", ...(filter.connector ? { connector: filter.connector } : {}) };
  try {
    const { count } = await post("/deliveries/replay", { ...wanted, dry_run: true });
    if (!count) { say(`There is no ${wanted.state} delivery to replay.`); return; }
    if (!confirm(`Replay ${count} ${wanted.state} deliveries${wanted.connector ? ` of ${wanted.connector}` : ""}?`)) return;
    await act(() => post("/deliveries/replay", wanted), `${count} deliveries are made due again.`);
  } catch (error) {
    say(error.message, "bad");
  }
}

export async function delivery(id) {
  const found = await get(`/deliveries/${encodeURIComponent(id)}`);
  const path = `/deliveries/${found.id}`;
  return [
    h("h1", {}, `Delivery ${found.id}`),
    h("p", { class: "explain", id: "explain" }, found.explain),
    h("div", { class: "bar" }, tag(found.state),
      button(found.state === "pending" ? "Try now" : "Replay", () => act(() => post(`${path}/replay`), "It is due now."), "main"),
      ["pending", "dead"].includes(found.state) ? button("Cancel delivery", () => confirm("Give this delivery up?") && act(() => post(`${path}/cancel`)), "bad") : null),
    h("div", { class: "grid" },
      card("What and where", h("dl", {}, h("dt", {}, "Event"), h("dd", {}, `${found.event_type} (${found.event_id})`), h("dt", {}, "Connector"), h("dd", {}, found.connector), h("dt", {}, "Action"), h("dd", {}, found.action), h("dt", {}, "Task"), h("dd", {}, found.task_id ? taskLink(found.task_id) : "–"), h("dt", {}, "Made"), h("dd", {}, when(found.created_at)), h("dt", {}, "Delivered"), h("dd", {}, when(found.delivered_at)))),
      card("What is sent", h("pre", { tabindex: "0", "aria-label": "Payload" }, JSON.stringify(found.payload, null, 2))),
      wide("Attempts", table("Every try, oldest first", ["When", "Outcome", "Status", "Took", "Error", "Answer"], found.attempts.map((attempt) => [when(attempt.started_at), tag(attempt.outcome), attempt.status_code === null ? "–" : String(attempt.status_code), `${attempt.duration_ms} ms`, attempt.error || "", attempt.response || ""]), "It was not tried yet.")),
    ),
  ];
}
