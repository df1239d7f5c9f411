"""What every client is held to: real questions, and what a right ranking of their passages is.

Owns the cases and the judgement. It must not know any client: a test turns what its client gave into (index, score).
"""

import gzip
import importlib
import json
import math
import os
import pathlib
import urllib.request
from dataclasses import dataclass

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]

# A name under which the server has a model, and one under which it has none.
DEFAULT = "default"
UNKNOWN = "no-such-model"

# Clients that insist on a key before they send anything; the server under test asks for none.
KEY = "any-key"

# Scores go through the JSON of clients in 64 bits; the server prints 32-bit floats in their shortest form.
TOLERANCE = 1e-6

QUESTIONS = 2
CANDIDATES = 8


@dataclass(frozen=True)
class Case:
    """A question, its passages, and the index of the one that answers it."""

    name: str
    query: str
    documents: list
    best: int


BERLIN = Case(
    "berlin",
    "How many people live in Berlin?",
    [
        "New York City is famous for the Metropolitan Museum of Art.",
        "Berlin is well known for its museums.",
        "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
        "Zürich's lake — \"kühl\", 🏊 — is liked by swimmers.",
        "",
    ],
    2,
)


def need(module):
    """A client, or, where it is missing, a visible skip here and a failure in CI."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        root = module.split(".")[0]
        if not error.name or error.name.split(".")[0] != root:
            raise
        sentence = f"client `{module}` is not installed: `make test-clients` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence, pytrace=False)
        pytest.skip(sentence, allow_module_level=True)


def cases():
    """The cases: one of our own, and questions of XQuAD."""
    return [BERLIN, *xquad()]


def xquad():
    data = ROOT / "tests" / "data" / "xquad-en"
    passages = {line["_id"]: line["text"] for line in lines(data / "corpus.jsonl.gz")}
    answers, found = dict(rows(data / "qrels.tsv.gz")), {}
    for query, passage in rows(data / "run.tsv.gz"):
        found.setdefault(query, []).append(passage)
    chosen = []
    for line in lines(data / "queries.jsonl.gz"):
        answer, candidates = answers[line["_id"]], found[line["_id"]][:CANDIDATES]
        # The first stage must have found the answer, and not first: there has to be something to mend.
        if answer in candidates[1:]:
            texts = [passages[one] for one in candidates]
            chosen.append(Case(line["_id"], line["text"], texts, candidates.index(answer)))
        if len(chosen) == QUESTIONS:
            break
    return chosen


def lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def rows(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [tuple(line.split("\t")[:2]) for line in file][1:]


def reference(url, case):
    """The server's own answer, read without any client."""
    body = json.dumps({"query": case.query, "documents": case.documents}).encode()
    request = urllib.request.Request(f"{url}/v1/rerank", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return [(one["index"], one["relevance_score"]) for one in json.load(answer)["results"]]


def hold(url, case, ranked, top=None):
    """Holds a ranking, (index, score) best first, to be whole, in order, within 0..1, right, and the server's own."""
    ranked = [(index, float(score)) for index, score in ranked]
    wanted = len(case.documents) if top is None else top
    indices, scores = [index for index, _ in ranked], [score for _, score in ranked]
    assert len(ranked) == wanted, "as many results as asked"
    assert all(isinstance(index, int) for index in indices), "indices are whole numbers"
    assert len(set(indices)) == wanted and set(indices) <= set(range(len(case.documents))), "each index once"
    assert all(0.0 <= score <= 1.0 for score in scores), "scores lie in 0..1"
    assert scores == sorted(scores, reverse=True), "best first"
    assert indices[0] == case.best, "the passage that answers the question comes first"
    expected = reference(url, case)[:wanted]
    assert indices == [index for index, _ in expected], "the order is the server's"
    for (index, score), (_, own) in zip(ranked, expected):
        assert math.isclose(score, own, rel_tol=TOLERANCE, abs_tol=TOLERANCE), f"document {index}: {score} and {own}"


def hold_in_order(url, case, scores):
    """Holds scores in the order of the documents to the same."""
    hold(url, case, best_first(scores))


def hold_logits(url, case, ranked, top=None):
    """Holds raw logits to the same, through the activation."""
    logits = [logit for _, logit in ranked]
    assert any(logit < 0.0 for logit in logits) or top, "logits are not squeezed into 0..1"
    hold(url, case, [(index, sigmoid(logit)) for index, logit in ranked], top)


def best_first(scores):
    """(index, score) of scores in the order of the documents; ties by index."""
    return sorted(enumerate(scores), key=lambda one: (-one[1], one[0]))


def sigmoid(logit):
    return 1.0 / (1.0 + math.exp(-logit))
