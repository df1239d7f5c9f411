"""What the engine tests share: the sidecar's process, a stub of it, test data, figures, HTTP.

Python's standard library only. Everything listens on loopback, on ports that were free a moment ago.
"""

import atexit
import contextlib
import functools
import gzip
import http.client
import http.server
import json
import math
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What builds and running nodes leave; git ignores the folder.
SCRATCH = ROOT / "target" / "engines"


class Answer:
    """Status, headers and bytes of an HTTP answer."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)


class Process:
    """A child in a process group of its own, ended with everything that it started."""

    def __init__(self, command, log, cwd=None, env=None, piped=False):
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with log.open("wb") as out:
            self.child = subprocess.Popen(
                [str(part) for part in command], cwd=cwd, env=env, stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True)

    def wait_until(self, ready, seconds, what):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.child.poll() is not None:
                raise RuntimeError(f"{what} ended with {self.child.returncode}:\n{self.tail()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if ready():
                    return
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"{what} was not ready within {seconds} s:\n{self.tail()}")

    def tail(self, lines=25):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, grace=10):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(grace)
            except subprocess.TimeoutExpired:
                pass
        # The group: a child of the child must not outlive the test.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()


class Sidecar(Process):
    """A real `rescored serve` with the real model."""

    def __init__(self, name="sidecar", port=None, key=None, **settings):
        self.port = port or free_port()
        self.headers = {"authorization": f"Bearer {key}"} if key else {}
        self.address = f"http://127.0.0.1:{self.port}"
        # Settings of whoever runs the tests must not reach the server: it refuses unknown ones.
        env = {key: value for key, value in os.environ.items() if not key.startswith("RESCORED_")}
        env["RESCORED_LISTEN"] = f"127.0.0.1:{self.port}"
        env["RESCORED_LOG_FORMAT"] = "text"
        env["RESCORED_MODEL_DIR"] = os.environ.get("RESCORED_MODEL_DIR", str(ROOT / "models"))
        if key:
            SCRATCH.mkdir(parents=True, exist_ok=True)
            keys = SCRATCH / f"{name}.keys"
            keys.write_text(key + "\n")
            env["RESCORED_API_KEYS_FILE"] = str(keys)
        env.update({f"RESCORED_{setting}": value for setting, value in settings.items()})
        super().__init__([binary(), "serve"], SCRATCH / "logs" / f"{name}.log", env=env)
        self.wait_until(lambda: get(self.address + "/readyz").status == 200, 180, "rescored")

    def rerank(self, query, documents):
        """Scores in the order of the documents, and the answer."""
        answer = self.try_rerank(query, documents)
        if answer.status != 200:
            raise RuntimeError(f"rescored answered {answer.status}: {answer.body[:300]}")
        scores = [None] * len(documents)
        for item in answer.json()["results"]:
            scores[item["index"]] = item["relevance_score"]
        return scores, answer

    def try_rerank(self, query, documents):
        return post(self.address + "/v1/rerank", {"query": query, "documents": documents}, self.headers)

    def forget(self):
        """Empties the cache of scores."""
        answer = call("DELETE", self.address + "/v1/cache", headers=self.headers)
        if answer.status != 200:
            raise RuntimeError(f"rescored answered {answer.status}: {answer.body[:300]}")


class Stub:
    """A sidecar that misbehaves: `behave(handler)` writes the answer, and requests are counted."""

    def __init__(self, behave, port=0):
        stub = self
        self.behave = behave

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                stub.connections += 1
                super().setup()

            def do_POST(self):
                stub.bodies.append(self.rfile.read(int(self.headers.get("content-length", 0))))
                stub.headers.append(self.headers)
                stub.behave(self)

            def log_message(self, *_):
                pass

        self.bodies = []
        self.headers = []
        self.connections = 0
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        # Clients that hang up are what these tests are about.
        self.server.handle_error = lambda *_: None
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, name="stub", daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def answering(status, body, **headers):
    """A behaviour for `Stub`: this status and body."""
    def behave(handler):
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)
    return behave


class Set:
    """One of the retrieval sets in the BEIR layout."""

    def __init__(self, name):
        folder = data_folder() / name
        self.name = name
        self.corpus = {row["_id"]: row["text"] for row in rows(folder / "corpus.jsonl")}
        self.queries = {row["_id"]: row["text"] for row in rows(folder / "queries.jsonl")}
        self.gains = {}
        for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
            query, document, gain = line.split("\t")
            self.gains.setdefault(query, {})[document] = int(gain)
        self.run = {}
        for line in (folder / "run.tsv").read_text(encoding="utf-8").splitlines()[1:]:
            query, document, _, score = line.split("\t")
            self.run.setdefault(query, []).append((document, float(score)))

    def sample(self, count):
        """The first queries; the file's order is random with a fixed seed."""
        return list(self.queries.items())[:count]

    def ndcg(self, query, ranking, depth=10):
        gains = self.gains[query]
        got = sum(gains.get(document, 0) / math.log2(rank + 2) for rank, document in enumerate(ranking[:depth]))
        best = sorted(gains.values(), reverse=True)[:depth]
        return got / sum(gain / math.log2(rank + 2) for rank, gain in enumerate(best))


