"""Measures and events in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from ingest.model import RecordKind
from ingest.records.query import LONGEST_PAGE, PARAMETERS

Json = dict[str, Any]

PRODUCES = ["application/json"]
BODIES = ["application/json", "application/x-ndjson"]
TIME = "RFC 3339, or a number of seconds or milliseconds since 1970"
PARAMETER: dict[str, Json] = {
    "name": {"type": "string", "description": "only those of this name"},
    "from": {"type": "string", "description": f"at or after this time: {TIME}"},
    "to": {"type": "string", "description": f"before this time: {TIME}"},
    "attributes": {"type": "string", "description": "JSON that the attributes must contain"},
    "limit": {"type": "integer", "minimum": 1, "maximum": LONGEST_PAGE, "default": 100},
    "cursor": {"type": "string", "description": "X-Next-Cursor of the page before"},
    "shape": {"type": "string", "enum": ["older", "flat"], "default": "older"},
    "bucket": {
        "type": "string",
        "description": "aggregates of buckets of this width instead: 5m, 1h, 1d, 1 month",
    },
}
PROPERTIES: Json = {
    "name": {"type": "string"},
    "value": {"type": "number", "description": "kept with every digit"},
    "attributes": {"type": "object"},
    "time": {"type": "string", "description": f"{TIME}; without it, now"},
    "idempotency_key": {"type": "string", "minLength": 1, "maxLength": 255},
}
NEXT_PAGE = {
    "Link": {"type": "string", "description": 'the next page, rel="next", if there is one'},
    "X-Next-Cursor": {"type": "string", "description": "its cursor"},
}
REFUSALS = {
    "400": {"description": "The request must change; the body says why"},
    "401": {"description": "No key, or a bad one"},
    "403": {"description": "The key has not this scope"},
    "503": {"description": "Try again after Retry-After"},
}
REFUSALS_OF_PUSHES = {
    **REFUSALS,
    "413": {"description": "Too many bytes or items: send less at once"},
    "415": {"description": "No JSON, or a compression that is not known"},
    "429": {"description": "The tenant has had its share: try again after Retry-After"},
}
SECURITY: Json = {
    "Key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key, pmk_…; Authorization: Bearer takes it, too",
    }
}


def record_paths() -> Json:
    """Both names, to be read and written."""
    return {f"/api/v1/{kind}": _path(kind) for kind in PARAMETERS}


def _path(kind: RecordKind) -> Json:
    return {"get": _get(kind), "post": _post(kind)}


def _get(kind: RecordKind) -> Json:
    parameters = [
        {"name": name, "in": "query", "required": False, **PARAMETER[name]}
        for name in PARAMETERS[kind]
    ]
    return {
        "tags": [f"{kind}s"],
        "summary": f"Read {kind}s, the newest first",
        "produces": PRODUCES,
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "OK",
                "headers": NEXT_PAGE,
                "schema": {"type": "array", "items": {"type": "object"}},
            },
            **REFUSALS,
        },
    }


def _post(kind: RecordKind) -> Json:
    required = ["name", "value"] if kind == "measure" else ["name"]
    properties = {
        name: described
        for name, described in PROPERTIES.items()
        if name != "value" or kind == "measure"
    }
    schema = {"type": "object", "required": required, "properties": properties}
    body = {
        "name": "body",
        "in": "body",
        "required": True,
        "description": "One, an array of them, or one a line (NDJSON)",
        "schema": schema,
    }
    stored = {"type": "object", "properties": {"stored": {"type": "integer"}}}
    return {
        "tags": [f"{kind}s"],
        "summary": f"Store {kind}s",
        "consumes": BODIES,
        "produces": PRODUCES,
        "parameters": [body],
        "responses": {"201": {"description": "Stored", "schema": stored}, **REFUSALS_OF_PUSHES},
    }
