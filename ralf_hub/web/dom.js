// Making elements: everything from outside goes in as text, never as HTML.

export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const card = (title, ...children) => h("section", { class: "card" }, h("h2", {}, title), ...children);
export const wide = (title, ...children) => h("section", { class: "card wide" }, h("h2", {}, title), ...children);
export const empty = (text) => h("p", { class: "empty" }, text);
export const link = (href, text) => h("a", { href }, text);
export const button = (text, onclick, kind = "") => h("button", { type: "button", class: kind, onclick }, text);

const GOOD = new Set(["completed", "delivered", "working", "accepted", "task_completed", "feature_delivered", "connector_resumed"]);
const BAD = new Set(["failed", "dead", "not working", "disabled", "rejected", "critical", "task_failed", "system_alert"]);
const WARN = new Set(["pending", "blocked", "paused", "high", "retry", "ignored", "task_blocked", "task_cancelled", "connector_paused"]);
export const tone = (text) => (GOOD.has(text) ? "good" : BAD.has(text) ? "bad" : WARN.has(text) ? "warn" : "");
export const tag = (text) => h("span", { class: `tag ${tone(text)}` }, String(text).replaceAll("_", " "));

// On a small screen each row becomes a block whose cells carry their column's name; the roles stay those of a table.
export function table(caption, heads, rows, none) {
  if (!rows.length) return empty(none);
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { role: "table" }, h("caption", {}, caption),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads.map((head) => h("th", { scope: "col", role: "columnheader" }, head)))),
      h("tbody", { role: "rowgroup" }, rows.map((cells) => h("tr", { role: "row" }, cells.map((cell, i) => h("td", { role: "cell", "data-head": heads[i] }, cell === "" ? null : h("div", {}, cell))))))));
}

export function field(name, label, control, problem) {
  const id = `f-${name}`;
  control.id = id;
  control.name = name;
  if (problem) { control.setAttribute("aria-invalid", "true"); control.setAttribute("aria-describedby", `${id}-p`); }
  return h("div", {}, h("label", { for: id }, label), control, problem ? h("p", { class: "invalid", id: `${id}-p` }, problem) : null);
}

export const choice = (options, value) =>
  h("select", {}, options.map(([key, text]) => { const o = h("option", { value: key }, text); o.selected = key === value; return o; }));

export function when(iso) {
  if (!iso) return "–";
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  const text = Math.abs(seconds) < 1 ? "now" : seconds < 0 ? `in ${span(-seconds)}` : `${span(seconds)} ago`;
  return h("time", { datetime: iso, title: iso, class: "num" }, text);
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 129600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

const SVG = "http://www.w3.org/2000/svg";
function svg(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function bars(values, label) {
  const top = Math.max(1, ...values);
  const wide = 100 / values.length;
  return svg("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", class: "chart", role: "img", "aria-label": label },
    svg("rect", { class: "base", x: 0, y: 29.5, width: 100, height: 0.5 }),
    ...values.map((value, i) => svg("rect", { class: "fill", x: i * wide + wide * 0.1, width: wide * 0.8, y: 30 - (30 * value) / top, height: (30 * value) / top })));
}

export function line(given, label) {
  const values = given.length > 1 ? given : [0, 0, ...given];
  const top = Math.max(1, ...values);
  const step = 100 / (values.length - 1);
  const points = values.map((value, i) => `${(i * step).toFixed(2)},${(29 - (28 * value) / top).toFixed(2)}`).join(" ");
  return svg("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", class: "chart", role: "img", "aria-label": label },
    svg("polyline", { class: "line", points }));
}

// Buttons to the pages of a list before and after. `older`: the cursors of the pages gone through.
export function pager(older, next, draw) {
  if (!older.length && !next) return null;
  return h("div", { class: "bar after" }, older.length ? button("Newer", () => { older.pop(); draw(); }) : null, next ? button("Older", () => { older.push(next); draw(); }) : null);
}

// A window above the page; it ends with Escape or its button.
export function dialog(title, ...children) {
  const box = h("dialog", { "aria-label": title }, h("h2", {}, title), ...children, h("form", { method: "dialog" }, h("button", {}, "Close")));
  box.addEventListener("close", () => box.remove());
  document.getElementById("main").append(box);
  box.showModal();
}
