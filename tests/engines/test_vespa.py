"""A real Vespa container, the bundle and search chain of `plugin-config/vespa`, the real sidecar.

The container runs in one JVM by Vespa's own `application` library, with the shipped bundle in its components folder.
A backend of our own answers with first-stage rankings of real passages; everything above it is Vespa's.
"""

import contextlib
import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import threading
import time
import unittest
import urllib.parse

import support
from support import ROOT, SCRATCH, Set, Sidecar, Stub, answering, free_port, maven, mean, percentile, report

HERE = pathlib.Path(__file__).resolve().parent / "vespa"
SHIPPED = ROOT / "plugin-config" / "vespa"
QUERIES = 40
WINDOW = 20


class Container:
    """A JVM with one Vespa container; requests go in by a pipe, so nothing listens."""

    def __init__(self, java_home, package):
        app = HERE / "app" / "target"
        classes = f"{app / 'classes'}:{(app / 'classpath').read_text().strip()}"
        self.log = SCRATCH / "logs" / "vespa.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # The container writes access logs below its home.
        home = SCRATCH / "vespa-home"
        home.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [f"{java_home}/bin/java", "-Xmx512m", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8",
                 f"-Drescored.data={support.data_folder() / 'xquad-en'}",
                 "-cp", classes, "rescored.engines.Main", str(package)],
                cwd=home, env={**os.environ, "VESPA_HOME": str(home)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, text=True, encoding="utf-8", start_new_session=True)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, name="vespa", daemon=True).start()
        self.version = self.take(300)["version"]

    def read(self):
        for line in self.child.stdout:
            self.lines.put(line)
        self.lines.put("")

    def take(self, seconds):
        with contextlib.suppress(queue.Empty):
            line = self.lines.get(timeout=seconds)
            if line:
                return json.loads(line)
        self.stop()
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])
        raise RuntimeError(f"Vespa gave no answer within {seconds} s:\n{tail}")

    def ask(self, path, **parameters):
        uri = f"http://localhost{path}?{urllib.parse.urlencode(parameters)}"
        self.child.stdin.write(uri + "\n")
        self.child.stdin.flush()
        answer = self.take(90)
        return answer["status"], json.loads(answer["body"]), answer["millis"]

    def stop(self):
        with contextlib.suppress(OSError):
            self.child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
        self.child.stdout.close()


def package(sidecar, stub):
    """The shipped services.xml, with a backend and with copies of its chain that meet other sidecars."""
    shipped = (SHIPPED / "src/main/application/services.xml").read_text()
    chain = shipped[shipped.index("<chain"):shipped.index("</chain>") + len("</chain>")]
    dead = f"http://127.0.0.1:{free_port()}"

    def copy(name, address, fail):
        text = chain.replace('chain id="default"', f'chain id="{name}"').replace("http://127.0.0.1:8787", address)
        text = text.replace('id="rescored.vespa.RescoringSearcher"', f'id="{name}-searcher" class="rescored.vespa.RescoringSearcher"')
        return text.replace("KEEP", "FAIL") if fail else text

    key = SCRATCH / "vespa-key"
    key.write_text("open-sesame\n")
    named = copy("stub-named", stub, False).replace(
        "<hits>", f"<keyFile>{key}</keyFile><model>default</model><hits>")
    chains = named + "".join(copy(f"{name}-{'fail' if fail else 'keep'}", address, fail)
                     for name, address in (("dead", dead), ("stub", stub)) for fail in (False, True))
    backend = '<provider id="passages"><searcher id="rescored.engines.Passages" bundle="vespa-app"/></provider>'
    # Metrics are shown once a period is over, of a minute unless told otherwise.
    period = '<config name="container.jdisc.config.health-monitor"><snapshot_interval>3</snapshot_interval></config>'
    services = shipped.replace("<search>", period + "<search>" + backend).replace("</search>", chains + "</search>")
    folder = SCRATCH / "vespa-package"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "components").mkdir(parents=True)
    (folder / "services.xml").write_text(services.replace("http://127.0.0.1:8787", sidecar))
    shutil.copy(SHIPPED / "target" / "rescored-vespa-0.1.0-deploy.jar", folder / "components")
    return folder


