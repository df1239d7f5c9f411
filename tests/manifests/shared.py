"""What the checks share: where things are, tools, settings, Kubernetes' schemas."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
KUBERNETES = "1.33"
# Tools that `.ci/run` installs; without them CI fails instead of skipping.
INSTALLED_BY_CI = {"systemd-analyze", "helm", "helm-docs", "kubeconform", "actionlint", "shellcheck", "promtool", "node"}


class Skipped(Exception):
    """A tool that a check needs is not here."""


def tool(name):
    found = shutil.which(name) or shutil.which(name, path=str(pathlib.Path(sys.executable).parent))
    if not found:
        raise Skipped(f"{name} is not installed")
    return found


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def settings():
    """Every setting that CONFIG.md knows."""
    return set(re.findall(r"`(RESCORED_[A-Z0-9_]+)`", (ROOT / "CONFIG.md").read_text()))


def files():
    return [path for path in sorted(DOCKER.rglob("*")) if path.is_file()]


def program():
    """The sidecar that is tested."""
    return os.environ.get("RESCORED_BIN") or str(ROOT / "target/debug/rescored")


def validate(text, origin):
    kinds = []
    for document in yaml.safe_load_all(text):
        if document is None:
            continue
        try:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise AssertionError(f"{origin}: {document.get('kind')}: {error.message}") from None
        kinds.append(document)
    return kinds


def hardened(container, origin):
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"], origin
    assert context["capabilities"]["drop"] == ["ALL"], origin
    assert {"readinessProbe", "livenessProbe", "startupProbe", "resources"} <= set(container), origin
