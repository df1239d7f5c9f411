"""What schemathesis cannot know of the OpenAPI document by itself."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context, value):
    """A stream of lines goes out as it is written."""
    return {"data": value if isinstance(value, bytes) else str(value).encode()}


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """No schema compares two places: each object among the documents has to have a field that `rank_fields` name."""
    body = case.body
    if not isinstance(body, dict) or not names_fields(body.get("rank_fields")):
        return
    for key in ("documents", "texts", "passages"):
        documents = body.get(key, [])
        if not isinstance(documents, list) or not all(isinstance(one, str) for one in documents):
            case.body = {name: value for name, value in body.items() if name != "rank_fields"}


def names_fields(names):
    return isinstance(names, list) and 0 < len(names) <= 100 and all(isinstance(name, str) and name for name in names)
