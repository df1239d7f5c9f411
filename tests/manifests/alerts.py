"""Alert rules and scrape configurations, with the tools of Prometheus: a sidecar is scraped by a real Prometheus as
docker/observability says, and every alert fires on the series that came of it, and only when it should."""

import contextlib
import functools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

from shared import DOCKER, ROOT, program, run, tool

OBSERVABILITY = DOCKER / "observability"
PATIENCE = 120
# Counters that have no series before the first fault; tests/api/observability.rs holds their names and labels.
RARE = {"rescored_pair_failures_total", "rescored_cache_shared_failures_total", "rescored_trace_spans_total"}

# What makes each alert fire: series by name and labels, with their values a minute in promtool's notation.
SCENARIOS = {
    "RescoredGone": [("up", {}, "0x60")],
    "RescoredWorkersLost": [("rescored_workers_alive", {}, "4x10 3x49")],
    "RescoredOnCpu": [("rescored_models_moved", {}, "1x60")],
    "RescoredOverloaded": [("rescored_requests_total", {"dialect": "cohere", "status": "429"}, "0+5x60")],
    "RescoredQueueFilling": [("rescored_queue_tokens", {}, "900x60"), ("rescored_queue_limit_tokens", {}, "1000x60")],
    "RescoredFails": [("rescored_requests_total", {"dialect": "cohere", "status": "500"}, "0+5x60")],
    "RescoredSlow": [
        ("rescored_request_seconds_bucket", {"dialect": "cohere"}, "0x60"),
        ("rescored_request_seconds_bucket", {"dialect": "cohere", "le": "+Inf"}, "0+60x60"),
    ],
    "RescoredPairsFail": [("rescored_pair_failures_total", {"reason": "non_finite"}, "0+1x60")],
    "RescoredPartialAnswers": [("rescored_answers_partial_total", {}, "0+10x60")],
    "RescoredCutsDocuments": [("rescored_documents_cut_total", {}, "0+400x90"), ("rescored_pairs_scored_total", {}, "0+1000x90")],
    "RescoredSharedCacheDown": [
        ("rescored_cache_shared_up", {}, "0x60"), ("rescored_cache_shared_failures_total", {"reason": "timeout"}, "0+1x60"),
    ],
    "RescoredSpansLost": [("rescored_trace_spans_total", {"outcome": "dropped"}, "0+1x60")],
}
# A sidecar that is well: it answers, and its probes are refused while it starts, which is no overload.
WELL = [
    ("rescored_requests_total", {"dialect": "cohere", "status": "200"}, "0+60x90"),
    ("rescored_requests_total", {"dialect": "ready", "status": "503"}, "0+60x90"),
    ("rescored_pairs_scored_total", {}, "0+1000x90"),
]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def get(url, body=None):
    data = body and json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


@contextlib.contextmanager
def process(*command, **options):
    child = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.communicate(timeout=40)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()


def eventually(what, child, attempt):
    """The first result of `attempt` that is something; OSError counts as nothing yet."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert child.poll() is None, f"{what}: the process ended: {child.stderr.read()}"
        with contextlib.suppress(OSError):
            if found := attempt():
                return found
        time.sleep(0.2)
    raise AssertionError(f"{what}: nothing within {PATIENCE} s")


@contextlib.contextmanager
def sidecar(port):
    """The program with the default model, which has answered one request."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RESCORED_")}
    environment |= {"RESCORED_LISTEN": f"127.0.0.1:{port}", "RESCORED_MODEL_DIR": str(ROOT / "models"), "RESCORED_WORKERS": "1"}
    with process(program(), "serve", env=environment) as child:
        eventually("the sidecar", child, lambda: get(f"http://127.0.0.1:{port}/readyz"))
        asked = {"query": "how many people live in berlin", "documents": ["Berlin has 3,520,031 inhabitants.", "Art."]}
        get(f"http://127.0.0.1:{port}/v1/rerank", asked)
        yield child


@functools.cache
def scraped():
    """Labels of every series that a Prometheus has of a sidecar under the shipped configuration, its name among them."""
    port, web = free_port(), free_port()
    config = (OBSERVABILITY / "prometheus.yaml").read_text()
    assert "localhost:8787" in config, "the shipped target is replaced"
    config = config.replace("localhost:8787", f"127.0.0.1:{port}").replace("_interval: 15s", "_interval: 1s")
    with tempfile.TemporaryDirectory() as folder, sidecar(port):
        file = pathlib.Path(folder, "prometheus.yaml")
        file.write_text(config.replace("alerts.yaml", str(OBSERVABILITY / "alerts.yaml")))
        flags = [f"--config.file={file}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{web}"]
        with process(tool("prometheus"), *flags) as child:
            def ask(query):
                address = f"http://127.0.0.1:{web}/api/v1/query?" + urllib.parse.urlencode({"query": query})
                return json.loads(get(address))["data"]["result"]

            eventually("the scrape", child, lambda: ask('up{job="rescored"} == 1 and on (job) rescored_requests_total'))
            found = [series["metric"] for series in ask('{job="rescored"}')]
            firing = {s["metric"]["alertname"] for s in ask('ALERTS{alertstate="firing"}')}
            assert not firing, f"of a sidecar that is well: {firing}"
    return found


