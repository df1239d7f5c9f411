"""The OpenSearch plugin in real nodes of 2.19 and 3.x, installed by the release's own tool, with the real sidecar.

2.19 calls over TCP, beside ml-commons, and meets the sidecar's faults; 3.x calls over a UNIX socket with a key from the
keystore, under its agent.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
import unittest

import support
from opensearch_node import THREE, TWO, Node
from plugin_searches import WINDOW, Load, PluginSearches, Searcher, build
from support import Sidecar, Stub, answering, mean, percentile, report

# Whether times are judged, which takes an idle machine and a release build.
JUDGED = os.environ.get("ENGINES_JUDGE") == "1"

# A search is answered this many milliseconds after its timeout at the latest, on a machine that does other things too.
SLACK = 1000


class Searches(PluginSearches):
    """What holds in both lines."""

    def test_1_rescorer_and_pipeline_give_the_cross_encoders_order(self):
        for way in ("rescorer", "pipeline"):
            before, after = [], []
            for key, query in self.set.sample(self.sample_size):
                plain = self.hits(self.match(query))
                hits = self.hits(self.match(query, **self.rescore(query))) if way == "rescorer" else self.hits(self.match(query), pipeline="page")
                self.assertEqual(self.scored(hits), self.reranked(query, plain))
                before.append(self.set.ndcg(key, [hit["_id"] for hit in plain]))
                after.append(self.set.ndcg(key, [hit["_id"] for hit in hits]))
            report(f"{self.set.name}, {self.sample_size} queries, {WINDOW} hits, {way}: nDCG@10 {mean(before):.4f} -> {mean(after):.4f}")
            # The set is nearly saturated: these bounds tell a broken ranking from a sound one, on any CPU's arithmetic.
            self.assertGreater(mean(after), mean(before) - 0.02)
            self.assertGreater(mean(after), 0.93)

    def test_2_pages_are_slices_of_one_reranked_list(self):
        query = self.set.sample(1)[0][1]
        more = {"aggs": {"long": {"avg": {"field": "length"}}}, "highlight": {"fields": {"body": {}}}, "track_total_hits": True}
        plain = self.result(self.match(query, size=100, **more))
        self.assertEqual(len(plain["hits"]["hits"]), 100)
        wanted = self.reranked(query, plain["hits"]["hits"])
        highlights = {hit["_id"]: hit["highlight"] for hit in plain["hits"]["hits"]}
        got = []
        for page in range(5):
            answer = self.result(self.match(query, size=20, **{"from": 20 * page}, **more), pipeline="deep")
            self.assertEqual(answer["hits"]["total"], plain["hits"]["total"])
            self.assertEqual(support.single(answer["hits"]["max_score"]), wanted[0][1])
            self.assertEqual(answer["aggregations"], plain["aggregations"])
            self.assertEqual(set(answer), set(plain))
            for hit in answer["hits"]["hits"]:
                self.assertEqual(hit["highlight"], highlights[hit["_id"]])
            got += self.scored(answer["hits"]["hits"])
        self.assertEqual(got, wanted)
        # A page across the depth ends in the engine's order, with scores below; one beyond it is the engine's own.
        last = self.hits(self.match(query, size=140), )[100:]
        across = self.hits(self.match(query, size=20, **{"from": 90}), pipeline="deep")
        self.assertEqual(self.scored(across)[:10], wanted[90:])
        self.assertEqual([hit["_id"] for hit in across[10:]], [hit["_id"] for hit in last[:10]])
        beyond = self.hits(self.match(query, size=20, **{"from": 100}), pipeline="deep")
        self.assertEqual([hit["_id"] for hit in beyond], [hit["_id"] for hit in last[:20]])
        scores = [hit["_score"] for hit in across + beyond[10:]]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertTrue(all(hit["_score"] < 0 for hit in beyond))

    def test_2_what_is_fetched_of_the_source_is_the_callers_choice(self):
        query = self.set.sample(1)[0][1]
        order = [hit["_id"] for hit in self.hits(self.match(query), pipeline="deep")]
        for said in (False, ["title"], {"includes": ["meta.*"]}, {"excludes": ["body"]}, {"includes": ["meta.*", "title"], "excludes": ["meta.author"]}):
            plain = {hit["_id"]: hit.get("_source") for hit in self.hits(self.match(query, size=100, _source=said))}
            hits = self.hits(self.match(query, _source=said), pipeline="deep")
            self.assertEqual([hit["_id"] for hit in hits], order)
            for hit in hits:
                self.assertEqual(hit.get("_source"), plain[hit["_id"]], said)
        hits = self.hits(self.match(query, stored_fields=["title"]), pipeline="deep")
        self.assertEqual([hit["_id"] for hit in hits], order)
        self.assertNotIn("_source", hits[0])

    def test_2_templates_read_nested_fields_and_lists(self):
        query = self.set.sample(1)[0][1]
        plain = self.hits(self.match(query, size=100))
        hits = self.hits(self.match(query), pipeline="template")
        wanted = self.reranked(query, plain, lambda hit: f"{hit['_source']['title']}. Ann Bob: {hit['_source']['body']}")
        self.assertEqual(self.scored(hits), wanted[:WINDOW])

    def test_2_query_text_is_taken_from_the_query_or_given(self):
        query = self.set.sample(1)[0][1]
        for body in ({"multi_match": {"query": query, "fields": ["title", "body"]}}, {"match_phrase": {"body": "the"}},
                     {"bool": {"filter": [{"exists": {"field": "body"}}], "should": [{"match": {"body": query}}]}}):
            text = "the" if "match_phrase" in body else query
            plain = self.hits({"query": body, "size": 100})
            self.assertEqual(self.scored(self.hits({"query": body, "size": 20}, pipeline="deep")), self.reranked(text, plain)[:20])
        plain = self.hits({"query": {"match_all": {}}, "size": 10})
        said = {"ext": {"rescored": {"query_text": query, "depth": 10}}}
        self.assertEqual(self.scored(self.hits({"query": {"match_all": {}}, "size": 5, **said}, pipeline="deep")), self.reranked(query, plain)[:5])
        off = self.hits(self.match(query, ext={"rescored": {"enabled": False}}), pipeline="deep")
        self.assertEqual(off, self.hits(self.match(query)))
        self.hits({"query": {"match_all": {}}}, warned="the query has no text to rerank by; give ext.rescored.query_text", pipeline="deep")

    def test_3_searches_that_cannot_be_reranked_say_so_once(self):
        query = self.set.sample(1)[0][1]
        cases = ((self.match(query, sort=[{"length": "asc"}]), "sorted by something other than its score"),
                 (self.match(query, sort=[{"_score": "asc"}]), "sorted by something other than its score"),
                 (self.match(query, sort=["_score", {"length": "asc"}], search_after=[100.0, 5]), "[search_after]"),
                 (self.match(query, stored_fields="_none_"), "[stored_fields] is [_none_]"))
        for body, why in cases:
            self.assertEqual(self.hits(body, warned=why, pipeline="deep"), self.hits(body))
            self.assertIn(why.replace('"', '\\"'), self.refusal(body, 400, pipeline="strict"))
        # Sorted by score and a tie-breaker is sorted by score.
        plain = self.hits(self.match(query, size=100, sort=["_score", {"length": "asc"}]))
        hits = self.hits(self.match(query, sort=["_score", {"length": "asc"}]), pipeline="deep")
        self.assertEqual([hit["_id"] for hit in hits], [name for name, _ in self.reranked(query, plain)][:WINDOW])
        self.assertEqual(self.result(self.match(query, size=0), pipeline="deep")["hits"]["hits"], [])
        self.assertEqual(self.hits(self.match("zzzzqqqq"), pipeline="deep"), [])

    def test_3_a_field_that_no_hit_has_is_named(self):
        query = self.set.sample(1)[0][1]
        hits = self.hits(self.match(query), warned="no hit has text in [nothing]", pipeline="absent")
        self.assertEqual({hit["_score"] for hit in hits}, {0.0})
        rescore = {"rescore": {"window_size": WINDOW, "rescored": {"query_text": query, "fields": ["nothing"]}}}
        self.hits(self.match(query, **rescore), warned="no hit has text in [nothing]")

    def test_3_what_cannot_be_meant_is_refused_by_name(self):
        query = self.set.sample(1)[0][1]
        for more, part in (({"weight": 2}, "[weight] is [2]"), ({"fields": []}, "[fields] is empty"), ({"query_text": ""}, "[query_text] is missing"),
                           ({"on_failure": "x"}, "[on_failure] is [x]"), ({"dept": 1}, "unknown [dept]")):
            self.assertIn(part, self.refusal(self.match(query, **self.rescore(query, **more)), 400))
        self.assertIn("[depth] is [0]", self.refusal(self.match(query, ext={"rescored": {"depth": 0}}), 400, pipeline="deep"))
        self.assertIn("[sort]", self.refusal(self.match(query, sort=["length"], **self.rescore(query)), 400))
        answer = support.call("PUT", f"{self.node.address}/_search/pipeline/bad", {"request_processors": [{"rescored": {"depth": 5}}]})
        self.assertEqual(answer.status, 400)
        self.assertIn("give either [fields]", answer.body.decode())

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
        first = {hit["_id"]: hit["_score"] for hit in self.hits(self.match(query))}
        scores = dict(self.reranked(query, self.hits(self.match(query))))
        hits = self.hits(self.match(query, explain=True, **self.rescore(query, weight=0.25)))
        for hit in hits:
            self.assertAlmostEqual(hit["_score"], 0.25 * scores[hit["_id"]] + 0.75 * first[hit["_id"]], places=4)
            self.assertAlmostEqual(hit["_explanation"]["value"], hit["_score"], places=4)
            self.assertIn("weight * rescored", hit["_explanation"]["description"])

    def test_5_added_latency(self):
        queries = [query for _, query in self.set.sample(6)]
        ways = {"rescorer": lambda query: (self.match(query, **self.rescore(query)), None), "pipeline": lambda query: (self.match(query), "page"),
                **self.other_ways()}

        def once(query, way):
            """The milliseconds of a plain search, and those that this way adds to them."""
            _, plain = self.searcher.search(self.match(query))
            body, pipeline = way(query)
            answer, took = self.searcher.search(body, pipeline=pipeline)
            self.assertEqual(answer.status, 200)
            self.assertNotIn("warning", answer.headers)
            # The recipe for ml-commons hides failures: BM25's scores are higher.
            self.assertLessEqual(answer.json()["hits"]["max_score"], 1)
            return plain, took - plain

        medians, plain = {}, []
        # The JVM compiles what is used often; where times are not judged, a few of them tell enough.
        for _ in range(10 if JUDGED else 1):
            for query in queries:
                plain += [once(query, way)[0] for way in ways.values()]
        for scores in ("computed", "cached"):
            for name, way in ways.items():
                added = []
                for query in queries * (20 if JUDGED and scores == "cached" else 1):
                    if scores == "computed":
                        self.sidecar.forget()
                    added.append(once(query, way)[1])
                medians[name, scores] = percentile(added, .5)
                report(f"added latency, {name}, scores {scores}: median {percentile(added, .5):.1f} ms, p99 {percentile(added, .99):.1f} ms")
            for query in queries:
                once(query, ways["pipeline"])
        for name in ("rescorer", "pipeline"):
            if JUDGED:
                self.assertLess(medians[name, "cached"], 2)
        if JUDGED and "ml-commons" in ways:
            self.assertLess(medians["pipeline", "cached"], medians["ml-commons", "cached"])

    def other_ways(self):
        return {}

    def test_6_statistics_name_every_node(self):
        stats = self.ask("GET", "/_plugins/_rescored/stats")
        self.assertEqual(stats["_nodes"]["failed"], 0)
        node = next(iter(stats["nodes"].values()))
        self.assertEqual(node["name"], self.name)
        self.assertGreater(node["pipeline_reranked"] + node["rescorer_reranked"], 10)
        self.assertGreater(node["documents_cached"], 10)
        self.assertEqual(node["endpoints"][0]["breaker"], "closed")
        self.assertEqual(self.ask("GET", f"/_plugins/_rescored/{self.name}/stats")["_nodes"]["total"], 1)

    def test_7_a_dead_sidecar_costs_the_order_and_nothing_else(self):
        query = self.set.sample(1)[0][1]
        plain = self.hits(self.match(query))
        self.sidecar.stop(grace=0)
        try:
            for _ in range(8):
                self.assertEqual(self.hits(self.match(query), warned="[rescored.on_failure] is [keep]", pipeline="deep"), plain)
                kept = self.hits(self.match(query, **self.rescore(query)), warned="[rescored.on_failure] is [keep]")
                self.assertEqual([hit["_id"] for hit in kept], [hit["_id"] for hit in plain])
            self.assertIn("[rescored.on_failure] is [fail]", self.refusal(self.match(query), 503, pipeline="strict"))
            self.refusal(self.match(query, **self.rescore(query, on_failure="fail")), 503)
            self.settle({"rescored.on_failure": "fail"})
            self.refusal(self.match(query), 503, pipeline="deep")
            self.settle({"rescored.on_failure": None})
            self.assertEqual(self.stats()["endpoints"][0]["breaker"], "open")
        finally:
            type(self).sidecar = self.start_sidecar()
        # Until the next probe the breaker keeps searches away.
        time.sleep(2.1)
        self.assertEqual(self.scored(self.hits(self.match(query), pipeline="page")), self.reranked(query, plain))

    def test_8_killed_under_load_and_returned(self):
        bodies = [self.match(query) for _, query in self.set.sample(5)]
        alone = Load(self.node.address, 50, bodies, None)
        time.sleep(4)
        engine = percentile([took for _, took, _, _ in alone.stop()], .99)
        load = Load(self.node.address, 50, bodies, "page")
        time.sleep(4)
        self.sidecar.stop(grace=0)
        killed = time.monotonic()
        time.sleep(5)
        type(self).sidecar = self.start_sidecar()
        returned = time.monotonic()
        load.wait_until_reranked(60)
        time.sleep(1)
        notes = load.stop()
        self.assertEqual([note for note in notes if note[2] != 200], [])
        without = [took for when, took, _, _ in notes if killed + 2 < when < killed + 5]
        again = next(when for when, _, _, warned in notes if when > returned and not warned) - returned
        report(f"killed under 50 searches a second: {len(notes)} searches, 0 failed; p99 {percentile(without, .99):.0f} ms from 2 s after on, "
               f"the engine alone {engine:.0f} ms; reranked again {again:.1f} s after it was ready")
        self.assertTrue(all(warned for when, _, _, warned in notes if killed + 0.5 < when < killed + 5))
        # Times are those of an idle machine: there they are judged.
        if JUDGED:
            self.assertFalse(any(warned for when, _, _, warned in notes if when > returned + 5))
            self.assertLess(percentile(without, .99), max(3 * engine, engine + 60))
            self.assertLess(again, 5)


class OpenSearchPlugin2(Searches, unittest.TestCase):
    """2.19, over TCP, with ml-commons beside it, and a sidecar that misbehaves."""

    line = TWO
    # With times judged, as many as through ml-commons in test_opensearch.py.
    sample_size = 40 if JUDGED else 10

    @classmethod
    def prepare(cls):
        super().prepare()
        done = subprocess.run(
            [sys.executable, support.ROOT / "plugin-config" / "opensearch" / "install.py", "--opensearch", cls.node.address,
             "--sidecar", cls.sidecar.address], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise AssertionError(f"the installer failed:\n{done.stdout}")

    def other_ways(self):
        shipped = json.loads((support.ROOT / "plugin-config" / "opensearch" / "search.json").read_text())
        return {"ml-commons": lambda query: (self.match(query, ext=shipped["ext"]), "rescored-one-field")}

    def test_2_hybrid_searches_are_normalised_before(self):
        query = self.set.sample(1)[0][1]
        normalised = {"phase_results_processors": [{"normalization-processor": {}}]}
        self.ask("PUT", "/_search/pipeline/normalised", normalised)
        self.ask("PUT", "/_search/pipeline/hybrid", {
            **normalised, "request_processors": [{"rescored": {"fields": ["body"], "depth": 40}}], "response_processors": [{"rescored": {}}]})
        body = {"query": {"hybrid": {"queries": [{"match": {"body": {"query": query}}}, {"match": {"title": {"query": "paragraph"}}}]}}}
        plain = self.hits({**body, "size": 40}, pipeline="normalised")
        wanted = self.reranked(query, plain)
        got = []
        for start in (0, 10, 20, 30):
            got += self.scored(self.hits({**body, "size": 10, "from": start}, pipeline="hybrid"))
        self.assertEqual(got, wanted)

    def faults(self):
        """Behaviours of a sidecar, and what the warning says."""
        yield answering(429, b'{"error":"queue full"}', retry_after="1"), "status 429"
        yield answering(401, b'{"error":"key"}'), "check the key"
        yield answering(200, b'{"results":[]}'), "what is no ranking"
        yield answering(429, b"{}"), "status 429"
        yield (lambda handler: handler.wfile.write(b"garbage\r\n\r\n")), "answered badly"
        yield answering(429, b"{}"), "status 429"
        yield (lambda handler: time.sleep(3)), "no time is left"

    def test_7_a_sidecar_that_misbehaves_costs_one_warning_and_no_more_than_the_timeout(self):
        query = self.set.sample(1)[0][1]
        plain = self.hits(self.match(query))
        self.sidecar.stop(grace=0)
        self.settle({"rescored.timeout": "1s"})
        stub = Stub(answering(429, b"{}"), port=self.port)
        try:
            for behave, why in self.faults():
                stub.behave = behave
                start = time.perf_counter()
                self.assertEqual(self.hits(self.match(query), warned=why, pipeline="deep"), plain)
                self.assertEqual([hit["_id"] for hit in self.hits(self.match(query, **self.rescore(query)), warned=why)], [hit["_id"] for hit in plain])
                self.assertLess((time.perf_counter() - start) * 1000, 2 * 1000 + SLACK)
        finally:
            stub.stop()
            self.settle({"rescored.timeout": None})
            type(self).sidecar = self.start_sidecar()
        time.sleep(2.1)
        self.assertEqual(self.scored(self.hits(self.match(query), pipeline="page")), self.reranked(query, plain))

    def thousand(self, behave):
        """A thousand searches against a sidecar that does this, or against none; how many were not answered."""
        bodies = [self.match(query) for _, query in self.set.sample(5)]
        failed = []
        stub = Stub(behave, port=self.port) if behave else None

        def run():
            searcher = Searcher(self.node.address)
            for turn in range(250):
                answer, _ = searcher.search(bodies[turn % len(bodies)], pipeline="page")
                if answer.status != 200:
                    failed.append(answer.body)
            searcher.close()

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if stub:
            stub.stop()
        return failed

    def test_9_a_thousand_searches_against_bad_sidecars_leak_nothing(self):
        self.sidecar.stop(grace=0)
        flips = random.Random(1)
        good = answering(200, json.dumps({"results": [{"index": n, "relevance_score": 0.5} for n in range(WINDOW)]}).encode())
        self.settle({"rescored.timeout": "50ms"})
        try:
            # Pools of the engine grow while they are first used.
            self.assertEqual(self.thousand(good), [])
            threads, descriptors = self.node.threads_and_descriptors()
            for name, behave in (("dead", None), ("hanging", lambda handler: time.sleep(0.4)),
                                 ("flapping", lambda handler: good(handler) if flips.random() < 0.5 else handler.connection.close())):
                self.assertEqual(self.thousand(behave), [], name)
                self.until(15, f"{name}: as many threads and descriptors as before", lambda: self.settled(threads, descriptors))
                report(f"1,000 searches against a {name} sidecar: threads {threads} -> {self.node.threads_and_descriptors()[0]}, "
                       f"descriptors {descriptors} -> {self.node.threads_and_descriptors()[1]}")
        finally:
            self.settle({"rescored.timeout": None})
            type(self).sidecar = self.start_sidecar()

    def settled(self, threads, descriptors):
        now = self.node.threads_and_descriptors()
        # The engine's own come and go: segments, its compiler's threads.
        return now[0] <= threads + 4 and now[1] <= descriptors + 12


class OpenSearchPlugin3(Searches, unittest.TestCase):
    """3.x, over a UNIX socket, with a key from the keystore."""

    line = THREE
    key = "open-sesame"
    over_socket = True
    sample_size = 10
    more_settings = "discovery.seed_hosts: []\ncluster.initial_cluster_manager_nodes: [opensearch-3-plugin]\n"

    def test_9_two_nodes_rerank_their_shards_by_the_sidecars_beside_them(self):
        beside = Sidecar("opensearch-3-second", STUCK_AFTER="2m")
        self.addCleanup(beside.stop)
        second = Node(
            self.line, "second", plugin=build(self.line), heap="512m",
            settings=f'node.roles: [data]\ndiscovery.seed_hosts: ["127.0.0.1:{self.node.transport}"]\n'
                     f'rescored.endpoints: ["{beside.address}"]\nrescored.timeout: 60s\n')
        self.addCleanup(second.stop)
        self.until(60, "the second node joins", lambda: self.ask("GET", "/_cluster/health")["number_of_nodes"] == 2)
        self.index("spread", {name: {"body": text} for name, text in self.set.corpus.items()}, shards=2,
                   index__routing__allocation__total_shards_per_node=1)
        self.until(60, "both shards start", lambda: self.ask("GET", "/_cluster/health/spread")["status"] == "green")
        query = self.set.sample(2)[1][1]
        before = self.answered()
        hits = self.hits(self.match(query, size=40, **self.rescore(query, window=10)), index="spread")
        self.assertEqual(self.answered(), {name: calls + 1 for name, calls in before.items()})
        reranked = [hit for hit in hits if hit["_score"] >= 0]
        self.assertEqual(len(reranked), 20)
        self.assertEqual(self.scored(reranked), self.reranked(query, reranked))
        self.ask("DELETE", "/spread")

    def answered(self):
        nodes = self.ask("GET", "/_plugins/_rescored/stats")["nodes"].values()
        return {node["name"]: node["calls_answered"] for node in nodes}


if __name__ == "__main__":
    unittest.main(verbosity=2)
