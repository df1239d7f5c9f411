"""What the tests of engines' plugins share: builds, a node that has the plugin, searches, figures."""

import http.client
import json
import threading
import time

import support
from opensearch_node import Node
from support import SCRATCH, Answer, Set, Sidecar, call, free_port, maven, report

WINDOW = 20
PIPELINES = {
    # The shipped pipeline, as deep as a page: what added latency is measured with.
    "page": ({"fields": ["body"], "depth": WINDOW}, {}),
    "deep": ({"fields": ["body"], "depth": 100}, {}),
    "strict": ({"fields": ["body"], "depth": 100, "on_failure": "fail"}, {}),
    "template": ({"template": "{title}. {meta.author.name}: {body}", "depth": 100}, {}),
    "absent": ({"fields": ["nothing"]}, {}),
}


def build(line):
    """The zip, built for the line of OpenSearch by the JDK that runs it."""
    # A folder of its own: the two lines are built by different JDKs.
    options = [] if line.folder == "opensearch" else ["-Popensearch-3"]
    maven(support.ROOT / "plugin-config" / "java", "-q", "package", "-DskipTests", "-pl", "client,common,../opensearch/plugin", *options,
          java_home=line.java_home())
    short = ".".join(line.version().split(".")[:2])
    zips = list((support.ROOT / "plugin-config" / "opensearch" / "plugin" / "target" / short).glob("*.zip"))
    if len(zips) != 1:
        raise RuntimeError(f"not one zip for {short}: {zips}")
    return zips[0]


