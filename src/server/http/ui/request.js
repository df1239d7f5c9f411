// What is sent: from the form's texts to a request, and the same request as curl. Pure; tests/ui/pure.test.mjs.

/** Something the form's user can mend: a field and a sentence. */
export class Mistake extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/** Kinds of input, and where each is sent. */
export const KINDS = {
  lines: { path: "v1/rerank", engine: false },
  json: { path: "v1/rerank", engine: false },
  opensearch: { path: "rescore/opensearch", engine: true },
  vespa: { path: "rescore/vespa", engine: true },
};

/** Passages, one a line; blank lines are none. */
export const lines = (text) => text.split(/\r?\n/).map((line) => line.trim()).filter(Boolean);

function parse(field, text, wanted) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Mistake(field, `This is not JSON: ${error.message}. ${wanted}`);
  }
}

/** The text of a document as a person would read it. */
export function text(document) {
  if (typeof document === "string") return document;
  if (document && typeof document === "object") {
    if (typeof document.text === "string") return document.text;
    return Object.values(document).filter((value) => typeof value === "string").join(" · ") || JSON.stringify(document);
  }
  return String(document);
}

/** A JSON list of documents, or an object that holds one (and perhaps a query). */
export function documents(source) {
  const wanted = 'Paste a list such as ["first", "second"], or a whole request.';
  const value = parse("passages", source, wanted);
  const list = Array.isArray(value) ? value : (value?.documents ?? value?.texts ?? value?.passages);
  if (!Array.isArray(list)) throw new Mistake("passages", `There is no list of documents in it. ${wanted}`);
  const query = Array.isArray(value) ? undefined : text(value.query ?? "") || undefined;
  return { list, query };
}

/** Hits of an engine's response, in its order: id, score, and the fields that may hold the passage. */
export function hits(kind, response) {
  if (kind === "opensearch") {
    const list = response?.hits?.hits;
    if (!Array.isArray(list)) throw new Mistake("passages", "This is no search response: it has no hits.hits list.");
    return list.map((hit, at) => ({ id: String(hit._id ?? at + 1), score: hit._score ?? null, fields: { ...hit._source, ...hit.fields } }));
  }
  const found = [];
  const walk = (node) => {
    if (Array.isArray(node?.children)) node.children.forEach(walk);
    else if (node && typeof node === "object" && node.fields) {
      found.push({ id: String(node.id ?? found.length + 1), score: node.relevance ?? null, fields: node.fields });
    }
  };
  if (!response?.root) throw new Mistake("passages", "This is no Vespa result: it has no root.");
  walk(response.root);
  return found;
}

/** Names of fields that hold text, the likeliest passage first. */
export function fieldNames(found) {
  const lengths = new Map();
  for (const hit of found.slice(0, 20)) {
    for (const [name, value] of Object.entries(hit.fields ?? {})) {
      const words = typeof value === "string" ? value : Array.isArray(value) && typeof value[0] === "string" ? value.join(" ") : "";
      if (words) lengths.set(name, (lengths.get(name) ?? 0) + words.length);
    }
  }
  return [...lengths].sort((a, b) => b[1] - a[1]).map(([name]) => name);
}

/** What is read of a hit, as a person would see it. */
export function passage(hit, fields) {
  const part = (name) => {
    const value = hit.fields?.[name];
    return Array.isArray(value) ? value.join(" ") : value;
  };
  return fields.map(part).filter((value) => value !== undefined && value !== null && value !== "").join(" · ");
}

/**
 * The request that a form asks for: its path, its body, and the items as they stood before it.
 * An engine's response is sent byte for byte as it was pasted.
 */
export function build(form) {
  const query = form.query.trim();
  const terms = {};
  if (form.model) terms.model = form.model;
  if (form.raw) terms.raw_scores = true;
  if (form.whole) terms.truncate = false;
  if (form.timeout) terms.timeout_ms = form.timeout;
  if (KINDS[form.kind].engine) return buildEngine(form, query, terms);
  const given = form.kind === "json" ? documents(form.passages || "[]") : { list: lines(form.passages) };
  const asked = query || given.query;
  if (!asked) throw new Mistake("query", "Ask something: the query is empty.");
  if (given.list.length === 0) throw new Mistake("passages", "There is nothing to rank: give one passage a line.");
  const body = { query: asked, documents: given.list, ...terms };
  if (form.top) body.top_n = form.top;
  const before = given.list.map((document, at) => ({ id: String(at + 1), text: text(document), score: null }));
  return { path: KINDS[form.kind].path, body: JSON.stringify(body, null, 2), before, query: asked };
}

function buildEngine(form, query, terms) {
  if (!query) throw new Mistake("query", "Ask something: the query is empty.");
  const wanted = "Paste what the engine answered.";
  const response = parse("passages", form.passages || "null", wanted);
  const found = hits(form.kind, response);
  if (found.length === 0) throw new Mistake("passages", "The response has no hits.");
  const fields = form.fields.split(",").map((name) => name.trim()).filter(Boolean);
  if (fields.length === 0) {
    const known = fieldNames(found);
    throw new Mistake("fields", known.length ? `Name the fields to read, such as ${known[0]}.` : "Name the fields to read.");
  }
  const { model, raw_scores, truncate, timeout_ms } = terms;
  // Where the engine's score counts, the server's own default is a window of ten; the form says all.
  const alone = !form.queryWeight && form.mode === "total";
  const stage = { window_size: form.window || (alone ? undefined : found.length), model, raw_scores, query: { query_weight: form.queryWeight, rescore_query_weight: form.rescoreWeight, score_mode: form.mode } };
  const head = JSON.stringify({ query, fields, rescore: stage, truncate, timeout_ms }, null, 2);
  const key = form.kind === "opensearch" ? "response" : "result";
  const body = `${head.slice(0, -2)},\n  "${key}": ${form.passages.trim()}\n}`;
  const before = found.map((hit) => ({ id: hit.id, text: passage(hit, fields), score: hit.score }));
  return { path: KINDS[form.kind].path, body, before, query };
}

/** The same request for a terminal. The key is never printed. */
export function curl(url, request, withKey) {
  const quoted = (value) => `'${value.replaceAll("'", `'\\''`)}'`;
  const compact = KINDS_COMPACT.has(request.path) ? JSON.stringify(JSON.parse(request.body)) : request.body;
  const key = withKey ? ` \\\n  -H "authorization: Bearer $RESCORED_KEY"` : "";
  return `curl -s ${url}${request.path} \\\n  -H 'content-type: application/json'${key} \\\n  -d ${quoted(compact)}`;
}

/** Bodies that are ours: printing them anew changes no number of anybody's. */
const KINDS_COMPACT = new Set(["v1/rerank"]);
