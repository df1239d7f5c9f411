"""Holds what the OpenAPI document says of documents and queries against what the server takes, in both directions.

schemathesis draws few objects that nearly hold a text; these here nearly always do: every one is built of the keys and
values that the reader of documents knows. Whether a schema allows it is asked of a validator, whether the server takes it
of the server. Fixed seeds: the same cases every time.
"""

import json
import os
import random
import sys
import urllib.error
import urllib.request

import jsonschema_rs

URL = os.environ["RESCORED_URL"]
CASES = int(os.environ.get("DOCUMENT_CASES", "700"))
KEYS = ["text", "content", "title", "doc", "type", "role", "image", "image_url", "file", "a"]
TYPES = ["text", "input_text", "image", "image_url", "file", "novel"]
SCALARS = ["lakes", "", 7, -1.5, True, None]


def value(draw, depth):
    kind = draw.choice(["scalar", "scalar", "list", "object"]) if depth else "scalar"
    if kind == "list":
        return [value(draw, depth - 1) for _ in range(draw.randrange(3))]
    return fields(draw, depth - 1) if kind == "object" else draw.choice(SCALARS)


def fields(draw, depth):
    keys = draw.sample(KEYS, draw.randrange(4))
    return {key: draw.choice(TYPES) if key == "type" else value(draw, depth) for key in keys}


def document(draw):
    return fields(draw, 3) if draw.random() < 0.9 else value(draw, 2)


def source(draw):
    keys = draw.sample(["textDocument", "jsonDocument"], draw.randrange(3))
    return {"inlineDocumentSource": {key: document(draw) for key in keys}}


def pair(draw):
    texts = [document(draw) if draw.random() < 0.5 else "lakes" for _ in range(2)]
    return texts if draw.random() < 0.5 else {"text": texts[0], "text_pair": texts[1]}


BODIES = [
    ("/v1/rerank", lambda draw: {"query": "q", "documents": ["a", document(draw)]}),
    ("/v1/rerank", lambda draw: {"query": document(draw), "documents": ["a"]}),
    ("/v1/rerank", lambda draw: {"query": "q", "documents": document(draw)}),
    ("/tei/rerank", lambda draw: {"query": "q", "texts": [document(draw)]}),
    ("/v1/ranking", lambda draw: {"query": {"text": "q"}, "passages": [document(draw)]}),
    ("/score", lambda draw: {"text_1": "q", "text_2": document(draw)}),
    ("/score", lambda draw: {"queries": ["q"], "documents": [document(draw)]}),
    ("/predict", lambda draw: {"inputs": [pair(draw)]}),
    ("/predict", lambda draw: {"inputs": pair(draw)}),
    (
        "/bedrock/rerank",
        lambda draw: {"queries": [{"textQuery": document(draw) if draw.random() < 0.5 else "q"}], "sources": [source(draw)]},
    ),
]


def ask(path, body=None):
    """The status, and the text of the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def main():
    described = json.loads(ask("/openapi.json")[1])
    wrong, taken, refused = [], 0, 0
    for place, (path, draw_body) in enumerate(BODIES):
        schema = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        validator = jsonschema_rs.Draft202012Validator({**schema, "components": described["components"]})
        draw, seen = random.Random(place), set()
        for _ in range(CASES):
            body = draw_body(draw)
            spelled = json.dumps(body)
            if spelled in seen:
                continue
            seen.add(spelled)
            allowed = validator.is_valid(body)
            status, answer = ask(path, body)
            # 422 is of what fits no other field, which no schema expresses.
            if status != 422 and (status not in (200, 400) or allowed != (status == 200)):
                wrong.append(f"{path} {'is' if allowed else 'is not'} allowed {spelled}\n  {status} {answer[:200]}")
            taken, refused = taken + (status == 200), refused + (status == 400)
    print(f"documents: {taken} bodies taken, {refused} refused, {len(wrong)} otherwise than the schema says")
    for one in wrong[:20]:
        print(one)
    if wrong or taken < CASES or refused < CASES:
        sys.exit(1)


if __name__ == "__main__":
    main()
