// The page's arithmetic without a browser: requests, rankings, charts.

import assert from "node:assert/strict";
import { test } from "node:test";

import { area, ceiling, path } from "../../src/server/http/ui/chart.js";
import { duration, figure } from "../../src/server/http/ui/dom.js";
import { EXAMPLES } from "../../src/server/http/ui/examples.js";
import { facts, ranking, score, serverTiming, widths } from "../../src/server/http/ui/ranking.js";
import { Mistake, build, curl, documents, fieldNames, hits, lines } from "../../src/server/http/ui/request.js";

const form = (given) => ({ kind: "lines", query: "q", passages: "a\nb", fields: "", mode: "total", queryWeight: 0, rescoreWeight: 1, ...given });

test("lines are passages and blank ones are none", () => {
  assert.deepEqual(lines(" a \r\n\n b\n"), ["a", "b"]);
});

test("a JSON list, or a whole request, is read", () => {
  for (const [source, count, query, sentence] of [
    ['["a","b"]', 2, undefined, "a list"],
    ['{"query":"x","documents":["a"]}', 1, "x", "Cohere's body"],
    ['{"query":{"text":"x"},"passages":[{"text":"a"}]}', 1, "x", "NIM's body"],
    ['{"texts":["a","b","c"]}', 3, undefined, "TEI's body"],
  ]) {
    const read = documents(source);
    assert.deepEqual([read.list.length, read.query], [count, query], sentence);
  }
});

test("what cannot be sent is a mistake of its field", () => {
  for (const [given, field, sentence] of [
    [{ query: " " }, "query", "nothing is asked"],
    [{ passages: " \n" }, "passages", "nothing to rank"],
    [{ kind: "json", passages: "[" }, "passages", "no JSON"],
    [{ kind: "json", passages: '{"a":1}' }, "passages", "no list"],
    [{ kind: "opensearch", passages: "{}" }, "passages", "no hits"],
    [{ kind: "vespa", passages: "{}" }, "passages", "no root"],
    [{ kind: "opensearch", passages: '{"hits":{"hits":[{"_source":{"t":"x"}}]}}' }, "fields", "no field is named"],
  ]) {
    assert.throws(() => build(form(given)), (error) => error instanceof Mistake && error.field === field, sentence);
  }
});

test("an engine's response is sent byte for byte", () => {
  const pasted = '{"hits":{"hits":[{"_id":"1","_score":1.10,"big":12345678901234567890,"_source":{"t":"x"}}]}}';
  const { body, path: to, before } = build(form({ kind: "opensearch", passages: pasted, fields: "t" }));
  assert.equal(to, "rescore/opensearch");
  assert.ok(body.includes(`"response": ${pasted}`), body);
  assert.deepEqual(before, [{ id: "1", text: "x", score: 1.1 }]);
  assert.deepEqual(JSON.parse(body).rescore, { query: { query_weight: 0, rescore_query_weight: 1, score_mode: "total" } });
});

test("hits of nested Vespa groups are found, and the longest field comes first", () => {
  const found = hits("vespa", { root: { children: [{ id: "group:x", children: [{ id: "a", relevance: 2, fields: { title: "t", body: "long text" } }] }] } });
  assert.deepEqual(found.map((hit) => [hit.id, hit.score]), [["a", 2]]);
  assert.deepEqual(fieldNames(found), ["body", "title"]);
});

test("curl quotes what a shell would take for itself, and never prints the key", () => {
  const request = build(form({ query: "it's $HOME `x`" }));
  const command = curl("http://h/", request, true);
  assert.ok(command.includes(`"query":"it'\\''s $HOME \`x\`"`), command);
  assert.ok(command.includes('"authorization: Bearer $RESCORED_KEY"'), command);
});

test("a ranking shows which documents rose, fell or were left out", () => {
  const request = build(form({ passages: "a\nb\nc" }));
  const answer = { results: [{ index: 2, relevance_score: 0.9 }, { index: 0, relevance_score: 0.1 }] };
  const ranked = ranking("lines", request, answer, { cutIndexes: [0] });
  assert.deepEqual(ranked.items.map(({ text, was, now, moved, cut }) => [text, was, now, moved, cut]), [["c", 3, 1, 2, false], ["a", 1, 2, -1, true]]);
  assert.deepEqual(ranked.dropped.map((item) => item.text), ["b"]);
});

test("engine hits that share an id are distinguished by their order", () => {
  const response = { hits: { hits: ["x", "y"].map((t) => ({ _id: "same", _score: 1, _source: { t } })) } };
  const request = build(form({ kind: "opensearch", fields: "t", passages: JSON.stringify(response) }));
  const ranked = ranking("opensearch", request, response, { cutIndexes: [] });
  assert.deepEqual(ranked.items.map((item) => item.text), ["x", "y"]);
});

test("headers are read, and missing ones are not zeros", () => {
  const headers = new Headers({ "server-timing": "parse;dur=0.125, queue;desc=x;dur=3, bad", "x-rescored-truncated": "2", "x-rescored-truncated-documents": "1,4" });
  const found = facts(headers);
  assert.deepEqual(found.timings, { parse: 0.125, queue: 3 });
  assert.deepEqual([found.cached, found.cut, found.cutIndexes], [null, 2, [1, 4]]);
  assert.deepEqual(serverTiming(null), {});
});

test("bars of logits begin at the worst, bars of scores at zero", () => {
  assert.deepEqual(widths([{ score: 0.8 }, { score: 0.4 }]), [1, 0.5]);
  const [best, worst] = widths([{ score: 9 }, { score: -11 }]);
  assert.ok(best === 1 && worst < 0.01);
});

test("scores keep the digits that tell neighbours apart", () => {
  for (const [value, printed] of [[0.99871, "0.9987"], [-11.2345, "−11.23"], [0.0000123, "1.2e−5"], [0, "0.0000"], [null, "–"]]) assert.equal(score(value), printed);
});

test("figures are short", () => {
  for (const [value, printed] of [[0, "0"], [0.0421, "0.042"], [4.256, "4.26"], [42.04, "42"], [1234, "1,234"], [12_345, "12.3k"], [8_000_000, "8M"], [null, "–"]]) assert.equal(figure(value), printed);
  for (const [value, printed] of [[0.034, "34 µs"], [4.2, "4.2 ms"], [1500, "1.5 s"], [null, "–"]]) assert.equal(duration(value), printed);
});

test("a chart's line is interrupted where nothing is known", () => {
  assert.equal(path([1, null, 0], 3, 1).split("M").length - 1, 2);
  assert.equal(path([], 3, 1), "");
  assert.ok(area([1, 0], 2, 1).endsWith("Z"));
  for (const [value, bound] of [[0, 1], [1, 1], [1.2, 2], [2.1, 2.5], [37, 50], [980, 1000]]) assert.equal(ceiling(value), bound);
});

test("every example is a request", () => {
  for (const { name, ...example } of EXAMPLES) {
    const request = build(form({ fields: "", ...example }));
    assert.ok(request.before.length > 1 && request.before.every((item) => item.text), name);
  }
});
