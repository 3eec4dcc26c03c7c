"""Parameters that shape a result: what is read of them, and what is refused with which words."""

from __future__ import annotations

import pytest

from ingest.http.problems import Problem
from ingest.rpc.preferences import NONE, Preferences, read_preferences
from ingest.rpc.request import Query, read_query, sort_query
from ingest.rpc.shape import EVERY_ROW, WHOLE, Field, Item, Page, read_page
from ingest.rpc.shaping import Shaping

TYPES = {"a": "integer", "b": "text", "d": "jsonb", "t": "text[]", 'odd."name': "date"}


def asked(query: str, **arguments: bool | int) -> Query:
    return sort_query(read_query(query), posted=True, **arguments)  # type: ignore[arg-type]


def refused(query: str) -> Problem:
    with pytest.raises(Problem) as caught:
        Shaping(asked(query).shape, TYPES, "s", 1)
    return caught.value


def sql(query: str) -> str:
    shaping = Shaping(asked(query).shape, TYPES, "s", 3)
    return f"{shaping.columns}{shaping.where}{shaping.order}{shaping.page}"


def test_nothing_is_the_whole() -> None:
    assert asked("").shape is WHOLE
    assert asked("select=*").shape == WHOLE
    assert sql("") == "s.*"


@pytest.mark.parametrize(
    ("query", "expected", "values"),
    [
        ("select=a", 's."a" AS "a"', ()),
        ("select=x:a::text", 'CAST(s."a" AS "text") AS "x"', ()),
        ("select=a::double precision", 'CAST(s."a" AS double precision) AS "a"', ()),
        ("select=*,x:a", 's.*, s."a" AS "x"', ()),
        ("select=d->k->>0", '(s."d" -> $3::text ->> (0)) AS "k"', ("k",)),
        ("select=t->0", '(pg_catalog.to_jsonb(s."t") -> (0)) AS "t"', ()),
        ("select=%22odd.%5C%22name%22", 's."odd.""name" AS "odd.""name"', ()),
        ("a=eq.1", 's.* WHERE (s."a" = CAST($3::text AS integer))', ("1",)),
        ("a=not.gt.1", 's.* WHERE NOT (s."a" > CAST($3::text AS integer))', ("1",)),
        ("a=in.(1,2)", 's.* WHERE (s."a" = ANY (CAST($3::text[] AS integer[])))', (["1", "2"],)),
        ("b=like(any).{x*}", 's.* WHERE (s."b" LIKE ANY (CAST($3::text AS text[])))', ("{x%}",)),
        ("a=is.null", 's.* WHERE (s."a" IS NULL)', ()),
        (
            "b=fts(german).x",
            's.* WHERE (pg_catalog.to_tsvector($3::text::regconfig, s."b")'
            " @@ pg_catalog.to_tsquery($3::text::regconfig, $4::text))",
            ("german", "x"),
        ),
        (
            "or=(a.eq.1,not.and(b.eq.x,d->>k.eq.y))&order=d->>q.desc.nullslast,a&limit=5",
            's.* WHERE ((s."a" = CAST($3::text AS integer)) OR NOT ((s."b" = CAST($4::text AS'
            ' text)) AND ((s."d" ->> $5::text) = CAST($6::text AS text))))'
            ' ORDER BY (s."d" ->> $7::text) DESC NULLS LAST, s."a"'
            " LIMIT $8::bigint OFFSET $9::bigint",
            ("1", "x", "k", "y", "q", 5, 0),
        ),
    ],
)
def test_it_becomes_sql_without_values(
    query: str, expected: str, values: tuple[object, ...]
) -> None:
    assert sql(query) == expected
    assert asked(query).values == values


def test_values_are_no_part_of_a_shape() -> None:
    assert asked("a=eq.1&limit=2").shape == asked("a=eq.7&limit=9").shape
    assert asked("a=eq.1").shape != asked("a=gt.1").shape


def test_an_empty_select_is_no_column() -> None:
    assert asked("select=").shape.select == ()


