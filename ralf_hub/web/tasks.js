// Tasks: the list, one task with its history, and changing it.

import { call, get, ifAllowed, patch, post, query, remove } from "/web/api.js";
import { button, card, choice, empty, field, h, link, pager, table, tag, when, wide } from "/web/dom.js";
import { act, draw, say } from "/web/hub.js";
import { STATUSES, eventRow, taskLink } from "/web/overview.js";

const PRIORITIES = ["critical", "high", "medium", "low"].map((name) => [name, name]);
const NEXT = { pending: ["in_progress", "completed", "blocked", "failed"], in_progress: ["completed", "failed", "blocked", "pending"], blocked: ["pending", "in_progress", "completed"], failed: ["pending", "in_progress"], completed: [], cancelled: [] };
const VERB = { in_progress: "Start", completed: "Complete", failed: "Mark as failed", blocked: "Block", pending: "Back to the queue" };
const filter = { status: "", q: "" };
let older = [];

export const tasks = {
  hears: (message) => message.topic === "events" && (message.event.task_id || message.event.type === "queue_changed"),
  load() {
    const asked = new URLSearchParams(location.hash.split("?")[1] || "");
    if (asked.has("status")) { filter.status = asked.get("status"); filter.q = ""; older = []; history.replaceState(null, "", "#/tasks"); }
    return get(`/tasks${query({ limit: 50, ...filter, cursor: older.at(-1) })}`);
  },
  view(found) {
    const status = choice([["", "every status"], ...STATUSES.map((name) => [name, name.replaceAll("_", " ")])], filter.status);
    status.addEventListener("change", () => { filter.status = status.value; older = []; draw(); });
    const text = h("input", { type: "search", value: filter.q, placeholder: "id, title, description", onchange: (event) => { filter.q = event.target.value; older = []; draw(); } });
    return [
      h("h1", {}, `Tasks (${found.total})`),
      h("div", { class: "bar" }, field("status", "Status", status), field("q", "Find", text), button("New task", () => edit(), "main")),
      h("div", { class: "card" }, table("Tasks, newest first", ["Status", "Task", "Priority", "Progress", "Changed"], found.tasks.map((task) =>
        [tag(task.status), [taskLink(task.id, task.title), h("div", { class: "soft" }, task.id)], task.priority, `${task.progress} %`, when(task.updated_at)]), "No task fits. Clear the filter, or create one."),
        pager(older, found.next_cursor, draw)),
    ];
  },
};

// One form for creating and editing; the hub's own validation is shown at the fields.
function edit(task) {
  const main = document.getElementById("main");
  const values = { title: task?.title || "", description: task?.description || "", priority: task?.priority || "medium" };
  const show = (problems = {}) => {
    const title = h("input", { value: values.title, maxlength: 500 });
    const description = h("textarea", { rows: 6, value: values.description });
    const priority = choice(PRIORITIES, values.priority);
    main.replaceChildren(h("h1", {}, task ? `Edit ${task.id}` : "New task"), h("div", { class: "card" },
      h("form", { class: "stack keep", onsubmit: async (event) => {
        event.preventDefault();
        Object.assign(values, { title: title.value, description: description.value, priority: priority.value });
        try {
          const saved = task ? await call("PATCH", `/api/v1/tasks/${encodeURIComponent(task.id)}`, values, { "If-Match": `"v${task.version}"` }) : await post("/tasks", values);
          say(task ? "Saved." : "Created.");
          location.hash = `#/tasks/${encodeURIComponent(saved.id)}`;
          draw();
        } catch (error) {
          show(error.fields);
          say(error.status === 412 ? "Somebody changed this task meanwhile. Open it again." : error.message, "bad");
        }
      } },
      field("title", "Title", title, problems.title), field("description", "Description", description, problems.description), field("priority", "Priority", priority, problems.priority),
      h("div", { class: "bar" }, h("button", { class: "main" }, task ? "Save" : "Create"), button("Back", () => draw())))));
    title.focus();
  };
  show();
}

function facts(found) {
  const result = found.result === null || typeof found.result === "string" ? found.result : JSON.stringify(found.result);
  const pairs = [
    ["Id", found.id], ["Priority", found.priority], ["Type", found.type], ["Feature", found.feature_id], ["Assignee", found.assignee],
    ["Part of", found.parent_id && taskLink(found.parent_id)], ["Depends on", found.depends_on.length ? found.depends_on.map((other) => [taskLink(other), " "]) : null],
    ["Created", when(found.created_at)], ["Started", found.started_at && when(found.started_at)], ["Completed", found.completed_at && when(found.completed_at)],
    ["Lease until", found.lease_expires_at && when(found.lease_expires_at)], ["Result", result], ["Error", found.error], ["Source", found.source],
  ];
  return h("dl", {}, pairs.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function outside({ connector, url, external_key, external_id }) {
  const name = external_key || external_id;
  return h("li", {}, tag(connector), h("span", { class: "grow" }, /^https?:/.test(url || "") ? h("a", { href: url, rel: "noopener noreferrer" }, name) : name));
}

export const task = {
  hears: (message, id) => (message.event || message.delivery)?.task_id === id,
  async load(id) {
    const path = `/tasks/${encodeURIComponent(id)}`;
    const [found, events, deliveries] = await Promise.all([get(path), ifAllowed(get(`/events${query({ task_id: id, limit: 100, before: 9007199254740991 })}`)), ifAllowed(get(`/deliveries${query({ task_id: id, limit: 100 })}`))]);
    return { path, found, events: events?.events || [], deliveries: deliveries?.deliveries };
  },
  view({ path, found, events, deliveries }) {
    const to = (status) => act(() => patch(path, { status }));
    return [
      h("h1", {}, found.title),
      h("div", { class: "bar" }, tag(found.status), NEXT[found.status].map((status) => button(VERB[status], () => to(status), status === "completed" ? "main" : "")),
        ["completed", "cancelled"].includes(found.status) ? null : button("Edit", () => edit(found)),
        ["completed", "cancelled"].includes(found.status) ? null : button("Cancel task", () => confirm(`Cancel ${found.id}? This is final.`) && act(() => remove(path)), "bad")),
      h("div", { class: "grid" },
        card("Task", facts(found), h("p", { class: "soft" }, `${found.progress} % done`), h("progress", { max: 100, value: found.progress, "aria-label": "Progress" })),
        card("Outside", found.links.length ? h("ul", { class: "rows" }, found.links.map(outside)) : empty("Nothing was made for it in another service.")),
        found.description ? wide("Description", h("pre", {}, found.description)) : null,
        wide("Timeline", events.length ? h("ul", { class: "rows" }, events.map((event) => eventRow(event, { own: true }))) : empty("No event yet.")),
        deliveries && wide("Deliveries", table("Who was told", ["State", "Event", "Connector", "Attempts", "Last error"], deliveries.map((row) => [tag(row.state), link(`#/deliveries/${row.id}`, row.event_type.replaceAll("_", " ")), row.connector, String(row.attempts), row.last_error || ""]), "Nobody was told of this task: no connector asks for its events.")),
      ),
    ];
  },
};
