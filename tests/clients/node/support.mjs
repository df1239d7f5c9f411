// What every client is held to: real questions, and what a right ranking of their passages is.
// The same questions and rules as in ../python/support.py; it must not know any client.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const QUESTIONS = 2;
const CANDIDATES = 8;
const TOLERANCE = 1e-6;

export const DEFAULT = "default";
export const UNKNOWN = "no-such-model";
export const KEY = "any-key";

const BERLIN = {
  name: "berlin",
  query: "How many people live in Berlin?",
  documents: [
    "New York City is famous for the Metropolitan Museum of Art.",
    "Berlin is well known for its museums.",
    "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
    'Zürich\'s lake — "kühl", 🏊 — is liked by swimmers.',
    "",
  ],
  best: 2,
};

/** The server's address; tests/clients/run.sh starts it. */
export function url() {
  const address = process.env.RESCORED_URL;
  assert.ok(address, "RESCORED_URL: not set; run these tests by `make test-clients`");
  return address;
}

/** A client, or the sentence that it is missing. */
export async function load(name) {
  try {
    return { client: await import(name) };
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND" || !error.message.includes(`'${name}'`)) throw error;
    return { missing: `client \`${name}\` is not installed: \`make test-clients\` installs it` };
  }
}

/** The cases: one of our own, and questions of XQuAD. */
export function cases() {
  return [BERLIN, ...xquad()];
}

function xquad() {
  const data = join(ROOT, "tests", "data", "xquad-en");
  const passages = new Map(lines(join(data, "corpus.jsonl.gz")).map((line) => [line._id, line.text]));
  const answers = new Map(rows(join(data, "qrels.tsv.gz")));
  const found = grouped(rows(join(data, "run.tsv.gz")));
  const chosen = [];
  for (const line of lines(join(data, "queries.jsonl.gz"))) {
    const candidates = found.get(line._id).slice(0, CANDIDATES).map(([, passage]) => passage);
    const best = candidates.indexOf(answers.get(line._id));
    // The first stage must have found the answer, and not first: there has to be something to mend.
    if (best < 1) continue;
    chosen.push({ name: line._id, query: line.text, documents: candidates.map((one) => passages.get(one)), best });
    if (chosen.length === QUESTIONS) break;
  }
  return chosen;
}

function grouped(pairs) {
  const groups = new Map();
  for (const pair of pairs) groups.set(pair[0], [...(groups.get(pair[0]) ?? []), pair]);
  return groups;
}

function text(path) {
  return gunzipSync(readFileSync(path)).toString("utf8").trimEnd();
}

function lines(path) {
  return text(path).split("\n").map((line) => JSON.parse(line));
}

function rows(path) {
  return text(path).split("\n").slice(1).map((line) => line.split("\t").slice(0, 2));
}

/** The server's own answer, read without any client. */
async function reference(one) {
  const body = JSON.stringify({ query: one.query, documents: one.documents });
  const headers = { "content-type": "application/json" };
  const answer = await fetch(`${url()}/v1/rerank`, { method: "POST", headers, body });
  return (await answer.json()).results;
}

/** Holds [index, score] pairs, best first, to be whole, in order, within 0..1, right, and the server's own. */
export async function hold(one, ranked, top = one.documents.length) {
  assert.equal(ranked.length, top, "as many results as asked");
  const indices = ranked.map(([index]) => index);
  const scores = ranked.map(([, score]) => score);
  assert.ok(indices.every((index) => Number.isInteger(index) && index >= 0 && index < one.documents.length));
  assert.equal(new Set(indices).size, top, "each index once");
  assert.ok(scores.every((score) => score >= 0 && score <= 1), "scores lie in 0..1");
  assert.deepEqual(scores, [...scores].sort((a, b) => b - a), "best first");
  assert.equal(indices[0], one.best, "the passage that answers the question comes first");
  const own = (await reference(one)).slice(0, top);
  assert.deepEqual(indices, own.map((each) => each.index), "the order is the server's");
  own.forEach((each, at) => assert.ok(Math.abs(scores[at] - each.relevance_score) <= TOLERANCE, `place ${at}`));
}
