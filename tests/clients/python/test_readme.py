"""The README's Python client, run as it stands there."""

import pathlib
import re
import subprocess
import sys

from support import need

need("cohere")
README = pathlib.Path(__file__).resolve().parents[3] / "README.md"


def test_the_readmes_client_ranks_berlin_first(url):
    (code,) = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)
    assert "http://localhost:8787" in code
    done = subprocess.run([sys.executable, "-c", code.replace("http://localhost:8787", url)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert re.match(r"\[\(0, 0\.99\d*\), \(1, \S+\)\]", done.stdout), done.stdout
