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
from functools import lru_cache

from ingest.http.negotiation import ONE_OBJECT, Media
from ingest.rpc.functions import SCALAR_COLUMN, Argument, Function, quote_identifier
from ingest.rpc.request import Arguments, JsonArguments, TextArguments
from ingest.rpc.shape import STAR, WHOLE, Shape, Value
from ingest.rpc.shaping import Shaping
from ingest.sqlfiles import filled_query

STRIPPED = frozenset({Media.ARRAY_STRIPPED, Media.OBJECT_STRIPPED})
AS_IT_IS = frozenset({Media.TEXT, Media.BYTES})
"""Forms of a single value."""

WHOLE_BYTES = 4 * 1024 * 1024
"""An answer up to here comes at once, as it is in memory anyway."""
SHORT_ROWS, SHORT_ROW_BYTES = 10_000, 4 * 1024
"""What one aggregate makes a body of, and so what PostgreSQL holds of it: 40 MiB at most."""
PIECE_BYTES = 16 * 1024
"""A longer row comes in pieces, so that a number of pieces is also a bound of bytes."""
WHOLE_BODY = ("body",)
"""In place of the types of texts: the only argument is a whole body."""
MOST_STATEMENTS = 1000
"""That are remembered: making the text of one takes as long as a tenth of a small question."""
ROW_ENDS = b"+"
"""The first byte of a piece that goes on where the one before ended; it is not part of the body."""


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL whose first row is about the whole answer, and whose others are the answer.

    The columns are `piece bytea, rows bigint, bytes bigint, version text, total bigint, status
    text, headers text, unlocked`. `total` is how many rows there are besides the page, if the shape
    is `counted`; `status` and `headers` are what the function chose. The first row has all of a
    short answer as its `piece`, and no other follows; the rows of a longer one have nothing but a
    piece. Each row of the result is preceded by what stands between it and the one
    before. Once the first row is there, the function has run, and holds no lock of its session.

    Attributes:
        short: the same for answers of at most `SHORT_ROWS` rows of `SHORT_ROW_BYTES`, in two thirds
            of the time: one row, whose `piece` is NULL if there are rows and they are too long.
        opening: what stands before the first piece.
        skipped: so many bytes of the first piece are not part of the body: nothing is before it.
        closing: what stands after the last.
        empty: the whole body where there is no row.
    """

    sql: str
    short: str
    opening: bytes = b""
    skipped: int = 0
    closing: bytes = b""
    empty: bytes = b"null"


def call_statement(
    function: Function,
    arguments: Arguments,
    media: Media,
    shape: Shape = WHOLE,
    values: tuple[Value, ...] = (),
) -> tuple[Statement, tuple[Value, ...]]:
    """Call `function`, which accepts these arguments and has the columns of the shape, and have
    PostgreSQL write the body; and the statement's parameters.

    Raises:
        Problem: 400, the shape casts to a type that it must not.
    """
    if function.result == "void":
        shape, values = WHOLE, ()  # there is nothing to give a shape to
    if not isinstance(arguments, TextArguments) and function.takes_body(arguments.given):
        statement = _statement(function, frozenset(), WHOLE_BODY, media, shape)
        return statement, (arguments.body, *values)
    if isinstance(arguments, JsonArguments):
        statement = _statement(function, arguments.names, None, media, shape)
        return statement, (arguments.document, *values) if arguments.names else values
    assert isinstance(arguments, TextArguments)
    types, parameters = [], []  # type: list[str], list[Value]
    for argument in function.arguments:
        if (given := arguments.values.get(argument.name)) is not None:
            collects = argument.variadic and (len(given) > 1 or not _is_array(argument, given[0]))
            types.append("text[]" if collects else "text")
            parameters.append(list(given) if collects else given[-1])
    statement = _statement(function, arguments.names, tuple(types), media, shape)
    return statement, (*parameters, *values)


@lru_cache(maxsize=MOST_STATEMENTS)
def _statement(
    function: Function,
    names: frozenset[str],
    types: tuple[str, ...] | None,
    media: Media,
    shape: Shape,
) -> Statement:
    """The statement for arguments of these names: as so many texts, of these types, or (None) in a
    JSON document."""
    given = [each for each in function.arguments if each.name in names]
    if types is WHOLE_BODY:
        source, call = "", _from_body(function)
    elif types is None:
        source, call = _from_json(function, given)
    else:
        source, call = "", _from_text(function, given, types)
    between, row = _row(function, media)
    result = _result(function, source, call)
    before, total = "", "NULL::bigint"
    if shape != WHOLE:
        first = 1 + (len(types) if types is not None else bool(given))
        before, result, total = _shaped(function, result, shape, first)
    is_bytes = media is Media.BYTES and function.sql_type == "bytea"
    hooks = {
        "between": between,
        "row": row,
        "encode": "(" if is_bytes else "pg_catalog.convert_to(",
        "encoded": ")" if is_bytes else ", 'UTF8')",
        "result": result,
        "total": total,
        "oid": str(function.oid),
        "whole_bytes": str(WHOLE_BYTES),
    }
    sql = filled_query(
        "rpc/call", **hooks, before=before and f"{before}, ", piece_bytes=str(PIECE_BYTES)
    )
    short = filled_query(
        "rpc/call_short",
        **hooks,
        before=before and f"WITH {before} ",
        short_rows=str(SHORT_ROWS),
        short_row_bytes=str(SHORT_ROW_BYTES),
    )
    if media is Media.CSV:
        return Statement(sql, short, csv_header(function, shape).encode(), empty=b"\n")
    if media in AS_IT_IS:
        return Statement(sql, short, empty=b"")
    if function.returns_set and media not in ONE_OBJECT:
        return Statement(sql, short, b"[", _length(between), b"]", b"[]")
    return Statement(sql, short, b"", _length(between))


def csv_header(function: Function, shape: Shape = WHOLE) -> str:
    """The first line of the CSV of a result that is not empty."""
    if function.result != "row":
        return SCALAR_COLUMN
    names = list(function.columns)
    if shape.select is not None:
        names = []
        for item in shape.select:
            names += function.columns if item.field.name == STAR else [item.alias]
    return ",".join(_csv_cell(name) for name in names)


def _from_body(function: Function) -> str:
    (argument,) = function.arguments
    bound = "bytea" if argument.sql_type == "bytea" else f"text::{argument.sql_type}"
    return _call(function, [_pass(argument, f"$1::{bound}")])


def _from_text(function: Function, given: list[Argument], types: tuple[str, ...]) -> str:
    passed = [
        _pass(argument, f"CAST(${number}::{bound} AS {argument.sql_type})")
        for number, (argument, bound) in enumerate(zip(given, types, strict=True), start=1)
    ]
    return _call(function, passed)


def _from_json(function: Function, given: list[Argument]) -> tuple[str, str]:
    """PostgreSQL takes the document apart: it knows best how JSON becomes a value of each type."""
    if not given:
        return "", _call(function, [])
    columns = ", ".join(f"{quote_identifier(each.name)} {each.sql_type}" for each in given)
    passed = [_pass(each, f"a.{quote_identifier(each.name)}") for each in given]
    return f"pg_catalog.json_to_record($1::text::json) AS a({columns})", _call(function, passed)


def _is_array(argument: Argument, value: str) -> bool:
    """Whether the only value of a VARIADIC argument is an array, `{1,2}`, and no element of one.
    JSON looks the same: there it is an element."""
    return value.lstrip().startswith("{") and argument.sql_type not in ("json[]", "jsonb[]")


def _pass(argument: Argument, value: str) -> str:
    if not argument.name:
        return value
    variadic = "VARIADIC " if argument.variadic else ""
    return f"{variadic}{quote_identifier(argument.name)} => {value}"


def _call(function: Function, passed: list[str]) -> str:
    name = f"{quote_identifier(function.schema)}.{quote_identifier(function.name)}"
    return f"{name}({', '.join(passed)})"


def _result(function: Function, source: str, call: str) -> str:
    if function.result == "row":
        lateral = f"{source}, LATERAL {call}" if source else call
        return f"SELECT r.* FROM {lateral} AS r"  # noqa: S608
    return f"SELECT {call} AS {SCALAR_COLUMN}" + (f" FROM {source}" if source else "")  # noqa: S608


def _shaped(function: Function, result: str, shape: Shape, first: int) -> tuple[str, str, str]:
    """Three SQL texts: a common table expression to stand before all, what is shaped, and how many
    rows there are besides the page. The function is called once, whatever is counted.

    Args:
        first: the number of the first parameter that is the shape's.
    """
    shaping = Shaping(shape, function.shaped_types(), "s", first)
    columns = shaping.columns if function.result == "row" else "s.*"
    source, before, total = f"({result}) AS s{shaping.where}", "", "NULL::bigint"
    if shape.counted and shape.paged:
        before = f"_promgres_source AS MATERIALIZED (SELECT s.* FROM {source})"  # noqa: S608
        source, total = (
            "_promgres_source AS s",
            "(SELECT pg_catalog.count(*) FROM _promgres_source)",
        )
    return before, f"SELECT {columns} FROM {source}{shaping.order}{shaping.page}", total  # noqa: S608


def _row(function: Function, media: Media) -> tuple[str, str]:
    """Two SQL texts: what stands between two rows of the body, and a row of the result `t`."""
    if function.result == "void":
        return "', '", "coalesce(t.pgrst_scalar::text, '')"
    if media is Media.CSV:
        return "E'\\n'", _csv_row(function)
    if media is Media.BYTES and function.sql_type == "bytea":
        return "''::bytea", "coalesce(t.pgrst_scalar, ''::bytea)"
    if media in AS_IT_IS:
        return "''", "coalesce(t.pgrst_scalar::text, '')"
    document = f"pg_catalog.to_json({'t.*' if function.result == 'row' else 't.pgrst_scalar'})"
    if media in STRIPPED:
        document = f"pg_catalog.json_strip_nulls({document})"
    between = "', '" if function.result == "scalar" else "E', \\n '"
    return between, f"coalesce({document}::text, 'null')"


def _length(between: str) -> int:
    return len(between.removeprefix("E").strip("'").replace("\\n", "\n"))


def _csv_row(function: Function) -> str:
    """A row's text without its parentheses is CSV, but for backslashes, which it doubles."""
    record = "(t.*)::text" if function.result == "row" else "ROW(t.pgrst_scalar)::text"
    inner = f"pg_catalog.left(pg_catalog.substr({record}, 2), -1)"
    return f"pg_catalog.replace({inner}, E'\\\\\\\\', E'\\\\')"


def _csv_cell(text: str) -> str:
    if any(character in text for character in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
