#!/usr/bin/env python3
"""Searches Solr, sends the top documents to rescored, prints the answer of Solr with them in the new order.

For where the plugin may not be installed. Needs Python 3.8 or later and nothing else.
"""

import argparse
import json
import sys
import urllib.error
import urllib.parse
import urllib.request


def search(options):
    """Solr's answer with the window's documents."""
    parameters = {"q": options.query, "df": options.field, "fl": "*,score", "wt": "json", "rows": options.rows}
    url = f"{options.solr.rstrip('/')}/select?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=options.timeout) as answer:
        return json.load(answer)


def rescore(options, documents):
    """The documents by the cross-encoder's score, which each carries as `rescored_score`."""
    body = {"query": options.query, "documents": [text(document.get(options.field)) for document in documents]}
    headers = {"content-type": "application/json", "x-request-timeout-ms": str(int(options.timeout * 1000))}
    request = urllib.request.Request(f"{options.sidecar.rstrip('/')}/v1/rerank", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=options.timeout) as answer:
        results = json.load(answer)["results"]
    return [{**documents[item["index"]], "rescored_score": item["relevance_score"]} for item in results]


def text(value):
    """A field's value as one text; Solr gives lists for multi-valued fields."""
    if value is None:
        return ""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("query")
    parser.add_argument("--solr", default="http://127.0.0.1:8983/solr/passages", help="a collection [%(default)s]")
    parser.add_argument("--sidecar", default="http://127.0.0.1:8787", help="[%(default)s]")
    parser.add_argument("--field", default="body", help="the field that makes the passage [%(default)s]")
    parser.add_argument("--rows", default=50, type=int, help="the window [%(default)s]")
    parser.add_argument("--timeout", default=5.0, type=float, help="seconds for each call [%(default)s]")
    options = parser.parse_args()
    result = search(options)
    documents = result["response"]["docs"]
    if documents:
        try:
            result["response"]["docs"] = rescore(options, documents)
        except (urllib.error.URLError, TimeoutError) as fault:
            # The first stage's order stands, and it says so.
            print(f"not rescored: {fault}", file=sys.stderr)
    json.dump(result, sys.stdout, ensure_ascii=False, indent=2)
    print()


if __name__ == "__main__":
    main()
