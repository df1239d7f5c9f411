#!/usr/bin/env python3
"""Installs this folder in an OpenSearch cluster: settings, connectors, models, search pipelines.

Reads the JSON files beside it, sends what the cluster lacks, waits for the tasks, and prints a line a thing.
A second run changes nothing and says so. Needs Python 3.8 or later and nothing else.
"""

import argparse
import base64
import json
import os
import pathlib
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
# The address that the JSON files carry; --sidecar takes its place.
ADDRESS = "http://127.0.0.1:8787"
NAMES = ["rescored-rerank", "rescored-score"]
PIPELINES = ["one-field", "several-fields", "by-field"]
PLUGINS = ["opensearch-ml", "opensearch-neural-search"]
TRUSTED = "plugins.ml_commons.trusted_connector_endpoints_regex"


class Refused(Exception):
    """OpenSearch answered, but not with 2xx."""

    def __init__(self, status, body):
        super().__init__(f"status {status}: {body[:500]}")
        self.status = status
        # Nothing was made by this call, so it may be made again.
        self.passes = status == 500 and "Fetching master key timed out" in body


class Cluster:
    """One OpenSearch cluster over HTTP."""

    def __init__(self, options):
        self.base = options.opensearch.rstrip("/")
        self.headers = {"content-type": "application/json"}
        if options.user:
            secret = f"{options.user}:{os.environ.get('OPENSEARCH_PASSWORD', '')}"
            self.headers["authorization"] = "Basic " + base64.b64encode(secret.encode()).decode()
        self.tls = ssl.create_default_context(cafile=options.cafile) if self.base.startswith("https:") else None

    def call(self, method, path, body=None, tries=6):
        """The answer's JSON. A cluster that has just started makes ml-commons' key first, and refuses until it is there."""
        for left in reversed(range(tries)):
            try:
                return self.call_once(method, path, body)
            except Refused as refusal:
                if not left or not refusal.passes:
                    raise
                time.sleep(2)

    def call_once(self, method, path, body):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, self.headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60, context=self.tls) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as refusal:
            raise Refused(refusal.code, refusal.read().decode(errors="replace")) from None

    def find(self, kind, name):
        """The ids of the connectors or models of this name."""
        query = {"query": {"term": {"name.keyword": name}}, "_source": ["name"], "size": 10}
        try:
            hits = self.call("POST", f"/_plugins/_ml/{kind}/_search", query)["hits"]["hits"]
        except Refused as refusal:
            if refusal.status == 404:
                return []
            raise
        return [hit["_id"] for hit in hits]

    def wait(self, task, seconds=60):
        """Waits for a task of ml-commons."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            state = self.call("GET", f"/_plugins/_ml/tasks/{task}")
            if state["state"] == "COMPLETED":
                return
            if state["state"] in ("FAILED", "COMPLETED_WITH_ERROR", "CANCELLED"):
                raise SystemExit(f"task {task} ended as {state['state']}: {state.get('error')}")
            time.sleep(0.2)
        raise SystemExit(f"task {task} did not end within {seconds} s")


class Installer:
    """Compares what is wanted with what is there, and sends the difference."""

    def __init__(self, cluster, options):
        self.cluster = cluster
        self.options = options
        self.changes = 0
        self.ids = {}

    def say(self, verb, what, change=True):
        self.changes += 1 if change else 0
        print(f"{verb:<10} {what}", flush=True)

    def wanted(self, name):
        """A JSON file with the sidecar's address and the ids known so far filled in."""
        text = (pathlib.Path(self.options.folder) / f"{name}.json").read_text(encoding="utf-8")
        text = text.replace(ADDRESS, self.options.sidecar)
        # The trusted pattern is a regular expression inside JSON, so its dots carry two backslashes.
        text = text.replace(ADDRESS.replace(".", "\\\\."), self.options.sidecar.replace(".", "\\\\."))
        for mark, value in self.ids.items():
            text = text.replace(f"@{mark}@", value)
        return json.loads(text)

    def settings(self):
        current = self.cluster.call("GET", "/_cluster/settings?include_defaults=true&flat_settings=true")
        effective = {**current["defaults"], **current["persistent"], **current["transient"]}
        changed = {}
        for name, value in self.wanted("cluster-settings")["persistent"].items():
            if name == TRUSTED:
                # Setting the list replaces its default, which trusts other services: keep what is there.
                there = effective.get(name) or []
                value = there + [pattern for pattern in value if pattern not in there]
                same = value == there
            else:
                same = str(effective.get(name)).lower() == str(value).lower()
            if same:
                self.say("unchanged", f"setting {name}", change=False)
            else:
                changed[name] = value
        if changed:
            self.cluster.call("PUT", "/_cluster/settings", {"persistent": changed})
            for name in changed:
                self.say("set", f"setting {name}")

    def connector(self, name):
        body = self.wanted("connector-" + name[len("rescored-"):])
        if self.options.key_file:
            body["credential"] = {"key": pathlib.Path(self.options.key_file).read_text(encoding="utf-8").strip()}
        found = self.one("connectors", name)
        if found is None:
            found = self.cluster.call("POST", "/_plugins/_ml/connectors/_create", body)["connector_id"]
            self.say("created", f"connector {name} ({found})")
        else:
            # The key comes back masked, so it cannot be compared: --replace-key sends it anew.
            visible = {key: value for key, value in body.items() if key != "credential"}
            there = self.cluster.call("GET", f"/_plugins/_ml/connectors/{found}")
            if holds(there, visible) and not self.options.replace_key:
                self.say("unchanged", f"connector {name} ({found})", change=False)
            else:
                # A connector in use cannot be changed; searches meet the pipeline's failure path meanwhile.
                model = self.one("models", name)
                if model is not None:
                    self.cluster.call("POST", f"/_plugins/_ml/models/{model}/_undeploy")
                self.cluster.call("PUT", f"/_plugins/_ml/connectors/{found}", body)
                self.say("updated", f"connector {name} ({found})")
        self.ids[f"connector:{name}"] = found

    def model(self, name):
        body = self.wanted("model-" + name[len("rescored-"):])
        found = self.one("models", name)
        if found is not None:
            there = self.cluster.call("GET", f"/_plugins/_ml/models/{found}")
            if there.get("connector_id") != body["connector_id"]:
                raise SystemExit(f"model {name} ({found}) belongs to another connector; delete it and run this again")
            if there.get("model_state") == "DEPLOYED":
                self.say("unchanged", f"model {name} ({found})", change=False)
            else:
                task = self.cluster.call("POST", f"/_plugins/_ml/models/{found}/_deploy")["task_id"]
                self.cluster.wait(task)
                self.say("deployed", f"model {name} ({found})")
        else:
            answer = self.cluster.call("POST", "/_plugins/_ml/models/_register", body)
            self.cluster.wait(answer["task_id"])
            found = answer["model_id"]
            self.say("registered", f"model {name} ({found})")
            task = self.cluster.call("POST", f"/_plugins/_ml/models/{found}/_deploy")["task_id"]
            self.cluster.wait(task)
            self.say("deployed", f"model {name} ({found})")
        self.ids[f"model:{name}"] = found

    def pipeline(self, name):
        body = self.wanted(f"pipeline-{name}")
        if self.options.strict:
            for processor in body["response_processors"]:
                for settings in processor.values():
                    if settings.get("ignore_failure"):
                        settings["ignore_failure"] = False
        name = f"rescored-{name}"
        try:
            there = self.cluster.call("GET", f"/_search/pipeline/{name}").get(name)
        except Refused as refusal:
            if refusal.status != 404:
                raise
            there = None
        if there == body:
            self.say("unchanged", f"search pipeline {name}", change=False)
        else:
            self.cluster.call("PUT", f"/_search/pipeline/{name}", body)
            self.say("created" if there is None else "updated", f"search pipeline {name}")

    def one(self, kind, name):
        found = self.cluster.find(kind, name)
        if len(found) > 1:
            raise SystemExit(f"{len(found)} {kind} are called {name}: {', '.join(found)}; delete all but one")
        return found[0] if found else None

    def run(self):
        version = self.cluster.call("GET", "/")["version"]
        print(f"OpenSearch {version['number']} at {self.cluster.base}; rescored at {self.options.sidecar}")
        there = {plugin["component"] for plugin in self.cluster.call("GET", "/_cat/plugins?format=json")}
        missing = [plugin for plugin in PLUGINS if plugin not in there]
        if missing:
            raise SystemExit(f"plugins missing on the nodes: {', '.join(missing)}")
        self.settings()
        for name in NAMES:
            self.connector(name)
            self.model(name)
        for name in PIPELINES:
            self.pipeline(name)
        print(f"{self.changes} changes" if self.changes else "nothing to change")


