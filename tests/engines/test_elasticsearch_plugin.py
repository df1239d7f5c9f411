"""The Elasticsearch plugin in real nodes of 8.19 and 9.x under their entitlements, with the real sidecar.

8.19 calls over TCP; 9.x over a UNIX socket, with a key from the keystore and a file of certificates.
"""

import subprocess
import time
import unittest

import elasticsearch_node
import support
from elasticsearch_node import EIGHT, NINE, Node
from plugin_searches import WINDOW, PluginSearches
from support import SCRATCH, mean, percentile, report


class Searches(PluginSearches):
    """What holds in both lines."""

    stats_path = "/_rescored"
    build = staticmethod(elasticsearch_node.build)
    sample_size = 6

    @classmethod
    def start_node(cls, plugin, settings):
        return Node(cls.line, cls.name, plugin, settings=settings, secrets=cls.secrets(), files=cls.files())

    @classmethod
    def files(cls):
        return {}

    @classmethod
    def version(cls):
        return f"Elasticsearch {cls.one_node()['version']}"

    @classmethod
    def one_node(cls):
        return next(iter(cls.ask("GET", "/_nodes/plugins")["nodes"].values()))

    @classmethod
    def prepare(cls):
        cls.index("synthetic", cls.index_documents(), shards=1, index__mapping__source__mode="synthetic")

    def retrieved(self, query):
        """By the engine's own retriever around a rescorer."""
        rescore = self.rescore(query)["rescore"]
        return {"retriever": {"rescorer": {"rescore": rescore, "retriever": {"standard": {"query": {"match": {"body": query}}}}}}}

    def test_1_the_rescorer_gives_the_cross_encoders_order(self):
        self.assertEqual([plugin["name"] for plugin in self.one_node()["plugins"]], ["rescored"])
        before, after, computed, cached = [], [], [], []
        for key, query in self.set.sample(self.sample_size):
            plain = self.hits(self.match(query))
            base = self.searcher.search(self.match(query))[1]
            for times in (computed, cached):
                answer, took = self.searcher.search(self.match(query, **self.rescore(query)))
                times.append(took - base)
            hits = answer.json()["hits"]["hits"]
            self.assertEqual(self.scored(hits), self.reranked(query, plain))
            before.append(self.set.ndcg(key, [hit["_id"] for hit in plain]))
            after.append(self.set.ndcg(key, [hit["_id"] for hit in hits]))
        report(f"{self.set.name}, {self.sample_size} queries, {WINDOW} hits: nDCG@10 {mean(before):.4f} -> {mean(after):.4f}")
        for name, times in (("computed", computed), ("cached", cached)):
            report(f"added latency, scores {name}: median {percentile(times, .5):.1f} ms, p99 {percentile(times, .99):.1f} ms")
        # The set is nearly saturated: these bounds tell a broken ranking from a sound one, on any CPU's arithmetic.
        self.assertGreater(mean(after), mean(before) - 0.02)
        self.assertGreater(mean(after), 0.93)

    def test_2_pages_are_slices_of_one_reranked_list(self):
        query = self.set.sample(1)[0][1]
        whole = self.hits(self.match(query, size=20, **self.rescore(query)), index="shards")
        wanted = self.reranked(query, whole)
        self.assertEqual(self.scored(whole), wanted)
        for search in (self.retrieved(query), self.match(query, **self.rescore(query))):
            got = []
            for page in range(4):
                got += self.scored(self.hits({**search, "size": 5, "from": 5 * page}, index="shards"))
            self.assertEqual(got, wanted)

    def test_2_templates_read_nested_fields_and_lists_of_any_source(self):
        query = self.set.sample(1)[0][1]
        rescore = self.rescore(query, window=8)
        del rescore["rescore"]["rescored"]["fields"]
        rescore["rescore"]["rescored"]["template"] = "{title}. {meta.author.name}: {body}"
        plain = self.hits(self.match(query, size=8))
        wanted = self.reranked(query, plain, lambda hit: f"{hit['_source']['title']}. Ann Bob: {hit['_source']['body']}")
        for index in ("passages", "synthetic"):
            self.assertEqual(self.scored(self.hits(self.match(query, size=8, **rescore), index=index)), wanted, index)

    def test_3_a_field_that_no_hit_has_is_named(self):
        query = self.set.sample(1)[0][1]
        hits = self.hits(self.match(query, **self.rescore(query, fields=["nothing"])), warned="no hit has text in [nothing]")
        self.assertEqual({hit["_score"] for hit in hits}, {0.0})

    def test_3_what_cannot_be_meant_is_refused_by_name(self):
        query = self.set.sample(1)[0][1]
        for more, part in (({"weight": 2}, "[weight] is [2]"), ({"fields": []}, "[fields] is empty"), ({"query_text": ""}, "[query_text] is missing"),
                           ({"on_failure": "x"}, "[on_failure] is [x]"), ({"timeout": "0ms"}, "[timeout] is [0ms]"), ({"dept": 1}, "unknown [dept]")):
            self.assertIn(part, self.refusal(self.match(query, **self.rescore(query, **more)), 400))
        for sort in (["length"], ["_score", {"length": "asc"}]):
            self.assertIn("[sort]", self.refusal(self.match(query, sort=sort, **self.rescore(query)), 400))

    def test_4_what_lies_outside_the_window_stays_below(self):
        query = self.set.sample(2)[1][1]
        plain = self.hits(self.match(query, size=30))
        hits = self.hits(self.match(query, size=30, **self.rescore(query, window=10)))
        self.assertEqual(self.scored(hits)[:10], self.reranked(query, plain[:10]))
        self.assertEqual([hit["_id"] for hit in hits[10:]], [hit["_id"] for hit in plain[10:]])
        for hit, first in zip(hits[10:], plain[10:]):
            self.assertAlmostEqual(hit["_score"], -1 / (1 + first["_score"]), places=5)

    def test_4_each_shards_window_is_reranked(self):
        query = self.set.sample(2)[1][1]
        before = self.stats()["rescorer_reranked"]
        hits = self.hits(self.match(query, size=40, **self.rescore(query, window=10)), index="shards")
        self.assertEqual(self.stats()["rescorer_reranked"], before + 2)
        reranked = [hit for hit in hits if hit["_score"] >= 0]
        self.assertEqual(len(reranked), 20)
        self.assertEqual(self.scored(reranked), self.reranked(query, reranked))

    def test_4_weights_mix_the_engines_score_in_and_explain_says_how(self):
        query = self.set.sample(2)[1][1]
        plain = self.hits(self.match(query))
        first = {hit["_id"]: hit["_score"] for hit in plain}
        scores = dict(self.reranked(query, plain))
        for hit in self.hits(self.match(query, explain=True, **self.rescore(query, weight=0.25))):
            self.assertAlmostEqual(hit["_score"], 0.25 * scores[hit["_id"]] + 0.75 * first[hit["_id"]], places=4)
            self.assertAlmostEqual(hit["_explanation"]["value"], hit["_score"], places=4)
            self.assertIn("weight * rescored", hit["_explanation"]["description"])

    def test_6_statistics_name_every_node(self):
        stats = self.ask("GET", "/_rescored/stats")
        self.assertEqual(stats["_nodes"]["failed"], 0)
        node = next(iter(stats["nodes"].values()))
        self.assertEqual(node["name"], self.name)
        self.assertGreater(node["rescorer_reranked"], self.sample_size)
        self.assertGreater(node["documents_cached"], 10)
        self.assertEqual(node["endpoints"][0]["breaker"], "closed")
        self.assertEqual(self.ask("GET", f"/_rescored/{self.name}/stats")["_nodes"]["total"], 1)

    def test_7_a_dead_sidecar_costs_the_order_and_nothing_else(self):
        query = self.set.sample(1)[0][1]
        plain = self.hits(self.match(query))
        self.sidecar.stop(grace=0)
        try:
            for _ in range(6):
                kept = self.hits(self.match(query, **self.rescore(query)), warned="[rescored.on_failure] is [keep]")
                self.assertEqual([hit["_id"] for hit in kept], [hit["_id"] for hit in plain])
            self.assertIn("[rescored.on_failure] is [fail]", self.refusal(self.match(query, **self.rescore(query, on_failure="fail")), 503))
            self.settle({"rescored.on_failure": "fail"})
            self.refusal(self.match(query, **self.rescore(query)), 503)
            self.hits(self.match(query, **self.rescore(query, on_failure="keep")), warned="[rescored.on_failure] is [keep]")
            self.settle({"rescored.on_failure": None})
            self.assertEqual(self.stats()["endpoints"][0]["breaker"], "open")
        finally:
            type(self).sidecar = self.start_sidecar()
        # Until the next probe the breaker keeps searches away.
        time.sleep(2.1)
        self.assertEqual(self.scored(self.hits(self.match(query, **self.rescore(query)))), self.reranked(query, plain))


class ElasticsearchPlugin8(Searches, unittest.TestCase):
    """8.19, over TCP."""

    line = EIGHT


class ElasticsearchPlugin9(Searches, unittest.TestCase):
    """9.x, over a UNIX socket, with a key from the keystore, and a file that only its entitlements let it read."""

    line = NINE
    key = "open-sesame"
    over_socket = True
    more_settings = "rescored.ssl.certificate_authorities: authority.pem\n"

    @classmethod
    def files(cls):
        store = SCRATCH / "elasticsearch-authority.p12"
        store.unlink(missing_ok=True)
        common = ["-keystore", store, "-storepass", "changeit", "-alias", "authority"]
        keytool = support.pathlib.Path(cls.line.java_home()) / "bin" / "keytool"
        subprocess.run([keytool, "-genkeypair", "-keyalg", "EC", "-dname", "CN=authority", *common], check=True, capture_output=True, timeout=60)
        done = subprocess.run([keytool, "-exportcert", "-rfc", *common], check=True, capture_output=True, timeout=60)
        return {"authority.pem": done.stdout}


if __name__ == "__main__":
    unittest.main(verbosity=2)
