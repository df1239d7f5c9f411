// The live view: figures of the last minutes, asked for while they are looked at.

import { $, count, duration, figure, h, replace } from "./dom.js";
import { Chart, axis } from "./chart.js";
import { Refused, ask } from "./server.js";

/** Refusals of the last so many samples make the banner. */
const RECENT = 5;

const percent = (share) => (share === null ? "–" : `${figure(share * 100)} %`);
const rate = (row, name) => (row.seconds > 0 ? row[name] / row.seconds : 0);
const share = (part, whole) => (whole > 0 ? part / whole : null);

/** Every tile: its name, its lines by sample, and what is printed of the newest. */
const TILES = [
  { name: "Requests", unit: (v) => `${figure(v)}/s`, least: 1, lines: [(row) => rate(row, "requests")], small: "per second" },
  { name: "Pairs", unit: (v) => `${figure(v)}/s`, least: 1, lines: [(row) => rate(row, "pairs")], small: "per second" },
  { name: "Latency", unit: duration, least: 1, lines: [(row) => row.p99_ms, (row) => row.p50_ms], words: ["p99", "p50"], small: "half are faster; 99 % are" },
  { name: "Queue", unit: (v) => figure(v), least: 100, lines: [(row) => row.queue_tokens], small: "tokens" },
  { name: "Cache", unit: percent, top: 1, lines: [(row) => share(row.cached, row.pairs)], small: "of pairs" },
  { name: "Workers", unit: percent, top: 1, lines: [(row) => row.busy_share], small: "busy" },
  { name: "Padding", unit: percent, top: 1, lines: [(row) => row.padding_share], small: "of tokens" },
  { name: "Refused", unit: (v) => `${figure(v)}/s`, least: 1, lines: [(row) => rate(row, "refused"), (row) => rate(row, "failed")], words: ["no room", "failed"], small: "per second", hot: (row) => row.refused > 0 },
];

const state = { rows: [], last: 0, timer: null, paused: false, shown: false, tiles: [] };
let wantKey = () => {};

function build() {
  state.tiles = TILES.map((tile) => {
    const chart = new Chart({ unit: tile.unit, least: tile.least, top: tile.top ?? null });
    const big = h("div", { class: "big" });
    const note = h("span");
    const node = h("figure", { class: "card tile", "data-tile": tile.name }, h("figcaption", {}, h("span", {}, tile.name), note), big, chart.node, chart.scale);
    return { ...tile, chart, big, note, node };
  });
  replace($("tiles"), state.tiles.map((tile) => tile.node));
}

function draw(report) {
  const newest = state.rows.at(-1);
  if (!newest) return;
  const times = state.rows.map((row) => row.at_ms);
  const along = axis(state.rows.length, report.kept, report.every_ms / 1000);
  for (const tile of state.tiles) {
    const lines = tile.lines.map((line) => state.rows.map(line));
    const now = lines.map((line) => line.at(-1));
    tile.chart.draw(lines, times, { label: heard(tile, lines), ...along });
    tile.big.classList.toggle("pair", tile.name === "Latency");
    replace(tile.big, tile.name === "Latency" ? latency(tile, now) : [tile.unit(now[0]).replace("/s", ""), h("small", {}, tile.small)]);
    replace(tile.note, extra(tile, newest, report));
    tile.node.classList.toggle("hot", Boolean(tile.hot?.(newest)));
  }
  const minutes = Math.floor(report.uptime_seconds / 60);
  $("live-note").textContent = `up ${minutes < 1 ? `${report.uptime_seconds} s` : minutes < 120 ? `${minutes} min` : `${figure(minutes / 60)} h`} · a sample every ${report.every_ms / 1000} s · five minutes kept`;
  banner();
}

const latency = (tile, [slow, half]) => [tile.unit(half), h("small", {}, h("i", { "aria-hidden": "true" }), "p50"), tile.unit(slow), h("small", { class: "first" }, h("i", { "aria-hidden": "true" }), "p99")];

function extra(tile, row, report) {
  if (tile.name === "Workers") return `${count(row.workers)} alive`;
  if (tile.name === "Queue") return `limit ${figure(report.queue_limit_tokens)}`;
  if (tile.name === "Cache") return `${count(report.cache_entries)} scores`;
  if (tile.name === "Requests") return `${count(row.in_flight)} in work`;
  if (tile.name === "Refused") return `${figure(rate(row, "failed"))}/s failed`;
  return "";
}

/** What a screen reader says of a chart. */
function heard(tile, lines) {
  const parts = lines.map((line, at) => {
    const known = line.filter((value) => value !== null);
    const name = tile.words?.[at] ? `${tile.words[at]}: ` : "";
    if (known.length === 0) return `${name}nothing yet`;
    return `${name}now ${line.at(-1) === null ? "nothing" : tile.unit(line.at(-1))}, at most ${tile.unit(Math.max(...known))}`;
  });
  return `${tile.name} over the last five minutes. ${parts.join("; ")}.`;
}

function banner() {
  const refused = state.rows.slice(-RECENT).reduce((sum, row) => sum + row.refused, 0);
  const place = $("live-banner");
  if (refused === 0) {
    place.hidden = true;
    return;
  }
  const words = `${count(refused)} ${refused === 1 ? "request was" : "requests were"} turned away in the last ten seconds: more work waits than may.`;
  if (place.dataset.words !== words) replace(place, h("div", { class: "note warn", role: "alert" }, h("div", {}, h("strong", {}, "Overload"), h("p", {}, words))));
  place.dataset.words = words;
  place.hidden = false;
}

async function poll() {
  try {
    const { answer } = await ask(`ui/live?after=${state.last}`);
    // A process that was restarted counts anew.
    if (answer.last < state.last) state.rows = [];
    const named = (row) => Object.fromEntries(answer.columns.map((name, at) => [name, row[at]]));
    state.rows = [...state.rows, ...answer.rows.map(named)].slice(-answer.kept);
    state.last = answer.last;
    $("version").textContent = `rescored ${answer.version}`;
    draw(answer);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    $("live-note").textContent = error.message;
    if (error.status === 404) {
      $("live-note").textContent = "Figures are served at the address of RESCORED_OPERATIONS_LISTEN alone.";
      return;
    }
    if (error.status === 401) {
      wantKey("This server wants a key");
      return;
    }
  }
  clearTimeout(state.timer);
  if (state.shown && !state.paused) state.timer = setTimeout(poll, 2000);
}

/** Draws the cards of the models. */
export function models(list) {
  const line = (name, value) => [h("dt", {}, name), h("dd", {}, value || "–")];
  replace($("models"), list.map((model) =>
    h("article", { class: "card model" }, h("h3", {}, model.id), h("dl", {},
      line("Provider", model.provider), line("Precision", model.precision), line("Longest pair", `${count(model.max_length)} tokens`),
      line("Activation", model.activation), line("Source", model.source), line("Licence", model.licence), line("Fingerprint", model.fingerprint.slice(0, 16))))));
}

/** The view is looked at, or no longer. */
export function look(is) {
  state.shown = is;
  clearTimeout(state.timer);
  if (is && !state.paused) poll();
}

/** Wires the view up. */
export function start(askForKey) {
  wantKey = askForKey;
  build();
  $("pause").addEventListener("click", () => {
    state.paused = !state.paused;
    $("pause").setAttribute("aria-pressed", String(state.paused));
    $("pause").textContent = state.paused ? "Go on" : "Pause";
    look(state.shown);
  });
  document.addEventListener("visibilitychange", () => {
    if (!state.shown) return;
    clearTimeout(state.timer);
    if (!document.hidden && !state.paused) poll();
  });
}