def holds(there, wanted):
    """Whether a part of `there` equals `wanted`; OpenSearch adds fields and turns some numbers into text."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(key in there and holds(there[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        pairs = zip(there, wanted) if isinstance(there, list) and len(there) == len(wanted) else None
        return pairs is not None and all(holds(a, b) for a, b in pairs)
    return str(there).lower() == str(wanted).lower()


def origin(text):
    """A scheme, host and port, nothing after them."""
    parts = urllib.parse.urlsplit(text.rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address such as {ADDRESS}")
    return text.rstrip("/")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--opensearch", default="http://127.0.0.1:9200", type=origin, help="[%(default)s]")
    parser.add_argument("--sidecar", default=ADDRESS, type=origin, help="as the data nodes reach it [%(default)s]")
    parser.add_argument("--key-file", help="file with the key that rescored wants, if it wants one")
    parser.add_argument("--replace-key", action="store_true", help="send the key of --key-file again")
    parser.add_argument("--strict", action="store_true", help="a search fails when rescored fails")
    parser.add_argument("--user", help="user of the security plugin; password in OPENSEARCH_PASSWORD")
    parser.add_argument("--cafile", help="certificate authority of an https cluster")
    parser.add_argument("--folder", default=str(HERE), help="folder of the JSON files [this one]")
    options = parser.parse_args()
    try:
        Installer(Cluster(options), options).run()
    except Refused as refusal:
        raise SystemExit(f"OpenSearch refused: {refusal}") from None
    except (urllib.error.URLError, TimeoutError) as fault:
        raise SystemExit(f"cannot reach {options.opensearch}: {fault}") from None


if __name__ == "__main__":
    main()
