"""What schemathesis cannot know of the OpenAPI document by itself."""

import copy

import jsonschema_rs
import schemathesis
from schemathesis.core.parameters import ParameterLocation

# What holds a text is described by recursion, of which schemathesis makes 180,000 cases that differ in nothing but the depth.
# It draws from these instead, each a part of what is allowed; documents.py draws from the whole.
FLAT = {
    "Fields": {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}, "type": {"const": "text"}}},
    "Readable": {"type": "string"},
    "TextOnly": {"type": "string"},
}
VALIDATORS = {}


@schemathesis.hook
def before_load_schema(_context, document):
    """Keeps what is really allowed, to judge by it what is drawn to be refused."""
    schemas = document["components"]["schemas"]
    missing = set(FLAT) - set(schemas)
    if missing:
        raise ValueError(f"the document has no schemas {sorted(missing)}: hooks.py is out of date")
    whole = {"schemas": copy.deepcopy(schemas)}
    for path, methods in document["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json")
        if content:
            schema = {**copy.deepcopy(content["schema"]), "components": whole}
            VALIDATORS[path] = jsonschema_rs.Draft202012Validator(schema)
    schemas.update(copy.deepcopy(FLAT))


@schemathesis.hook
def filter_case(_context, case):
    """What is refused by the flat schemas alone is no case of what has to be refused."""
    validator = VALIDATORS.get(case.operation.path)
    to_be_refused = case.meta is not None and case.meta.is_negative_at(ParameterLocation.BODY)
    if validator is None or not to_be_refused or not isinstance(case.body, (dict, list)):
        return True
    return not validator.is_valid(case.body)


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