class Vespa(unittest.TestCase):
    """Queries through the shipped searcher."""

    @classmethod
    def setUpClass(cls):
        java_home = support.jdk(17, 21)
        cls.set = Set("xquad-en")
        maven(HERE, "-q", "package", "-DskipTests", java_home=java_home)
        cls.sidecar = Sidecar("vespa-sidecar")
        cls.addClassCleanup(cls.sidecar.stop)
        cls.behave = answering(200, b"{}")
        cls.stub = Stub(lambda handler: cls.behave(handler))
        cls.addClassCleanup(cls.stub.stop)
        cls.container = Container(java_home, package(cls.sidecar.address, cls.stub.address))
        cls.addClassCleanup(cls.container.stop)
        report(f"Vespa {cls.container.version}, container in one JVM")

    def search(self, query, expect=200, **parameters):
        # The default of 500 ms is for a machine that is not busy with tests.
        parameters = {"query": query, "hits": WINDOW, "timeout": "60s", **parameters}
        status, body, millis = self.container.ask("/search/", **{name.replace("_", "."): value for name, value in parameters.items()})
        self.assertEqual(status, expect, body)
        return body["root"], millis

    @staticmethod
    def ids(root):
        return [hit["id"].split("::")[1] for hit in root.get("children", [])]

    def assert_sidecar_order(self, query, hits):
        scores, answer = self.sidecar.rerank(query, [hit["fields"]["body"] for hit in hits])
        self.assertEqual([support.single(hit["relevance"]) for hit in hits], [support.single(score) for score in scores])
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertEqual(int(answer.headers["x-rescored-cache-hits"]), len(hits))

    def test_1_order_and_scores_are_the_cross_encoders(self):
        before, after, cold, warm = [], [], [], []
        for key, query in self.set.sample(QUERIES):
            plain, base = self.search(query, rerank_hits=0)
            root, computed = self.search(query, rerank_hits=WINDOW)
            again, cached = self.search(query, rerank_hits=WINDOW)
            hits = root["children"]
            self.assertNotIn("rescored", plain["fields"])
            self.assertEqual(root["fields"]["rescored"], len(hits))
            self.assertEqual(set(self.ids(root)), set(self.ids(plain)))
            self.assertEqual(hits, again["children"])
            self.assert_sidecar_order(query, hits)
            before.append(self.set.ndcg(key, self.ids(plain)))
            after.append(self.set.ndcg(key, self.ids(root)))
            cold.append(computed - base)
            warm.append(cached - base)
        report(f"{self.set.name}, {QUERIES} queries, {WINDOW} hits: nDCG@10 {mean(before):.4f} -> {mean(after):.4f}")
        for name, samples in (("computed", cold), ("from the cache", warm)):
            report(f"added latency, scores {name}: median {percentile(samples, .5):.1f} ms, p99 {percentile(samples, .99):.1f} ms")
        # The set is nearly saturated: these bounds tell a broken ranking from a sound one, on any CPU's arithmetic.
        self.assertGreater(mean(after), mean(before) - 0.02)
        self.assertGreater(mean(after), 0.93)

    def test_2_hits_below_the_window_stay_below_it_in_their_order(self):
        query = self.set.sample(1)[0][1]
        plain, _ = self.search(query, rerank_hits=0)
        root, _ = self.search(query, rerank_hits=5)
        self.assert_sidecar_order(query, root["children"][:5])
        self.assertEqual(set(self.ids(root)[:5]), set(self.ids(plain)[:5]))
        self.assertEqual(self.ids(root)[5:], self.ids(plain)[5:])
        relevances = [hit["relevance"] for hit in root["children"]]
        self.assertEqual(relevances, sorted(relevances, reverse=True))

    def test_2_pages_are_parts_of_one_ranking(self):
        query = self.set.sample(2)[1][1]
        whole, _ = self.search(query, rerank_hits=10)
        parts = [self.search(query, rerank_hits=10, hits=4, offset=offset)[0] for offset in (0, 4, 8, 12)]
        self.assertEqual([name for part in parts for name in self.ids(part)], self.ids(whole)[:16])
        short, _ = self.search(query, rerank_hits=10, hits=3)
        self.assertEqual(self.ids(short), self.ids(whole)[:3])

    def test_2_text_can_be_given_apart_from_the_query(self):
        query = self.set.sample(1)[0][1]
        text = 'Wo "liegt" Zürich \\ 東京? 🦀'
        root, _ = self.search(query, rerank_hits=6, hits=6, rerank_query=text)
        self.assert_sidecar_order(text, root["children"])

    def test_2_no_hits_no_call(self):
        calls = len(self.stub.bodies)
        root, _ = self.search("nothing like this", searchChain="stub-keep")
        self.assertEqual(self.ids(root), [])
        self.assertEqual(len(self.stub.bodies), calls)

    def assert_failure(self, chain, code, part, **parameters):
        query = self.set.sample(1)[0][1]
        plain, _ = self.search(query, rerank_hits=0)
        root, kept = self.search(query, searchChain=f"{chain}-keep", **parameters)
        self.assertEqual(root["children"], plain["children"])
        self.assertEqual(root["fields"]["rescored"], 0)
        self.assertRegex(root["fields"]["rescored_failure"], part)
        self.assertNotIn("errors", root)
        refusal, failed = self.search(query, expect=504 if code == 12 else 503, searchChain=f"{chain}-fail", **parameters)
        self.assertEqual(refusal["errors"][0]["code"], code)
        self.assertRegex(refusal["errors"][0]["message"], part)
        self.assertNotIn("children", refusal)
        return max(kept, failed)

    def test_3_sidecar_down(self):
        self.assertLess(self.assert_failure("dead", 10, "cannot be reached"), 5000)

    def test_3_sidecar_overloaded(self):
        type(self).behave = staticmethod(answering(429, b'{"error":"queue full"}', retry_after="1"))
        calls = len(self.stub.bodies)
        self.assert_failure("stub", 10, "status 429")
        self.assertEqual(len(self.stub.bodies), calls + 2)

    def test_3_the_querys_time_is_the_deadline(self):
        release = threading.Event()
        type(self).behave = staticmethod(lambda handler: release.wait(20))
        try:
            took = self.assert_failure("stub", 12, "no time is left", timeout="400ms")
        finally:
            release.set()
        self.assertLess(took, 3000)
        sent = int(self.stub.headers[-1]["X-Request-Timeout-Ms"])
        self.assertTrue(0 < sent <= 380, sent)

    def test_3_an_answer_that_lacks_a_score_is_no_ranking(self):
        for body in (b'{"results":[{"index":0,"relevance_score":0.5}]}', b"{}", b"<html>", b'{"results":[]}'):
            with self.subTest(body=body):
                type(self).behave = staticmethod(answering(200, body))
                self.assert_failure("stub", 10, "what is no ranking")

    def test_4_calls_share_a_connection(self):
        type(self).behave = staticmethod(answering(200, json.dumps(
            {"results": [{"index": n, "relevance_score": 1 / (n + 2)} for n in range(WINDOW)]}).encode()))
        query = self.set.sample(1)[0][1]
        self.search(query, searchChain="stub-keep", rerank_hits=WINDOW)
        connections = self.stub.connections
        for _ in range(5):
            root, _ = self.search(query, searchChain="stub-keep", rerank_hits=WINDOW)
            self.assertEqual(root["fields"]["rescored"], WINDOW)
        self.assertEqual(self.stub.connections, connections)
        self.assertEqual(set(json.loads(self.stub.bodies[-1])), {"query", "documents"})

    def test_4_a_key_and_a_model_reach_a_sidecar_that_wants_them(self):
        type(self).behave = staticmethod(answering(401, b'{"error":"no"}'))
        root, _ = self.search(self.set.sample(1)[0][1], searchChain="stub-named")
        self.assertEqual(root["fields"]["rescored"], 0)
        self.assertEqual(self.stub.headers[-1]["authorization"], "Bearer open-sesame")
        self.assertEqual(json.loads(self.stub.bodies[-1])["model"], "default")

    def test_5_metrics_count_outcomes(self):
        self.search(self.set.sample(1)[0][1])
        self.search(self.set.sample(1)[0][1], searchChain="dead-keep")
        wanted = {"rescored.queries", "rescored.documents", "rescored.latency_ms"}
        until = time.monotonic() + 90
        names, outcomes = set(), set()
        while not (wanted <= names and {"rescored", "unreachable"} <= outcomes) and time.monotonic() < until:
            time.sleep(2)
            _, body, _ = self.container.ask("/state/v1/metrics")
            for value in body["metrics"].get("values", []):
                names.add(value["name"])
                outcomes.add(value.get("dimensions", {}).get("outcome"))
        self.assertLessEqual(wanted, names)
        self.assertLessEqual({"rescored", "unreachable"}, outcomes)


if __name__ == "__main__":
    unittest.main(verbosity=2)
