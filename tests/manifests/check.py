#!/usr/bin/env python3
"""Checks what stands under docker/ and .github/: image, compose file, manifests, chart, alerts, units, workflows. Run it by
`make test-manifests`; names of checks as arguments run those alone.

Each check is one function that raises AssertionError with what is wrong. A check whose tool is not to be had is skipped
with a line that says so; CI=true turns a skip of a tool that `.ci/run` installs into a failure.
"""

import json
import os
import pathlib
import plistlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import yaml

import alerts
import chart
import image
import readme
import release
import unit
from shared import DOCKER, INSTALLED_BY_CI, ROOT, Skipped, files, hardened, run, settings, tool, validate

def check_settings_exist():
    """Every RESCORED_ variable that a file under docker/ names is a setting."""
    known = settings()
    assert len(known) > 20, known
    for path in files():
        if path.suffix in {".tpl", ".json"}:
            continue
        for name in re.findall(r"RESCORED_[A-Z0-9_]*[A-Z0-9]", path.read_text()):
            # A unit's comment may speak of RESCORED_NAME in general.
            assert name in known or name == "RESCORED_NAME", f"{path.relative_to(ROOT)}: {name} is no setting"


def check_flags_exist():
    """Every `rescored` command line that a file under docker/ runs is understood by the program."""
    program = os.environ.get("RESCORED_BIN") or str(ROOT / "target/debug/rescored")
    commands = set()
    # Prose says `rescored answers`; what is run stands in these.
    for path in (path for path in files() if path.suffix not in {".md", ".txt"}):
        text = path.read_text()
        commands |= {tuple(found.split()) for found in re.findall(r"(?:^|&& |RUN )rescored ((?:[a-z][a-z-]*)(?: --[a-z=-]+)*)", text, re.M)}
        commands |= {tuple(re.findall(r"[a-z=-]+", found)) for found in re.findall(r"command: \[rescored, ([^\]]*)\]", text)}
        commands |= {tuple(json.loads(f"[{found}]")) for found in re.findall(r'CMD \["rescored", ([^\]]*)\]', text)}
    assert ("doctor", "--probe") in commands, commands
    for command in commands:
        shown = subprocess.run([program, command[0], "--help"], capture_output=True, text=True)
        assert shown.returncode == 0, f"rescored {command[0]}: {shown.stderr}"
        for flag in command[1:]:
            name, _, value = flag.partition("=")
            assert name in shown.stdout, f"rescored {' '.join(command)}: {name} is no flag"
            assert not value or value in shown.stdout, f"rescored {' '.join(command)}: {value} is no value of {name}"


def check_dockerfile():
    run(tool("hadolint"), "--failure-threshold", "info", DOCKER / "Dockerfile")
    text = (DOCKER / "Dockerfile").read_text()
    stages = re.findall(r"^FROM \S+ AS (\w+)", text, re.M)
    assert stages[-1] == "cpu", f"the default image is the last stage: {stages}"
    for stage in ("cuda", "bare"):
        body = text.split(f" AS {stage}\n", 1)[1].split("\nFROM ", 1)[0]
        for line in ("USER 65532:65532", "HEALTHCHECK", "STOPSIGNAL SIGTERM", "ENTRYPOINT"):
            assert line in body, f"stage {stage} lacks {line}"
    for target in re.findall(r'target\s+=\s+"(\w+)"', (DOCKER / "bake.hcl").read_text()):
        assert target in stages, f"bake.hcl: {target} is no stage"


def check_context_suffices():
    """What Dockerfile.dockerignore lets through is enough to build: cargo reads it, and every file compiled in is there."""
    allowed = [line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")]
    with tempfile.TemporaryDirectory() as folder:
        for pattern in allowed:
            for path in ROOT.glob(pattern if "*" in pattern else pattern):
                target = pathlib.Path(folder, path.relative_to(ROOT))
                target.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    shutil.copytree(path, target, dirs_exist_ok=True)
                else:
                    shutil.copy(path, target)
        run(tool("cargo"), "metadata", "--locked", "--no-deps", "--format-version=1", cwd=folder)
        for source in pathlib.Path(folder, "src").rglob("*.rs"):
            for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text()):
                assert (source.parent / name).exists(), f"{source.relative_to(folder)} includes {name}, which stays outside"


