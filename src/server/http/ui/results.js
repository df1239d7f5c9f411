// The right half of the playground: the ranking before and after, the request, the answer, or what went wrong.

import { $, announce, copy, count, duration, h, replace, s } from "./dom.js";
import { curl } from "./request.js";
import { STAGES, facts, ranking, score, scores, summary, widths } from "./ranking.js";
import { base, key } from "./server.js";

/** Items drawn at once; the rest comes on demand. */
const SHOWN = 50;

const icon = (...paths) => s("svg", { viewBox: "0 0 20 20", "aria-hidden": "true" }, paths.map((d) => s("path", { d })));
const triangle = () => icon("M10 3 18 16.5H2Z", "M10 8.5v3.5M10 14.2v.1");
const cross = () => icon("M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15Z", "M7.5 7.5l5 5M12.5 7.5l-5 5");

/** What stands there before the first request. */
export function welcome(examples, take) {
  const line = (from, to, kind) => s("path", { class: kind, d: `M12 ${from}C110 ${from} 130 ${to} 228 ${to}` });
  const dot = (x, y) => s("circle", { cx: x, cy: y, r: 4, fill: "var(--edge)" });
  const picture = s("svg", { viewBox: "0 0 240 120", class: "lines", "aria-hidden": "true" }, line(20, 60, "down"), line(47, 100, "down"), line(74, 74, ""), line(100, 20, "up first"), [20, 47, 74, 100].map((y) => dot(12, y)), [20, 60, 74, 100].map((y) => dot(228, y)));
  const words = h("p", {}, "A query and some passages on the left; here, how the model ranks them, and what it cost.");
  const chips = h("div", { class: "chips", role: "group", "aria-label": "Examples" }, examples.map((example) => h("button", { type: "button", class: "chip", onclick: () => take(example) }, example.name)));
  replace($("results"), h("div", { class: "card empty" }, picture, words, chips));
}

/** A refusal, from the one error body. An overload has its own banner, with a way to try again. */
export function refused(error, retry) {
  const banner = $("banner");
  const details = [error.status || null, error.kind, error.id].filter(Boolean).join(" · ");
  const title = error.isOverload ? "The server has no room just now" : error.status === 0 ? "No answer" : "Refused";
  const again = h("button", { type: "button", onclick: () => retry() }, "Try again");
  replace(
    banner,
    h("div", { class: `note ${error.isOverload ? "warn" : "bad"}`, role: "alert" },
      error.isOverload ? triangle() : cross(),
      h("div", {}, h("strong", {}, title), h("p", {}, error.message), h("small", {}, details)),
      error.isOverload || error.status === 0 ? again : null),
  );
  banner.hidden = false;
  if (error.retryAfter) countDown(again, error.retryAfter);
}

/** Shows when the server expects room; the button works before, too. */
function countDown(button, seconds) {
  const end = Date.now() + seconds * 1000;
  const tick = () => {
    if (!button.isConnected) return;
    const left = Math.ceil((end - Date.now()) / 1000);
    button.textContent = left > 0 ? `Try again (${left} s)` : "Try again";
    if (left > 0) setTimeout(tick, 250);
  };
  tick();
}

/** Takes the banner away. */
export function settled() {
  $("banner").hidden = true;
  replace($("banner"));
}

/** Shows an answer. */
export function show(kind, request, reply) {
  const found = facts(reply.headers);
  const ranked = ranking(kind, request, reply.answer, found);
  const tabs = [
    ["Ranking", () => rankingTab(kind, request, ranked)],
    ["Request", () => requestTab(request)],
    ["Answer", () => answerTab(reply)],
  ];
  const panel = h("div", { id: "panel", role: "tabpanel", tabindex: "0" });
  const list = h("div", { class: "tabs", role: "tablist", "aria-label": "Result" });
  const buttons = tabs.map(([name, draw], at) => tab({ name, at, list, panel, draw }));
  list.append(...buttons);
  replace($("results"), h("section", { class: "card result", "aria-label": "Result" }, h("header", {}, list, factList(found, ranked)), timing(found, reply.took), panel));
  buttons[0].click();
  // Where the form stands above, the answer would come below the fold.
  if (matchMedia("(max-width: 56rem)").matches) $("outcome").scrollIntoView({ block: "start" });
  announce(summary(ranked));
}

