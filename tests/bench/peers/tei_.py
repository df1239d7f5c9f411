"""text-embeddings-inference at BENCH_TEI_URL, which serves the whole model in fp32 by itself. Arguments: the model's
folder, what the table asks for, threads; the server has its own."""

import protocol


def start(folder, asked, threads):
    import http.client
    import json
    import os
    from urllib.parse import urlsplit

    url = os.environ.get("BENCH_TEI_URL")
    if not url:
        raise RuntimeError("BENCH_TEI_URL names no server")
    with open(os.path.join(folder, "config.json")) as config:
        if json.load(config)["num_hidden_layers"] != 12:
            raise RuntimeError("the server holds the whole model, not this shape")
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)

    def ask(path, body=None):
        method = "GET" if body is None else "POST"
        connection.request(method, path, None if body is None else json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {said[:200]!r}")
        return json.loads(said)

    def score(pairs):
        texts = [document for _, document in pairs]
        body = {"query": pairs[0][0], "texts": texts, "raw_scores": True, "truncate": True}
        logits = [0.0] * len(texts)
        for one in ask("/rerank", body):
            logits[one["index"]] = one["score"]
        return logits

    info = ask("/info")
    return f"text-embeddings-inference {info.get('version')}, {info.get('model_id')}", score


protocol.run(start)