def check_compose():
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    services = compose["services"]
    for name, service in services.items():
        for other in service.get("depends_on", {}):
            assert other in services, f"{name} waits for {other}, which is no service"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            known = source in compose["volumes"] or (DOCKER / source).exists()
            assert known, f"{name}: volume {source} is neither named nor a folder"
        for port in service.get("ports", []):
            assert str(port).startswith("127.0.0.1:"), f"{name}: {port} is open to the network"
    installer = (ROOT / "plugin-config/opensearch/install.py").read_text()
    for flag in (word for word in services["setup"]["command"] if word.startswith("--")):
        assert f'"{flag}"' in installer, f"setup: {flag} is no flag of the installer"
    docker = shutil.which("docker-compose")
    if not docker:
        raise Skipped("docker-compose is not installed; the file's own rules were checked, its schema was not")
    environment = {**os.environ, "DOCKER_HOST": "unix:///nowhere"}
    run(docker, "-f", DOCKER / "compose.yaml", "config", "--quiet", env=environment)


def check_manifests():
    seen = set()
    for path in sorted((DOCKER / "kubernetes").glob("*.yaml")):
        for document in validate(path.read_text(), path.name):
            seen.add(document["kind"])
            if document["kind"] in {"Deployment", "StatefulSet"}:
                pod = document["spec"]["template"]["spec"]
                ours = [c for c in pod.get("initContainers", []) + pod["containers"] if c["name"] == "rescored"]
                assert len(ours) == 1, path.name
                hardened(ours[0], path.name)
    assert {"Service", "Deployment", "StatefulSet", "HorizontalPodAutoscaler", "NetworkPolicy"} <= seen, seen


def check_engine_values():
    values = yaml.safe_load((DOCKER / "helm/opensearch-values.yaml").read_text())
    container = values["extraInitContainers"][0]
    hardened(container, "opensearch-values.yaml")
    volumes = {volume["name"] for volume in values["extraVolumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    pod = {"initContainers": [container], "containers": [{"name": "engine", "image": "engine"}], "volumes": values["extraVolumes"]}
    validate(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "engine"}, "spec": pod}), "opensearch-values.yaml")


def check_cases():
    """Every check that tests/CASES.md names is one of these."""
    known = {f"{check.__module__}.check_{name}" for name, check in checks()}
    named = set(re.findall(r"`((?:chart|alerts|unit|release|image|readme)\.check_\w+)`", (ROOT / "tests/CASES.md").read_text()))
    assert named and named <= known, f"tests/CASES.md names {named - known}"


def check_plist():
    plist = plistlib.loads((DOCKER / "launchd/io.rescored.plist").read_bytes())
    assert plist["ProgramArguments"][1:] == ["serve"] and plist["Label"] == "io.rescored"
    unknown = set(plist["EnvironmentVariables"]) - settings()
    assert not unknown, f"{unknown} are no settings"


def checks():
    """Every function of this file and its neighbours whose name begins with `check_`, by the rest of it."""
    for module in (sys.modules[__name__], chart, alerts, unit, release, image, readme):
        for name, function in vars(module).items():
            if name.startswith("check_"):
                yield name.removeprefix("check_"), function


def main():
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name, check in checks():
        title = name.replace("_", " ")
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        begun = time.monotonic()
        try:
            check()
            counts["passed"] += 1
            print(f"ok       {title} ({time.monotonic() - begun:.1f} s)", flush=True)
        except Skipped as skip:
            wanted = os.environ.get("CI") == "true" and any(known in str(skip) for known in INSTALLED_BY_CI)
            counts["failed" if wanted else "skipped"] += 1
            print(f"{'FAILED  ' if wanted else 'skipped '} {title}: {skip}")
        except AssertionError as wrong:
            counts["failed"] += 1
            print(f"FAILED   {title}: {wrong}")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    sys.exit(counts["failed"] > 0)


if __name__ == "__main__":
    main()
