"""Milvus, Open WebUI, LiteLLM and Solr: the bodies that they send by the shipped configuration, and how they read."""

import json
import re
import subprocess
import sys
import unittest
import urllib.parse

from support import ROOT, Set, Sidecar, Stub, answering, call, free_port

SHIPPED = ROOT / "plugin-config"
ADDRESS = "http://127.0.0.1:8787"
# Where recipes for containers say that it listens: a service of the same compose file.
IN_CONTAINERS = "http://rescored:8787"


class Clients(unittest.TestCase):
    """What each client posts, against the real sidecar."""

    @classmethod
    def setUpClass(cls):
        cls.set = Set("xquad-en")
        cls.sidecar = Sidecar("clients-sidecar")
        cls.addClassCleanup(cls.sidecar.stop)
        cls.query = cls.set.sample(1)[0][1]
        cls.documents = [*(text[:160] for text in list(cls.set.corpus.values())[:40]), "", "Zürich 東京 🦀 \"q\" \\ </b>"]
        cls.scores, _ = cls.sidecar.rerank(cls.query, cls.documents)

    def shipped(self, name):
        return (SHIPPED / name).read_text().replace(ADDRESS, self.sidecar.address).replace(IN_CONTAINERS, self.sidecar.address)

    def post(self, url, body):
        answer = call("POST", url, body, {"authorization": "bearer none"})
        self.assertEqual(answer.status, 200, answer.body[:300])
        return answer.json()

    def milvus(self, provider):
        """Milvus keeps the endpoint's host alone, sends batch after batch, and takes scores by index."""
        parameters = json.loads(self.shipped(f"milvus/function-{provider}.json"))["params"]
        self.assertEqual(parameters["provider"], provider)
        host = urllib.parse.urlsplit(parameters["endpoint"]).netloc
        url, size = f"http://{host}/rerank", parameters["max_client_batch_size"]
        return parameters, [self.documents[start:start + size] for start in range(0, len(self.documents), size)], url

    def test_milvus_tei(self):
        parameters, batches, url = self.milvus("tei")
        got = []
        for batch in batches:
            body = {"query": self.query, "texts": batch, "truncate": parameters["truncate"],
                    "truncation_direction": parameters["truncation_direction"]}
            items = sorted(self.post(url, body), key=lambda item: item["index"])
            self.assertEqual([item["index"] for item in items], list(range(len(batch))))
            got += [item["score"] for item in items]
        self.assertEqual(got, self.scores)

    def test_milvus_vllm(self):
        parameters, batches, url = self.milvus("vllm")
        got = []
        for batch in batches:
            body = {"query": self.query, "documents": batch, "truncate_prompt_tokens": parameters["truncate_prompt_tokens"]}
            items = sorted(self.post(url, body)["results"], key=lambda item: item["index"])
            self.assertEqual([item["index"] for item in items], list(range(len(batch))))
            got += [item["relevance_score"] for item in items]
        self.assertEqual(got, self.scores)

    def test_milvus_batches_of_its_default_size_give_the_same_scores(self):
        got = []
        for start in range(0, len(self.documents), 32):
            items = self.post(f"{self.sidecar.address}/rerank", {"query": self.query, "texts": self.documents[start:start + 32]})
            got += [item["score"] for item in sorted(items, key=lambda item: item["index"])]
        self.assertEqual(got, self.scores)

    def test_recipes_for_containers_call_a_service_of_their_own_network(self):
        for folder, file in (("weaviate", "compose.yaml"), ("open-webui", "environment")):
            with self.subTest(folder=folder):
                compose = (SHIPPED / folder / "compose.yaml").read_text()
                settings = (SHIPPED / folder / file).read_text()
                self.assertIn(IN_CONTAINERS, settings)
                self.assertNotIn("127.0.0.1:8787", settings)
                self.assertIn("\n  rescored:\n", compose)
                self.assertIn("RESCORED_LISTEN: 0.0.0.0:8787", compose)

    def test_open_webui(self):
        settings = dict(line.split("=", 1) for line in self.shipped("open-webui/environment").splitlines())
        body = {"model": settings["RAG_RERANKING_MODEL"], "query": self.query, "documents": self.documents, "top_n": len(self.documents)}
        results = self.post(settings["RAG_EXTERNAL_RERANKER_URL"], body)["results"]
        # It sorts by index and takes the scores as they then stand.
        got = [item["relevance_score"] for item in sorted(results, key=lambda item: item["index"])]
        self.assertEqual(got, self.scores)

    def test_litellm(self):
        text = self.shipped("litellm/config.yaml")
        bases = re.findall(r"api_base: (\S+)", text)
        self.assertEqual(len(bases), 2)
        items = self.post(bases[0] + "/rerank", {"query": self.query, "texts": self.documents, "raw_scores": False, "return_text": False,
                                                 "truncate": False, "top_n": 5})
        self.assertEqual([item["score"] for item in items][:5], sorted(self.scores, reverse=True)[:5])
        long = call("POST", bases[0] + "/rerank", {"query": self.query, "texts": ["word " * 900], "truncate": False})
        self.assertEqual(long.status, 422)
        results = self.post(bases[1] + "/v1/rerank", {"model": "default", "query": self.query, "documents": self.documents, "top_n": 5,
                                                      "return_documents": True})["results"]
        self.assertEqual([item["index"] for item in results], [item["index"] for item in items[:5]])
        self.assertEqual(results[0]["document"]["text"], self.documents[results[0]["index"]])

    def solr(self, sidecar):
        """The shipped script against a Solr that answers as /select does."""
        documents = [{"id": str(n), "body": [text] if n % 2 else text, "score": 1.0} for n, text in enumerate(self.documents)]
        del documents[40]["body"]
        body = json.dumps({"responseHeader": {"status": 0}, "response": {"numFound": len(documents), "start": 0, "docs": documents}}).encode()
        stub = Stub(lambda handler: None)
        stub.server.RequestHandlerClass.do_GET = answering(200, body)
        try:
            return subprocess.run(
                [sys.executable, SHIPPED / "solr" / "rescore.py", self.query, "--solr", stub.address + "/solr/passages",
                 "--sidecar", sidecar, "--timeout", "30"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", timeout=60, check=True)
        finally:
            stub.stop()

    def test_solr(self):
        answer = json.loads(self.solr(self.sidecar.address).stdout)
        docs = answer["response"]["docs"]
        self.assertEqual([doc["rescored_score"] for doc in docs], sorted(self.scores, reverse=True))
        self.assertEqual({int(doc["id"]): doc["rescored_score"] for doc in docs}, dict(enumerate(self.scores)))

    def test_solr_keeps_its_order_when_the_sidecar_is_down(self):
        done = self.solr(f"http://127.0.0.1:{free_port()}")
        self.assertIn("not rescored", done.stderr)
        self.assertEqual([doc["id"] for doc in json.loads(done.stdout)["response"]["docs"]], [str(n) for n in range(len(self.documents))])


if __name__ == "__main__":
    unittest.main(verbosity=2)