@pytest.mark.parametrize(
    ("query", "message", "details"),
    [
        (
            "or=(a.eq.1",
            '"failed to parse logic tree ((a.eq.1)" (line 1, column 8)',
            'unexpected end of input expecting ")"',
        ),
        (
            "a=not.noop.1",
            '"failed to parse filter (not.noop.1)" (line 1, column 5)',
            'unexpected "n" expecting operator (eq, gt, ...)',
        ),
        (
            "or=(a.noop.1)",
            '"failed to parse logic tree ((a.noop.1))" (line 1, column 4)',
            'unexpected "n" expecting "not" or operator (eq, gt, ...)',
        ),
        (
            "a=is.maybe",
            '"failed to parse filter (is.maybe)" (line 1, column 4)',
            'unexpected "m" expecting isVal: (null, not_null, true, false, unknown)',
        ),
        ("a=in.1,2", '"failed to parse filter (in.1,2)" (line 1, column 4)', 'unexpected "1" exp'),
        (
            "a=in.(1,2)x",
            '"failed to parse filter (in.(1,2)x)" (line 1, column 9)',
            'unexpected "x"',
        ),
        ("order=a.up", '"failed to parse order (a.up)" (line 1, column 2)', 'unexpected "."'),
        ("select=a,,b", '"failed to parse select parameter (a,,b)" (line 1, column 3)', ""),
        ("select=a->>", '"failed to parse select parameter (a->>)" (line 1, column 5)', ""),
        ("select=a::", '"failed to parse select parameter (a::)" (line 1, column 4)', ""),
        ("select=(a)", '"failed to parse select parameter ((a))" (line 1, column 1)', ""),
        ("limit=ten", '"failed to parse limit (ten)" (line 1, column 1)', "unexpected"),
        ("columns=a,", '"failed to parse columns parameter (a,)" (line 1, column 3)', ""),
        ("select=%22a%00%22", "failed to parse select parameter", "NUL"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(query: str, message: str, details: str) -> None:
    problem = refused(query)
    assert (problem.status, problem.code) == (400, "PGRST100")
    assert message in problem.message
    assert details in (problem.details or "")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("select=a.sum()", "PGRST123"),
        ("select=n:count()", "PGRST123"),
        ("select=a(b)", "PGRST200"),
        ("select=a!inner(b)", "PGRST200"),
        ("select=...a(b)", "PGRST200"),
        ("order=a(b)", "PGRST108"),
        ("x.a=eq.1", "PGRST108"),
        ("select=a::regclass", "42704"),
    ],
)
def test_what_functions_have_not_is_told(query: str, code: str) -> None:
    assert refused(query).code == code


def test_a_tree_may_not_be_endless() -> None:
    assert refused("or=" + "(or" * 40 + "(a.eq.1)" + ")" * 40).code == "PGRST100"
    asked("or=" + "(or" * 29 + "(a.eq.1)" + ")" * 29)


@pytest.mark.parametrize(
    ("query", "header", "page"),
    [
        ({}, None, EVERY_ROW),
        ({"limit": "5", "offset": "2"}, None, Page(2, 5)),
        ({"offset": "-2"}, None, EVERY_ROW),
        ({}, "0-9", Page(0, 10)),
        ({}, "5-", Page(5)),
        ({"limit": "5"}, "2-9", Page(2, 3)),
        ({"limit": "5", "offset": "2"}, "0-3", Page(2, 2)),
        ({"limit": "0"}, "0-3", Page(0, 0)),
        ({"limit": "9" * 30}, None, Page(0, int("9" * 30))),
        ({}, "bytes=0-1", EVERY_ROW),
    ],
)
def test_pages(query: dict[str, str], header: str | None, page: Page) -> None:
    assert read_page(query, header) == page


@pytest.mark.parametrize(
    ("query", "header"), [({"limit": "-1"}, None), ({}, "3-1"), ({"limit": "2"}, "5-9")]
)
def test_pages_that_there_cannot_be(query: dict[str, str], header: str | None) -> None:
    with pytest.raises(Problem) as caught:
        read_page(query, header)
    assert (caught.value.status, caught.value.code) == (416, "PGRST103")


def test_no_page_is_longer_than_allowed() -> None:
    assert Page(3, 7).within(5) == Page(3, 5)
    assert Page(3, 4).within(5) == Page(3, 4)
    assert EVERY_ROW.within(None) is EVERY_ROW
    assert Page(0, int("9" * 30)).values == [2**63 - 1, 0]


@pytest.mark.parametrize(
    ("headers", "expected", "applied"),
    [
        (["count=exact"], Preferences(count="exact"), "count=exact"),
        (["return=minimal, count = planned"], Preferences(count="planned"), "count=planned"),
        (["count=exact", "count=planned"], Preferences(count="exact"), "count=exact"),
        (["count=some"], NONE, ""),
        ([""], NONE, ""),
        (
            ["max-affected=5, handling=strict, timezone=Asia/Tokyo"],
            Preferences(strict=True, timezone="Asia/Tokyo", max_affected=5),
            "handling=strict, timezone=Asia/Tokyo, max-affected=5",
        ),
        (["max-affected=5"], Preferences(max_affected=5), ""),
        (["handling=lenient, odd"], Preferences(strict=False), "handling=lenient"),
        (
            ["handling=strict, return=representation, tx=commit, missing=null"],
            Preferences(strict=True),
            "handling=strict",
        ),
    ],
)
def test_preferences(headers: list[str], expected: Preferences, applied: str) -> None:
    found = read_preferences(headers)
    assert (found, found.applied) == (expected, applied)


@pytest.mark.parametrize("preference", ["odd", "count=some", "tx=rollback", "max-affected=x"])
def test_a_strict_request_is_refused_what_is_not_taken(preference: str) -> None:
    with pytest.raises(Problem) as caught:
        read_preferences([f"handling=strict, {preference}"])
    assert (caught.value.code, caught.value.details) == (
        "PGRST122",
        f"Invalid preferences: {preference}",
    )


def test_an_item_is_called_by_the_last_key_of_its_path() -> None:
    assert asked("select=d->a->>b").shape.select == (
        Item(Field("d", (("->", None), ("->>", None))), "b"),
    )
