"""The Solr plugin in a real core, loaded from the core's own lib folder, with the real sidecar.

The core runs in one JVM by Solr's embedded server; requests go in by a pipe, so nothing listens.
"""

import json
import pathlib
import re
import shutil
import subprocess
import time
import unittest

import support
from support import ROOT, SCRATCH, Set, Sidecar, free_port, maven, mean, percentile, report, single

HERE = pathlib.Path(__file__).resolve().parent / "solr"
PLUGIN = ROOT / "plugin-config" / "solr" / "plugin"
WINDOW = 20
QUERIES = 6
KEY = "open-sesame"


def build(java_home):
    """The folder of the plugin's jars, and the class path of Solr."""
    maven(ROOT / "plugin-config" / "java", "-q", "package", "-DskipTests", "-pl", "client,common,../solr/plugin", java_home=java_home)
    version = re.search(r"<solr.version>([0-9.]+)<", (PLUGIN / "pom.xml").read_text()).group(1)
    classpath = SCRATCH / f"solr-{version}-classpath"
    if not classpath.exists():
        SCRATCH.mkdir(parents=True, exist_ok=True)
        maven(HERE, "-q", "package", f"-Dsolr.version={version}", f"-Dclasspath={classpath}", java_home=java_home)
    return PLUGIN / "target" / "lib", classpath.read_text().strip()


