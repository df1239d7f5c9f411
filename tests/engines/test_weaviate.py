"""Weaviate's module reranker-transformers: its body and its reading, and its own Go client where Go is there."""

import json
import os
import re
import shutil
import subprocess
import unittest

import support
from support import ROOT, SCRATCH, Set, Sidecar, Stub, answering, call, get, post, report

HERE = support.pathlib.Path(__file__).resolve().parent / "weaviate"
SHIPPED = ROOT / "plugin-config" / "weaviate"
# What the module sends in one call.
CHUNK = 32


class Weaviate(unittest.TestCase):
    """rescored as RERANKER_INFERENCE_API."""

    @classmethod
    def setUpClass(cls):
        cls.set = Set("xquad-en")
        cls.sidecar = Sidecar("weaviate-sidecar")
        cls.addClassCleanup(cls.sidecar.stop)
        text = (SHIPPED / "compose.yaml").read_text()
        cls.origin = re.search(r"RERANKER_INFERENCE_API: (\S+)", text).group(1).replace("http://rescored:8787", cls.sidecar.address)
        cls.query = cls.set.sample(1)[0][1]
        texts = [text[:160] for text in list(cls.set.corpus.values())[:66]]
        cls.documents = [*texts, "", texts[0], "Zürich 東京 🦀 \"q\" \\ </b>", ""]
        cls.scores, _ = cls.sidecar.rerank(cls.query, cls.documents)

    def rank(self, documents):
        """One call as the module writes it (`property` is always there), read as it reads: by place, status 200 only."""
        body = json.dumps({"query": self.query, "documents": documents, "property": ""}).encode()
        answer = call("POST", self.origin + "/rerank", body)
        self.assertEqual(answer.status, 200, answer.body[:300])
        return answer.json()["scores"]

    def test_scores_stand_in_the_order_of_the_documents(self):
        got = []
        for start in range(0, len(self.documents), CHUNK):
            part = self.documents[start:start + CHUNK]
            scores = self.rank(part)
            self.assertEqual([item["document"] for item in scores], part)
            got += [item["score"] for item in scores]
        self.assertEqual(got, self.scores)

    def test_a_refusal_is_json_with_a_text_in_error(self):
        answer = post(self.origin + "/rerank", {"query": self.query, "documents": [], "property": ""})
        self.assertGreaterEqual(answer.status, 400)
        self.assertIsInstance(answer.json()["error"], str)

    def test_readiness_and_meta(self):
        self.assertLess(get(self.origin + "/.well-known/ready").status, 300)
        self.assertIsInstance(get(self.origin + "/meta").json(), dict)

    def test_the_engines_own_client(self):
        go = shutil.which("go")
        if not go:
            raise unittest.SkipTest("no Go to build Weaviate's client with; the bodies above were tested")
        version = re.search(r"weaviate/weaviate (\S+)", (HERE / "go.mod").read_text()).group(1)
        report(f"client of Weaviate {version}, module reranker-transformers")
        case = SCRATCH / "weaviate.json"
        case.parent.mkdir(parents=True, exist_ok=True)
        case.write_text(json.dumps({"query": self.query, "documents": self.documents, "scores": self.scores}))
        refusing = Stub(answering(429, b'{"error":"queue full"}'))
        try:
            done = subprocess.run(
                [go, "test", "-count=1", "./..."], cwd=HERE, timeout=600, stdin=subprocess.DEVNULL,
                env={**os.environ, "RESCORED_ADDRESS": self.origin, "REFUSING_ADDRESS": refusing.address, "CASE": str(case),
                     "GOFLAGS": "-mod=mod"},
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        finally:
            refusing.stop()
        self.assertEqual(done.returncode, 0, done.stdout[-4000:])


if __name__ == "__main__":
    unittest.main(verbosity=2)
