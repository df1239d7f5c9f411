"""Drives a server with pairs that it has not seen and says what becomes of its memory and which threads use its CPU.

    python3 tests/bench/growth.py BINARY MODEL PAIRS [DOCUMENTS [WORDS]]

BINARY serves MODEL (an id below RESCORED_MODEL_DIR; shapes are served) without its cache. Lines: pairs so far, resident
MiB; at the end the slope after the first tenth, and each kind of thread's share of the process's CPU time. A million pairs
are feasible with a shape of one layer: `rescored compile --layers 1`.
"""

import http.client
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter

WORDS = "river stone market winter engine garden letter copper signal harbour meadow thunder candle bridge forest".split()
CLIENTS = 4


def serve(binary, model):
    settings = {"RESCORED_MODELS": model, "RESCORED_GRAPH": "shape", "RESCORED_CACHE_BYTES": "0",
            "RESCORED_LISTEN": "127.0.0.1:0", "RESCORED_LOG": "info", "RESCORED_LOG_FORMAT": "json",
            "RESCORED_DEADLINE": "1h"}
    server = subprocess.Popen([binary, "serve"], stderr=subprocess.PIPE, text=True, env=os.environ | settings)
    address = None
    for line in server.stderr:
        entry = json.loads(line)
        address = entry.get("address", address) if entry.get("message") == "listening" else address
        if entry.get("message") == "ready":
            threading.Thread(target=lambda: [None for _ in server.stderr], daemon=True).start()
            return server, address
    sys.exit("the server did not start")


def resident(process):
    with open(f"/proc/{process}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) / 1024


def cpu_by_thread(process):
    """Clock ticks by kind of thread: its name without its number."""
    ticks = Counter()
    for task in os.listdir(f"/proc/{process}/task"):
        with open(f"/proc/{process}/task/{task}/stat") as stat:
            name, rest = re.match(r"\d+ \((.*)\) (.*)", stat.read()).groups()
        fields = rest.split()
        ticks[re.sub(r"[-:]?\d+$", "", name)] += int(fields[11]) + int(fields[12])
    return ticks


def main(binary, model, pairs, documents=256, words=12):
    server, address = serve(binary, model)
    done, lock, failed = [0], threading.Lock(), []

    def client(number):
        dice = random.Random(number)
        connection = http.client.HTTPConnection(address, timeout=3600)
        while done[0] < pairs and not failed:
            texts = [" ".join(dice.choices(WORDS, k=dice.randint(1, 2 * words - 1))) + f" {dice.random()}"
                     for _ in range(documents)]
            connection.request("POST", "/v1/rerank", json.dumps({"query": "what the market needs", "documents": texts}),
                               {"content-type": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                failed.append(body)
            with lock:
                done[0] += documents

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    started, seen, step = time.time(), [], max(pairs // 20, 1)
    for one in clients:
        one.start()
    while any(one.is_alive() for one in clients):
        time.sleep(0.2)
        if done[0] >= step * (len(seen) + 1):
            seen.append((done[0], resident(server.pid)))
            print(f"{seen[-1][0]} pairs, {seen[-1][1]:.1f} MiB, {time.time() - started:.0f} s", flush=True)
    ticks = cpu_by_thread(server.pid)
    server.terminate()
    server.wait()
    if failed:
        sys.exit(f"refused: {failed[0]!r}")
    later = [one for one in seen if one[0] >= pairs / 10]
    grown, over = later[-1][1] - later[0][1], later[-1][0] - later[0][0]
    print(f"after the first tenth: {grown:+.1f} MiB over {over} pairs; {pairs / (time.time() - started):.0f} pairs/s")
    total = sum(ticks.values())
    print("CPU: " + ", ".join(f"{name} {100 * count / total:.2f} %" for name, count in ticks.most_common()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
