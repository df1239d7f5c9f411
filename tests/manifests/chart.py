"""The Helm chart: rendered with values of every kind, held against schemas, and asked what its values promise."""

import functools
import json
import pathlib
import re
import subprocess
import tempfile

import kubernetes_validate
import yaml

from shared import DOCKER, KUBERNETES, ROOT, hardened, run, settings, tool

CHART = DOCKER / "helm/rescored"
# The oldest Kubernetes that the chart takes, the one that is checked everywhere, and the newest with schemas.
VERSIONS = ("1.30", KUBERNETES, "1.37")
CUSTOM = {"ServiceMonitor", "PrometheusRule", "ScaledObject"}
DIGEST = "sha256:" + "0123456789abcdef" * 4
PEER = [{"podSelector": {"matchLabels": {"app": "search"}}}]
MONITORING = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]

EVERYTHING = {
    "nameOverride": "scores",
    "image": {"repository": "registry.example/rescored", "digest": DIGEST},
    "imagePullSecrets": [{"name": "registry"}],
    "settings": {"WORKERS": "4", "MODELS": "ms-marco-MiniLM-L-6-v2"},
    "settingsSecret": "more",
    "keysSecret": "keys",
    "tlsSecret": "tls",
    "extraEnv": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}],
    "extraEnvFrom": [{"configMapRef": {"name": "proxies"}}],
    "ports": {"http": 9000, "operations": 9001},
    "models": {
        "volume": {"persistentVolumeClaim": {"claimName": "models"}},
        "fetch": {"enabled": True, "args": ["ms-marco-MiniLM-L-6-v2"]},
        "compile": {"enabled": True},
    },
    "snapshot": {"emptyDir": {"sizeLimit": "512Mi"}},
    "gpu": {"enabled": True, "count": 2},
    "runtimeClassName": "nvidia",
    "service": {"annotations": {"a": "b"}},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "hosts": [{"host": "rerank.example.com", "paths": [{"path": "/", "pathType": "Prefix"}]}],
        "tls": [{"hosts": ["rerank.example.com"], "secretName": "rerank-tls"}],
    },
    "serviceAccount": {"annotations": {"role": "models"}},
    "autoscaling": {"enabled": True, "pairsPerSecond": 400},
    "networkPolicy": {"enabled": True, "from": PEER, "metricsFrom": MONITORING, "limitEgress": True},
    "metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}, "prometheusRule": {"enabled": True}},
    "priorityClassName": "search",
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "search"},
    "nodeSelector": {"gpu": "yes"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "extraInitContainers": [{"name": "wait", "image": "wait"}],
    "extraContainers": [{"name": "beside", "image": "beside"}],
    "extraVolumes": [{"name": "certificates", "configMap": {"name": "certificates"}}],
    "extraVolumeMounts": [{"name": "certificates", "mountPath": "/certificates"}],
}
NOTHING = {
    "disruptionBudget": {"enabled": False},
    "serviceAccount": {"create": False},
    "metrics": {"annotations": False},
    "replicas": 1,
    "topologySpreadConstraints": [],
}


def helm_template(values, kubernetes=KUBERNETES):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        command = [tool("helm"), "template", "search", CHART, "--namespace", "team", "--kube-version", kubernetes, "--values", file.name]
        return subprocess.run(command, capture_output=True, text=True)


@functools.cache
def rendered_text(values, kubernetes):
    done = helm_template(json.loads(values), kubernetes)
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(**values):
    """What the chart makes of these values, by kind; every resource is valid by the schemas of Kubernetes."""
    documents = [d for d in yaml.safe_load_all(rendered_text(json.dumps(values), KUBERNETES)) if d]
    for document in documents:
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    kinds = {document["kind"]: document for document in documents}
    assert len(kinds) == len(documents), "one resource of a kind"
    return kinds


def pod(kinds):
    return kinds["Deployment"]["spec"]["template"]["spec"]


def server(kinds):
    return next(c for c in pod(kinds)["containers"] if c["name"] == "rescored")