def series(name, labels):
    """Series of this name with these labels, each like one that was scraped; a value may differ, a label may not be new."""
    alike = [one for one in scraped() if one["__name__"] == name]
    if name in RARE and not alike:
        up = next(one for one in scraped() if one["__name__"] == "up")
        return [up | {"__name__": name} | labels]
    assert alike, f"{name} is not scraped"
    assert set(labels) <= set(alike[0]), f"{name} has no label {set(labels) - set(alike[0])}"
    return list({json.dumps(one | labels, sort_keys=True): one | labels for one in alike}.values())


def notation(metric):
    labels = ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(metric.items()) if name != "__name__")
    return f"{metric['__name__']}{{{labels}}}"


def inputs(*changes):
    """The scraped series, unchanging, but for the changed ones."""
    values = {notation(one): ("1x90" if one["__name__"] == "up" else "0x90") for one in scraped()}
    values[notation(series("rescored_queue_limit_tokens", {})[0])] = "1000x90"
    values[notation(series("rescored_workers_alive", {})[0])] = "4x90"
    for name, labels, shape in changes:
        for one in series(name, labels):
            values[notation(one)] = shape
    return [{"series": name, "values": shape} for name, shape in values.items()]


def check_alerts_fire():
    """promtool: each alert fires on what it is for and no other does; nothing fires while all is well, or without a sidecar."""
    rules = yaml.safe_load((OBSERVABILITY / "alerts.yaml").read_text())["groups"][0]["rules"]
    names = {rule["alert"] for rule in rules}
    assert names == set(SCENARIOS) | {"RescoredAbsent"}, f"alerts and scenarios: {names ^ (set(SCENARIOS) | {'RescoredAbsent'})}"

    def test(title, changes, wanted, at="59m"):
        firing = {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": at, "exp_samples": [
            {"labels": f'{{alertname="{name}"}}', "value": 1} for name in wanted
        ]}
        return {"interval": "1m", "name": title, "input_series": changes, "promql_expr_test": [firing]}

    tests = [test("well", inputs(*WELL), [])]
    tests += [test(name, inputs(*WELL, *changes), [name], "74m" if name == "RescoredCutsDocuments" else "45m") for name, changes in SCENARIOS.items()]
    other = [{"series": 'up{job="other",instance="x"}', "values": "1x90"}]
    tests.append(test("absent", other, ["RescoredAbsent"]))
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "test.yaml")
        file.write_text(yaml.safe_dump({"rule_files": [str(OBSERVABILITY / "alerts.yaml")], "evaluation_interval": "1m", "tests": tests}))
        run(tool("promtool"), "test", "rules", file)


def check_scrape_configurations():
    """promtool reads what is shipped, and the relabelling for pods finds one target a pod, on the port of its metrics."""
    run(tool("promtool"), "check", "config", OBSERVABILITY / "prometheus.yaml")
    jobs = yaml.safe_load((OBSERVABILITY / "kubernetes-pods.yaml").read_text())["scrape_configs"]
    assert jobs[0].pop("kubernetes_sd_configs") == [{"role": "pod"}]

    def target(container, named, **notes):
        meta = "__meta_kubernetes_"
        labels = {f"{meta}pod_annotation_prometheus_io_{name}": value for name, value in notes.items()}
        labels |= {f"{meta}pod_container_name": container, f"{meta}pod_container_port_name": named, f"{meta}namespace": "team"}
        labels |= {f"{meta}pod_ip": notes.get("ip", "10.0.0.7"), f"{meta}pod_name": "search-0"}
        return {"targets": ["10.0.0.7:1"], "labels": labels}

    notes = {"scrape": "true", "port": "8788", "path": "/metrics", "scheme": "https"}
    jobs[0]["static_configs"] = [
        target("rescored", "operations", **notes),
        target("opensearch", "http", **notes),
        target("rescored", "http", **notes | {"scrape": "false"}),
        target("rescored", "http", **{"scrape": "true", "port": "8787", "ip": "fd00::7"}),
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "pods.yaml")
        file.write_text(yaml.safe_dump({"scrape_configs": jobs}))
        run(tool("promtool"), "check", "config", file)
        shown = json.loads(run(tool("promtool"), "check", "service-discovery", "--timeout=2s", file, "rescored-pods"))
    kept = [one["labels"] for one in shown if one["labels"]]
    addresses = [f"{one['__scheme__']}://{one['__address__']}{one['__metrics_path__']}" for one in kept]
    assert sorted(addresses, reverse=True) == ["https://10.0.0.7:8788/metrics", "http://[fd00::7]:8787/metrics"], addresses
    assert all(one["job"] == "rescored" and one["namespace"] == "team" and one["pod"] == "search-0" for one in kept)


def check_scaling_metrics():
    """What the autoscalers ask for is scraped."""
    names = {one["__name__"] for one in scraped()}
    for file in (OBSERVABILITY / "prometheus-adapter.yaml", DOCKER / "helm/rescored/templates/scaling.yaml"):
        asked = set(re.findall(r"rescored_[a-z_]+(?=\{)", file.read_text()))
        assert {"rescored_queue_tokens", "rescored_pairs_scored_total"} <= asked, f"{file.name}: {asked}"
        assert asked <= names, f"{file.name}: {asked - names} are not scraped"