function tab({ name, at, list, panel, draw }) {
  const id = `tab-${name.toLowerCase()}`;
  const select = () => {
    for (const other of list.children) {
      const chosen = other.id === id;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
    }
    panel.setAttribute("aria-labelledby", id);
    replace(panel, draw());
    panel.dispatchEvent(new Event("shown"));
  };
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = list.children[(at + step + list.children.length) % list.children.length];
    next.click();
    next.focus();
    event.preventDefault();
  };
  return h("button", { type: "button", role: "tab", id, "aria-controls": "panel", onclick: select, onkeydown: move }, name);
}

function factList(found, { items, dropped }) {
  const fact = (number, word, extra = "") => h("span", { class: extra }, h("b", {}, count(number)), ` ${word}`);
  return h("div", { class: "facts" },
    fact(items.length + dropped.length, "pairs"),
    found.cached === null ? null : fact(found.cached, "from cache"),
    found.tokens === null ? null : fact(found.tokens, "tokens"),
    found.cut ? fact(found.cut, "cut", "cut") : fact(0, "cut"),
    found.missingFields ? fact(found.missingFields, "empty fields", "cut") : null,
    found.partial ? h("span", { class: "cut" }, `partial: ${found.partial}`) : null);
}

/** Where the time went, as the server reports it, and the total as seen from here. */
function timing(found, took) {
  const parts = STAGES.map(([name, word], at) => ({ word, at, spent: found.timings[name] ?? 0 }));
  const total = Math.max(found.timings.total ?? 0, parts.reduce((sum, part) => sum + part.spent, 0)) || 1;
  const track = h("div", { class: "track", "aria-hidden": "true" });
  for (const part of parts.filter((one) => one.spent > 0)) {
    const bar = h("i", { class: `c${part.at + 1}` });
    bar.style.width = `${(part.spent / total) * 100}%`;
    track.append(bar);
  }
  const row = (word, millis, kind) => h("div", { class: kind }, h("dt", {}, word), h("dd", {}, duration(millis)));
  return h("div", { class: "timing" }, track, h("dl", { "aria-label": "Timings" },
    parts.filter((part) => part.spent > 0).map((part) => row(part.word, part.spent, `c${part.at + 1}`)),
    row("in all", found.timings.total, "whole"), row("as seen here", took)));
}

function rankingTab(kind, request, ranked) {
  const board = h("div", { class: "board" });
  const draw = (limit) => {
    replace(board, columns(ranked, limit));
    connect(board, ranked, limit);
  };
  const parts = [board];
  draw(SHOWN);
  if (ranked.items.length > SHOWN) {
    const rest = h("p", { class: "rest" }, h("button", { type: "button", class: "quiet", onclick: () => { draw(Infinity); rest.remove(); } }, `Show all ${count(ranked.items.length)}`));
    parts.push(rest);
  }
  if (ranked.dropped.length) {
    parts.push(h("p", { class: "dropped" }, `Left out of the answer: ${ranked.dropped.slice(0, 40).map((item) => `number ${item.was}`).join(", ")}${ranked.dropped.length > 40 ? " and more" : ""}.`));
  }
  return parts;
}

function columns({ items, dropped }, limit) {
  const shown = items.slice(0, limit);
  const bars = widths(items);
  const printed = scores(items);
  const gone = new Set(dropped.map((item) => item.index));
  const earlier = [...items, ...dropped].sort((a, b) => a.index - b.index).slice(0, limit);
  const before = h("ol", {}, earlier.map((item) =>
    h("li", { "data-index": item.index, class: gone.has(item.index) ? "gone" : "" }, h("b", {}, item.was), h("span", {}, item.text || item.id), item.first === null || item.first === undefined ? item.score === null && h("em") : h("em", {}, score(item.first)))));
  const after = h("ol", {}, shown.map((item, at) => card(item, bars[at], printed[at])));
  return [
    h("div", { class: "before", "aria-hidden": "true" }, h("h2", {}, "Before"), before),
    h("div", { class: "lines", "aria-hidden": "true" }),
    h("div", { class: "after" }, h("h2", {}, "After"), after),
  ];
}

