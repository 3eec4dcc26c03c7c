"""Nothing that a client sends becomes SQL: no filter, name, alias, cast or header."""

from __future__ import annotations

import asyncio
import operator
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.http.problems import Problem
from ingest.rpc.request import sort_query
from ingest.rpc.shaping import WORDS_OF_SQL, Shaping
from tests.support.databases import Database
from tests.support.readapi import Client, add_functions, running_api

EVIL = (
    "'; DROP TABLE public.visit; --", '"; DROP TABLE public.visit; --', "1) OR (1=1", "$1", "$$",
    "\\", "\\'", "%27", "/*", "*/", "--", "\0", "E'\\x27'", "a\"b", ")", "(", "::", "->", "->>",
    "pg_sleep(9)", "(SELECT 1)", "id FROM people; COMMIT", "::text); SELECT (1", "{}", "{\"", ",",
    "count", "pg_read_file", "api.who()", "regclass",
)  # fmt: skip
TEXT = st.one_of(
    st.sampled_from(EVIL), st.text(max_size=12), st.lists(st.sampled_from(EVIL)).map("".join)
)
NAMES = st.one_of(st.sampled_from(["id", "name", "data", "tags"]), TEXT)
OPERATORS = st.sampled_from([
    "eq", "neq", "gt", "like", "ilike", "match", "in", "is", "isdistinct", "cs", "ov", "adj",
    "fts", "not.eq", "eq(any)", "like(all)", "fts(english)",
])  # fmt: skip
QUERIES = st.lists(
    st.one_of(
        st.builds(lambda n, o, v: (n, f"{o}.{v}"), NAMES, OPERATORS, TEXT),
        st.builds(lambda n, v: (n, f"in.({v})"), NAMES, TEXT),
        st.builds(lambda n, o, v: ("or", f"({n}.{o}.{v},id.eq.1)"), NAMES, OPERATORS, TEXT),
        st.builds(lambda n, a, c: ("select", f"{a}:{n}::{c}"), NAMES, TEXT, TEXT),
        st.builds(lambda n, k: ("select", f"{n}->>{k}"), NAMES, TEXT),
        st.builds(lambda n, k: ("select", f'"{n}"::{k}'), NAMES, TEXT),
        st.builds(lambda n, h: ("order", f"{n}.{h}"), NAMES, TEXT),
        st.builds(lambda v: ("limit", v), TEXT),
        st.builds(lambda v: ("offset", v), TEXT),
        st.builds(lambda n, v: (n, v), NAMES, TEXT),
    ),
    max_size=4,
)
OUR_WORDS = set(
    re.findall(
        r"\w+",
        "s AS CAST text int WHERE NOT AND OR ANY ALL IN IS NULL TRUE FALSE UNKNOWN DISTINCT FROM"
        " LIKE ILIKE ORDER BY DESC NULLS FIRST LAST LIMIT OFFSET bigint pg_catalog to_jsonb"
        " to_tsvector to_tsquery plainto_tsquery phraseto_tsquery websearch_to_tsquery regconfig",
    )
).union(*[name.split() for name in WORDS_OF_SQL])


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        name: TEXT.map(lambda text: "".join(c for c in text if " " <= c <= "~"))
        for name in ("Prefer", "Range", "Accept", "Accept-Profile", "Cookie", "X-Odd")
    },
)
SYNTAX_ERROR = "42601"


def outside_quotes(sql: str) -> str:
    """SQL without its quoted identifiers; each quote must have its end."""
    found, inside = [], False
    for character in sql.replace('""', ""):
        if character == '"':
            inside = not inside
        elif not inside:
            found.append(character)
    assert not inside
    return "".join(found)


@given(QUERIES)
@settings(max_examples=200)
def test_what_is_sent_stands_in_quotes_or_is_bound(query: list[tuple[str, str]]) -> None:
    try:
        asked = sort_query(query, posted=True)
        shaping = Shaping(asked.shape, dict.fromkeys(asked.shape.columns, "text"), "s", 1)
    except Problem:
        return
    text = f"{shaping.columns}{shaping.where}{shaping.order}{shaping.page}"
    assert "\0" not in text
    outside = outside_quotes(text)
    assert re.fullmatch(r"[\w\s.,:$()*=<>@&|~+\[\]-]*", outside, re.ASCII)
    words = set(re.findall(r"[A-Za-z_]\w*", outside))
    assert words <= OUR_WORDS, words - OUR_WORDS
    numbers = {int(number) for number in re.findall(r"\$(\d+)", outside)}
    assert numbers == set(range(1, len(asked.values) + 1))


def test_no_request_makes_the_database_do_something_else(engine_db: Database) -> None:
    with asyncio.Runner() as runner:
        runner.run(add_functions(engine_db))
        api = running_api(engine_db)
        client = runner.run(api.__aenter__())

        @settings(
            max_examples=20 if engine_db.one_session else 60,
            suppress_health_check=list(HealthCheck),
        )
        @given(QUERIES, TEXT, HEADERS, st.sampled_from(["GET", "POST"]))
        def check(
            query: list[tuple[str, str]], value: str, headers: dict[str, str], method: str
        ) -> None:
            runner.run(_ask(client, method, query, value, headers))

        try:
            check()
            assert runner.run(client.get("visits")).json == 0
            assert runner.run(client.sql("SELECT count(*) FROM public.visit")) == 0
        finally:
            runner.run(api.__aexit__(None, None, None))


