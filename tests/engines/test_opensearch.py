"""A real OpenSearch node, `plugin-config/opensearch` installed as it is, the real sidecar.

The node is told of in opensearch_node.py.
"""

import contextlib
import http.client
import json
import shutil
import subprocess
import sys
import threading
import time
import unittest

import support
from opensearch_node import TWO, Node
from support import SCRATCH, Set, Sidecar, Stub, call, free_port, mean, percentile, report, single

SHIPPED = support.ROOT / "plugin-config" / "opensearch"
QUERIES = 40
WINDOW = 20

class OpenSearch(unittest.TestCase):
    """Searches through the shipped pipelines."""

    @classmethod
    def setUpClass(cls):
        TWO.java_home()
        cls.set = Set("xquad-en")
        cls.sidecar = Sidecar("opensearch-sidecar")
        cls.addClassCleanup(cls.sidecar.stop)
        cls.node = Node(TWO)
        cls.addClassCleanup(cls.node.stop)
        version = cls.ask("GET", "/")["version"]
        plugins = cls.ask("GET", "/_cat/plugins?format=json")
        report(f"OpenSearch {version['number']} (Lucene {version['lucene_version']}), plugins " + ", ".join(
            f"{plugin['component']} {plugin['version']}" for plugin in plugins))
        cls.first_install = cls.install()
        cls.index("passages", {name: {"title": f"Paragraph {name}. ", "body": text} for name, text in cls.set.corpus.items()})

    @classmethod
    def ask(cls, method, path, body=None):
        answer = call(method, cls.node.address + path, body)
        if answer.status >= 300:
            raise AssertionError(f"{method} {path}: {answer.status} {answer.body[:800]}")
        return answer.json()

    @classmethod
    def install(cls, *options, sidecar=None):
        done = subprocess.run(
            [sys.executable, SHIPPED / "install.py", "--opensearch", cls.node.address,
             "--sidecar", sidecar or cls.sidecar.address, *map(str, options)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise AssertionError(f"the installer failed:\n{done.stdout}")
        return done.stdout

    @classmethod
    def index(cls, name, documents):
        cls.ask("PUT", f"/{name}", {"settings": {"number_of_shards": 1, "number_of_replicas": 0}, "mappings": {
            "properties": {"title": {"type": "text"}, "body": {"type": "text"}}}})
        lines = []
        for key, document in documents.items():
            lines += [json.dumps({"index": {"_id": key}}), json.dumps(document)]
        answer = call("POST", f"{cls.node.address}/{name}/_bulk?refresh=true", ("\n".join(lines) + "\n").encode())
        if answer.status != 200 or answer.json()["errors"]:
            raise AssertionError(f"bulk: {answer.status} {answer.body[:800]}")

    def search(self, query, pipeline=None, index="passages", size=WINDOW, expect=200):
        """Hits of the shipped search, and how long it took in milliseconds."""
        body = json.loads((SHIPPED / "search.json").read_text())
        body["query"]["match"]["body"]["query"] = query
        body["size"] = size
        suffix = f"?search_pipeline=rescored-{pipeline}" if pipeline else ""
        if not pipeline:
            del body["ext"]
        start = time.perf_counter()
        answer = call("POST", f"{self.node.address}/{index}/_search{suffix}", body)
        took = (time.perf_counter() - start) * 1000
        self.assertEqual(answer.status, expect, answer.body[:1000])
        return (answer.json()["hits"]["hits"] if expect == 200 else answer.json()), took

    def assert_sidecar_order(self, query, hits, text):
        """Every hit carries the sidecar's score of its text, and the order is by that score."""
        scores, answer = self.sidecar.rerank(query, [text(hit) for hit in hits])
        self.assertEqual([single(hit["_score"]) for hit in hits], [single(score) for score in scores])
        self.assertEqual(scores, sorted(scores, reverse=True))
        # The cache knows every pair already: what the engine had sent was this very text. Hits without text are not scored.
        scored = [hit for hit in hits if text(hit).strip()]
        self.assertEqual(int(answer.headers["x-rescored-cache-hits"]), len(scored))

    def test_1_installer_run_twice_changes_nothing(self):
        self.assertIn("11 changes", self.first_install)
        before = self.settled()
        second = self.install()
        self.assertTrue(second.endswith("nothing to change\n"), second)
        self.assertEqual(self.state(), before)
        # Trusting the sidecar must not take away what the cluster trusted before.
        trusted = self.ask("GET", "/_cluster/settings?flat_settings=true")["persistent"]
        self.assertGreater(len(trusted["plugins.ml_commons.trusted_connector_endpoints_regex"]), 1)

    def settled(self):
        """The state once the node has left it alone for three seconds: it notes a model's deployment after it has answered,
        and a search sees what was noted a second later."""
        seen = [self.state()]
        for _ in range(60):
            time.sleep(1)
            seen.append(self.state())
            if len(seen) > 3 and all(state == seen[-1] for state in seen[-4:]):
                return seen[-1]
        self.fail("the node does not come to rest")

    def state(self):
        """Everything that the installer could change."""
        found = {"settings": self.ask("GET", "/_cluster/settings"), "pipelines": self.ask("GET", "/_search/pipeline")}
        for kind in ("connectors", "models"):
            found[kind] = self.ask("POST", f"/_plugins/_ml/{kind}/_search", {
                "query": {"match_all": {}}, "seq_no_primary_term": True, "sort": ["_doc"]})["hits"]["hits"]
        return found

    def test_2_order_and_scores_are_the_cross_encoders(self):
        before, after, cold, warm = [], [], [], []
        for key, query in self.set.sample(QUERIES):
            plain, base = self.search(query)
            hits, with_pipeline = self.search(query, "one-field")
            again, cached = self.search(query, "one-field")
            self.assertEqual({hit["_id"] for hit in hits}, {hit["_id"] for hit in plain})
            self.assertEqual(hits, again)
            self.assert_sidecar_order(query, hits, lambda hit: hit["_source"]["body"])
            before.append(self.set.ndcg(key, [hit["_id"] for hit in plain]))
            after.append(self.set.ndcg(key, [hit["_id"] for hit in hits]))
            cold.append(with_pipeline - base)
            warm.append(cached - base)
        report(f"{self.set.name}, {QUERIES} queries, {WINDOW} hits: nDCG@10 {mean(before):.4f} -> {mean(after):.4f}")
        for name, samples in (("computed", cold), ("from the cache", warm)):
            report(f"added latency, scores {name}: median {percentile(samples, .5):.1f} ms, p99 {percentile(samples, .99):.1f} ms")
        # The set is nearly saturated: these bounds tell a broken ranking from a sound one, on any CPU's arithmetic.
        self.assertGreater(mean(after), mean(before) - 0.02)
        self.assertGreater(mean(after), 0.93)

    def test_3_several_fields_are_joined_without_a_separator(self):
        for _, query in self.set.sample(3):
            hits, _ = self.search(query, "several-fields")
            self.assert_sidecar_order(query, hits, lambda hit: hit["_source"]["title"] + hit["_source"]["body"])

    def test_3_by_field_keeps_the_first_stage_score(self):
        for _, query in self.set.sample(3):
            plain, _ = self.search(query)
            hits, _ = self.search(query, "by-field")
            self.assert_sidecar_order(query, hits, lambda hit: hit["_source"]["body"])
            first = {hit["_id"]: single(hit["_score"]) for hit in plain}
            self.assertEqual({hit["_id"]: single(hit["_source"]["previous_score"]) for hit in hits}, first)
            self.assertNotIn("rescored_score", hits[0]["_source"])

    def test_3_query_text_can_be_given_apart_from_the_query(self):
        body = json.loads((SHIPPED / "search-with-text.json").read_text())
        hits = self.ask("POST", "/passages/_search?search_pipeline=rescored-one-field", body)["hits"]["hits"]
        text = body["ext"]["rerank"]["query_context"]["query_text"]
        self.assert_sidecar_order(text, hits, lambda hit: hit["_source"]["body"])

    def test_4_queries_with_marks_and_other_scripts_arrive_unchanged(self):
        for query in ['who said "hello" \\ and/or <b>it\'s</b> a {brace} of 100% ${x}?', "Wo liegt Zürich, 東京 und القاهرة? 🦀\ttab"]:
            with self.subTest(query=query):
                hits, _ = self.search("the " + query, "one-field")
                self.assertGreater(len(hits), 5)
                self.assert_sidecar_order("the " + query, hits, lambda hit: hit["_source"]["body"])

    def test_4_a_query_that_is_json_is_refused_before_the_call(self):
        plain, _ = self.search('["rivers"]')
        hits, _ = self.search('["rivers"]', "one-field")
        self.assertEqual(hits, plain)

    def test_4_corpus_of_other_scripts(self):
        texts = ["Zürich zählt 443 037 Einwohner, naïve façade – „Zitat“.", "東京都の人口は約1400万人である。 Zürich",
                 "القاهرة هي عاصمة مصر Zürich", "Москва — столица России. Zürich", "🦀🚀 emoji and 𝒎𝒂𝒕𝒉 Zürich \u0000\u2028 controls",
                 "Ελλάδα, Zürich, עברית, ไทย, हिन्दी " * 30]
        texts[4] = texts[4].replace("\u0000", "\u0001")
        self.index("scripts", {str(n): {"body": text} for n, text in enumerate(texts)})
        hits, _ = self.search("Zürich Einwohner 東京", "one-field", index="scripts")
        self.assertEqual(len(hits), len(texts))
        self.assert_sidecar_order("Zürich Einwohner 東京", hits, lambda hit: hit["_source"]["body"])

    def test_5_hits_without_text_get_a_score(self):
        self.index("holes", {"full": {"body": "Berlin has 3,520,031 inhabitants.", "title": "Berlin "}, "empty": {"body": "", "title": "Berlin"},
                             "absent": {"title": "Berlin"}, "null": {"body": None, "title": "Berlin"}})
        body = {"query": {"match": {"title": "Berlin"}},
                "ext": {"rerank": {"query_context": {"query_text": "how many people live in berlin"}}}}
        hits = self.ask("POST", "/holes/_search?search_pipeline=rescored-one-field", body)["hits"]["hits"]
        self.assertEqual([hit["_id"] for hit in hits][0], "full")
        self.assertEqual(len(hits), 4)

        # What OpenSearch makes of a value that is null, here at 2.19.1: the word.
        def text(hit):
            return str(hit["_source"].get("body", "")).replace("None", "null")

        self.assert_sidecar_order("how many people live in berlin", hits, text)

    def test_5_no_hits_no_call(self):
        hits, _ = self.search("zzzzqqqq", "one-field")
        self.assertEqual(hits, [])

    def test_6_a_page_of_a_thousand_hits(self):
        words = sorted({word for text in self.set.corpus.values() for word in text.split() if word.isalpha()})
        self.index("many", {str(n): {"body": f"note {words[n % len(words)]} {n}"} for n in range(1000)})
        start = time.perf_counter()
        hits, took = self.search("note about rivers", "one-field", index="many", size=1000)
        self.assertEqual(len(hits), 1000)
        self.assert_sidecar_order("note about rivers", hits, lambda hit: hit["_source"]["body"])
        report(f"a page of 1,000 short hits: {took:.0f} ms")

    def assert_failure(self, address, status, part, *options):
        """With `ignore_failure` the first stage's order stays; without it the search fails by this status."""
        query = self.set.sample(1)[0][1]
        plain, _ = self.search(query)
        self.install(*options, sidecar=address)
        try:
            for pipeline in ("one-field", "several-fields"):
                hits, _ = self.search(query, pipeline)
                self.assertEqual(hits, plain)
            self.install("--strict", *options, sidecar=address)
            refusal, took = self.search(query, "one-field", expect=status)
            self.assertIn(part, json.dumps(refusal))
            # The by-field pipeline has nothing to sort by, so it never hides a failure.
            self.search(query, "by-field", expect=status)
            return took
        finally:
            self.assertIn("updated    connector", self.install())
            self.search(query, "one-field")

    def test_7_sidecar_down(self):
        took = self.assert_failure(f"http://127.0.0.1:{free_port()}", 500, "")
        self.assertLess(took, 5000)

    def test_7_sidecar_overloaded(self):
        overloaded = Sidecar("opensearch-overloaded", WORKERS="1", QUEUE_TOKENS="1000", MAX_DOCUMENTS="1000", CACHE_BYTES="0")
        try:
            # One request far over the queue's bound is let in while nothing waits; what comes next is refused.
            hog = threading.Thread(target=self.hog, args=(overloaded,), daemon=True)
            hog.start()
            until = time.monotonic() + 20
            while overloaded.try_rerank("q", ["d"]).status != 429:
                self.assertLess(time.monotonic(), until, "the sidecar takes more than it should")
            self.assert_failure(overloaded.address, 429, "Error from remote service")
            self.assertTrue(hog.is_alive(), "the overload ended before the test did")
        finally:
            overloaded.stop(grace=0)
            hog.join()

    @staticmethod
    def hog(sidecar):
        """Asks for more than the queue holds until it is let in: while a probe of the test is in the sidecar, it is refused."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            while sidecar.try_rerank("q", [f"{n} " * 500 for n in range(1000)]).status == 429:
                pass

    def test_7_overload_is_not_retried(self):
        stub = Stub(support.answering(429, b'{"error":"queue full"}', retry_after="1"))
        try:
            self.assert_failure(stub.address, 429, "queue full")
            self.assertEqual(len(stub.bodies), 4)
            sent = json.loads(stub.bodies[0])
            self.assertEqual(set(sent), {"documents", "query", "model", "top_n"})
            self.assertEqual((len(sent["documents"]), sent["top_n"]), (WINDOW, WINDOW))
            self.assertEqual(stub.headers[0]["authorization"], "Bearer none")
        finally:
            stub.stop()

    def test_7_a_silent_sidecar_is_given_up_after_the_read_timeout(self):
        folder = SCRATCH / "impatient"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(SHIPPED, folder)
        for file in folder.glob("connector-*.json"):
            file.write_text(file.read_text().replace('"read_timeout": 30', '"read_timeout": 2'))
        stub = Stub(lambda handler: time.sleep(8))
        try:
            took = self.assert_failure(stub.address, 500, "", "--folder", folder)
            self.assertGreater(took, 1900)
            self.assertLess(took, 6000)
        finally:
            stub.stop()

    def test_8_a_key_reaches_a_sidecar_that_wants_one(self):
        seen = Stub(lambda handler: handler.send_error(401))
        key = SCRATCH / "key"
        key.write_text("open sesame\n")
        try:
            self.install("--key-file", key, "--replace-key", sidecar=seen.address)
            self.search(self.set.sample(1)[0][1], "one-field")
            self.assertEqual(seen.headers[0]["authorization"], "Bearer open sesame")
        finally:
            seen.stop()
            self.install()


if __name__ == "__main__":
    unittest.main(verbosity=2)