function card(item, width, printed) {
  const bar = h("i");
  bar.style.width = `${width * 100}%`;
  const words = h("div", { class: "words" }, h("p", {}, item.cut && h("span", { class: "tag" }, "cut"), item.text || h("em", { class: "soft" }, "no text in these fields")));
  const more = h("button", { type: "button", hidden: true, "aria-expanded": "false", onclick: () => {
    const open = words.classList.toggle("open");
    more.setAttribute("aria-expanded", String(open));
    more.textContent = open ? "Less" : "More";
  } }, "More");
  words.append(more);
  return h("li", { "data-index": item.index },
    h("span", { class: "place" }, h("span", { class: "offscreen" }, "Place "), item.now),
    movement(item),
    words,
    h("div", { class: "score" }, printed, item.first !== null && item.first !== undefined && h("small", {}, `was ${score(item.first)}`)),
    h("div", { class: "meter", "aria-hidden": "true" }, bar));
}

function movement(item) {
  const was = `was ${item.was}`;
  if (item.moved === 0) return h("span", { class: "move", title: was }, h("span", { "aria-hidden": "true" }, "="), h("span", { class: "offscreen" }, "stayed"));
  const up = item.moved > 0;
  const places = Math.abs(item.moved);
  return h("span", { class: `move ${up ? "up" : "down"}`, title: was },
    h("span", { "aria-hidden": "true" }, `${up ? "▲" : "▼"} ${places}`),
    h("span", { class: "offscreen" }, `${up ? "up" : "down"} ${places}, ${was}`));
}

/** Draws a line from where each item stood to where it stands, for as long as the lists are on the page. */
function connect(board, { items, dropped }, limit) {
  const [before, lines, after] = board.children;
  const svg = s("svg", {});
  lines.replaceChildren(svg);
  const middle = (list, index, top) => {
    const row = list.querySelector(`li[data-index="${index}"]`);
    if (!row) return null;
    const box = row.getBoundingClientRect();
    return box.top + box.height / 2 - top;
  };
  const draw = () => {
    for (const words of after.querySelectorAll(".words:not(.open)")) words.lastChild.hidden = words.firstChild.scrollHeight <= words.firstChild.clientHeight + 1;
    const box = lines.getBoundingClientRect();
    if (box.width === 0) return;
    svg.setAttribute("viewBox", `0 0 ${box.width} ${Math.max(1, box.height)}`);
    const curve = (item) => {
      const from = middle(before, item.index, box.top);
      const to = middle(after, item.index, box.top);
      if (from === null || to === null) return null;
      const kind = item.now === 1 ? "first up" : item.moved > 0 ? "up" : item.moved < 0 ? "down" : "";
      const bend = box.width / 2;
      return s("path", { class: kind, "data-index": item.index, d: `M4 ${from}C${bend} ${from} ${bend} ${to} ${box.width - 4} ${to}` });
    };
    const order = items.slice(0, limit).toReversed();
    svg.replaceChildren(...order.map(curve).filter(Boolean));
  };
  const light = (event) => {
    const index = event.target.closest?.("li[data-index]")?.dataset.index;
    for (const node of board.querySelectorAll("[data-index]")) node.classList.toggle("lit", node.dataset.index === index);
  };
  board.onpointerover = light;
  board.onpointerleave = light;
  if (dropped.length + items.length > 0) new ResizeObserver(draw).observe(after);
}

function copyButton(text, what) {
  const button = h("button", { type: "button", class: "quiet", onclick: async () => {
    const worked = await copy(text);
    button.textContent = worked ? "Copied" : "Select and copy by hand";
    announce(worked ? `${what} copied` : "The browser does not allow copying");
    setTimeout(() => { button.textContent = `Copy ${what}`; }, 2000);
  } }, `Copy ${what}`);
  return button;
}

function requestTab(request) {
  const command = curl(base, request, Boolean(key()));
  return h("div", { class: "code" }, h("div", { class: "tools" }, copyButton(command, "curl"), h("span", { class: "soft" }, "The same request, for a terminal.")), h("pre", { id: "curl", tabindex: "0", "aria-label": "The request as curl" }, command));
}

function answerTab(reply) {
  const pretty = JSON.stringify(reply.answer, null, 2);
  const rows = [...reply.headers].filter(([name]) => /^(x-|server-timing|trace)/.test(name));
  return h("div", { class: "code" },
    h("div", { class: "tools" }, copyButton(reply.text, "answer")),
    h("pre", { tabindex: "0", "aria-label": "The answer" }, pretty),
    h("table", {}, h("caption", { class: "offscreen" }, "Headers of the answer"), h("tbody", {}, rows.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value))))));
}
