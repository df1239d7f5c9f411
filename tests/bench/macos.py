"""Golden pairs and the seed's benchmark through every set of CoreML's compute units, beside the CPU, as one table.

python tests/bench/macos.py --binary target/release/rescored [--models ID...] [--units all ane gpu cpu] [--report FILE]

For each model: logits of real pairs by the CPU in fp32 are what is right; each way then scores the same pairs and runs 200
requests of 32 documents, one client, without the cache. Standard library only. On a system without CoreML, `--units` with
no value measures the CPU alone, which is how this file is tested. Exit 1 when a way is further off than rounding.
"""

import argparse
import http.client
import json
import os
import pathlib
import platform
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUERY = "how do vaccines work in older people"
OFF_AT_MOST = {"fp32": 0.005, "fp16": 0.15}


class Server:
    """A server of its own port and environment."""

    def __init__(self, binary, model, settings):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        env = {name: value for name, value in os.environ.items() if not name.startswith("RESCORED_")}
        env |= {"RESCORED_LISTEN": f"127.0.0.1:{self.port}", "RESCORED_MODELS": model, "RESCORED_CACHE_BYTES": "0"}
        self.process = subprocess.Popen([binary, "serve"], cwd=ROOT, env=env | settings, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        # The first start of a way measures every shape; that takes minutes.
        deadline = time.monotonic() + 1800
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(self.process.stderr.read()[-2000:])
            try:
                if self.get("/readyz")[0] == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.2)
        raise RuntimeError("not ready in time")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def logits(self, connection, query, documents):
        body = json.dumps({"query": query, "documents": documents, "raw_scores": True})
        connection.request("POST", "/v1/rerank", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {text[:300]}")
        by_index = {item["index"]: item["relevance_score"] for item in json.loads(text)["results"]}
        return [by_index[index] for index in range(len(documents))]


def measure(server, pairs, requests):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    logits = [server.logits(connection, pair["query"], [pair["document"]])[0] for pair in pairs]
    documents = [pair["document"] for pair in pairs]
    batches = [[f"{documents[(start * 7 + at) % len(documents)]} {start}" for at in range(32)] for start in range(requests + 5)]
    times = []
    for number, batch in enumerate(batches):
        started = time.perf_counter()
        server.logits(connection, QUERY, batch)
        if number >= 5:
            times.append(time.perf_counter() - started)
    times.sort()
    info = json.loads(server.get("/info")[1])["models"][0]
    return {
        "logits": logits,
        "pairs_per_second": 32 * len(times) / sum(times),
        "mean": 1000 * statistics.mean(times),
        "p99": 1000 * times[min(len(times) - 1, int(len(times) * 0.99))],
        "info": info,
    }


def ways_of(info):
    accelerator = info.get("accelerator")
    if not accelerator:
        return info["provider"], ""
    used = sorted({program["way"] for program in accelerator["programs"] if program["loaded"]})
    refused = "; ".join(f"{one['way']}: {one['reason']}" for one in accelerator["refused"])
    return ", ".join(used), refused


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--binary", default="target/release/rescored")
    flags.add_argument("--models", nargs="+", default=["ms-marco-MiniLM-L-12-v2"])
    flags.add_argument("--units", nargs="*", default=["all", "ane", "gpu", "cpu"])
    flags.add_argument("--requests", type=int, default=200)
    flags.add_argument("--report", type=pathlib.Path)
    given = flags.parse_args()
    binary = str((ROOT / given.binary).resolve())
    pairs = [json.loads(line) for line in (ROOT / "models/samples.jsonl").read_text().splitlines()]
    lines = [
        f"{platform.platform()}, {os.cpu_count()} cores; {given.requests} requests of 32 documents, one client, cache off.",
        "Distances are to fp32 on the CPU, over "
        f"{len(pairs)} pairs. Made by `python3 tests/bench/macos.py`.",
        "",
        "| model | asked for | ran by | pairs/s | mean ms | p99 ms | mean distance | largest distance | refused |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    failed = []
    for model in given.models:
        subprocess.run([binary, "compile", model, "--precision", "fp32"], cwd=ROOT, check=True)
        right = None
        ways = [("cpu, fp32", "fp32", {"RESCORED_PROVIDER": "cpu", "RESCORED_PRECISION": "fp32"})]
        for units in given.units:
            for precision in ["fp16"] if units == "ane" else ["fp16", "fp32"]:
                settings = {"RESCORED_PROVIDER": "coreml", "RESCORED_COREML_UNITS": units, "RESCORED_PRECISION": precision}
                ways.append((f"coreml {units}, {precision}", precision, settings))
        for name, precision, settings in ways:
            try:
                with Server(binary, model, settings) as server:
                    found = measure(server, pairs, given.requests)
            except (RuntimeError, OSError) as error:
                failed.append(f"{model}, {name}: {error}")
                lines.append(f"| {model} | {name} | did not run | | | | | | {str(error).splitlines()[-1][:200]} |")
                continue
            right = right or found["logits"]
            gaps = [abs(a - b) for a, b in zip(found["logits"], right)]
            ran, refused = ways_of(found["info"])
            lines.append(
                f"| {model} | {name} | {ran} | {found['pairs_per_second']:.0f} | {found['mean']:.1f} | {found['p99']:.1f} "
                f"| {statistics.mean(gaps):.5f} | {max(gaps):.5f} | {refused} |"
            )
            if max(gaps) > OFF_AT_MOST[precision]:
                failed.append(f"{model}, {name}: {max(gaps)} logits off")
    text = "\n".join(lines) + "\n"
    print(text)
    if given.report:
        given.report.parent.mkdir(parents=True, exist_ok=True)
        given.report.write_text(text)
    print("\n".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
