"""What images do when they start, shown without a container engine: the CUDA image's start script with a program that only
notes its arguments, and the CPU image's conditions (its files alone, a read-only root, another user, no capabilities)."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile

from shared import DOCKER, ROOT, Skipped, program, run

USER = 65532


def as_user(*command):
    """The command as the user of the images, without capabilities; as the present one where that is not root."""
    if os.geteuid() != 0:
        return command
    return ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--bounding-set=-all", "--no-new-privs", *command)


class CudaImage:
    """The files of the CUDA image under a folder, its program one that appends its arguments to `asked`."""

    def __init__(self, folder):
        self.folder, self.models, self.seed, self.gpu = folder, folder / "models", folder / "seed", folder / "nvidiactl"
        self.asked, program_file = folder / "asked", folder / "bin/rescored"
        for part in (self.models, self.seed / ".runtime", self.seed / "m/compiled", program_file.parent):
            part.mkdir(parents=True)
        self.gpu.touch()
        self.asked.touch()
        program_file.write_text(
            f'#!/bin/sh\n[ "$1" != --version ] || {{ echo "rescored ${{AS:-1.0.0}}"; exit; }}\necho "$@" >> {self.asked}\n'
            f'[ "$1" != compile ] || [ -z "${{BROKEN:-}}" ] || exit 1\n'
        )
        program_file.chmod(0o755)
        script = (DOCKER / "cuda-start.sh").read_text()
        for place, here in [("/usr/local/share/rescored/models", self.seed), ("/dev/nvidiactl", self.gpu)]:
            assert place in script
            script = script.replace(place, str(here))
        self.script = folder / "start"
        self.script.write_text(script)
        self.script.chmod(0o755)
        folder.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(self.models, USER, USER)
            os.chown(self.asked, USER, USER)

    def start(self, *words, **variables):
        self.asked.write_text("")
        environment = {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "RESCORED_MODEL_DIR": str(self.models), "RESCORED_MODELS": "m"}
        command = as_user("sh", str(self.script), *words)
        done = subprocess.run(command, capture_output=True, text=True, env=environment | variables)
        return done.returncode, done.stderr.strip(), self.asked.read_text().splitlines()


def check_cuda_start():
    with tempfile.TemporaryDirectory() as folder:
        image = CudaImage(pathlib.Path(folder))
        compiled = ["compile m --provider cuda", "serve"]
        assert image.start("serve") == (0, "", compiled), "the first start lays the model into the volume and compiles"
        assert (image.models / ".runtime").is_dir()
        assert image.start("serve") == (0, "", ["serve"]), "the next one serves at once"
        assert image.start("serve", AS="1.0.1")[2] == compiled, "another version compiles anew"
        assert image.start("doctor", "--probe") == (0, "", ["doctor --probe"])
        code, said, asked = image.start("serve", AS="1.0.2", BROKEN="1")
        assert code == 64 and "cannot be compiled" in said and asked == compiled[:1], (code, said, asked)
        shutil.rmtree(image.models)
        image.models.mkdir(mode=0o555)
        code, said, asked = image.start("serve")
        assert code == 64 and "cannot be written by user" in said and len(said.splitlines()) == 1 and not asked, (code, said)
        image.gpu.unlink()
        code, said, asked = image.start("serve")
        assert code == 64 and "no GPU is here" in said and len(said.splitlines()) == 1 and not asked, (code, said)


def check_images():
    """Users, volumes and start of every image as the Dockerfile says."""
    text = (DOCKER / "Dockerfile").read_text()
    stages = {name: body for name, body in re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM |\Z)", text, re.M | re.S)}
    for name in ("fetch", "cuda", "bare"):
        assert "USER 65532:65532" in stages[name] and "--chown=65532:65532 /volumes/ /" in stages[name], name
    assert "mkdir -p /volumes/models /volumes/cache" in stages["assets"]
    assert 'ENTRYPOINT ["rescored-start"]' in stages["cuda"] and "docker/cuda-start.sh" in stages["cuda"]
    assert "COPY --from=assets /models /models" not in stages["cuda"], "a volume would hide what lies in /models"
    allowed = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    for source in re.findall(r"^COPY (?:--chmod=\S+ )?(docker/\S+)", text, re.M):
        assert f"!{source}" in allowed, f"{source} stays outside of the build"


def libraries(path):
    """Shared libraries that the dynamic linker finds for this file, the linker among them."""
    return {pathlib.Path(found) for found in re.findall(r"(/\S+)(?= \(0x)", run("ldd", path))}


def root_file_system(root):
    """What the CPU image holds: the program, C and C++ libraries, the model folder; no shell."""
    models = ROOT / "models"
    executable = root / "usr/local/bin/rescored"
    for part in (executable.parent, root / "models", root / "cache", root / "proc", root / "dev", root / "sys", root / "etc", root / "tmp"):
        part.mkdir(parents=True)
    shutil.copy(program(), executable)
    for name in (".runtime", "ms-marco-MiniLM-L-12-v2"):
        if not (models / name).exists():
            raise Skipped(f"models/{name} is missing; `make fetch` brings it")
        shutil.copytree((models / name).resolve(), root / "models" / name)
    runtime = next((root / "models/.runtime").glob("*/libonnxruntime.so*"))
    for library in libraries(executable) | libraries(runtime):
        target = root / str(library).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library.resolve(), target)
    for path in root.rglob("*"):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))


def check_read_only_root():
    """The program alone in a read-only root, as another user without capabilities, with one writable volume: it serves, and
    leaves its snapshot at the end. Namespaces hold the mounts; of the host only the network is shared."""
    if os.geteuid() != 0:
        raise Skipped("root is needed for mounts")
    with tempfile.TemporaryDirectory() as name:
        root, volume = pathlib.Path(name, "root"), pathlib.Path(name, "volume")
        root_file_system(root)
        volume.mkdir()
        os.chown(volume, USER, USER)
        pathlib.Path(name).chmod(0o755)
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        # Every mount has the root of the image for its target, and ends with the namespace.
        mounts = (
            'set -e; mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; mount --bind "$2" "$1/cache"; '
            'mount -t proc -o ro proc "$1/proc"; root=$1; shift 2; '
            f'exec chroot --userspec={USER}:{USER} --groups= "$root" "$@"'
        )
        settings = {
            "RESCORED_LISTEN": f"127.0.0.1:{port}", "RESCORED_MODEL_DIR": "/models", "RESCORED_WORKERS": "1",
            "RESCORED_CACHE_SNAPSHOT": "/cache/scores.snapshot", "PATH": os.environ["PATH"],
        }
        chroot = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c", mounts, "sh", str(root), str(volume)]
        probe = subprocess.run([*chroot, "/usr/local/bin/rescored", "--version"], capture_output=True, text=True, env=settings)
        if "Operation not permitted" in probe.stderr:
            raise Skipped(f"no mounts in namespaces here: {probe.stderr.strip()}")
        assert probe.returncode == 0, probe.stderr
        with tempfile.TemporaryFile("w+") as said:
            server = subprocess.Popen([*chroot, "/usr/local/bin/rescored", "serve"], env=settings, stderr=said, start_new_session=True)
            try:
                asked = subprocess.run([DOCKER / "release/ask.sh", f"http://127.0.0.1:{port}"], capture_output=True, text=True)
                status = server_status(server)
                os.kill(status["pid"], signal.SIGTERM)
                server.wait(timeout=60)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(server.pid, signal.SIGKILL)
                said.seek(0)
                log = said.read()
        assert asked.returncode == 0, asked.stderr + log
        assert status["uid"] == USER and status["capabilities"] == 0 and status["read_only"], status
        assert (volume / "scores.snapshot").stat().st_size > 0, f"no snapshot was left: {log}"
        assert not (root / "cache/scores.snapshot").exists()


def server_status(unshare):
    """The process below `unshare` that became the server: its id here, its user and its effective capabilities."""
    (pid,) = run("ps", "--ppid", str(unshare.pid), "-o", "pid=").split()
    status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    roots = [line.split() for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines() if line.split()[4] == "/"]
    read_only = "ro" in roots[-1][5].split(",")
    return {"pid": int(pid), "read_only": read_only, "uid": int(status["Uid"].split()[1]), "capabilities": int(status["CapEff"], 16)}
