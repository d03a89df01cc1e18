// Connectors, webhooks, the workspace, keys and usage.

import { get, post, query, remove } from "/web/api.js";
import { button, card, choice, dialog, empty, field, h, pager, span, table, tag, when, wide } from "/web/dom.js";
import { act, draw, say } from "/web/hub.js";
import { connectorState, taskLink } from "/web/overview.js";

const SAMPLES = ["task_created", "task_completed", "task_failed", "task_blocked", "feature_delivered", "system_alert"];
const SCOPES = ["tasks:read", "tasks:write", "queue:read", "features:read", "metrics:read", "events:read", "events:write", "deliveries:read", "deliveries:write", "connectors:read", "connectors:write", "admin"];
const RECEIVED = ["accepted", "ignored", "failed", "rejected"];

// --- connectors -----------------------------------------------------------------------------------

export const connectors = {
  hears: (message) => message.topic === "deliveries" || (message.topic === "events" && /^(connector_|system_alert)/.test(message.event.type)),
  load: async () => (await get("/connectors?limit=200")).connectors,
  view: (found) => [
    h("h1", {}, `Connectors (${found.length})`),
    found.length ? h("div", { class: "grid" }, found.map(connectorCard)) : empty("No connector is enabled. Add one to the settings; docs/connectors.md shows how."),
  ],
};

async function tried(connector, path) {
  try {
    const check = await post(`${path}/test`);
    say(`${connector.name}: ${check.message}`, check.ok ? "" : "bad");
  } catch (error) {
    say(error.message, "bad");
  }
}

// What it would send for a sample event. Nothing is sent.
function rehearse(connector, path) {
  const event = choice(SAMPLES.map((name) => [name, name.replaceAll("_", " ")]), "task_completed");
  const output = h("pre", { tabindex: "0", "aria-label": "Requests" }, "…");
  const ask = async () => {
    try {
      const { requests } = await post(`${path}/dry-run`, { event: event.value });
      output.textContent = requests.map((one) => (one.url
        ? `${one.method} ${one.url}\n${Object.entries(one.headers).map(([name, value]) => `${name}: ${value}`).join("\n")}\n\n${typeof one.body === "string" ? one.body : JSON.stringify(one.body, null, 2)}`
        : `${one.action}\n\n${JSON.stringify(one.payload, null, 2)}`)).join("\n\n");
    } catch (error) {
      output.textContent = error.message;
    }
  };
  event.addEventListener("change", ask);
  dialog(`What ${connector.name} would send`, h("p", { class: "soft" }, "Nothing is sent; secrets are masked."), field("sample", "Sample event", event), output);
  ask();
}