async def _ask(
    client: Client,
    method: str,
    query: list[tuple[str, str]],
    value: str,
    headers: dict[str, str],
) -> None:
    encoded = "&".join(f"{_escaped(name)}={_escaped(text)}" for name, text in query)
    body: dict[str, Any] = {"json": {"p_value": value}} if method == "POST" else {}
    for function in ("people", "echo_text"):
        answer = await client.request(method, f"/rpc/{function}?{encoded}", headers=headers, **body)
        assert answer.status < 500, answer.text
        if answer.status >= 400:
            document = answer.json
            assert document["code"] != SYNTAX_ERROR or "tsquery" in document["message"], document


def _escaped(text: str) -> str:
    return quote(text.encode("utf-8", "replace"), safe="")


ROWS = [(1, None, True), (2, 1, False), (3, 1, None), (4, 2, True)]
"""`id`, `boss` and `active` of `api.people()`."""
NUMBERS = {"id": 0, "boss": 1}
Truth = bool | None
Tree = tuple[Any, ...]
COMPARE: dict[str, Callable[[int, int], bool]] = {
    "eq": operator.eq, "neq": operator.ne, "gt": operator.gt, "gte": operator.ge,
    "lt": operator.lt, "lte": operator.le,
}  # fmt: skip
COLUMNS = st.sampled_from(list(NUMBERS))
LEAVES = st.one_of(
    st.tuples(
        COLUMNS,
        st.booleans(),
        st.sampled_from(list(COMPARE)),
        st.integers(0, 5),
    ),
    st.tuples(
        COLUMNS,
        st.booleans(),
        st.just("in"),
        st.lists(st.integers(0, 5), max_size=3),
    ),
    st.tuples(COLUMNS, st.booleans(), st.just("isdistinct"), st.integers(0, 5)),
    st.tuples(
        st.just("active"),
        st.booleans(),
        st.just("is"),
        st.sampled_from(["null", "not_null", "true", "false", "unknown"]),
    ),
)
TREES = st.recursive(
    LEAVES,
    lambda below: st.tuples(
        st.sampled_from(["and", "or"]), st.booleans(), st.lists(below, min_size=1, max_size=3)
    ),
    max_leaves=6,
)


def test_trees_of_filters_select_what_they_say(postgres_db: Database) -> None:
    with asyncio.Runner() as runner:
        runner.run(add_functions(postgres_db))
        api = running_api(postgres_db)
        client = runner.run(api.__aenter__())

        @settings(max_examples=200, suppress_health_check=list(HealthCheck))
        @given(
            st.lists(TREES, min_size=1, max_size=3),
            st.booleans(),
            st.integers(0, 5) | st.none(),
            st.integers(0, 5),
        )
        def check(trees: list[Tree], falls: bool, limit: int | None, offset: int) -> None:
            query = "&".join(_parameter(tree) for tree in trees)
            order = "desc" if falls else "asc"
            page = f"&offset={offset}" + ("" if limit is None else f"&limit={limit}")
            path = f"/rpc/people?select=id&{query}&order=id.{order}{page}"
            answer = runner.run(client.request("GET", path, headers={"Prefer": "count=exact"}))
            found = [row[0] for row in ROWS if all(_truth(tree, row) for tree in trees)]
            found.sort(reverse=falls)
            if offset > len(found):
                assert answer.status == 416, path
                return
            shown = found[offset:][:limit]
            assert answer.json == [{"id": number} for number in shown], path
            assert answer.headers["Content-Range"].endswith(f"/{len(found)}")
            assert answer.status == (206 if len(shown) < len(found) else 200)

        try:
            check()
        finally:
            runner.run(api.__aexit__(None, None, None))


def _parameter(tree: Tree) -> str:
    name, negated, *rest = tree
    if name in ("and", "or"):
        return f"{'not.' * negated}{name}=({','.join(map(_within, rest[0]))})"
    return f"{name}={'not.' * negated}{_condition(rest)}"


def _within(tree: Tree) -> str:
    name, negated, *rest = tree
    if name in ("and", "or"):
        return f"{'not.' * negated}{name}({','.join(map(_within, rest[0]))})"
    return f"{name}.{'not.' * negated}{_condition(rest)}"


def _condition(rest: list[Any]) -> str:
    kind, value = rest
    return f"in.({','.join(map(str, value))})" if kind == "in" else f"{kind}.{value}"


def _truth(tree: Tree, row: tuple[Any, ...]) -> Truth:
    """True, False or None, as SQL has it."""
    name, negated, *rest = tree
    if name in ("and", "or"):
        truths = [_truth(each, row) for each in rest[0]]
        decides = name == "or"
        truth: Truth = None if None in truths else not decides
        truth = decides if decides in truths else truth
    else:
        truth = _leaf(row[2] if name == "active" else row[NUMBERS[name]], *rest)
    return truth if truth is None or not negated else not truth


def _leaf(value: Any, kind: str, other: Any) -> Truth:
    match kind:
        case "is":
            wanted = {"true": True, "false": False}
            if other == "not_null":
                return value is not None
            return bool(value is wanted.get(other))
        case "isdistinct":
            return bool(value != other)
        case "in":
            return False if not other else None if value is None else value in other
    return None if value is None else COMPARE[kind](value, other)
