"""README.md's first screen: its answer is what a sidecar says, and its Java client runs as it stands there. Its curl is sent by
tests/real/readme.rs, its Python client by tests/clients/python/test_readme.py, its `docker run` by docker/release/try-image.sh
where there is a container engine."""

import json
import pathlib
import re
import tempfile

from alerts import free_port, get, sidecar
from shared import DOCKER, ROOT, run, tool

README = (ROOT / "README.md").read_text()


def block(language, about):
    """The one fenced block of this language that speaks of this."""
    (found,) = [text for text in re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S) if about in text]
    return found


def check_readme():
    port = free_port()

    def here(text):
        return text.replace("localhost:8787", f"127.0.0.1:{port}")

    question = json.loads(re.search(r"-d '(.*)'", block("sh", "curl")).group(1))
    with sidecar(port), tempfile.TemporaryDirectory() as folder:
        answer = json.loads(get(f"http://127.0.0.1:{port}/v1/rerank", question))
        shown = json.loads(block("json", "relevance_score"))
        assert list(answer) == list(shown), f"keys of the answer: {list(answer)}"
        for given, said in zip(answer["results"], shown["results"], strict=True):
            assert given["index"] == said["index"] and abs(given["relevance_score"] - said["relevance_score"]) < 0.01, given
        volatile = ("id", "created", "results")
        assert all(answer[key] == shown[key] for key in shown if key not in volatile), answer

        javac, java = tool("javac"), tool("java")
        sources = sorted((ROOT / "plugin-config/java/client/src/main").rglob("*.java"))
        example = pathlib.Path(folder, "Example.java")
        example.write_text(here(block("java", "RescoredClient")))
        run(javac, "-proc:none", "-d", folder, example, *sources)
        printed = run(java, "-cp", folder, "Example")
        assert re.match(r"\[0\.99\d*, \S+\]", printed), printed


def check_readme_container():
    """The container's flags are those that the workflow `images` starts it with."""
    (command,) = re.findall(r"^\$ (docker run .*)$", README, re.M)
    tried = (DOCKER / "release/try-image.sh").read_text()
    for flag in re.findall(r"--(?:read-only|cap-drop \w+)", command):
        assert flag in tried, f"try-image.sh starts it without {flag}"
    built = re.search(r"^\$ docker build -f (\S+) -t (\S+) \.$", README, re.M)
    assert (ROOT / built.group(1)).exists() and command.endswith(f" {built.group(2)}")