def environment(container):
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def refused(**values):
    """What helm says about values that it refuses."""
    done = helm_template(values)
    assert done.returncode != 0, f"{values} are taken"
    return done.stderr


def check_chart_lint():
    helm = tool("helm")
    run(helm, "lint", "--strict", CHART, "--kube-version", KUBERNETES)
    with tempfile.TemporaryDirectory() as folder:
        run(helm, "package", CHART, "--destination", folder)
        (package,) = pathlib.Path(folder).iterdir()
        listed = run("tar", "-tzf", package).splitlines()
        assert "rescored/files/alerts.yaml" in listed, "the alerts travel with the chart"
        shown = run(helm, "template", "s", package, "--kube-version", KUBERNETES, "--set", "metrics.prometheusRule.enabled=true")
        assert "RescoredGone" in shown, "a packaged chart has the rules"


def standalone_schemas(version, kinds, folder):
    """Writes the schemas of these kinds, each in one file with the definitions that it needs, as kubeconform wants them."""
    source = pathlib.Path(kubernetes_validate.__file__).parent / f"kubernetes-json-schema/v{version}.0-local-strict"
    definitions = json.loads((source / "_definitions.json").read_text())["$defs"]
    prefix = re.escape("#/$defs/")
    for name in kinds:
        text = (source / f"{name}.json").read_text().replace("/api/_definitions.json#/", "#/")
        wanted, seen = set(re.findall(rf'"{prefix}([^"]+)"', text)), {}
        while wanted:
            one = wanted.pop()
            seen[one] = definitions[one]
            wanted |= set(re.findall(rf'"{prefix}([^"]+)"', json.dumps(definitions[one]))) - set(seen)
        schema = {key: value for key, value in json.loads(text).items() if key != "$id"}
        (folder / f"{name}.json").write_text(json.dumps(schema | {"$defs": seen}))


KINDS = [
    "deployment-apps-v1", "service-v1", "serviceaccount-v1", "poddisruptionbudget-policy-v1", "ingress-networking-v1",
    "networkpolicy-networking-v1", "horizontalpodautoscaler-autoscaling-v2",
]


def check_chart_schemas():
    """kubeconform: everything rendered, against the schemas of three versions, unknown keys refused."""
    kubeconform = tool("kubeconform")
    keda = EVERYTHING | {"autoscaling": {"enabled": True, "kind": "keda"}}
    for version in VERSIONS:
        with tempfile.TemporaryDirectory() as folder:
            standalone_schemas(version, KINDS, pathlib.Path(folder))
            place = folder + "/{{.ResourceKind}}{{.KindSuffix}}.json"
            command = [kubeconform, "-strict", "-summary", "-output", "json", "-schema-location", place, "-skip", ",".join(CUSTOM)]
            texts = [rendered_text(json.dumps(values), version) for values in ({}, NOTHING, EVERYTHING, keda)]
            done = subprocess.run(command, input="\n---\n".join(texts), capture_output=True, text=True)
            said = json.loads(done.stdout)
            assert done.returncode == 0, f"{version}: {said.get('resources')}{done.stderr}"
            assert said["summary"]["valid"] > 15 and said["summary"]["skipped"] == 5, said["summary"]
            wrong = texts[0].replace("terminationGracePeriodSeconds", "terminationGracePeriod")
            done = subprocess.run(command, input=wrong, capture_output=True, text=True)
            assert done.returncode == 1 and "terminationGracePeriod" in done.stdout, f"{version}: an unknown key is found"


