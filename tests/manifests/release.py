"""Releases and workflows: one version everywhere, actions pinned, and the scripts of a release run on an archive of this build."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import yaml

from shared import DOCKER, ROOT, Skipped, program, run, tool

WORKFLOWS = ROOT / ".github/workflows"
RELEASE = DOCKER / "release"
TARGETS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin")
RELEASES = "https://example.com/rescored/releases/download"


def host_target():
    machine = os.uname().machine
    return f"{'aarch64' if machine == 'arm64' else machine}-unknown-linux-gnu"


def check_one_version():
    version = run(RELEASE / "version.sh").strip()
    assert run(program(), "--version").split()[-1] == version
    wrong = subprocess.run([RELEASE / "version.sh", version + "1"], capture_output=True, text=True)
    assert wrong.returncode != 0 and "the tag" in wrong.stderr, "a tag of another version is refused"
    toolchain = re.search(r'channel = "([\d.]+)"', (ROOT / "rust-toolchain.toml").read_text()).group(1)
    image = re.search(r"^ARG RUST=(.*)$", (DOCKER / "Dockerfile").read_text(), re.M).group(1)
    assert toolchain == image or toolchain.startswith(image + "."), f"Dockerfile builds with Rust {image}, rust-toolchain.toml has {toolchain}"


def check_scripts():
    scripts = [*DOCKER.rglob("*.sh"), ROOT / ".ci/run", *(ROOT / "tests").glob("*.sh"), ROOT / "tests/fuzz/run.sh", ROOT / "tests/clients/run.sh"]
    assert len(scripts) > 8
    run(tool("shellcheck"), *scripts)
    assert all(os.access(script, os.X_OK) for script in scripts), "scripts are executable"


def check_workflows():
    files = sorted(WORKFLOWS.glob("*.yml"))
    assert {"linux.yml", "macos.yml", "images.yml", "release.yml", "nightly.yml"} <= {file.name for file in files}
    tool("shellcheck")
    run(tool("actionlint"), "-no-color", *files)
    digests = {}
    for file in files:
        text = file.read_text()
        for line in re.findall(r"^\s*(?:- )?uses: (.*)$", text, re.M):
            if line.startswith("./"):
                continue
            pinned = re.fullmatch(r"([\w/.-]+)@([0-9a-f]{40}) # (v[\d.]+)", line)
            assert pinned, f"{file.name}: {line} is not pinned by a commit with its version behind it"
            action, digest, version = pinned.groups()
            assert digests.setdefault(action, (digest, version)) == (digest, version), f"{file.name}: {action} twice"
        assert yaml.safe_load(text)["permissions"] == {"contents": "read"}, f"{file.name}: jobs ask for more one by one"
        for job, body in yaml.safe_load(text)["jobs"].items():
            assert "uses" in body or "timeout-minutes" in body, f"{file.name}: {job} has no limit of time"
        for tool_name, version in re.findall(r"(?:cargo|go) install ([^\s@]+)(\S*)", text):
            assert version.startswith("@") and version != "@latest", f"{file.name}: {tool_name} has no version"
        for script in re.findall(r"docker/[\w/-]+\.sh", text):
            assert (ROOT / script).exists(), f"{file.name}: {script} is not there"


def install(folder, *flags):
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run([folder / "dist/v/install.sh", "--to", folder / "bin", *flags], capture_output=True, text=True, env=environment)


def check_release():
    """Package, assemble and install what was built; an archive that was tampered with is not installed."""
    version = run(RELEASE / "version.sh").strip()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        dist = folder / "dist/v"
        (archive,) = run(RELEASE / "package.sh", host_target(), program(), dist).split()
        assert pathlib.Path(archive).stat().st_size < 40 << 20, "the program is stripped"
        for target in set(TARGETS) - {host_target()}:
            (dist / f"rescored-{version}-{target}.tar.gz").write_text(target)
        run(RELEASE / "assemble.sh", version, RELEASES, dist)
        dist.rename(folder / f"dist/v{version}")
        (folder / "dist/v").symlink_to(f"v{version}")
        run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=dist)
        formula = (dist / "rescored.rb").read_text()
        sums = dict(reversed(line.split()) for line in (dist / "SHA256SUMS").read_text().splitlines())
        for target in TARGETS:
            file = f"rescored-{version}-{target}.tar.gz"
            assert re.search(rf'url "{RELEASES}/v{version}/{file}"\n\s+sha256 "{sums[file]}"', formula), f"the formula has {file}"
        assert "- " in (dist / "NOTES.md").read_text(), "notes of this version"

        mirror = ("--from", f"file://{folder}/dist")
        done = install(folder, *mirror)
        assert done.returncode == 0, done.stderr
        installed = folder / "bin/rescored"
        assert run(installed, "--version").split()[-1] == version
        assert RELEASES in (dist / "install.sh").read_text(), "without --from the release's own address is asked"

        installed.unlink()
        with open(archive.replace("/dist/v/", f"/dist/v{version}/"), "ab") as file:
            file.write(b"x")
        cases = [
            (mirror, "nothing was installed"),
            ((*mirror, "--version", "0.0.1"), "cannot be had"),
            (("--from", "http://example.com"), "neither https"),
            (("--fro", "x"), "no such flag"),
        ]
        for flags, said in cases:
            done = install(folder, *flags)
            assert done.returncode == 1 and said in done.stderr, f"{flags}: {done.returncode} {done.stderr}"
            assert not installed.exists(), f"{flags}: something was installed"
        bare = subprocess.run([DOCKER / "install.sh"], capture_output=True, text=True)
        assert bare.returncode == 1 and "of no release" in bare.stderr


def check_release_chart():
    """The packaged chart names the release's image, and holds no link."""
    tool("helm")
    with tempfile.TemporaryDirectory() as folder:
        run(RELEASE / "chart.sh", "registry.example/rescored", folder)
        (package,) = pathlib.Path(folder).glob("rescored-*.tgz")
        values = ("--set", "models.volume.emptyDir.medium=Memory", "--set", "models.fetch.enabled=true")
        shown = run(tool("helm"), "template", "s", package, "--kube-version", "1.33", *values)
        images = set(re.findall(r'image: "(.*)"', shown))
        version = run(RELEASE / "version.sh").strip()
        assert images == {f"registry.example/rescored:{version}", f"registry.example/rescored:{version}-fetch"}, images
        bake = (DOCKER / "bake.hcl").read_text()
        for suffix in ("", "-fetch", "-cuda"):
            assert f'"${{TAG}}{suffix}${{SUFFIX}}"' in bake, f"bake.hcl tags no image with {suffix}"


def check_sbom():
    if not shutil.which("cargo-cyclonedx"):
        raise Skipped("cargo-cyclonedx is not installed")
    with tempfile.TemporaryDirectory() as folder:
        run(RELEASE / "sbom.sh", folder)
        (file,) = pathlib.Path(folder).iterdir()
        bom = yaml.safe_load(file.read_text())
        assert bom["bomFormat"] == "CycloneDX" and len(bom["components"]) > 200, len(bom["components"])
        assert bom["metadata"]["component"]["name"] == "rescored", bom["metadata"]["component"]