function connectorCard(connector) {
  const path = `/connectors/${encodeURIComponent(connector.name)}`;
  const stopped = connector.paused || connector.breaker !== "closed";
  const dead = connector.dead ? h("a", { href: `#/deliveries?state=dead&connector=${encodeURIComponent(connector.name)}` }, String(connector.dead)) : "0";
  const pairs = [["Pending", `${connector.pending}${connector.pending ? `, oldest ${span(connector.oldest_pending_age_s)}` : ""}`], ["Delivered", String(connector.delivered)], ["Dead", dead], ["Events", connector.events.join(", ")], ["Last success", when(connector.last_delivered_at)]];
  if (connector.last_error) pairs.push(["Last error", [connector.last_error, " (", when(connector.last_error_at), ")"]]);
  const why = connector.reason || (connector.paused ? `paused by ${connector.paused_by}` : null);
  return card(connector.name,
    h("p", {}, tag(connectorState(connector)), " ", h("span", { class: "soft" }, connector.type)),
    why ? h("p", { class: "explain" }, `${why}.`, connector.probe_at ? [" The next probe goes ", when(connector.probe_at), "."] : "") : null,
    h("dl", {}, pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    h("div", { class: "bar after" },
      button("Test", () => tried(connector, path)),
      button("Dry run", () => rehearse(connector, path)),
      stopped ? button("Resume", () => act(() => post(`${path}/resume`)), "main") : null,
      connector.paused ? null : button("Pause", () => act(() => post(`${path}/pause`)))));
}

// --- webhooks -------------------------------------------------------------------------------------

const filter = { status: "" };
let older = [];

export const webhooks = {
  hears: (message) => message.topic === "webhooks",
  load: () => get(`/webhooks${query({ limit: 50, ...filter, cursor: older.at(-1) })}`),
  view(found) {
    const status = choice([["", "every status"], ...RECEIVED.map((name) => [name, name])], filter.status);
    status.addEventListener("change", () => { filter.status = status.value; older = []; draw(); });
    return [
      h("h1", {}, `Webhooks (${found.total})`),
      h("div", { class: "bar" }, field("status", "Status", status)),
      h("div", { class: "card" }, table("Received, newest first", ["When", "Service", "Status", "Event", "Task", "Reason", "From"], found.webhooks.map((row) =>
        [when(row.received_at), row.service, tag(row.status), [row.event_type || "", row.duplicates ? h("div", { class: "soft" }, `came ${row.duplicates} more times`) : null], row.task_id ? taskLink(row.task_id) : "", [row.reason || "", row.hint ? h("div", { class: "soft" }, row.hint) : null], row.remote || ""]),
        filter.status ? "None has this status." : "No service has called. Add one under [[webhooks.incoming]] in the settings."), pager(older, found.next_cursor, draw)),
    ];
  },
};

// --- workspace ------------------------------------------------------------------------------------

const counted = (title, counts) => card(title, Object.keys(counts).length ? h("dl", {}, Object.entries(counts).flatMap(([name, n]) => [h("dt", {}, name.replaceAll("_", " ")), h("dd", { class: "num" }, String(n))])) : empty("None."));

export const workspace = {
  hears: (message) => message.topic === "events" && message.event.source === "workspace",
  load: () => get("/workspace"),
  view: (found) => [
    h("h1", {}, "Workspace"),
    found.path ? h("p", { class: "soft" }, `${found.path} (${found.layout || "not found"}), read `, when(found.last_scan_at), found.scanning ? ", reading now" : "") : empty("No workspace is set. Put [workspace] path into the settings."),
    h("div", { class: "grid" },
      found.problems.length ? wide(`Problems (${found.problems.length})`, table("What could not be read as it should", ["File", "Line", "Problem"], found.problems.map((problem) => [problem.file, problem.line === null ? "–" : String(problem.line), problem.message]), "")) : null,
      counted(`Tasks (${found.counts.tasks})`, found.counts.tasks_by_status), counted(`Events (${found.counts.events})`, found.counts.events_by_type), counted("Planned", { "in the queue": found.counts.queue, features: found.counts.features }),
      found.problems.length || !found.path ? null : wide("Problems", empty("Every file could be read."))),
  ],
};

// --- keys and usage -------------------------------------------------------------------------------

let by = "endpoint";

export const keys = {
  hears: () => false,
  load: async () => Promise.all([get("/keys?limit=200").catch((error) => ({ keys: null, problem: error.message })), get(`/usage?by=${by}`).catch(() => ({ usage: [] }))]),
  view([found, used]) {
    const chosen = choice([["endpoint", "by endpoint"], ["key", "by key"], ["day", "by day"]], by);
    chosen.addEventListener("change", () => { by = chosen.value; draw(); });
    return [
      h("h1", {}, "Keys and usage"),
      h("div", { class: "grid" },
        found.keys === null ? wide("Keys", empty(`${found.problem} Keys are for admins.`)) : [wide("Keys", keyTable(found.keys)), wide("New key", newKey())],
        wide("API usage", h("div", { class: "bar" }, field("usage-by", "Last 30 days", chosen)), table(`Calls ${chosen.selectedOptions[0].textContent}`, [by[0].toUpperCase() + by.slice(1), "Calls", "4xx", "5xx", "Mean"], used.usage.map((row) => [row.name || row[by], String(row.requests), String(row.errors_4xx), String(row.errors_5xx), `${row.mean_ms} ms`]), "Nobody has called yet."))),
    ];
  },
};

function keyTable(found) {
  const ending = (key) => `Revoke ${key.name}? Whoever uses it is locked out at once.`;
  return table("Made with the API or the command line; those in the settings file are not listed", ["Name", "Key", "Scopes", "Last used", "Ends", ""], found.map((key) =>
    [[key.name, key.kind === "oauth" ? h("div", { class: "soft" }, "OAuth client ", key.id) : null], `${key.hint}…`, key.scopes.join(", "), when(key.last_used_at), when(key.expires_at),
      key.revoked_at ? h("span", { class: "soft" }, "revoked") : button(`Revoke ${key.name}`, () => confirm(ending(key)) && act(() => remove(`/keys/${key.id}`)), "bad")]),
  "None was made with the API or the command line; keys in the settings file are not listed.");
}

function newKey() {
  const name = h("input", { required: true, maxlength: 200 });
  const boxes = SCOPES.map((scope) => h("input", { type: "checkbox", value: scope, checked: ["tasks:read", "events:read"].includes(scope) }));
  return h("form", { class: "stack", onsubmit: async (event) => {
    event.preventDefault();
    const scopes = boxes.filter((box) => box.checked).map((box) => box.value);
    if (!scopes.length) { say("Choose at least one scope.", "bad"); return; }
    try {
      const made = await post("/keys", { name: name.value, scopes });
      event.target.classList.add("keep");
      event.target.replaceChildren(h("p", { class: "explain" }, "Copy it now, it is not shown again: ", h("code", {}, made.key)), button("Done", () => draw()));
    } catch (error) {
      say(Object.values(error.fields).join(" ") || error.message, "bad");
    }
  } }, field("key-name", "Name", name), h("fieldset", {}, h("legend", {}, "What it may do"), h("div", { class: "checks" }, boxes.map((box) => h("label", {}, box, " ", box.value)))), h("div", {}, h("button", { class: "main" }, "Create")));
}