def rows(path):
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@functools.cache
def data_folder():
    """The texts of tests/data, decompressed, in a folder that goes with this process."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="rescored-texts-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    packed = sorted((ROOT / "tests" / "data").glob("*/*.gz"))
    if not packed:
        raise RuntimeError(f"no texts in {ROOT / 'tests' / 'data'}: the checkout is not whole")
    for path in packed:
        target = folder / path.parent.name / path.stem
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(gzip.decompress(path.read_bytes()))
    return folder


def binary():
    """The server: RESCORED_BIN, or the release build."""
    # In full: some are started in other folders.
    path = pathlib.Path(os.environ.get("RESCORED_BIN") or ROOT / "target" / "release" / "rescored").absolute()
    if not path.exists():
        raise RuntimeError(f"no server at {path}: cargo build --release")
    return path


def jdk(lowest, highest):
    """The home of a Java development kit whose version lies between the two."""
    homes = [os.environ.get("JAVA_HOME"), *sorted(map(str, pathlib.Path("/usr/lib/jvm").glob("*")))]
    java = shutil.which("java")
    if java:
        homes.append(str(pathlib.Path(java).resolve().parents[1]))
    for home in filter(None, homes):
        release = pathlib.Path(home) / "release"
        if not (pathlib.Path(home) / "bin" / "javac").exists() or not release.exists():
            continue
        for line in release.read_text().splitlines():
            if line.startswith("JAVA_VERSION="):
                version = int(line.split('"')[1].split(".")[0])
                if lowest <= version <= highest:
                    return home
    raise unittest.SkipTest(f"no Java development kit of version {lowest} to {highest}")


def maven(folder, *arguments, java_home, seconds=900):
    """Runs Maven in a folder and returns what it printed."""
    if not shutil.which("mvn"):
        raise unittest.SkipTest("no Maven")
    env = {**os.environ, "JAVA_HOME": java_home, "MAVEN_OPTS": "-Xmx512m"}
    done = subprocess.run(
        ["mvn", "-B", "-ntp", "-Dstyle.color=never", *arguments], cwd=folder, env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"mvn {' '.join(arguments)} failed in {folder}:\n{done.stdout[-4000:]}")
    return done.stdout


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def call(method, url, body=None, headers=None, timeout=120):
    """One HTTP exchange; every status is an answer."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **(headers or {})}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as refusal:
        return Answer(refusal.code, refusal.headers, refusal.read())


def get(url):
    return call("GET", url, timeout=10)


def post(url, body, headers=None):
    return call("POST", url, body, headers)


def single(number):
    """A number as 32-bit floating point holds it."""
    return struct.unpack("f", struct.pack("f", number))[0]


def percentile(samples, share):
    """Nearest rank."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def mean(samples):
    return sum(samples) / len(samples)


def report(line):
    """A figure that must be seen, past the test runner's own output."""
    print(f"    {line}", file=sys.stderr, flush=True)
