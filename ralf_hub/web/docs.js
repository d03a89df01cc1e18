// The API explorer: reads /openapi.json, shows every operation, makes the call from this page.

import { forgetKey, setKey, takeKey } from "/web/api.js";
import { button, choice, field, h } from "/web/dom.js";
import { Schemas } from "/web/schema.js";

const SHOWN_MAX = 200_000; // characters of an answer
const LANGUAGE = "ralf-hub-language";
const main = document.getElementById("main");
const pickers = new Set();

// Text with `code` in backticks, as elements.
const prose = (text) => (text || "").split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));

async function copy(text, told) {
  try { await navigator.clipboard.writeText(text); told.textContent = "Copied"; } catch { told.textContent = "Select the text to copy it"; }
}

// --- what goes in and comes out ---------------------------------------------------------------------

// Opens when asked: schemas may hold themselves.
function shape(schemas, schema, title) {
  const inside = h("details", { class: "shape" }, h("summary", {}, title));
  inside.addEventListener("toggle", () => {
    if (!inside.open || inside.children.length > 1) return;
    inside.append(h("ul", {}, schemas.fields(schema).map(({ name, schema: inner, needed }) => h("li", {},
      h("code", {}, name), " ", h("span", { class: "soft" }, [schemas.kind(inner), needed ? "" : "may be left out", schemas.limits(inner)].filter(Boolean).join(", ")),
      inner.description ? h("div", {}, prose(inner.description)) : null,
      schemas.fields(inner).length ? shape(schemas, inner, `Fields of ${name}`) : null))));
  });
  return inside;
}

function answers(schemas, operation) {
  return h("ul", { class: "answers" }, Object.entries(operation.responses).map(([status, answer]) => {
    const [kind, content] = Object.entries(answer.content || {})[0] || [];
    const problem = kind === "application/problem+json";
    return h("li", {}, h("strong", { class: "num" }, status), " ", problem ? h("code", {}, answer.description) : answer.description,
      content?.schema && !problem ? shape(schemas, content.schema, schemas.kind(content.schema)) : null);
  }));
}

function samples(operation) {
  const given = operation["x-codeSamples"];
  const code = h("pre", { tabindex: "0", "aria-label": "Code sample" });
  const told = h("span", { class: "soft", role: "status" });
  const buttons = given.map((sample) => button(sample.label, () => { sessionStorage.setItem(LANGUAGE, sample.label); for (const pick of pickers) pick(); }));
  const pick = () => {
    const at = Math.max(0, given.findIndex((sample) => sample.label === sessionStorage.getItem(LANGUAGE)));
    code.textContent = given[at].source;
    buttons.forEach((one, i) => one.setAttribute("aria-pressed", String(i === at)));
    told.textContent = "";
  };
  pickers.add(pick);
  pick();
  return h("section", {}, h("h4", {}, "In your language"),
    h("div", { class: "bar", role: "group", "aria-label": "Language" }, buttons, button("Copy", () => copy(code.textContent, told)), told), code);
}

// --- trying it --------------------------------------------------------------------------------------

function control(parameter) {
  const { schema } = parameter;
  if (schema.enum) return choice([["", "–"], ...schema.enum.map((value) => [value, value])], "");
  if (schema.type === "boolean") return choice([["", "–"], ["true", "true"], ["false", "false"]], "");
  const hint = parameter.in === "path" || schema.default === undefined ? "" : String(schema.default);
  return h("input", { autocomplete: "off", spellcheck: "false", placeholder: hint, value: parameter.example === undefined ? null : String(parameter.example) });
}

function address(path, inputs) {
  const query = new URLSearchParams();
  let full = path;
  for (const [parameter, input] of inputs) {
    const value = input.value.trim();
    if (parameter.in === "path") full = full.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (parameter.in === "query" && value) query.set(parameter.name, value);
  }
  return query.size ? `${full}?${query}` : full;
}

function headersOf(inputs, body) {
  const key = takeKey();
  const given = inputs.filter(([parameter, input]) => parameter.in === "header" && input.value.trim());
  return {
    ...(key ? { Authorization: `Bearer ${key}` } : {}),
    ...(body ? { "Content-Type": "application/json" } : {}),
    ...Object.fromEntries(given.map(([parameter, input]) => [parameter.name, input.value.trim()])),
  };
}

function pretty(text) {
  let shown = text;
  try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: as it came */ }
  return shown.length > SHOWN_MAX ? `${shown.slice(0, SHOWN_MAX)}\n… ${shown.length - SHOWN_MAX} more characters` : shown;
}

async function send(method, path, headers, body, out) {
  const begun = performance.now();
  try {
    const answer = await fetch(path, { method: method.toUpperCase(), headers, body, cache: "no-store" });
    const text = await answer.text();
    const took = Math.round(performance.now() - begun);
    const lines = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    out.replaceChildren(
      h("p", {}, h("span", { class: `tag ${answer.ok ? "good" : "bad"}` }, `${answer.status} ${answer.statusText}`), ` in ${took} ms · `, h("code", {}, path)),
      text ? h("pre", { tabindex: "0", "aria-label": "Body of the answer" }, pretty(text)) : h("p", { class: "empty" }, "The answer has no body."),
      h("details", { class: "shape" }, h("summary", {}, "Headers of the answer"), h("pre", { tabindex: "0" }, lines)));
  } catch {
    out.replaceChildren(h("p", { class: "invalid" }, "The hub cannot be reached. Is it running?"));
  }
}

