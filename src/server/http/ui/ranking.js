// What came back: answers and headers to a ranking with its movements. Pure; tests/ui/pure.test.mjs.

import { hits } from "./request.js";

/** Stages of `Server-Timing`, in the order in which they happen, with the words shown for them. */
export const STAGES = [
  ["parse", "read"],
  ["cache", "cache"],
  ["tokenise", "tokenise"],
  ["queue", "wait"],
  ["inference", "inference"],
  ["print", "print"],
];

/** `parse;dur=0.1, cache;dur=0.02` as a map of milliseconds. */
export function serverTiming(header) {
  const timings = {};
  for (const part of (header ?? "").split(",")) {
    const [name, ...rest] = part.trim().split(";");
    const spent = rest.map((piece) => /^\s*dur=([\d.]+)/.exec(piece)?.[1]).find(Boolean);
    if (name && spent) timings[name] = Number(spent);
  }
  return timings;
}

const whole = (headers, name) => {
  const value = headers.get(name);
  return value === null || value === "" ? null : Number(value);
};

/** What the headers tell of the work behind an answer. */
export function facts(headers) {
  const list = headers.get("x-rescored-truncated-documents");
  return {
    id: headers.get("x-request-id"),
    cached: whole(headers, "x-rescored-cache-hits"),
    cut: whole(headers, "x-rescored-truncated") ?? 0,
    cutIndexes: list ? list.split(",").map(Number).filter(Number.isInteger) : [],
    tokens: whole(headers, "x-compute-tokens"),
    partial: headers.get("x-rescored-partial"),
    missingFields: whole(headers, "x-rescored-missing-fields") ?? 0,
    timings: serverTiming(headers.get("server-timing")),
  };
}

/**
 * The ranking of an answer: `{ index, id, text, score, first, was, now, moved, cut }`, best first.
 * `moved` is how many places an item rose; items that the answer leaves out are in `dropped`.
 */
export function ranking(kind, request, answer, found) {
  const order = kind === "lines" || kind === "json" ? ours(answer) : engines(kind, answer, request.before);
  const cut = new Set(found.cutIndexes);
  const items = order.map(({ index, score }, now) => {
    const before = request.before[index];
    return { ...before, first: before.score, score, index, was: index + 1, now: now + 1, moved: index - now, cut: cut.has(index) };
  });
  const kept = new Set(items.map((item) => item.index));
  const dropped = request.before.map((item, index) => ({ ...item, index, was: index + 1 })).filter((item) => !kept.has(item.index));
  return { items, dropped };
}

const ours = (answer) => (answer.results ?? []).map((result) => ({ index: result.index, score: result.relevance_score }));

/** Finds each returned hit among those that were sent: by its id, and by its turn where ids repeat. */
function engines(kind, answer, before) {
  const places = new Map();
  before.forEach((item, index) => places.set(item.id, [...(places.get(item.id) ?? []), index]));
  return hits(kind, answer).flatMap((hit) => {
    const index = places.get(hit.id)?.shift();
    return index === undefined ? [] : [{ index, score: hit.score }];
  });
}

/** Widths of bars, from 0 to 1: the best is 1. Scores below zero (logits) begin at the worst. */
export function widths(items) {
  const scores = items.map((item) => item.score ?? 0);
  const highest = Math.max(...scores, 0);
  const lowest = Math.min(...scores, 0);
  const span = highest - lowest || 1;
  return scores.map((score) => Math.max(0.004, (score - lowest) / span));
}

/** How a score is printed: enough digits to tell neighbours apart. */
export function score(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && size < 0.0001) return value.toExponential(1).replace("e-", "e−");
  return value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 4).replace("-", "−");
}

/** All scores of a ranking, with as many digits as it takes to tell neighbours apart, seven at most. */
export function scores(items) {
  const alike = (digits) => items.some((item, at) => at > 0 && item.score !== items[at - 1].score && item.score?.toFixed(digits) === items[at - 1].score?.toFixed(digits) && Math.abs(item.score) >= 0.0001);
  const digits = [4, 5, 6].find((count) => !alike(count)) ?? 7;
  return items.map((item) => (Math.abs(item.score ?? 0) < 10 && Math.abs(item.score ?? 0) >= 0.0001 ? item.score.toFixed(digits).replace("-", "−") : score(item.score)));
}

/** One sentence of what happened, for those who hear it. */
export function summary({ items, dropped }) {
  if (items.length === 0) return "Nothing came back.";
  const movers = items.filter((item) => item.moved !== 0).length;
  const best = items[0];
  const rise = best.moved > 0 ? `, up ${best.moved}` : "";
  const left = dropped.length ? ` ${dropped.length} left out.` : "";
  return `${items.length} ranked, ${movers} moved. First: number ${best.was}${rise}, score ${score(best.score)}.${left}`;
}
