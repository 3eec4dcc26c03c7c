"""Exports in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from ingest.export.request import MEDIA, ONCE
from ingest.http.problems import REFUSED

TIME = "RFC 3339, a date, or a number of seconds or milliseconds since 1970"
PARAMETER = {
    "metric": "the name of one metric",
    "from": f"at or after this time, an hour before `to` by default: {TIME}",
    "to": f"before this time, now by default: {TIME}",
    "format": "of the answer",
}


def export_paths() -> dict[str, Any]:
    """`/export`."""
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "query", "type": "string", "description": PARAMETER[name]}
        for name in ONCE
    ]
    parameters[-1]["enum"] = list(MEDIA)
    match = {
        "name": "match",
        "in": "query",
        "type": "array",
        "items": {"type": "string"},
        "collectionFormat": "multi",
        "description": 'a PromQL selector, {job="x"}, or labels as a JSON object; series that meet'
        " one of several",
    }
    return {
        "/export": {
            "get": {
                "tags": ["samples"],
                "summary": "Raw samples of a period as a file, oldest first",
                "produces": [
                    *(each.partition(";")[0] for each in MEDIA.values()),
                    "application/json",  # of refusals
                ],
                "parameters": [*parameters, match],
                "responses": {
                    "200": {"description": "The samples", "schema": {"type": "file"}},
                    "default": REFUSED,
                },
            }
        }
    }