def check_chart_custom_resources():
    """ServiceMonitor, PrometheusRule and ScaledObject, against their own schemas."""
    found = []
    for kind in ("hpa", "keda"):
        scaling = {"enabled": True, "kind": kind, "pairsPerSecond": 400}
        kinds = render(**EVERYTHING | {"autoscaling": scaling})
        found += [document for name, document in kinds.items() if name in CUSTOM]
    assert {document["kind"] for document in found} == CUSTOM
    script = ROOT / "tests/manifests/custom-resources.mjs"
    done = subprocess.run([tool("node"), script], input=json.dumps(found), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    monitor = next(document for document in found if document["kind"] == "ServiceMonitor")
    monitor["spec"]["endpoints"][0]["port"] = 1
    done = subprocess.run([tool("node"), script], input=json.dumps(found), capture_output=True, text=True)
    assert done.returncode == 1 and "port" in done.stderr, "the schema finds a fault"


def check_chart_documents():
    """README.md of the chart is what helm-docs writes, and every value has a line and a type."""
    written = run(tool("helm-docs"), "--chart-search-root", CHART, "--dry-run", "--log-level", "error")
    kept = (CHART / "README.md").read_text()
    assert written.strip() == kept.strip(), "docker/helm/rescored/README.md: run helm-docs --chart-search-root docker/helm"
    empty = [line for line in kept.splitlines() if re.match(r"\| [A-Za-z.]+ \|", line) and line.rstrip().endswith("|  |")]
    assert not empty, f"values without a comment: {empty}"
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(values, node, path):
        known = node.get("properties", {})
        for name, value in values.items():
            assert name in known, f"values.schema.json lacks {path}{name}"
            if isinstance(value, dict) and known[name].get("additionalProperties") is False and "properties" in known[name]:
                compare(value, known[name], f"{path}{name}.")
        missing = {name for name, kind in known.items() if kind is not False} - set(values) - {"global"}
        assert not missing or path in {"resources.", "settings."} or path.endswith("resources."), f"values.yaml lacks {path}{missing}"

    compare(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "")


def check_chart_refusals():
    """Values that do not fit are refused by their name."""
    cases = [
        ({"replicaCount": 3}, "replicaCount"),
        ({"image": {"tga": "x"}}, "tga"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
        ({"settings": {"workers": "2"}}, "workers"),
        ({"settings": {"RESCORED_WORKERS": "2"}}, "RESCORED_WORKERS"),
        ({"settings": {"WORKERS": 2}}, "WORKERS"),
        ({"networkPolicy": {"form": []}}, "form"),
        ({"snapshot": {"emptyDir": {}, "hostPath": {}}}, "/snapshot"),
        ({"ports": {"http": 80}}, "/ports/http"),
        ({"ingress": {"enabled": True}}, "/ingress/hosts"),
        ({"autoscaling": {"enabled": True, "queueTokens": 0}}, "queueTokens"),
        ({"autoscaling": {"enabled": True, "minReplicas": 11}}, "autoscaling.minReplicas"),
        ({"models": {"fetch": {"enabled": True}}}, "models.volume"),
        ({"extraEnv": [{"name": "RESCORED_LISTEN", "value": "x"}]}, "RESCORED_LISTEN"),
    ]
    derived = ("LISTEN", "OPERATIONS_LISTEN", "DRAIN", "API_KEYS_FILE", "TLS_CERT", "TLS_KEY", "CACHE_SNAPSHOT", "MODEL_DIR", "PROVIDER")
    cases += [({"settings": {name: "x"}}, f"/settings/{name}") for name in derived]
    for values, name in cases:
        said = refused(**values)
        assert name in said, f"{values}: {said}"


def check_chart_defaults():
    kinds = render()
    assert set(kinds) == {"Deployment", "Service", "ServiceAccount", "PodDisruptionBudget"}, set(kinds)
    container = server(kinds)
    hardened(container, "defaults")
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert container["image"] == f"rescored:{version}"
    assert "volumes" not in pod(kinds) and "volumeMounts" not in container, "a volume only where one is asked for"
    assert "RESCORED_CACHE_SNAPSHOT" not in environment(container)
    assert set(environment(container)) <= settings()
    assert pod(kinds)["serviceAccountName"] == kinds["ServiceAccount"]["metadata"]["name"] == "search-rescored"
    spread = pod(kinds)["topologySpreadConstraints"][0]
    assert spread["labelSelector"]["matchLabels"] == kinds["Service"]["spec"]["selector"]
    notes = kinds["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert notes["prometheus.io/port"] == "8787" and notes["prometheus.io/scheme"] == "http", notes
    assert set(render(**NOTHING)) == {"Deployment", "Service"}
    assert pod(render(**NOTHING))["serviceAccountName"] == "default"


def check_chart_image():
    repository = "registry.example/rescored"
    for values, wanted in [
        ({"tag": "2"}, f"{repository}:2"),
        ({"tag": "2", "digest": DIGEST}, f"{repository}@{DIGEST}"),
        ({"digest": DIGEST}, f"{repository}@{DIGEST}"),
    ]:
        assert server(render(image={"repository": repository} | values))["image"] == wanted
    assert server(render(gpu={"enabled": True}))["image"].endswith("-cuda")
    assert server(render(gpu={"enabled": True}, image={"tag": "mine"}))["image"] == "rescored:mine"


def check_chart_ports():
    kinds = render(ports={"http": 9000, "operations": 9001}, tlsSecret="tls", listenAddress="[::]")
    container = server(kinds)
    variables = environment(container)
    assert variables["RESCORED_LISTEN"] == "[::]:9000" and variables["RESCORED_OPERATIONS_LISTEN"] == "[::]:9001"
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"http": 9000, "operations": 9001}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == "operations" and container[probe]["httpGet"]["scheme"] == "HTTP"
    assert {port["name"] for port in kinds["Service"]["spec"]["ports"]} == {"http", "operations"}
    alone = server(render(tlsSecret="tls"))
    assert alone["readinessProbe"]["httpGet"]["scheme"] == "HTTPS" and alone["readinessProbe"]["httpGet"]["port"] == "http"
    assert environment(alone)["RESCORED_TLS_CERT"] == "/tls/tls.crt"
    assert {"name": "tls", "mountPath": "/tls", "readOnly": True} in alone["volumeMounts"]


def check_chart_models():
    kinds = render(**EVERYTHING)
    fetch, compile_ = pod(kinds)["initContainers"][:2]
    assert fetch["command"] == ["rescored", "fetch"] and fetch["args"] == ["--provider", "cuda", "ms-marco-MiniLM-L-6-v2"]
    assert compile_["command"] == ["rescored", "compile"] and compile_["image"] == server(kinds)["image"]
    assert fetch["image"].endswith("-fetch"), "fetch needs Python, which the server's image has not"
    for one in (fetch, compile_):
        assert environment(one)["RESCORED_MODELS"] == "ms-marco-MiniLM-L-6-v2"
        assert {"name": "models", "mountPath": "/models"} in one["volumeMounts"]
        assert one["securityContext"]["readOnlyRootFilesystem"] and one["securityContext"]["capabilities"]["drop"] == ["ALL"]
    assert compile_["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in server(kinds)["volumeMounts"]
    mounted = {mount["name"] for c in pod(kinds)["initContainers"] + pod(kinds)["containers"] for mount in c.get("volumeMounts", [])}
    assert mounted == {volume["name"] for volume in pod(kinds)["volumes"]}, "every volume is there, and used"
    claim = render(snapshot={"persistentVolumeClaim": {"claimName": "scores"}})
    assert pod(claim)["volumes"] == [{"name": "scores", "persistentVolumeClaim": {"claimName": "scores"}}]
    assert environment(server(claim))["RESCORED_CACHE_SNAPSHOT"] == "/cache/scores.snapshot"


def check_chart_gpu():
    kinds = render(gpu={"enabled": True, "count": 2, "resource": "nvidia.com/mig-1g.10gb"}, runtimeClassName="nvidia")
    container = server(kinds)
    assert container["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == 2
    assert container["resources"]["limits"]["memory"] == "1Gi", "the other limits stay"
    assert environment(container)["RESCORED_PROVIDER"] == "cuda" and pod(kinds)["runtimeClassName"] == "nvidia"


def check_chart_settings():
    kinds = render(**EVERYTHING)
    container = server(kinds)
    variables = environment(container)
    assert variables["RESCORED_WORKERS"] == "4"
    assert variables["RESCORED_ALLOWED_HOSTS"] == "search-scores.team,rerank.example.com"
    assert {name for name in variables if name.startswith("RESCORED_")} <= settings()
    assert {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}} in container["env"]
    assert container["envFrom"][0] == {"secretRef": {"name": "more"}, "prefix": "RESCORED_"}
    assert container["envFrom"][1] == {"configMapRef": {"name": "proxies"}}
    hosts = environment(server(render(settings={"ALLOWED_HOSTS": "lb.example.com"})))["RESCORED_ALLOWED_HOSTS"]
    assert hosts == "search-rescored.team,lb.example.com", "the user's hosts join the chart's"
    grace = pod(render(drainSeconds=60, preStopSeconds=10))["terminationGracePeriodSeconds"]
    assert grace > 70, "the pod has the pause and the drain"


def check_chart_network():
    """An empty list lets nobody in."""
    def policy(**values):
        return render(networkPolicy={"enabled": True} | values, ports={"operations": 8788})["NetworkPolicy"]["spec"]

    assert policy()["ingress"] == [] and policy()["policyTypes"] == ["Ingress"]
    peers = policy(**{"from": PEER, "metricsFrom": MONITORING})["ingress"]
    assert [rule["from"] for rule in peers] == [PEER, MONITORING]
    assert [[port["port"] for port in rule["ports"]] for rule in peers] == [["http", "operations"], ["operations"]]
    assert all(rule["from"] for rule in policy(metricsFrom=MONITORING)["ingress"])
    closed = policy(limitEgress=True)
    assert closed["egress"] == [] and closed["policyTypes"] == ["Ingress", "Egress"]


def check_chart_scaling():
    kinds = render(autoscaling={"enabled": True, "pairsPerSecond": 400, "queueTokens": 30000000})
    assert "replicas" not in kinds["Deployment"]["spec"]
    names = {m["pods"]["metric"]["name"]: m["pods"]["target"]["averageValue"] for m in kinds["HorizontalPodAutoscaler"]["spec"]["metrics"]}
    assert names == {"rescored_queue_tokens": "30000000", "rescored_pairs_scored_per_second": "400"}, names
    adapter = yaml.safe_load((DOCKER / "observability/prometheus-adapter.yaml").read_text())
    assert {rule["name"]["as"] for rule in adapter["rules"]["custom"]} == set(names), "the adapter serves what is scaled by"
    kinds = render(autoscaling={"enabled": True, "kind": "keda", "pairsPerSecond": 400})
    triggers = kinds["ScaledObject"]["spec"]["triggers"]
    assert [t["metadata"]["query"] for t in triggers] == [
        'sum(rescored_queue_tokens{namespace="team",service="search-rescored"})',
        'sum(rate(rescored_pairs_scored_total{namespace="team",service="search-rescored"}[2m]))',
    ]
    assert "HorizontalPodAutoscaler" not in kinds, "KEDA makes its own"


def check_chart_monitoring():
    kinds = render(**EVERYTHING)
    monitor = kinds["ServiceMonitor"]["spec"]
    assert monitor["selector"]["matchLabels"] == {k: kinds["Service"]["metadata"]["labels"][k] for k in monitor["selector"]["matchLabels"]}
    assert kinds["Service"]["metadata"]["labels"][monitor["jobLabel"]] == "rescored", "alerts expect job=rescored"
    assert monitor["endpoints"][0]["port"] in {port["name"] for port in kinds["Service"]["spec"]["ports"]}
    assert kinds["PrometheusRule"]["spec"] == yaml.safe_load((DOCKER / "observability/alerts.yaml").read_text()), "one source"
    notes = kinds["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert "prometheus.io/scrape" not in notes, "a pod is scraped once"
    endpoint = render(tlsSecret="tls", metrics={"serviceMonitor": {"enabled": True}})["ServiceMonitor"]["spec"]["endpoints"][0]
    assert endpoint["scheme"] == "https"
