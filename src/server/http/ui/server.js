// The server, as the page sees it: addresses, the key, answers and refusals. The key lives in this tab's session only.

const KEY = "rescored-key";

/** Where requests go: beside the page, whatever stands before `/ui`. */
export const base = new URL(".", location.href).href;

let held = sessionStorage.getItem(KEY) ?? "";

export const key = () => held;

export function setKey(value) {
  held = value.trim();
  if (held) sessionStorage.setItem(KEY, held);
  else sessionStorage.removeItem(KEY);
}

/** An answer that is none: the one error body, or what the network did. */
export class Refused extends Error {
  constructor({ status, message, kind, id = null, retryAfter = null }) {
    super(message);
    Object.assign(this, { status, kind, id, retryAfter });
  }

  /** Whether trying again later is all there is to do. */
  get isOverload() {
    return this.status === 429 || this.status === 503;
  }
}

/** Asks, and gives back body, text, headers and the time that it took as seen from here. */
export async function ask(path, { body, signal } = {}) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (held) headers.authorization = `Bearer ${held}`;
  const started = performance.now();
  let response, text;
  try {
    response = await fetch(base + path, { method: body === undefined ? "GET" : "POST", headers, body, signal, cache: "no-store", credentials: "same-origin" });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused({ status: 0, message: "the server does not answer; is it still running?", kind: "Unreachable" });
  }
  const took = performance.now() - started;
  if (!response.ok) throw refusal(response, text);
  try {
    return { answer: JSON.parse(text), text, headers: response.headers, took };
  } catch {
    throw new Refused({ status: response.status, message: "the answer is not JSON; is something else listening here?", kind: "Garbled" });
  }
}

function refusal(response, text) {
  let refusal = {};
  try {
    refusal = JSON.parse(text);
  } catch {
    // Something between the page and the server answered in its place.
  }
  const retry = Number(response.headers.get("retry-after"));
  return new Refused({
    status: response.status,
    message: refusal.message ?? `the answer was ${response.status} without a reason`,
    kind: refusal.error_type ?? "Unknown",
    id: response.headers.get("x-request-id"),
    retryAfter: Number.isFinite(retry) && retry > 0 ? retry : null,
  });
}
