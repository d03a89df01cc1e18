// Talking to the hub: the key, requests, and problems as errors a person can read.

const STORE = "ralf-hub-key";

export class Problem extends Error {
  constructor(status, document) {
    super(document?.detail || `The hub answered ${status}.`);
    this.status = status;
    this.code = document?.code;
    this.retryAfter = null;
    this.fields = Object.fromEntries((document?.errors || []).map((error) => [error.field, error.message]));
  }
}

// The key comes in the fragment of the first start's URL: it never reaches a server's log, and leaves the URL at once.
export function takeKey() {
  const match = /^#key=(.+)$/.exec(location.hash);
  if (match) {
    sessionStorage.setItem(STORE, decodeURIComponent(match[1]));
    history.replaceState(null, "", `${location.pathname}#/`);
  }
  return sessionStorage.getItem(STORE);
}
export const setKey = (key) => sessionStorage.setItem(STORE, key);
export const forgetKey = () => sessionStorage.removeItem(STORE);

// How many calls the key's rate limit leaves, as the last answer said. https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
export const allowance = { remaining: Infinity };

// What ails the hub, by name; null where it cannot be asked. Open to all and not counted.
export async function health() {
  try {
    return (await (await fetch("/health")).json()).checks;
  } catch {
    return null;
  }
}

export async function call(method, path, body, headers = {}) {
  const key = sessionStorage.getItem(STORE);
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: { ...(key ? { Authorization: `Bearer ${key}` } : {}), ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Problem(0, { detail: "The hub cannot be reached. Is it running?" });
  }
  const left = /\br=(\d+)/.exec(answer.headers.get("RateLimit") || "");
  allowance.remaining = left ? Number(left[1]) : Infinity;
  const text = await answer.text();
  let parsed = null;
  try { parsed = text ? JSON.parse(text) : null; } catch { /* no JSON: the status says enough */ }
  if (!answer.ok) throw Object.assign(new Problem(answer.status, parsed), { retryAfter: Number(answer.headers.get("Retry-After")) });
  return parsed;
}

export const get = (path) => call("GET", `/api/v1${path}`);
// What a key may not see is left out of a page that shows other things, too.
export const ifAllowed = (asked) => asked.catch((error) => { if (error.status === 403) return null; throw error; });
export const post = (path, body) => call("POST", `/api/v1${path}`, body);
export const patch = (path, body) => call("PATCH", `/api/v1${path}`, body);
export const remove = (path) => call("DELETE", `/api/v1${path}`);
export const query = (values) => {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
};
