"""Any names of arguments and columns: what /rpc answers is what the function returns."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import quote, urlencode

import asyncpg
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.databases import Database, connect
from tests.support.readapi import Client, running_api

OURS = ("t", "r", "a", "p", "s", "f", "v", "value", "body", "rows", "version", "name", "document")
"""What SQL of a read API may well call its own tables and columns."""
SYSTEM = ("oid", "ctid", "tableoid", "xmin", "cmin", "xmax", "cmax")
RESERVED = ("select", "order", "limit", "offset", "and", "or", "columns", "on_conflict", "user",
            "table", "null", "default", "variadic", "array", "row", "count")  # fmt: skip
ODD = ('"', '""', "T", "Value", "a b", "a,b", "t.value", "$1", "ä", "€", "'", "\\", "--", "/*",
       "%s", "{0}", "?", ";", "x\ny", "pgrst_scalar", "role", "=", "&", "+", "#")  # fmt: skip
DRAWN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
names = st.one_of(st.sampled_from([*OURS, *SYSTEM, *RESERVED, *ODD]), DRAWN.filter(bool))

VALUES = {
    "text": ("", "x", 'a"b,c', "back\\slash", "line\nbreak", "{1}", "(1)"),
    "int4": ("0", "-7"),
    "numeric": ("987654321098765432101.50",),
    "timestamptz": ("2026-01-02 03:04:05+00",),
}
typed = st.sampled_from(list(VALUES)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.sampled_from(VALUES[kind]))
)
SHAPES = ("table", "out", "type", "values", "value")
_numbers = count(1)


@dataclass(frozen=True)
class Drawn:
    """A function of as many columns as arguments, which returns its arguments (twice, if many)."""

    arguments: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[str, str], ...]
    shape: str


@st.composite
def functions(draw: st.DrawFn) -> Drawn:
    values = tuple(draw(st.lists(typed, min_size=1, max_size=4)))
    some = st.lists(names, min_size=len(values), max_size=len(values), unique=True)
    return Drawn(tuple(draw(some)), tuple(draw(some)), values, draw(st.sampled_from(SHAPES)))


def test_names_of_users_meet_none_of_ours(engine_db: Database) -> None:
    time = (("timestamptz", "2026-01-02 03:04:05+00"), ("int4", "7"))
    with asyncio.Runner() as runner:
        api = running_api(engine_db)
        client = runner.run(api.__aenter__())
        admin = connect(engine_db)
        connection = runner.run(admin.__aenter__())

        @settings(
            max_examples=15 if engine_db.one_session else 60,
            suppress_health_check=list(HealthCheck),
        )
        @given(functions())
        @example(Drawn(("since", "value"), ("t", "value"), time, "table"))
        @example(Drawn(("since", "value"), ("t", "value"), time, "out"))
        @example(Drawn(("t", "a"), ("r", "t"), time, "type"))
        @example(Drawn(("limit",), ("t",), time[:1], "table"))
        @example(Drawn(("order", "select"), ("order", "and"), time, "table"))
        @example(Drawn(("a", "ctid"), ("ctid", "oid"), time, "table"))
        def check(drawn: Drawn) -> None:
            runner.run(_scenario(client, connection, drawn))

        try:
            check()
        finally:
            runner.run(admin.__aexit__(None, None, None))
            runner.run(api.__aexit__(None, None, None))


async def _scenario(client: Client, connection: asyncpg.Connection, drawn: Drawn) -> None:
    name = f"{drawn.columns[0]} {next(_numbers)}"[:40]
    await _create(connection, name, drawn)
    call = f"api.{_quoted(name)}({', '.join(_literal(each) for each in drawn.values)})"
    is_row = drawn.shape in ("table", "out", "type")
    row = "row_to_json(row_of_nobody.*)" if is_row else "to_json(row_of_nobody.value_of_nobody)"
    result = f"SELECT * FROM {call}" if is_row else f"SELECT {call} AS value_of_nobody"
    found = await connection.fetch(f"SELECT {row}::text FROM ({result}) AS row_of_nobody")
    documents = [each[0] for each in found]
    between = ", \n " if is_row else ", "
    many = f"[{between.join(documents)}]"
    one = documents[0]
    in_query = "?" + urlencode(
        {each: text for each, (_, text) in zip(drawn.arguments, drawn.values, strict=True)}
    )
    in_body = {each: text for each, (_, text) in zip(drawn.arguments, drawn.values, strict=True)}
    returns_set = drawn.shape in ("table", "type", "values")
    expected_table = await _table(connection, call, drawn) if is_row else None
    for method, query, body in (("GET", in_query, {}), ("POST", "", {"json": in_body})):
        path = f"/rpc/{quote(name, safe='')}{query}"
        answer = await client.request(method, path, **body)
        assert (answer.status, answer.text) == (200, many if returns_set else one)
        assert answer.json == json.loads(many if returns_set else one)
        if not returns_set:
            headers = {"Accept": "application/vnd.pgrst.object+json"}
            answer = await client.request(method, path, headers=headers, **body)
            assert (answer.status, answer.text) == (200, one)
        if expected_table is not None:
            headers = {"Accept": "text/csv"}
            answer = await client.request(method, path, headers=headers, **body)
            assert answer.status == 200
            assert list(csv.reader(io.StringIO(answer.text, newline=""))) == expected_table


async def _create(connection: asyncpg.Connection, name: str, drawn: Drawn) -> None:
    kinds = [kind for kind, _ in drawn.values]
    inputs = [f"IN {_quoted(each)} {k}" for each, k in zip(drawn.arguments, kinds, strict=True)]
    columns = [f"{_quoted(each)} {k}" for each, k in zip(drawn.columns, kinds, strict=True)]
    row = ", ".join(f"${number}" for number in range(1, len(kinds) + 1))
    twice = f"SELECT {row} UNION ALL SELECT {row}"
    match drawn.shape:
        case "table":
            returns, body = f"RETURNS TABLE ({', '.join(columns)})", twice
        case "out":
            inputs += [f"OUT {each}" for each in columns]
            returns, body = "", f"SELECT {row}"
        case "type":
            returns, body = f"RETURNS SETOF api.{_quoted(name)}", twice
            await connection.execute(f"CREATE TYPE api.{_quoted(name)} AS ({', '.join(columns)})")
        case "values":
            returns, body = f"RETURNS SETOF {kinds[0]}", "SELECT $1 UNION ALL SELECT $1"
        case _:
            returns, body = f"RETURNS {kinds[0]}", "SELECT $1"
    await connection.execute(
        f"CREATE FUNCTION api.{_quoted(name)}({', '.join(inputs)}) {returns}"
        f" LANGUAGE sql STABLE AS $body_of_nobody$ {body} $body_of_nobody$"
    )


async def _table(connection: asyncpg.Connection, call: str, drawn: Drawn) -> list[list[Any]]:
    """Header and cells, by their places alone: none of the drawn names is in this SQL."""
    places = [f"c{number}" for number in range(len(drawn.columns))]
    rows = await connection.fetch(
        f"SELECT {', '.join(f'{each}::text' for each in places)}"
        f" FROM {call} AS table_of_nobody ({', '.join(places)})"
    )
    return [list(drawn.columns), *(list(row) for row in rows)]


def _literal(value: tuple[str, str]) -> str:
    kind, text = value
    return f"'{text.replace(chr(39), chr(39) * 2)}'::{kind}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
