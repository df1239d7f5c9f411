// The left half of the playground: the form, its examples, and asking.

import { $, count, h, replace } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { KINDS, Mistake, build, documents, fieldNames, hits, lines } from "./request.js";
import { Refused, ask } from "./server.js";
import * as results from "./results.js";

const LABELS = {
  lines: ["Passages, one a line", "Berlin has 3.5 million inhabitants.\nNew York is famous for its museums."],
  json: ["Passages as a JSON list", '["Berlin has 3.5 million inhabitants.", "New York is famous for its museums."]'],
  opensearch: ["What OpenSearch answered", '{"hits": {"hits": [{"_id": "1", "_score": 1.0, "_source": {"text": "…"}}]}}'],
  vespa: ["What Vespa answered", '{"root": {"children": [{"id": "1", "relevance": 0.5, "fields": {"text": "…"}}]}}'],
};

let running = null;
let wantKey = () => {};

const form = () => $("ask");
const kind = () => new FormData(form()).get("kind");
const number = (value) => (value === "" || value === null ? undefined : Number(value));

function read() {
  const data = new FormData(form());
  const field = (name) => String(data.get(name) ?? "");
  return {
    kind: field("kind"),
    query: field("query"),
    passages: field("passages"),
    fields: field("fields"),
    model: field("model"),
    top: number(data.get("top")),
    window: number(data.get("window")),
    queryWeight: number(data.get("queryWeight")),
    rescoreWeight: number(data.get("rescoreWeight")),
    mode: field("mode"),
    raw: data.has("raw"),
    whole: data.has("whole"),
  };
}

/** Marks the field that a sentence speaks of, and goes there. */
function mistake(field, message) {
  const problem = $(`${field}-problem`);
  problem.textContent = message;
  problem.hidden = false;
  $(field).setAttribute("aria-invalid", "true");
  $(field).focus();
}

function forgive() {
  for (const field of ["query", "passages", "fields"]) {
    $(`${field}-problem`).hidden = true;
    $(field).removeAttribute("aria-invalid");
  }
}

/** Sends what the form holds and shows what comes back. A second press while one is on its way replaces it. */
export async function submit() {
  forgive();
  let request;
  const asked = read();
  try {
    request = build(asked);
  } catch (error) {
    if (!(error instanceof Mistake)) throw error;
    mistake(error.field, error.message);
    return;
  }
  running?.abort();
  const mine = new AbortController();
  running = mine;
  busy(true);
  try {
    const reply = await ask(request.path, { body: request.body, signal: mine.signal });
    results.settled();
    results.show(asked.kind, request, reply);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401) wantKey("This server wants a key");
    results.refused(error, submit);
  } finally {
    if (running === mine) busy(false);
  }
}

function busy(is) {
  $("rank").setAttribute("aria-disabled", String(is));
  $("rank").firstElementChild.textContent = is ? "Ranking…" : "Rank";
  $("results").setAttribute("aria-busy", String(is));
}

/** Shows what belongs to the chosen kind of input. */
function dress() {
  const chosen = kind();
  const [label, placeholder] = LABELS[chosen];
  $("passages-label").textContent = label;
  $("passages").placeholder = placeholder;
  $("engine").hidden = !KINDS[chosen].engine;
  $("top-field").hidden = KINDS[chosen].engine;
  tally();
}

/** Counts what is in the box, and offers the fields that it has. */
function tally() {
  const chosen = kind();
  const text = $("passages").value;
  let found = null;
  let names = [];
  try {
    if (chosen === "lines") found = lines(text).length;
    else if (chosen === "json") found = documents(text).list.length;
    else {
      const list = hits(chosen, JSON.parse(text));
      found = list.length;
      names = fieldNames(list);
    }
  } catch {
    // Half-typed JSON: it is judged when it is sent.
  }
  $("tally").textContent = found === null ? "" : `${count(found)} ${KINDS[chosen].engine ? (found === 1 ? "hit" : "hits") : found === 1 ? "passage" : "passages"}`;
  if (KINDS[chosen].engine) chips(names);
}

function chips(names) {
  const chosen = () => $("fields").value.split(",").map((name) => name.trim()).filter(Boolean);
  const chip = (name) => {
    const toggle = () => {
      const now = chosen();
      $("fields").value = (now.includes(name) ? now.filter((other) => other !== name) : [...now, name]).join(", ");
      button.setAttribute("aria-pressed", String(chosen().includes(name)));
    };
    const button = h("button", { type: "button", class: "chip", "aria-pressed": String(chosen().includes(name)), onclick: toggle }, name);
    return button;
  };
  replace($("known-fields"), names.slice(0, 8).map(chip));
}

function take(example) {
  form().elements.kind.value = example.kind;
  $("query").value = example.query;
  $("passages").value = example.passages;
  $("fields").value = example.fields ?? "";
  forgive();
  dress();
  submit();
}

/** Fills the model picker. */
export function models(list) {
  const before = $("model").value;
  replace($("model"), list.map((model, at) => h("option", { value: model.id }, at === 0 ? `${model.id} (default)` : model.id)));
  if (list.some((model) => model.id === before)) $("model").value = before;
}

/** Wires the form up; `askForKey` is called with a sentence when the server wants a key. */
export function start(askForKey) {
  wantKey = askForKey;
  results.welcome(EXAMPLES, take);
  form().addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  form().addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      submit();
    }
  });
  for (const radio of form().elements.kind) radio.addEventListener("change", dress);
  let waiting;
  $("passages").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(tally, 200);
  });
  $("fields").addEventListener("change", tally);
  for (const example of EXAMPLES) $("example").append(h("option", { value: example.name }, example.name));
  $("example").addEventListener("change", (event) => {
    const chosen = EXAMPLES.find((example) => example.name === event.target.value);
    event.target.value = "";
    if (chosen) take(chosen);
  });
  dress();
}
