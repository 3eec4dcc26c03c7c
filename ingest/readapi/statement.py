"""The one SQL statement that calls a function and makes its answer.

Names come from the catalogue and are quoted as identifiers; what the client sent is bound as text
and never becomes SQL (hence the `noqa: S608`). A statement's text depends on the function, on which
arguments are given and on the media type, so connections can keep it prepared.

No name of the user's can be taken for one of ours. A bare name in SQL is a column before it is a
table: so a row is `t.*`, never `t`, and a column stands behind its table. A function of another
schema is preferred to PostgreSQL's own where it takes the very types of a call: so ours are called
by their schema.
"""

from __future__ import annotations

from dataclasses import dataclass

from ingest.readapi.functions import SCHEMA, Argument, Function
from ingest.readapi.negotiate import Media
from ingest.readapi.request import Arguments, JsonArguments, TextArguments

SCALAR_COLUMN = "pgrst_scalar"
"""What the CSV of a result without columns has as its header."""

Parameter = str | list[str]


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL that returns one row: `body bytea` (NULL for void), `rows bigint`, `version text`."""

    sql: str
    parameters: tuple[Parameter, ...]


def call_statement(function: Function, arguments: Arguments, media: Media) -> Statement:
    """Call `function`, which accepts these arguments, and have PostgreSQL write the body."""
    given = [each for each in function.arguments if each.name in arguments.names]
    if isinstance(arguments, TextArguments):
        source, call, parameters = _from_text(function, given, arguments)
    else:
        source, call, parameters = _from_json(function, given, arguments)
    body, rows = _body(function, media)
    sql = (
        f"SELECT {body} AS body, {rows} AS rows,"  # noqa: S608
        f" (SELECT p.xmin::text FROM pg_catalog.pg_proc p WHERE p.oid = {function.oid}) AS version"
        f" FROM ({_result(function, source, call)}) AS t"
    )
    return Statement(sql, parameters)


def csv_header(function: Function) -> str:
    """The first line of the CSV of a result that is not empty."""
    if function.result != "row":
        return SCALAR_COLUMN
    return ",".join(_csv_cell(column) for column in function.columns)


def quote_identifier(name: str) -> str:
    """As SQL spells a name that may hold anything."""
    return '"' + name.replace('"', '""') + '"'


def _from_text(
    function: Function, given: list[Argument], arguments: TextArguments
) -> tuple[str, str, tuple[Parameter, ...]]:
    passed, parameters = [], []
    for number, argument in enumerate(given, start=1):
        values = arguments.values[argument.name]
        collects = argument.variadic and len(values) > 1
        parameters.append(list(values) if collects else values[-1])
        bound = f"${number}::text[]" if collects else f"${number}::text"
        passed.append(_pass(argument, f"CAST({bound} AS {argument.sql_type})"))
    return "", _call(function, passed), tuple(parameters)


def _from_json(
    function: Function, given: list[Argument], arguments: JsonArguments
) -> tuple[str, str, tuple[Parameter, ...]]:
    """PostgreSQL takes the document apart: it knows best how JSON becomes a value of each type."""
    if not given:
        return "", _call(function, []), ()
    columns = ", ".join(f"{quote_identifier(each.name)} {each.sql_type}" for each in given)
    passed = [_pass(each, f"a.{quote_identifier(each.name)}") for each in given]
    source = f"pg_catalog.json_to_record($1::text::json) AS a({columns})"
    return source, _call(function, passed), (arguments.document,)


def _pass(argument: Argument, value: str) -> str:
    variadic = "VARIADIC " if argument.variadic else ""
    return f"{variadic}{quote_identifier(argument.name)} => {value}"


def _call(function: Function, passed: list[str]) -> str:
    return f"{quote_identifier(SCHEMA)}.{quote_identifier(function.name)}({', '.join(passed)})"


def _result(function: Function, source: str, call: str) -> str:
    if function.result == "row":
        lateral = f"{source}, LATERAL {call}" if source else call
        return f"SELECT r.* FROM {lateral} AS r"  # noqa: S608
    return f"SELECT {call} AS value" + (f" FROM {source}" if source else "")  # noqa: S608


def _body(function: Function, media: Media) -> tuple[str, str]:
    """Expressions over the result `t` for the body and for the number of rows."""
    count = "pg_catalog.count(*)"
    if function.result == "void":
        return "NULL::bytea", "pg_catalog.count(coalesce(t.value::text, ''))"
    row = "t.*" if function.result == "row" else "t.value"
    if media is Media.CSV:
        return _utf8(f"pg_catalog.string_agg({_csv_row(function)}, E'\\n')"), count
    if not function.returns_set:
        return _utf8(f"coalesce(pg_catalog.to_json({row})::text, 'null')"), "1::bigint"
    if media is Media.OBJECT:
        return _utf8(f"coalesce((pg_catalog.json_agg({row}) -> 0)::text, 'null')"), count
    return _utf8(f"coalesce(pg_catalog.json_agg({row})::text, '[]')"), count


def _utf8(text: str) -> str:
    """Bytes of the body, whatever the client encoding: they are passed on unread."""
    return f"pg_catalog.convert_to({text}, 'UTF8')"


def _csv_row(function: Function) -> str:
    """A row's text without its parentheses is CSV, but for backslashes, which it doubles."""
    record = "(t.*)::text" if function.result == "row" else "ROW(t.value)::text"
    inner = f"pg_catalog.left(pg_catalog.substr({record}, 2), -1)"
    return f"pg_catalog.replace({inner}, E'\\\\\\\\', E'\\\\')"


def _csv_cell(text: str) -> str:
    if any(character in text for character in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
