// Connectors, webhooks, the workspace, keys and usage.

import { get, post, query, remove } from "/web/api.js";
import { button, card, empty, field, h, span, table, tag, when, wide } from "/web/dom.js";
import { act, draw, say } from "/web/hub.js";
import { connectorState, taskLink } from "/web/overview.js";

export async function connectors() {
  const found = (await get("/connectors")).connectors;
  return [
    h("h1", {}, `Connectors (${found.length})`),
    found.length ? h("div", { class: "grid" }, found.map(connectorCard)) : empty("No connector is enabled. Add one to the settings; docs/connectors.md shows how."),
  ];
}

function connectorCard(connector) {
  const path = `/connectors/${encodeURIComponent(connector.name)}`;
  const stopped = connector.paused || connector.breaker !== "closed";
  return card(connector.name,
    h("p", {}, tag(connectorState(connector)), " ", h("span", { class: "soft" }, connector.type)),
    connector.reason ? h("p", { class: "explain" }, connector.reason, connector.probe_at ? [" The next probe goes ", when(connector.probe_at), "."] : "") : null,
    h("dl", {}, h("dt", {}, "Pending"), h("dd", {}, `${connector.pending}${connector.pending ? `, oldest ${span(connector.oldest_pending_age_s)}` : ""}`), h("dt", {}, "Delivered"), h("dd", {}, String(connector.delivered)), h("dt", {}, "Dead"), h("dd", {}, String(connector.dead)), h("dt", {}, "Events"), h("dd", {}, connector.events.join(", ")), h("dt", {}, "Last success"), h("dd", {}, when(connector.last_delivered_at)), ...(connector.last_error ? [h("dt", {}, "Last error"), h("dd", {}, connector.last_error)] : [])),
    h("div", { class: "bar" },
      button("Test", async () => { try { const check = await post(`${path}/test`); say(`${connector.name}: ${check.message}`, check.ok ? "" : "bad"); } catch (error) { say(error.message, "bad"); } }),
      stopped ? button("Resume", () => act(() => post(`${path}/resume`)), "main") : null,
      connector.paused ? null : button("Pause", () => act(() => post(`${path}/pause`)))));
}

export async function webhooks() {
  const found = await get(`/webhooks${query({ limit: 100 })}`);
  return [
    h("h1", {}, `Webhooks (${found.total})`),
    h("div", { class: "card" }, table("Received, newest first", ["When", "Service", "Status", "Event", "Task", "Reason"], found.webhooks.map((row) =>
      [when(row.received_at), row.service, tag(row.status), row.event_type || "", row.task_id ? taskLink(row.task_id) : "", [row.reason || "", row.hint ? h("div", { class: "soft" }, row.hint) : null]]), "No service has called. Add one under [[webhooks.incoming]] in the settings.")),
  ];
}

export async function workspace() {
  const found = await get("/workspace");
  const numbers = (title, counts) => card(title, Object.keys(counts).length ? h("dl", {}, Object.entries(counts).flatMap(([name, n]) => [h("dt", {}, name.replaceAll("_", " ")), h("dd", { class: "num" }, String(n))])) : empty("None."));
  return [
    h("h1", {}, "Workspace"),
    found.path ? h("p", { class: "soft" }, `${found.path} (${found.layout || "not found"}), read `, when(found.last_scan_at), found.scanning ? ", reading now" : "") : empty("No workspace is set. Put [workspace] path into the settings."),
    h("div", { class: "grid" }, numbers(`Tasks (${found.counts.tasks})`, found.counts.tasks_by_status), numbers(`Events (${found.counts.events})`, found.counts.events_by_type), numbers("Planned", { "in the queue": found.counts.queue, features: found.counts.features }),
      wide(`Problems (${found.problems.length})`, table("What could not be read as it should", ["File", "Line", "Problem"], found.problems.map((problem) => [problem.file, problem.line === null ? "–" : String(problem.line), problem.message]), "Every file could be read."))),
  ];
}

export async function keys() {
  const [found, used] = await Promise.all([get("/keys").catch((error) => ({ keys: null, problem: error.message })), get("/usage?by=endpoint").catch(() => ({ usage: [], total: {} }))]);
  const shown = found.keys === null ? empty(`${found.problem} Keys are for admins.`) : table("Keys made with the API or the command line", ["Name", "Key", "Scopes", "Last used", ""], found.keys.map((key) =>
    [key.name, `${key.hint}…`, key.scopes.join(", "), when(key.last_used_at), key.revoked_at ? tag("revoked") : button(`Revoke ${key.name}`, () => confirm(`Revoke ${key.name}? Whoever uses it is locked out at once.`) && act(() => remove(`/keys/${key.id}`)), "bad")]), "No key yet.");
  const usage = table("The last 30 days", ["Endpoint", "Calls", "4xx", "5xx", "Mean"], used.usage.map((row) => [row.endpoint, String(row.requests), String(row.errors_4xx), String(row.errors_5xx), `${row.mean_ms} ms`]), "Nobody has called yet.");
  return [h("h1", {}, "Keys and usage"), h("div", { class: "grid" }, found.keys === null ? null : card("New key", newKey()), wide("Keys", shown), wide("API usage", usage))];
}

function newKey() {
  const name = h("input", { required: true, maxlength: 200 });
  const scopes = h("input", { value: "tasks:read, events:read" });
  return h("form", { class: "stack", onsubmit: async (event) => {
    event.preventDefault();
    try {
      const made = await post("/keys", { name: name.value, scopes: scopes.value.split(",").map((scope) => scope.trim()).filter(Boolean) });
      const output = h("p", { class: "explain" }, "Copy it now, it is not shown again: ", h("code", {}, made.key));
      event.target.replaceChildren(output, button("Done", () => draw()));
    } catch (error) {
      say(Object.values(error.fields).join(" ") || error.message, "bad");
    }
  } }, field("key-name", "Name", name), field("key-scopes", "Scopes, separated by commas", scopes), h("button", { class: "main" }, "Create"));
}
