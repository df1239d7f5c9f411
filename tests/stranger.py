#!/usr/bin/env python3
"""The path of somebody who has just found this repository: clone, `make run`, the README's curl, `/ui`, a search through
OpenSearch with the shipped recipe. No step may be missing. Run it by `make test-stranger`; it builds a release.

What it needs beside the clone is what the README names: Rust, Python with pip; and for the recipe Maven and a JDK, which
bring a real OpenSearch.
"""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
ADDRESS = "127.0.0.1:8787"
PATIENCE = 30 * 60


def step(title):
    print(f"[{time.strftime('%H:%M:%S')}] {title}", flush=True)


def get(path):
    with urllib.request.urlopen(f"http://{ADDRESS}{path}", timeout=10) as answer:
        return answer.status, answer.read().decode()


def wait_until_ready(server):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert server.poll() is None, "`make run` ended"
        try:
            return get("/readyz")
        except OSError:
            time.sleep(1)
    raise AssertionError(f"not ready within {PATIENCE} s")


def readme_curls(readme):
    for block in re.findall(r"```sh\n(.*?)```", readme, re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip().startswith("curl ") and "localhost:8787" in line:
                yield line.strip()


def main():
    with tempfile.TemporaryDirectory() as folder:
        clone = pathlib.Path(folder, "rescored")
        step("git clone")
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RESCORED_")}
        step("make run")
        server = subprocess.Popen(["make", "run"], cwd=clone, env=environment, start_new_session=True)
        try:
            status, _ = wait_until_ready(server)
            assert status == 200
            step("the README's requests")
            curls = list(readme_curls((clone / "README.md").read_text()))
            assert curls, "README.md shows a curl"
            for curl in curls:
                done = subprocess.run(shlex.split(curl) + ["--fail"], capture_output=True, text=True, check=True)
                if "berlin" in curl:
                    assert '"index":0' in done.stdout.split("relevance_score", 1)[0], done.stdout
            step("/ui")
            status, page = get("/ui")
            assert status == 200 and "<title>" in page.lower(), page[:200]
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            assert server.wait(timeout=60) is not None
        step("a search through OpenSearch, by the shipped recipe")
        target = pathlib.Path(environment.get("CARGO_TARGET_DIR", clone / "target"))
        environment |= {"RESCORED_BIN": str(target / "release/rescored"), "ENGINES_REQUIRED": "OpenSearch"}
        subprocess.run([sys.executable, "tests/engines/run.py", "-k", "OpenSearch"], cwd=clone, env=environment, check=True)
    step("no step was missing")


if __name__ == "__main__":
    main()
