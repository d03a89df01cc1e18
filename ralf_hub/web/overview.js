// What RALF is doing, what left the house, what is stuck: on one page.

import { get } from "/web/api.js";
import { bars, card, empty, h, line, link, span, tag, when, wide } from "/web/dom.js";
import { known } from "/web/hub.js";

const STATUSES = ["pending", "in_progress", "blocked", "completed", "failed", "cancelled"];

export const taskLink = (id, title) => link(`#/tasks/${encodeURIComponent(id)}`, title || id);

export function connectorState(connector) {
  if (connector.paused) return "paused";
  return { closed: "working", open: "not working", disabled: "disabled" }[connector.breaker];
}

const words = (type) => type.replaceAll("_", " ");

export function eventRow(event) {
  const about = event.task_id ? taskLink(event.task_id, event.data.title || event.task_id) : event.data.message || event.data.text || event.data.connector || event.data.title || "";
  return h("li", {}, when(event.occurred_at), h("span", { class: "grow" }, h("strong", {}, words(event.type)), " ", about), h("span", { class: "soft" }, event.source));
}

function charts() {
  const total = known.perMinute.reduce((sum, n) => sum + n, 0);
  const latest = known.p95.at(-1) || 0;
  return [
    card("Delivered each minute", bars(known.perMinute, `${total} deliveries in the last half hour`), h("p", { class: "soft" }, `${known.perMinute.at(-1)} this minute, ${total} since this page was opened or in the last half hour`)),
    card("Slowest connector, p95", line(known.p95.length ? known.p95 : [0], `p95 now ${latest} ms`), h("p", { class: "soft" }, `${latest} ms now; the last two minutes`)),
  ];
}

export async function overview() {
  const [numbers, queue, found, receipts] = await Promise.all([
    get("/metrics"), get("/queue?limit=8"), get("/connectors"), get("/webhooks?limit=5").catch(() => ({ webhooks: [] })),
  ]);
  const alerts = known.events.filter((event) => event.type === "system_alert").slice(0, 5);
  const board = h("ul", { class: "board" }, STATUSES.map((status) =>
    h("li", {}, h("a", { href: `#/tasks?status=${status}` }, h("strong", {}, String(numbers.tasks.by_status[status])), words(status)))));
  return [
    h("h1", {}, "Overview"),
    h("div", { class: "grid" },
      wide("Tasks", board),
      ...charts(),
      card("Connectors", found.connectors.length ? h("ul", { class: "rows" }, found.connectors.map((connector) =>
        h("li", {}, tag(connectorState(connector)), h("span", { class: "grow" }, link("#/connectors", connector.name)),
          h("span", { class: "soft num" }, connector.pending ? `${connector.pending} pending, oldest ${span(connector.oldest_pending_age_s)}` : "nothing pending"))))
        : empty("No connector is enabled. Add one to the settings, for example [connectors.slack].")),
      card(`Queue (${queue.depth})`, queue.tasks.length ? h("ul", { class: "rows" }, queue.tasks.map((task) =>
        h("li", {}, tag(task.priority), h("span", { class: "grow" }, taskLink(task.id, task.title))))) : empty("Nothing waits: RALF has no pending task."),
        queue.blocked.length ? h("p", { class: "soft" }, `${queue.blocked.length} more cannot be taken yet.`) : null),
      card("Alerts", alerts.length ? h("ul", { class: "rows" }, alerts.map(eventRow)) : empty("No alert among the last events.")),
      card("Last webhooks", receipts.webhooks.length ? h("ul", { class: "rows" }, receipts.webhooks.map((receipt) =>
        h("li", {}, tag(receipt.status), h("span", { class: "grow" }, receipt.service, " ", receipt.event_type || receipt.reason || ""), when(receipt.received_at)))) : empty("No service has called yet.")),
      wide("What happened last", known.events.length ? h("ul", { class: "rows" }, known.events.slice(0, 15).map(eventRow)) : empty("No event yet. Create a task, or let RALF complete one.")),
    ),
  ];
}
