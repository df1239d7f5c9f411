"""Teaches schemathesis to send `application/x-ndjson`: a stream of lines goes out as it is written."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context, value):
    return {"data": value if isinstance(value, bytes) else str(value).encode()}