function trial(schemas, path, method, operation) {
  const inputs = (operation.parameters || []).map((parameter) => [parameter, control(parameter)]);
  for (const [parameter, input] of inputs) if (parameter.in === "path") input.required = true;
  const content = operation.requestBody?.content["application/json"];
  const body = content ? h("textarea", { spellcheck: "false", value: schemas.start(content) }) : null;
  const out = h("div", { role: "status", "aria-live": "polite" });
  const rows = inputs.map(([parameter, input]) => h("div", {},
    field(`${operation.operationId}-${parameter.name}`, `${parameter.name} (${parameter.in === "path" ? "in the path, needed" : `in the ${parameter.in}`})`, input),
    h("div", { class: "soft" }, prose(parameter.description), " ", schemas.limits(parameter.schema))));
  const submit = h("button", { class: "main" }, "Send");
  const form = h("form", { class: "stack", onsubmit: async (event) => {
    event.preventDefault();
    submit.disabled = true;
    await send(method, address(path, inputs), headersOf(inputs, body), body?.value, out);
    submit.disabled = false;
  } }, rows, body ? field(`${operation.operationId}-body`, "Body (JSON)", body) : null, h("div", {}, submit));
  return h("section", {}, h("h4", {}, "Try it"), form, out);
}

// --- the page ---------------------------------------------------------------------------------------

function parts(schemas, path, method, operation) {
  const content = operation.requestBody?.content["application/json"];
  const callable = Boolean(operation["x-codeSamples"]);
  return h("div", { class: "parts" },
    h("div", { class: "whole" }, h("p", {}, prose(operation.description)),
      operation.security?.length === 0 ? h("p", { class: "soft" }, callable ? "Open to everyone: needs no key." : "Not called from here: it stays open, or another service calls it with its own signature.") : null),
    callable ? trial(schemas, path, method, operation) : null,
    callable ? samples(operation) : null,
    content ? h("section", {}, h("h4", {}, "Body"), shape(schemas, content.schema, schemas.kind(content.schema))) : null,
    h("section", {}, h("h4", {}, "Answers"), answers(schemas, operation)));
}

function entry(schemas, path, method, operation) {
  const box = h("details", { class: "op", id: operation.operationId },
    h("summary", {}, h("span", { class: `method ${method}` }, method.toUpperCase()), h("code", {}, path), h("h3", {}, operation.summary)));
  box.addEventListener("toggle", () => {
    if (box.open && box.children.length === 1) box.append(parts(schemas, path, method, operation));
  });
  return { box, text: `${method} ${path} ${operation.summary} ${operation.operationId}`.toLowerCase() };
}

function groups(schemas, description) {
  const found = new Map(description.tags.map((tag) => [tag.name, []]));
  for (const [path, operations] of Object.entries(description.paths))
    for (const [method, operation] of Object.entries(operations)) found.get(operation.tags[0]).push(entry(schemas, path, method, operation));
  return [...found].map(([name, entries]) => ({ name, entries, box: h("section", { id: `group-${name}` }, h("h2", { class: "group" }, name), entries.map((one) => one.box)) }));
}

function filterBy(all, none, words) {
  let left = 0;
  for (const group of all) {
    for (const one of group.entries) one.box.hidden = !words.every((word) => one.text.includes(word));
    const shown = group.entries.filter((one) => !one.box.hidden).length;
    group.box.hidden = !shown;
    left += shown;
  }
  none.hidden = left > 0;
}

function tools(all) {
  const key = h("input", { type: "password", autocomplete: "off", value: takeKey() || "", placeholder: "rh_…" });
  key.addEventListener("input", () => (key.value.trim() ? setKey(key.value.trim()) : forgetKey()));
  const search = h("input", { type: "search", autocomplete: "off", placeholder: "tasks, replay, POST …" });
  const none = h("p", { class: "empty", hidden: true }, "No operation has these words. Take some away.");
  search.addEventListener("input", () => filterBy(all, none, search.value.toLowerCase().split(/\s+/).filter(Boolean)));
  return [h("div", { class: "docs-top" }, field("key", "API key, for calls from this page; kept in this tab only", key), field("find", "Find an operation", search)), none];
}

function openLinked() {
  const linked = document.getElementById(location.hash.slice(1));
  if (linked?.tagName !== "DETAILS") return;
  linked.open = true;
  linked.scrollIntoView();
}

async function begin() {
  takeKey();
  try {
    const answer = await fetch("/openapi.json");
    const description = await answer.json();
    const schemas = new Schemas(description);
    const all = groups(schemas, description);
    main.replaceChildren(h("h1", {}, `The API of ralf-hub ${description.info.version}`),
      h("p", {}, "Every operation, with a form to try it on this hub. The samples take the hub's address from ", h("code", {}, "RALF_HUB"), ` (here ${location.origin}) and the key from `, h("code", {}, "RALF_KEY"), "."),
      ...tools(all), h("nav", { class: "groups", "aria-label": "Groups" }, all.map(({ name }) => h("a", { href: `#group-${name}` }, name))), ...all.map((group) => group.box));
    openLinked();
  } catch {
    main.replaceChildren(h("h1", {}, "The document cannot be read"), h("p", {}, "Is the hub running?"), button("Try again", begin));
  }
}

addEventListener("hashchange", openLinked);
begin();
