"""The OpenAPI (Swagger 2.0) document of the read port: functions, measures, events, exports."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from ingest.export.openapi import export_paths
from ingest.records.openapi import SECURITY, record_paths
from ingest.rpc.functions import Function
from ingest.rpc.openapi import PRODUCES, function_paths

TITLE = "Promgres"
DESCRIPTION = "Functions of the schema api. Add one in SQL, grant EXECUTE on it, and it is here."


def openapi_document(functions: Iterable[Function], host: str) -> dict[str, Any]:
    """Describe what the read port answers.

    Args:
        functions: that the caller may execute.
        host: as the client calls this server, `HOST:PORT`.
    """
    return {
        "swagger": "2.0",
        "info": {"title": TITLE, "description": DESCRIPTION, "version": version("promgres")},
        "host": host,
        "basePath": "/",
        "consumes": ["application/json"],
        "produces": PRODUCES,
        "securityDefinitions": {
            "JWT": {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": "Bearer and a JWT",
            },
            **SECURITY,
        },
        "paths": {**function_paths(functions), **record_paths(), **export_paths()},
    }