class Searcher:
    """One connection to the node that stays open, so that latencies are the node's."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=120)

    def search(self, body, index="passages", pipeline=None):
        """The answer, and the milliseconds that it took."""
        suffix = f"?search_pipeline={pipeline}" if pipeline else ""
        start = time.perf_counter()
        self.connection.request("POST", f"/{index}/_search{suffix}", json.dumps(body), {"content-type": "application/json"})
        answer = self.connection.getresponse()
        content = answer.read()
        return Answer(answer.status, answer.headers, content), (time.perf_counter() - start) * 1000

    def close(self):
        self.connection.close()


class PluginSearches:
    """A node with the plugin, the real sidecar, an index of the committed set. Mixed into test cases."""

    line = None
    key = None
    over_socket = False
    sample_size = 15
    more_settings = ""

    @classmethod
    def setUpClass(cls):
        cls.line.java_home()
        zip_file = cls.build(cls.line)
        cls.name = f"{cls.line.folder}-plugin"
        cls.set = Set("xquad-en")
        cls.port = free_port()
        cls.socket = SCRATCH / f"{cls.name}.socket"
        cls.sidecar = cls.start_sidecar()
        cls.addClassCleanup(lambda: cls.sidecar.stop())
        endpoint = f"unix:{cls.socket}" if cls.over_socket else f"http://127.0.0.1:{cls.port}"
        cls.node = cls.start_node(zip_file, f'rescored.endpoints: ["{endpoint}"]\nrescored.timeout: 60s\n{cls.more_settings}')
        cls.addClassCleanup(cls.node.stop)
        cls.searcher = Searcher(cls.node.address)
        cls.addClassCleanup(cls.searcher.close)
        report(f"{cls.version()} with the plugin rescored over {endpoint.split(':')[0]}")
        cls.prepare()

    # What differs between engines.
    stats_path = "/_plugins/_rescored"
    build = staticmethod(build)

    @classmethod
    def start_node(cls, plugin, settings):
        return Node(cls.line, cls.name, plugin=plugin, settings=settings, secrets=cls.secrets())

    @classmethod
    def version(cls):
        version = cls.ask("GET", "/")["version"]
        return f"OpenSearch {version['number']} (Lucene {version['lucene_version']})"

    @classmethod
    def secrets(cls):
        return {"rescored.key": cls.key} if cls.key else None

    @classmethod
    def start_sidecar(cls):
        # Patient where other work takes the cores: these tests are of the plugin.
        return Sidecar(f"{cls.name}-sidecar", port=cls.port, key=cls.key, LISTEN=f"127.0.0.1:{cls.port},unix:{cls.socket}", STUCK_AFTER="2m", DEADLINE="2m")

    @classmethod
    def prepare(cls):
        cls.index_documents()
        for name, (request, response) in PIPELINES.items():
            cls.ask("PUT", f"/_search/pipeline/{name}", {
                "request_processors": [{"rescored": request}], "response_processors": [{"rescored": response}]})

    @classmethod
    def index_documents(cls):
        documents = {name: {"title": f"Paragraph {name}", "body": text, "length": len(text), "meta": {"author": [{"name": "Ann"}, {"name": "Bob"}]}}
                     for name, text in cls.set.corpus.items()}
        cls.index("passages", documents, shards=1)
        cls.index("shards", documents, shards=2)
        return documents

    @classmethod
    def ask(cls, method, path, body=None):
        answer = call(method, cls.node.address + path, body)
        if answer.status >= 300:
            raise AssertionError(f"{method} {path}: {answer.status} {answer.body[:800]}")
        return answer.json()

    @classmethod
    def index(cls, name, documents, shards, **settings):
        settings = {"number_of_shards": shards, "number_of_replicas": 0, **{setting.replace("__", "."): value for setting, value in settings.items()}}
        cls.ask("PUT", f"/{name}", {"settings": settings, "mappings": {
            "properties": {"title": {"type": "text"}, "body": {"type": "text"}, "length": {"type": "integer"}}}})
        lines = []
        for key, document in documents.items():
            lines += [json.dumps({"index": {"_id": key}}), json.dumps(document)]
        answer = call("POST", f"{cls.node.address}/{name}/_bulk?refresh=true", ("\n".join(lines) + "\n").encode())
        if answer.status != 200 or answer.json()["errors"]:
            raise AssertionError(f"bulk: {answer.status} {answer.body[:800]}")

    @classmethod
    def settle(cls, settings):
        """Sets what may change while the node runs."""
        cls.ask("PUT", "/_cluster/settings", {"transient": settings})

    @staticmethod
    def match(query, size=WINDOW, **more):
        return {"query": {"match": {"body": query}}, "size": size, **more}

    @staticmethod
    def rescore(query, window=WINDOW, **more):
        return {"rescore": {"window_size": window, "rescored": {"query_text": query, "fields": ["body"], **more}}}

    def hits(self, body, warned=None, **where):
        """The hits of a search that must be answered, with one warning that holds this or with none."""
        return self.result(body, warned, **where)["hits"]["hits"]

    def result(self, body, warned=None, **where):
        answer, _ = self.searcher.search(body, **where)
        self.assertEqual(answer.status, 200, answer.body[:1000])
        self.assertEqual(answer.json()["_shards"]["failed"], 0, answer.body[:1000])
        warnings = [warning for warning in answer.headers.get_all("warning") or [] if "[rescored]" in warning]
        if warned is None:
            self.assertEqual(warnings, [])
        else:
            self.assertEqual(len(warnings), 1, warnings)
            self.assertIn(warned, warnings[0])
        return answer.json()

    def refusal(self, body, status, **where):
        answer, _ = self.searcher.search(body, **where)
        self.assertEqual(answer.status, status, answer.body[:1000])
        return answer.body.decode()

    def reranked(self, query, hits, text=lambda hit: hit["_source"]["body"]):
        """The ids of hits and their scores, as /v1/rerank orders them."""
        scores, _ = self.sidecar.rerank(query, [text(hit) for hit in hits])
        order = sorted(range(len(hits)), key=lambda place: -scores[place])
        return [(hits[place]["_id"], support.single(scores[place])) for place in order]

    @staticmethod
    def scored(hits):
        return [(hit["_id"], support.single(hit["_score"])) for hit in hits]

    @classmethod
    def stats(cls):
        nodes = cls.ask("GET", f"{cls.stats_path}/stats")["nodes"]
        return next(iter(nodes.values()))

    def until(self, seconds, what, holds):
        end = time.monotonic() + seconds
        while not holds():
            self.assertLess(time.monotonic(), end, f"not within {seconds} s: {what}")
            time.sleep(0.05)
        return seconds - (end - time.monotonic())


class Load:
    """Searches at a steady rate from several threads, each noted as (when, milliseconds, status, warned)."""

    def __init__(self, address, rate, bodies, pipeline):
        self.notes = []
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(address, number, rate, bodies, pipeline), daemon=True) for number in range(8)]
        for thread in self.threads:
            thread.start()

    def run(self, address, number, rate, bodies, pipeline):
        searcher = Searcher(address)
        start = time.monotonic()
        turn = number
        while not self.stopped.is_set():
            wait = start + turn / rate - time.monotonic()
            if wait > 0 and self.stopped.wait(wait):
                break
            body = bodies[turn % len(bodies)]
            # From the moment at which it was due: a late start is latency too.
            begun = start + turn / rate
            answer, _ = searcher.search(body, pipeline=pipeline)
            now = time.monotonic()
            self.notes.append((now, (now - begun) * 1000, answer.status, "[rescored]" in (answer.headers.get("warning") or "")))
            turn += len(self.threads)
        searcher.close()

    def wait_until_reranked(self, seconds):
        """Until a search that begins now is reranked again."""
        begun, until = time.monotonic(), time.monotonic() + seconds
        while not any(when > begun and status == 200 and not warned for when, _, status, warned in list(self.notes)):
            if time.monotonic() > until:
                raise AssertionError(f"not reranked again within {seconds} s")
            time.sleep(.1)

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(30)
        return sorted(self.notes)
