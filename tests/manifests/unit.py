"""The systemd unit: well formed, hardened, and stopped by what stays bad."""

import os
import pathlib
import re
import subprocess
import tempfile

from shared import DOCKER, ROOT, program, tool

UNIT = DOCKER / "systemd/rescored.service"
# Exposure by `systemd-analyze security` of systemd 252, times ten (it is 15), with room for other versions; what
# remains is the network, which it serves.
EXPOSURE = 18


def placed(folder, executable):
    """The unit in a folder, with this program instead of the one in /usr/local."""
    path = pathlib.Path(folder, "rescored.service")
    path.write_text(UNIT.read_text().replace("/usr/local/bin/rescored", str(executable)))
    return path


def check_unit():
    analyze = tool("systemd-analyze")
    with tempfile.TemporaryDirectory() as folder:
        # The verifier wants the program to exist.
        executable = pathlib.Path(folder, "rescored")
        executable.write_text("#!/bin/sh\n")
        executable.chmod(0o755)
        path = placed(folder, executable)
        done = subprocess.run([analyze, "verify", "--man=no", path], capture_output=True, text=True)
        said = [line for line in done.stderr.splitlines() if "rescored.service" in line]
        assert not said, "\n".join(said)


def check_unit_security():
    analyze = tool("systemd-analyze")
    command = [analyze, "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", UNIT]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-400:] + done.stderr
    with tempfile.TemporaryDirectory() as folder:
        worse = pathlib.Path(folder, UNIT.name)
        worse.write_text(re.sub(r"^(ProtectSystem|CapabilityBoundingSet)=.*\n", "", UNIT.read_text(), flags=re.M))
        done = subprocess.run([*command[:-1], worse], capture_output=True, text=True)
        assert done.returncode != 0, "a unit without them is more exposed"


def check_unit_stops():
    """Bad settings end the program with the code that prevents restarts, before it listens; what else fails again and again
    comes to the limit of starts. No systemd is started: it would act on the host that runs the tests."""
    text = UNIT.read_text()
    value = dict(re.findall(r"^(\w+)=(.*)$", text, re.M))
    assert not re.search(r"^ExecStartPre=", text, re.M), "RestartPreventExitStatus= is about ExecStart alone"
    for name, setting in [("RESCORED_NO_SUCH_SETTING", "1"), ("RESCORED_LISTEN", "nowhere"), ("RESCORED_WORKERS", "0")]:
        environment = {"PATH": os.environ["PATH"], name: setting}
        done = subprocess.run([program(), "serve"], capture_output=True, text=True, timeout=30, env=environment)
        assert done.returncode == int(value["RestartPreventExitStatus"]), f"{name}={setting}: {done.returncode} {done.stderr}"
        assert name in done.stderr, done.stderr
    seconds = {"10min": 600}[value["StartLimitIntervalSec"]]
    # A start that fails takes some seconds too: half of the interval is room enough.
    assert int(value["StartLimitBurst"]) * int(value["RestartSec"]) < seconds / 2, "the limit is reached"
    drain = re.search(r"`RESCORED_DRAIN` \| `(\d+)s`", (ROOT / "CONFIG.md").read_text()).group(1)
    assert int(value["TimeoutStopSec"]) > int(drain), "a stop is not cut short"
