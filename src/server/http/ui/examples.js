// Things to try, made up for this page.

const berlin = [
  "New York City is famous for its museums, its parks and its skyline.",
  "The Spree flows through the middle of Berlin before it meets the Havel in Spandau.",
  "Paris has a little more than two million inhabitants within its city limits.",
  "Berlin became the capital of reunified Germany on 3 October 1990.",
  "Berlin has a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
  "The currywurst was invented in Berlin in 1949 and is eaten by the million every year.",
  "About 6.2 million people live in the metropolitan region of Berlin and Brandenburg.",
  "Hamburg is the second largest city of Germany, with about 1.9 million residents.",
];

const hit = (id, score, title, text) => ({ _index: "articles", _id: id, _score: score, _source: { title, text } });

const opensearch = {
  took: 4,
  timed_out: false,
  hits: {
    total: { value: 5, relation: "eq" },
    max_score: 7.31,
    hits: [
      hit("a17", 7.31, "Cold brew", "Cold brew coffee steeps in cold water for twelve to twenty-four hours and tastes mild."),
      hit("b02", 6.88, "Coffee houses", "The coffee houses of Vienna are places to read the newspaper for a whole afternoon."),
      hit("c44", 6.05, "Decaffeination", "Coffee is decaffeinated before roasting: green beans are soaked, and a solvent, carbon dioxide or water takes the caffeine out."),
      hit("d09", 5.92, "Espresso", "An espresso machine presses hot water at nine bars through finely ground coffee."),
      hit("e31", 4.40, "Caffeine", "Caffeine blocks the adenosine receptors of the brain, which keeps people awake."),
    ],
  },
};

const vespa = {
  root: {
    id: "toplevel",
    relevance: 1.0,
    fields: { totalCount: 4 },
    children: [
      { id: "id:docs:page::1", relevance: 0.42, source: "docs", fields: { title: "Backups", body: "A snapshot of the index is written every night and kept for thirty days." } },
      { id: "id:docs:page::2", relevance: 0.41, source: "docs", fields: { title: "Restoring", body: "To restore an index, stop the node, copy the snapshot into its data folder and start it again." } },
      { id: "id:docs:page::3", relevance: 0.37, source: "docs", fields: { title: "Monitoring", body: "Every node tells its heap, disk and queue on the metrics port." } },
      { id: "id:docs:page::4", relevance: 0.22, source: "docs", fields: { title: "Upgrades", body: "Nodes are upgraded one at a time; the cluster stays green while they restart." } },
    ],
  },
};

export const EXAMPLES = [
  { name: "A city's people (lines)", kind: "lines", query: "how many people live in berlin", passages: berlin.join("\n") },
  {
    name: "Which gift (JSON)",
    kind: "json",
    query: "a quiet gift for somebody who likes to read",
    passages: JSON.stringify([
      "A drum kit with a snare, two toms and three cymbals.",
      "A set of noise-cancelling headphones.",
      "A lamp with a clamp that lights a page and nothing else.",
      { title: "Bookends", text: "Two heavy bookends of walnut, lined with felt." },
      "Tickets for a motor race, front row.",
    ], null, 2),
  },
  { name: "An OpenSearch response", kind: "opensearch", query: "how is caffeine removed from coffee", fields: "title, text", passages: JSON.stringify(opensearch, null, 2) },
  { name: "A Vespa result", kind: "vespa", query: "how do I bring an index back from a backup", fields: "title, body", passages: JSON.stringify(vespa, null, 2) },
];
