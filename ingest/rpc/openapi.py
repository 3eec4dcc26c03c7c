"""Functions that a role may call in the OpenAPI (Swagger 2.0) document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ingest.http.negotiation import RESULT_MEDIA
from ingest.http.problems import REFUSED
from ingest.rpc.functions import Argument, Function

Json = dict[str, Any]

JSON_TYPES = {
    "smallint": "integer",
    "integer": "integer",
    "bigint": "integer",
    "numeric": "number",
    "real": "number",
    "double precision": "number",
    "boolean": "boolean",
}
UNTYPED = frozenset({"json", "jsonb"})
PRODUCES = [name for name in RESULT_MEDIA if "*" not in name]


def function_paths(functions: Iterable[Function]) -> Json:
    """A path for each name; of several functions with one name, that with most arguments."""
    described: dict[str, Function] = {}
    for function in sorted(functions, key=lambda each: len(each.arguments)):
        described[function.name] = function
    return {f"/rpc/{name}": _path(described[name]) for name in sorted(described)}


def _path(function: Function) -> Json:
    path = {"post": _operation(function, [_body_parameter(function)])}
    if not function.volatile and not function.unnamed_type:
        path["get"] = _operation(function, [_query_parameter(each) for each in function.arguments])
    return path


def _operation(function: Function, parameters: list[Json]) -> Json:
    operation: Json = {
        "tags": [f"(rpc) {function.name}"],
        "produces": PRODUCES,
        "parameters": parameters,
        "responses": _responses(function),
    }
    summary, _, description = (function.comment or "").partition("\n")
    if summary:
        operation["summary"] = summary
    if description.strip():
        operation["description"] = description.strip()
    return operation


def _responses(function: Function) -> Json:
    """What is answered, where nothing is selected or renamed."""
    if function.result == "void":
        return {"204": {"description": "Nothing"}, "default": REFUSED}
    schema: Json = {}
    if function.result == "scalar":
        schema = _nullable(function.sql_type)
    elif function.result == "row":
        columns = function.shaped_types().items()
        schema = {"type": "object", "properties": {name: _nullable(each) for name, each in columns}}
    if function.returns_set:
        schema = {"type": "array", "items": schema}
    return {"200": {"description": "OK", "schema": schema}, "default": REFUSED}


def _query_parameter(argument: Argument) -> Json:
    """In a query an array is one text, `{1,2}`; only VARIADIC takes the name several times."""
    described: Json = {"name": argument.name, "in": "query", "required": argument.required}
    if argument.variadic:
        return {**described, **_type(argument.sql_type), "collectionFormat": "multi"}
    json_type = JSON_TYPES.get(argument.sql_type, "string")
    return {**described, "type": json_type, "format": argument.sql_type}


def _body_parameter(function: Function) -> Json:
    if function.unnamed_type:
        return {
            "name": "body",
            "in": "body",
            "required": True,
            "schema": _type(function.unnamed_type),
        }
    schema: Json = {
        "type": "object",
        "properties": {each.name: _type(each.sql_type) for each in function.arguments},
    }
    required = [each.name for each in function.arguments if each.required]
    if required:
        schema["required"] = required
    return {"name": "args", "in": "body", "required": True, "schema": schema}


def _nullable(sql_type: str) -> Json:
    """Of results: PostgreSQL knows of no column of a function that it is never null."""
    return {**_type(sql_type), "x-nullable": True}


def _type(sql_type: str) -> Json:
    """A value's JSON type; `format` says which SQL type it will be."""
    if sql_type.endswith("[]"):
        return {"type": "array", "format": sql_type, "items": _type(sql_type[:-2])}
    if sql_type in UNTYPED:
        return {"format": sql_type}
    return {"type": JSON_TYPES.get(sql_type, "string"), "format": sql_type}
