"""Elasticsearch's inference services: the bodies that they send, and their answers read by Elasticsearch's own parser.

Its inference plugin is not on Maven Central, so no node is started: the server's JSON parser and x-pack's result class
are (elasticsearch/pom.xml), and elasticsearch/Parse.java applies the plugin's rules with them.
"""

import json
import subprocess
import unittest

import support
from support import ROOT, SCRATCH, Set, Sidecar, call, maven, report, single

HERE = support.pathlib.Path(__file__).resolve().parent / "elasticsearch"
SHIPPED = ROOT / "plugin-config" / "elasticsearch"


class Elasticsearch(unittest.TestCase):
    """The shipped inference endpoints, service by service."""

    @classmethod
    def setUpClass(cls):
        java_home = support.jdk(17, 30)
        cls.set = Set("xquad-en")
        SCRATCH.mkdir(parents=True, exist_ok=True)
        classpath = SCRATCH / "elasticsearch-classpath"
        maven(HERE, "-q", "package", f"-Dclasspath={classpath}", java_home=java_home)
        cls.sidecar = Sidecar("elasticsearch-sidecar")
        cls.addClassCleanup(cls.sidecar.stop)
        cls.parser = subprocess.Popen(
            [f"{java_home}/bin/java", "-Xmx256m", "-cp", classpath.read_text().strip(), str(HERE / "Parse.java")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8")
        cls.addClassCleanup(cls.end)
        report(f"parser of {cls.parser.stdout.readline().strip()}")
        cls.query = cls.set.sample(1)[0][1] + ' "Zürich" \\ 東京 🦀'
        cls.documents = [*list(cls.set.corpus.values())[:20], "", "Zürich 東京 🦀 \"q\" \\ </b>"]
        cls.scores, _ = cls.sidecar.rerank(cls.query, cls.documents)

    @classmethod
    def end(cls):
        cls.parser.stdin.close()
        cls.parser.wait(20)
        cls.parser.stdout.close()

    def parse(self, service, body):
        """Index and score of every item, in the order in which Elasticsearch keeps them."""
        self.parser.stdin.write(f"{service}\t{body.decode()}\n")
        self.parser.stdin.flush()
        line = self.parser.stdout.readline().strip()
        if not line.startswith("ok"):
            raise ValueError(line)
        return [(int(index), float(score)) for index, score in (part.split("=") for part in line.split()[1:])]

    def endpoint(self, name):
        text = (SHIPPED / f"inference-{name}.json").read_text().replace("http://127.0.0.1:8787", self.sidecar.address)
        return json.loads(text)

    def post(self, url, body, key):
        answer = call("POST", url, body, {"authorization": f"Bearer {key}"})
        self.assertEqual(answer.status, 200, answer.body[:300])
        return answer.body

    def assert_complete(self, ranked):
        """The retriever wants a score for every input, and its own order is by score."""
        self.assertEqual(sorted(index for index, _ in ranked), list(range(len(self.documents))))
        self.assertEqual([single(score) for _, score in ranked], [single(self.scores[index]) for index, _ in ranked])
        self.assertEqual([score for _, score in ranked], sorted((score for _, score in ranked), reverse=True))

    def test_hugging_face(self):
        endpoint = self.endpoint("hugging-face")
        settings = endpoint["service_settings"]
        body = {"texts": self.documents, "query": self.query, "return_text": endpoint["task_settings"]["return_documents"]}
        self.assert_complete(self.parse("hugging_face", self.post(settings["url"], body, settings["api_key"])))
        body["return_text"] = True
        self.assert_complete(self.parse("hugging_face", self.post(settings["url"], body, settings["api_key"])))
        del body["return_text"]
        self.assert_complete(self.parse("hugging_face", self.post(settings["url"], body, settings["api_key"])))

    def test_cohere(self):
        endpoint = self.endpoint("cohere")
        settings = endpoint["service_settings"]
        body = {"model": settings["model_id"], "query": self.query, "documents": self.documents,
                "return_documents": endpoint["task_settings"]["return_documents"]}
        for more in ({}, {"return_documents": True}, {"top_n": len(self.documents), "max_chunks_per_doc": 4}):
            with self.subTest(more=more):
                self.assert_complete(self.parse("cohere", self.post(settings["url"], {**body, **more}, settings["api_key"])))

    def test_custom(self):
        settings = self.endpoint("custom")["service_settings"]
        # The service fills the template with JSON, quotes included.
        body = settings["request"].replace("${query}", json.dumps(self.query)).replace("${input}", json.dumps(self.documents))
        paths = settings["response"]["json_parser"]
        self.assertEqual(paths, {"relevance_score": "$.results[*].relevance_score", "reranked_index": "$.results[*].index"})
        key = settings["secret_parameters"]["api_key"]
        self.assertEqual(settings["headers"]["Authorization"].replace("${api_key}", key), f"Bearer {key}")
        self.assert_complete(self.parse("custom", self.post(settings["url"], body.encode(), key)))

    def test_what_the_parser_refuses_is_seen(self):
        for service, body in (("cohere", b'{"results":[{"index":0,"relevance_score":0.5,"id":1}]}'),
                              ("cohere", b'{"results":[{"index":0,"relevance_score":0.5,"document":"text"}]}'),
                              ("hugging_face", b'{"results":[]}'), ("hugging_face", b'[{"index":0}]')):
            with self.subTest(body=body), self.assertRaises(ValueError):
                self.parse(service, body)

    def test_errors_carry_what_the_services_read(self):
        for url, body in (("/rerank", {"texts": [], "query": "q"}), ("/v2/rerank", {"model": "default", "query": "q", "documents": []})):
            answer = call("POST", self.sidecar.address + url, body)
            self.assertEqual(answer.status, 400)
            self.assertIsInstance(answer.json()["error"], str)
            self.assertIsInstance(answer.json()["message"], str)

    def test_search_names_the_endpoint_of_the_page(self):
        retriever = json.loads((SHIPPED / "search.json").read_text())["retriever"]["text_similarity_reranker"]
        self.assertIn(f"_inference/rerank/{retriever['inference_id']}", (SHIPPED / "inference.md").read_text())


if __name__ == "__main__":
    unittest.main(verbosity=2)