class SolrPlugin(unittest.TestCase):
    """Searches with `rq={!rescored …}`."""

    @classmethod
    def setUpClass(cls):
        java_home = support.jdk(17, 99)
        cls.set = Set("xquad-en")
        jars, classpath = build(java_home)
        cls.port = free_port()
        cls.sidecar = cls.start_sidecar()
        cls.addClassCleanup(lambda: cls.sidecar.stop())
        home = cls.lay_out(jars)
        cls.log = SCRATCH / "logs" / "solr.log"
        cls.log.parent.mkdir(parents=True, exist_ok=True)
        with cls.log.open("wb") as log:
            cls.solr = subprocess.Popen(
                [f"{java_home}/bin/java", "-Xmx512m", "-XX:+UseSerialGC", f"-Drescored.endpoint={cls.sidecar.address}",
                 f"-Drescored.keyFile={home / 'key'}", "-cp", classpath, str(HERE / "Main.java"), str(home),
                 str(support.data_folder() / "xquad-en" / "corpus.jsonl")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8", start_new_session=True)
        cls.addClassCleanup(cls.end)
        report(f"Solr {cls.take()['version'].split()[0]}, one core in one JVM")

    @classmethod
    def start_sidecar(cls):
        return Sidecar("solr-sidecar", port=cls.port, key=KEY, STUCK_AFTER="2m", DEADLINE="2m")

    @classmethod
    def lay_out(cls, jars):
        home = SCRATCH / "solr-home"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(HERE / "core", home / "passages")
        shutil.copytree(jars, home / "passages" / "lib")
        (home / "passages" / "core.properties").write_text("name=passages\n")
        (home / "solr.xml").write_text("<solr/>\n")
        (home / "key").write_text(KEY + "\n")
        return home

    @classmethod
    def end(cls):
        cls.solr.stdin.close()
        cls.solr.wait(30)
        cls.solr.stdout.close()

    @classmethod
    def take(cls):
        line = cls.solr.stdout.readline()
        if not line:
            tail = "\n".join(cls.log.read_text(errors="replace").splitlines()[-25:])
            raise AssertionError(f"Solr ended:\n{tail}")
        return json.loads(line)

    @classmethod
    def ask(cls, query, rerank=None, **more):
        parameters = {"q": query, "df": "body", "fl": "*,score", "rows": WINDOW, "q.op": "OR", "defType": "edismax", "qf": "body", **more}
        if rerank is not None:
            # Before the text, as a reader would write it.
            parameters["rq"] = f"{{!rescored {rerank} v=$text}}"
            parameters.setdefault("text", query)
        cls.solr.stdin.write(json.dumps(parameters) + "\n")
        cls.solr.stdin.flush()
        return cls.take()

    def docs(self, query, rerank=None, reranked=None, **more):
        """The documents of a search that must be answered, reranked as many as said and without a warning."""
        answer = self.ask(query, rerank, **more)
        self.assertEqual(answer["status"], 200, answer)
        self.assertEqual(answer["rescored"], None if reranked is None else {"reranked": reranked})
        return answer["docs"]

    def wanted(self, query, docs, text=lambda doc: doc["body"]):
        scores, _ = self.sidecar.rerank(query, [text(doc) for doc in docs])
        order = sorted(range(len(docs)), key=lambda place: -scores[place])
        return [(docs[place]["id"], single(scores[place])) for place in order]

    @staticmethod
    def scored(docs):
        return [(doc["id"], single(doc["score"])) for doc in docs]

    def test_1_order_and_scores_are_the_cross_encoders(self):
        before, after, computed, cached = [], [], [], []
        for key, query in self.set.sample(QUERIES):
            plain = self.docs(query)
            base = self.ask(query)["millis"]
            for times in (computed, cached):
                answer = self.ask(query, f"fields=body docs={WINDOW}")
                times.append(answer["millis"] - base)
            self.assertEqual(answer["rescored"], {"reranked": WINDOW})
            self.assertEqual(self.scored(answer["docs"]), self.wanted(query, plain))
            before.append(self.set.ndcg(key, [doc["id"] for doc in plain]))
            after.append(self.set.ndcg(key, [doc["id"] for doc in answer["docs"]]))
        report(f"{self.set.name}, {QUERIES} queries, {WINDOW} hits: nDCG@10 {mean(before):.4f} -> {mean(after):.4f}")
        for name, times in (("computed", computed), ("cached", cached)):
            report(f"added latency, scores {name}: median {percentile(times, .5):.1f} ms, p99 {percentile(times, .99):.1f} ms")
        # The set is nearly saturated: these bounds tell a broken ranking from a sound one, on any CPU's arithmetic.
        self.assertGreater(mean(after), mean(before) - 0.02)
        self.assertGreater(mean(after), 0.93)

    def test_2_pages_are_slices_of_one_list_that_goes_on_in_the_engines_order(self):
        query = self.set.sample(1)[0][1]
        plain = self.docs(query, rows=30)
        whole = self.ask(query, f"fields=body docs={WINDOW}", rows=30)
        self.assertEqual(self.scored(whole["docs"])[:WINDOW], self.wanted(query, plain[:WINDOW]))
        self.assertEqual([doc["id"] for doc in whole["docs"][WINDOW:]], [doc["id"] for doc in plain[WINDOW:]])
        for doc, first in zip(whole["docs"][WINDOW:], plain[WINDOW:]):
            self.assertAlmostEqual(doc["score"], -1 / (1 + first["score"]), places=5)
        pages = [self.docs(query, f"fields=body docs={WINDOW}", reranked=WINDOW, rows=6, start=start) for start in range(0, 30, 6)]
        self.assertEqual([self.scored([doc]) for page in pages for doc in page], [self.scored([doc]) for doc in whole["docs"]])

    def test_2_fields_templates_and_weights(self):
        query = self.set.sample(1)[0][1]
        plain = self.docs(query, rows=8)
        docs = self.docs(query, 'template="{title}. {author}: {body}" docs=8', reranked=8, rows=8)
        self.assertEqual(self.scored(docs), self.wanted(query, plain, lambda doc: f"{doc['title']}. Ann Bob: {doc['body']}"))
        first, scores = dict(self.scored(plain)), dict(self.wanted(query, plain))
        for doc in self.docs(query, "fields=body docs=8 weight=0.25", reranked=8, rows=8):
            self.assertAlmostEqual(doc["score"], 0.25 * scores[doc["id"]] + 0.75 * first[doc["id"]], places=4)
        answer = self.ask(query, "fields='nothing title2' docs=8", rows=8)
        self.assertIn("no hit has text in [nothing, title2] of stored fields", answer["rescored"]["warning"])
        self.assertEqual({doc["score"] for doc in answer["docs"]}, {0.0})
        self.assertEqual(self.docs("zzzzqqqq", "fields=body"), [])

    def test_3_what_cannot_be_meant_is_refused_by_name(self):
        query = self.set.sample(1)[0][1]
        for rerank, part in (("fields=body weight=2", "[weight] is [2.0]"), ("fields=body weight=x", "[weight] is [x]"), ("", "give either [fields]"),
                             ("fields=body docs=0", "[docs] is [0]"), ("fields=body on_failure=x", "[on_failure] is [x]"),
                             ("fields=body dept=1", "unknown [dept]"), ("fields=body timeout=5", "[timeout] is [5]")):
            answer = self.ask(query, rerank)
            self.assertEqual(answer["status"], 400, answer)
            self.assertIn(part, answer["error"])
        answer = self.ask(query, "fields=body", text=" ")
        self.assertIn("[query_text] is missing", answer["error"])
        self.assertIn("[sort]", self.ask(query, "fields=body", sort="length asc")["error"])

    def test_7_a_dead_sidecar_costs_the_order_and_nothing_else(self):
        query = self.set.sample(1)[0][1]
        plain = self.docs(query)
        self.sidecar.stop(grace=0)
        try:
            for _ in range(6):
                kept = self.ask(query, f"fields=body docs={WINDOW}")
                self.assertEqual(kept["status"], 200, kept)
                self.assertEqual(kept["rescored"]["reranked"], 0)
                self.assertIn("[rescored.on_failure] is [keep]", kept["rescored"]["warning"])
                self.assertEqual([doc["id"] for doc in kept["docs"]], [doc["id"] for doc in plain])
            failed = self.ask(query, f"fields=body docs={WINDOW} on_failure=fail")
            self.assertEqual(failed["status"], 503, failed)
            self.assertIn("[rescored.on_failure] is [fail]", failed["error"])
        finally:
            type(self).sidecar = self.start_sidecar()
        # Until the next probe the breaker keeps searches away. Solr has not kept the order of the failed searches.
        time.sleep(2.1)
        self.assertEqual(self.scored(self.docs(query, f"fields=body docs={WINDOW}", reranked=WINDOW)), self.wanted(query, plain))


if __name__ == "__main__":
    unittest.main(verbosity=2)
