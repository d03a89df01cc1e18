// What RALF is doing, what left the house, what is stuck: on one page.

import { get, ifAllowed } from "/web/api.js";
import { bars, card, empty, h, line, link, span, tag, tone, when, wide } from "/web/dom.js";
import { known } from "/web/hub.js";

export const STATUSES = ["pending", "in_progress", "blocked", "completed", "failed", "cancelled"];

export const taskLink = (id, title) => link(`#/tasks/${encodeURIComponent(id)}`, title || id);

export function connectorState(connector) {
  if (connector.paused) return "paused";
  return { closed: "working", open: "not working", disabled: "disabled" }[connector.breaker];
}

const words = (type) => type.replaceAll("_", " ");

// What an event says beyond its type and its task.
function gist({ type, data }) {
  if (type === "task_progress") return `${data.progress ?? 0}\u00a0%${data.note ? `: ${data.note}` : ""}`;
  if (type === "task_updated" && data.changes) return `changed ${Object.keys(data.changes).map(words).join(", ")}`;
  const text = data.message || data.text || data.error || data.note || data.reason || data.connector;
  return typeof text === "string" ? text : "";
}

// `own`: on the task's own page, where its title need not be said again.
export function eventRow(event, { own = false } = {}) {
  const about = own ? null : event.task_id ? taskLink(event.task_id, event.data.title || event.task_id) : event.data.title;
  return h("li", {}, when(event.occurred_at),
    h("span", { class: "grow" }, h("strong", { class: tone(event.type) }, words(event.type)), " ", about, about ? " " : "", h("span", { class: "soft" }, gist(event))),
    h("span", { class: "soft source" }, event.source));
}

const rows = (items, none) => (items.length ? h("ul", { class: "rows" }, items) : empty(none));

function charts(numbers) {
  const each = numbers.delivered_per_minute;
  const total = each.reduce((sum, n) => sum + n, 0);
  const slowest = Math.round(Math.max(0, ...Object.values(numbers.deliveries).map((one) => one.p95_ms || 0)));
  return [
    card("Delivered each minute", bars(each, `${total} deliveries in the last half hour`), h("p", { class: "soft" }, `${each.at(-1)} this minute, ${total} in the last half hour`)),
    card("Slowest connector, p95", line(known.p95.length ? known.p95 : [slowest], `p95 now ${slowest} ms`), h("p", { class: "soft" }, `${slowest} ms now; the last two minutes`)),
  ];
}

function board(numbers) {
  return h("ul", { class: "board" }, STATUSES.map((status) =>
    h("li", { class: numbers.tasks.by_status[status] ? tone(status) : "none" }, h("a", { href: `#/tasks?status=${status}` }, h("strong", {}, String(numbers.tasks.by_status[status])), words(status)))));
}

function connectorRow([name, one]) {
  const waiting = one.pending ? `${one.pending} pending, oldest ${span(one.oldest_pending_age_s)}` : "nothing pending";
  return h("li", {}, tag(connectorState(one)), h("span", { class: "grow" }, link("#/connectors", name)),
    h("span", { class: "soft num" }, waiting, one.dead ? [", ", h("a", { href: `#/deliveries?state=dead&connector=${encodeURIComponent(name)}` }, `${one.dead} dead`)] : null));
}

const working = (task) => h("li", {}, h("span", { class: "grow" }, taskLink(task.id, task.title), h("div", { class: "soft" }, [task.assignee, task.started_at ? ["since ", when(task.started_at)] : null].filter(Boolean).flatMap((part) => [part, " "]))),
  h("progress", { max: 100, value: task.progress, "aria-label": `${task.progress} % of ${task.title}` }), h("span", { class: "soft num" }, `${task.progress} %`));

export const overview = {
  hears: () => true,
  async load() {
    const [numbers, queue, now, receipts] = await Promise.all([
      known.metrics || get("/metrics"), get("/queue?limit=8"), get("/tasks?status=in_progress&limit=6"), get("/webhooks?limit=5"),
    ].map((asked) => ifAllowed(Promise.resolve(asked))));
    return { numbers, queue, now: now?.tasks, receipts: receipts?.webhooks };
  },
  view({ numbers: first, queue, now, receipts }) {
    const numbers = known.metrics || first;
    const connectors = Object.entries(numbers?.deliveries || {}).filter(([, one]) => one.breaker);
    const hidden = [[numbers, "metrics:read"], [now, "tasks:read"], [queue, "queue:read"], [receipts, "deliveries:read"]].filter(([found]) => !found).map(([, scope]) => scope);
    return [
      h("h1", {}, "Overview"),
      h("div", { class: "grid" },
        hidden.length ? wide("Not all is shown", empty(`This key lacks ${hidden.join(", ")}.`)) : null,
        numbers && wide("Tasks", board(numbers)),
        wide("Alerts", rows(known.alerts.map((event) => eventRow(event)), "No alert.")),
        now && card("In work", rows(now.map(working), "RALF works on nothing now.")),
        queue && card(`Queue (${queue.depth})`, rows(queue.tasks.map((task) => h("li", {}, tag(task.priority), h("span", { class: "grow" }, taskLink(task.id, task.title)))), "Nothing waits that RALF could take."),
          queue.blocked.length ? h("p", { class: "soft" }, `${queue.blocked.length} more cannot be taken yet.`) : null),
        numbers && card("Connectors", rows(connectors.map(connectorRow), "No connector is enabled. Add one to the settings, for example [connectors.slack].")),
        numbers && charts(numbers),
        receipts && card("Last webhooks", rows(receipts.map((receipt) => h("li", {}, tag(receipt.status), h("span", { class: "grow" }, receipt.service, " ", h("span", { class: "soft" }, receipt.reason || receipt.event_type || "")), when(receipt.received_at))), "No service has called yet.")),
        wide("What happened last", rows(known.events.slice(0, 15).map((event) => eventRow(event)), "No event yet. Create a task, or let RALF complete one.")),
      ),
    ];
  },
};
