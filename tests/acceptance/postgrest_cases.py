"""What PostgREST's clients may rely on when they call functions: a sentence, a request, its answer.

`MINIMUM` is what every client needs, `NICE` what some of them use; both are in our own words.
`OURS` is what PostgREST has not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ANY = object()
"""An answer of which only status and headers matter."""
ABSENT = None
"""A header that must not be there."""


@dataclass(frozen=True)
class Case:
    """A sentence and what proves it.

    Attributes:
        request: method and path, as they are sent.
        answer: the document, the text where it is no JSON, or the code of an error.
        head: headers of the answer; a part of the value is enough.
        role: of the token, if there is one; `claims` are its others.
    """

    sentence: str
    request: str
    answer: Any = ANY
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    head: dict[str, str | None] = field(default_factory=dict)
    role: str | None = None
    claims: dict[str, Any] = field(default_factory=dict)
    text: str | None = None

    @property
    def code(self) -> str | None:
        """Of the error that is expected."""
        return self.answer if self.status >= 300 and isinstance(self.answer, str) else None


JSON = {"Content-Type": "application/json"}
CSV = {"Accept": "text/csv"}
OBJECT = {"Accept": "application/vnd.pgrst.object+json"}
EXACT = {"Prefer": "count=exact"}


def ids(*numbers: int) -> list[dict[str, int]]:
    """What `select=id` gives."""
    return [{"id": number} for number in numbers]


def people(query: str, *numbers: int, sentence: str, method: str = "GET") -> Case:
    """Filters of `api.people()` and the ids that pass."""
    body = b"{}" if method == "POST" else None
    headers = JSON if method == "POST" else {}
    request = f"{method} /rpc/people?select=id&{query}"
    return Case(sentence, request, ids(*numbers), headers=headers, body=body)


MINIMUM = [
    # calling
    Case("GET takes arguments from the query", "GET /rpc/with_default?p_a=1&p_b=2", 3),
    Case("an argument with a default may be left out", "GET /rpc/with_default?p_a=1", 11),
    Case(
        "of a plain name given twice the last counts", "GET /rpc/echo_text?p_value=a&p_value=b", "b"
    ),
    Case("an array is written in braces", "GET /rpc/echo_array?p_value=%7B1,2%7D", [1, 2]),
    Case(
        "names may be in capitals and hold spaces",
        "GET /rpc/Odd%20Names?User%20Id=1&fullName=x&select=fullName",
        [{"fullName": "x"}],
    ),
    Case("text is Unicode", "GET /rpc/echo_text?p_value=%C3%BC%E2%82%AC", "ü€"),
    Case("a VARIADIC argument collects its values", "GET /rpc/words?v=a&v=b", "a|b"),
    Case("one value of a VARIADIC argument is an element", "GET /rpc/words?v=a", "a"),
    Case(
        "POST takes arguments from a JSON object",
        "POST /rpc/with_default",
        11,
        headers=JSON,
        body=b'{"p_a": 1}',
    ),
    Case("an empty body is no arguments", "POST /rpc/who", "web_anon", headers=JSON, body=b""),
    Case(
        "of an array of objects the first is taken",
        "POST /rpc/with_default",
        15,
        headers=JSON,
        body=b'[{"p_a": 5}, {"p_a": 6}]',
    ),
    Case(
        "an array whose objects differ is refused",
        "POST /rpc/with_default",
        "PGRST102",
        400,
        headers=JSON,
        body=b'[{"p_a": 5}, {"p_b": 6}]',
    ),
    Case(
        "a body that is not JSON is refused",
        "POST /rpc/with_default",
        "PGRST102",
        400,
        headers=JSON,
        body=b"{p_a",
    ),
    Case(
        "a body of an unknown type is refused",
        "POST /rpc/with_default",
        "PGRST102",
        400,
        headers={"Content-Type": "image/png"},
        body=b"x",
    ),
    Case(
        "null in a body is NULL", "POST /rpc/is_null", True, headers=JSON, body=b'{"p_value": null}'
    ),
    Case("null in a query is a text", "GET /rpc/is_null?p_value=null", False),
    Case(
        "a plain value in the query of a POST is no filter",
        "POST /rpc/people?id=1",
        "PGRST100",
        400,
        headers=JSON,
        body=b"{}",
    ),
    Case("an unknown function is 404", "GET /rpc/nosuch", "PGRST202", 404),
    Case("arguments that a function has not are 404", "GET /rpc/who?p=1", "PGRST202", 404),
    Case(
        "the hint names what may have been meant",
        "GET /rpc/with_defaul?p_a=1",
        "PGRST202",
        404,
        text="Perhaps you meant to call the function api.with_default",
    ),
    Case("a deeper path is 404", "GET /rpc/who/me", "PGRST125", 404),
    Case(
        "another method is 405",
        "DELETE /rpc/who",
        "PGRST101",
        405,
        text="Cannot use the DELETE method on RPC",
    ),
    Case("a value that its type does not take is 400", "GET /rpc/with_default?p_a=x", "22P02", 400),
    Case("a time that cannot be read is 400", "GET /rpc/echo_time?p_value=soon", "22007", 400),
    # results
    Case("a table is an array of objects", "GET /rpc/one_column?p_count=2", ids(1, 2)),
    Case("an empty table is an empty array", "GET /rpc/one_column?p_count=0", []),
    Case("one composite value is an object", "GET /rpc/a_pair", {"a": 1, "b": "x"}),
    Case("a scalar is a bare value", "GET /rpc/with_default?p_a=1", 11),
    Case(
        "a scalar NULL is null",
        "POST /rpc/echo_text",
        None,
        headers=JSON,
        body=b'{"p_value": null}',
    ),
    Case("a set of scalars is an array of values", "GET /rpc/numbers?p_count=3", [1, 2, 3]),
    Case("one OUT argument is an object", "GET /rpc/one_out", {"a": 1}),
    Case("several OUT arguments are an object", "GET /rpc/two_out", {"a": 1, "b": "x"}),
    Case(
        "void is 204 without a body or its type",
        "POST /rpc/nothing",
        ANY,
        204,
        headers=JSON,
        body=b"{}",
        head={"Content-Type": ABSENT, "Content-Length": ABSENT},
        text="",
    ),
    Case(
        "times are ISO 8601 with an offset",
        "GET /rpc/echo_time?p_value=2026-01-01T00:00Z",
        "2026-01-01T00:00:00+00:00",
    ),
    Case(
        "numbers keep every digit",
        "GET /rpc/echo_numeric?p_value=987654321098765432101.50",
        text="987654321098765432101.50",
    ),
    Case(
        "NaN and Infinity are texts",
        "GET /rpc/special_floats?limit=2",
        [{"value": "NaN"}, {"value": "Infinity"}],
    ),
    # select
    Case(
        "select=* is every column",
        "GET /rpc/person?p_id=1&select=*",
        [{"id": 1, "name": "Ann", "boss": None}],
    ),
    Case(
        "select chooses columns",
        "GET /rpc/person?p_id=1&select=name,id",
        text='[{"name":"Ann","id":1}]',
    ),
    Case("select renames a column", "GET /rpc/person?p_id=1&select=who:name", [{"who": "Ann"}]),
    Case(
        "select works on POST",
        "POST /rpc/person?select=name",
        [{"name": "Ann"}],
        headers=JSON,
        body=b'{"p_id": 1}',
    ),
    Case("select=* does no harm to a scalar", "GET /rpc/who?select=*", "web_anon"),
    Case("select works on one composite value", "GET /rpc/a_pair?select=b", {"b": "x"}),
    Case(
        "a column that there is not is 400",
        "GET /rpc/people?select=nosuch",
        "42703",
        400,
        text="column people.nosuch does not exist",
    ),
    # order, limit, offset
    Case("order is ascending", "GET /rpc/people?select=id&order=name&name=in.(Ann,Bob)", ids(1, 2)),
    Case("order may be descending", "GET /rpc/people?select=id&order=id.desc", ids(4, 3, 2, 1)),
    Case(
        "order says where NULLs are",
        "GET /rpc/people?select=id&order=born.desc.nullslast",
        ids(3, 1, 2, 4),
    ),
    Case(
        "order may put NULLs first",
        "GET /rpc/people?select=id&order=born.nullsfirst",
        ids(4, 2, 1, 3),
    ),
    Case(
        "order takes several columns",
        "GET /rpc/people?select=id&order=active.desc.nullslast,id.desc",
        ids(4, 1, 2, 3),
    ),
    Case(
        "order takes columns that are not selected",
        "GET /rpc/people?select=name&order=id.desc&limit=1",
        [{"name": "ann%"}],
    ),
    Case(
        "limit takes the first rows",
        "GET /rpc/people?select=id&limit=2",
        ids(1, 2),
        head={"Content-Range": "0-1/*"},
    ),
    Case(
        "offset leaves the first rows out",
        "GET /rpc/people?select=id&offset=3",
        ids(4),
        head={"Content-Range": "3-3/*"},
    ),
    Case(
        "limit and offset make a page",
        "GET /rpc/people?select=id&limit=2&offset=1",
        ids(2, 3),
        head={"Content-Range": "1-2/*"},
    ),
    Case("limit=0 is nothing", "GET /rpc/people?limit=0", [], head={"Content-Range": "*/*"}),
    Case(
        "of two limits the last counts",
        "GET /rpc/people?select=id&limit=3&offset=0&limit=1",
        ids(1),
    ),
    Case("limit works on a set of scalars", "GET /rpc/numbers?p_count=5&limit=2&offset=1", [2, 3]),
    Case(
        "limit works on POST",
        "POST /rpc/numbers?limit=2",
        [1, 2],
        headers=JSON,
        body=b'{"p_count": 9}',
    ),
    # filters
    people("id=eq.2", 2, sentence="eq is equal"),
    people("id=neq.2", 1, 3, 4, sentence="neq is not equal"),
    people("id=gt.2", 3, 4, sentence="gt is greater"),
    people("id=gte.2", 2, 3, 4, sentence="gte is greater or equal"),
    people("id=lt.2", 1, sentence="lt is less"),
    people("id=lte.2", 1, 2, sentence="lte is less or equal"),
    people("born=gte.1990-01-01", 1, 3, sentence="values are read as the column's type"),
    people("id=in.(1,3)", 1, 3, sentence="in is one of several"),
    people("id=in.()", sentence="in of nothing is no row"),
    people(
        "name=in.(%22C%C3%A4cilie,%20%5C%22C%5C%22%22,Bob)",
        2,
        3,
        sentence="elements may be in quotes",
    ),
    people("boss=is.null", 1, sentence="is tests for NULL"),
    people("active=is.true", 1, 4, sentence="is tests for true"),
    people("active=is.FALSE", 2, sentence="is does not mind capitals"),
    people("name=like.A*", 1, sentence="like takes * for any text"),
    people("name=like.%25nn%25", 1, 4, sentence="like takes % as SQL does"),
    people("name=ilike.ann*", 1, 4, sentence="ilike does not mind capitals"),
    people("id=not.eq.2", 1, 3, 4, sentence="not. turns a filter around"),
    people("boss=not.is.null", 2, 3, 4, sentence="not.is.null is not NULL"),
    people("id=gt.1&id=lt.4", 2, 3, sentence="several filters hold together"),
    people("id=gt.2", 3, 4, sentence="filters work on POST", method="POST"),
    Case(
        "filters work on columns that are not selected",
        "GET /rpc/people?select=name&id=eq.2",
        [{"name": "Bob"}],
    ),
    Case(
        "an argument and a filter may have the same name",
        "GET /rpc/one_column?p_count=5&id=gt.3",
        ids(4, 5),
    ),
    Case("a filter on what there is not is 400", "GET /rpc/people?nosuch=eq.1", "42703", 400),
    Case(
        "a filter whose value is no value of the column is 400",
        "GET /rpc/people?id=eq.x",
        "22P02",
        400,
    ),
    # counts and media
    Case(
        "without a count the total is not known",
        "GET /rpc/numbers?p_count=3",
        head={"Content-Range": "0-2/*", "Preference-Applied": ABSENT},
    ),
    Case(
        "count=exact tells the total",
        "GET /rpc/numbers?p_count=3",
        headers=EXACT,
        head={"Content-Range": "0-2/3", "Preference-Applied": "count=exact"},
    ),
    Case(
        "a part of what was counted is 206",
        "GET /rpc/people?select=id&limit=2",
        ids(1, 2),
        206,
        headers=EXACT,
        head={"Content-Range": "0-1/4"},
    ),
    Case(
        "filters come before the count",
        "GET /rpc/people?id=gt.1&limit=1&select=id",
        ids(2),
        206,
        headers=EXACT,
        head={"Content-Range": "0-0/3"},
    ),
    Case(
        "POST counts, too",
        "POST /rpc/numbers?limit=1&offset=1",
        [2],
        206,
        headers=JSON | EXACT,
        body=b'{"p_count": 3}',
        head={"Content-Range": "1-1/3"},
    ),
    Case(
        "the total of nothing is 0",
        "GET /rpc/numbers?p_count=0",
        [],
        headers=EXACT,
        head={"Content-Range": "*/0"},
    ),
    Case("a scalar counts as one", "GET /rpc/who", headers=EXACT, head={"Content-Range": "0-0/1"}),
    Case(
        "an offset beyond the total is 416",
        "GET /rpc/numbers?p_count=3&offset=9",
        "PGRST103",
        416,
        headers=EXACT,
        head={"Content-Range": "*/3"},
        text="An offset of 9 was requested, but there are only 3 rows.",
    ),
    Case(
        "JSON has its type and charset",
        "GET /rpc/who",
        head={"Content-Type": "application/json; charset=utf-8"},
    ),
    Case("*/* is JSON", "GET /rpc/who", "web_anon", headers={"Accept": "*/*"}),
    Case(
        "CSV has a header line",
        "GET /rpc/one_column?p_count=2",
        headers=CSV,
        text="id\n1\n2",
        head={"Content-Type": "text/csv; charset=utf-8"},
    ),
    Case(
        "CSV has the columns that are selected",
        "GET /rpc/people?select=n:id&id=lt.3",
        headers=CSV,
        text="n\n1\n2",
    ),
    Case(
        "a single object is one row",
        "GET /rpc/person?p_id=1&select=id",
        {"id": 1},
        headers=OBJECT,
        head={"Content-Type": "application/vnd.pgrst.object+json"},
    ),
    Case(
        "a single object of no row is 406",
        "GET /rpc/person?p_id=9",
        "PGRST116",
        406,
        headers=OBJECT,
        text="The result contains 0 rows",
    ),
    Case(
        "a limit makes a single object of many rows",
        "GET /rpc/people?select=id&limit=1",
        {"id": 1},
        headers=OBJECT,
    ),
    Case(
        "the most wanted type is chosen",
        "GET /rpc/numbers?p_count=1",
        headers={"Accept": "application/json;q=0.5, text/csv"},
        text="pgrst_scalar\n1",
    ),
    Case(
        "a type that nobody has is 406",
        "GET /rpc/who",
        "PGRST107",
        406,
        headers={"Accept": "image/png"},
    ),
    # headers, roles, transactions
    Case(
        "HEAD is GET without its body",
        "HEAD /rpc/numbers?p_count=3",
        headers=EXACT,
        text="",
        head={"Content-Range": "0-2/3", "Content-Length": ABSENT, "Content-Type": "json"},
    ),
    Case(
        "the schema may be asked for",
        "GET /rpc/who",
        headers={"Accept-Profile": "api"},
        head={"Content-Profile": "api"},
    ),
    Case(
        "another schema is 406",
        "GET /rpc/who",
        "PGRST106",
        406,
        headers={"Accept-Profile": "public"},
    ),
    Case(
        "POST asks for its schema by Content-Profile",
        "POST /rpc/who",
        "PGRST106",
        406,
        body=b"{}",
        headers=JSON | {"Content-Profile": "public"},
    ),
    Case("a token has its role", "GET /rpc/who", "writer", role="writer"),
    Case("a token without a role is anonymous", "GET /rpc/who", "web_anon", claims={"sub": "x"}),
    Case(
        "a token that has expired is 401",
        "GET /rpc/who",
        "PGRST303",
        401,
        claims={"exp": 1},
        head={"WWW-Authenticate": "JWT expired"},
    ),
    Case(
        "what is no token is 401",
        "GET /rpc/who",
        "PGRST301",
        401,
        headers={"Authorization": "Bearer x.y"},
        text="Expected 3 parts in JWT; got 2",
    ),
    Case(
        "what anonymous may not call is 401",
        "POST /rpc/add_visit",
        "42501",
        401,
        headers=JSON,
        body=b'{"p_who": "x"}',
    ),
    Case("what a role may not call is 403", "GET /rpc/not_for_anyone", "42501", 403, role="writer"),
    Case("GET does not write", "GET /rpc/add_visit?p_who=x", "25006", 405, role="writer"),
    Case(
        "a stable function does not write",
        "POST /rpc/stable_but_writes",
        "0A000",
        400,
        headers=JSON,
        body=b"{}",
    ),
    Case(
        "RAISE EXCEPTION is 400 with its words",
        "GET /rpc/fail_with?p_sqlstate=P0001",
        "P0001",
        400,
        text="failed on purpose",
    ),
    Case(
        "a page of another origin may ask",
        "OPTIONS /rpc/who",
        ANY,
        200,
        headers={"Origin": "http://a", "Access-Control-Request-Method": "POST"},
        head={"Access-Control-Allow-Methods": "POST", "Access-Control-Max-Age": "86400"},
    ),
    Case(
        "a page of another origin may read",
        "GET /rpc/who",
        headers={"Origin": "http://a"},
        head={"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Content-Range"},
    ),
]

NICE = [
    # Range
    Case(
        "Range asks for rows",
        "GET /rpc/people?select=id",
        ids(2, 3),
        headers={"Range": "1-2"},
        head={"Content-Range": "1-2/*"},
    ),
    Case(
        "Range may have no end",
        "GET /rpc/people?select=id",
        ids(3, 4),
        headers={"Range": "2-"},
        head={"Content-Range": "2-3/*"},
    ),
    Case(
        "Range and count make 206",
        "GET /rpc/people?select=id",
        ids(1, 2),
        206,
        headers=EXACT | {"Range": "0-1", "Range-Unit": "items"},
        head={"Content-Range": "0-1/4"},
    ),
    Case(
        "Range lies within limit and offset",
        "GET /rpc/people?select=id&limit=2&offset=1",
        ids(2, 3),
        headers={"Range": "0-9"},
    ),
    Case(
        "Range that ends before it begins is 416",
        "GET /rpc/people",
        "PGRST103",
        416,
        headers={"Range": "3-1"},
        text="The lower boundary must be lower than or equal",
    ),
    Case(
        "Range does not matter to POST",
        "POST /rpc/numbers",
        [1, 2],
        headers=JSON | {"Range": "0-0"},
        body=b'{"p_count": 2}',
    ),
    Case(
        "Range that is none does not matter",
        "GET /rpc/numbers?p_count=2",
        [1, 2],
        headers={"Range": "bytes=0-1"},
    ),
    Case(
        "a negative limit is 416",
        "GET /rpc/people?limit=-1",
        "PGRST103",
        416,
        text="Limit should be greater than or equal to zero.",
    ),
    Case(
        "count=planned tells a total",
        "GET /rpc/people?limit=1&select=id",
        ids(1),
        206,
        headers={"Prefer": "count=planned"},
        head={"Preference-Applied": "count=planned"},
    ),
    Case(
        "count=estimated tells a total",
        "GET /rpc/people?limit=1&select=id",
        ids(1),
        206,
        headers={"Prefer": "count=estimated"},
        head={"Preference-Applied": "count=estimated"},
    ),
    # logic
    people("or=(id.eq.1,id.eq.3)", 1, 3, sentence="or is one of several filters"),
    people("and=(id.gt.1,id.lt.4)", 2, 3, sentence="and is all of several filters"),
    people("or=(id.eq.1,and(id.gt.2,id.lt.4))", 1, 3, sentence="logic may be nested"),
    people("not.or=(id.eq.1,id.eq.3)", 2, 4, sentence="not.or turns a tree around"),
    people(
        "or=(id.eq.4,not.and(id.gt.1,boss.not.is.null))",
        1,
        4,
        sentence="not.and works within a tree",
    ),
    people(
        "or=(name.eq.%22C%C3%A4cilie,%20%5C%22C%5C%22%22,id.in.(1,2))",
        1,
        2,
        3,
        sentence="values in a tree may be in quotes, and lists",
    ),
    people("or=(tags.cs.%7Ba,b%7D,id.eq.2)", 1, 2, sentence="arrays may stand in a tree"),
    people("or=(id.eq.1,id.eq.3)", 1, 3, sentence="logic works on POST", method="POST"),
    Case(
        "a tree that cannot be read is 400",
        "GET /rpc/people?or=(id.eq.1",
        "PGRST100",
        400,
        text="failed to parse logic tree",
    ),
    # paths and casts
    Case(
        "select goes into JSON",
        "GET /rpc/people?id=eq.1&select=data-%3Ey",
        [{"y": {"z": ["p", "q"]}}],
    ),
    Case(
        "select takes text from JSON", "GET /rpc/people?id=eq.1&select=data-%3E%3Ex", [{"x": "1"}]
    ),
    Case(
        "a path may hold an index",
        "GET /rpc/people?id=eq.1&select=v:data-%3Ey-%3Ez-%3E%3E1",
        [{"v": "q"}],
    ),
    Case(
        "a path goes into an array of SQL",
        "GET /rpc/people?id=eq.1&select=first:tags-%3E%3E0",
        [{"first": "a"}],
    ),
    people("data-%3E%3Ex=eq.10", 3, sentence="a filter goes into JSON"),
    people("data-%3Ex=gt.1", 2, 3, sentence="a filter on JSON compares JSON"),
    people("order=data-%3Ex.desc.nullslast", 3, 2, 1, 4, sentence="order goes into JSON"),
    Case("select casts", "GET /rpc/people?id=eq.1&select=id::text", [{"id": "1"}]),
    Case(
        "select casts under another name",
        "GET /rpc/people?id=eq.1&select=n:id::numeric,born::text",
        [{"n": 1, "born": "1990-05-01"}],
    ),
    Case("a type that there is not is 400", "GET /rpc/people?select=id::nosuch", "42704", 400),
    Case("aggregates are not allowed", "GET /rpc/people?select=id.sum()", "PGRST123", 400),
    Case("nothing can be embedded", "GET /rpc/people?select=id,boss(name)", "PGRST200", 400),
    # operators
    people("id=eq(any).%7B1,3%7D", 1, 3, sentence="(any) is one of an array"),
    people("name=like(any).%7BA*,B*%7D", 1, 2, sentence="like(any) is one of several patterns"),
    people("name=like(all).%7B*n*,A*%7D", 1, sentence="like(all) is all of several patterns"),
    people("name=match.%5EA", 1, sentence="match is a regular expression"),
    people("name=imatch.%5Ea", 1, 4, sentence="imatch does not mind capitals"),
    people("boss=isdistinct.1", 1, 4, sentence="isdistinct takes NULL for a value"),
    people("tags=cs.%7Bb%7D", 1, 2, sentence="cs contains"),
    people("tags=cd.%7Ba,b%7D", 1, 2, 3, sentence="cd is contained"),
    people("tags=ov.%7Ba,z%7D", 1, sentence="ov overlaps"),
    people("span=sl.%5B5,9)", 1, sentence="sl is left of"),
    people("span=sr.%5B1,5)", 2, 3, sentence="sr is right of"),
    people("span=nxr.%5B5,9)", 1, 2, sentence="nxr does not reach further right"),
    people("span=nxl.%5B5,9)", 2, 3, sentence="nxl does not reach further left"),
    people("span=adj.%5B5,9)", 1, sentence="adj is next to"),
    people("data=cs.%7B%22x%22:2%7D", 2, sentence="cs looks into JSON"),
    people("words=fts.cat", 1, sentence="fts searches"),
    people("words=fts(english).cats", 1, sentence="fts knows languages"),
    people("words=plfts(english).the%20cats", 1, sentence="plfts takes plain text"),
    people("words=phfts(english).dog%20sleeps", 2, sentence="phfts takes a phrase"),
    people("words=wfts(english).cats%20or%20dog", 1, 2, sentence="wfts takes what people type"),
    people("name=fts(simple).bob", 2, sentence="fts searches text as well"),
    people("id=not.in.(1,2)", 3, 4, sentence="not.in is none of several"),
    people("active=is.not_null", 1, 2, 4, sentence="is.not_null is not NULL"),
    people("active=is.unknown", 3, sentence="is.unknown tests for unknown"),
    Case(
        "an operator that cannot be read is 400",
        "GET /rpc/people?id=not.noop.1",
        "PGRST100",
        400,
        text="failed to parse filter",
    ),
    # names
    Case(
        "names in quotes hold anything",
        "GET /rpc/Odd%20Names?User%20Id=1&fullName=x"
        "&select=%22a.b%22,q:%22sel%5C%22ect%22&%22a.b%22=eq.7",
        [{"a.b": 7, "q": 8}],
    ),
    # preferences
    Case(
        "handling=strict refuses what it does not know",
        "GET /rpc/who",
        "PGRST122",
        400,
        headers={"Prefer": "handling=strict, anything, count=exact"},
        text="Invalid preferences: anything",
    ),
    Case(
        "handling=strict is echoed",
        "GET /rpc/who",
        headers={"Prefer": "handling=strict"},
        head={"Preference-Applied": "handling=strict"},
    ),
    Case(
        "handling=lenient is echoed, and the rest ignored",
        "GET /rpc/who",
        "web_anon",
        headers={"Prefer": "handling=lenient, anything"},
        head={"Preference-Applied": "handling=lenient"},
    ),
    Case(
        "a preference that is not known is ignored",
        "GET /rpc/who",
        "web_anon",
        headers={"Prefer": "anything"},
        head={"Preference-Applied": ABSENT},
    ),
    Case(
        "max-affected holds under handling=strict",
        "POST /rpc/numbers",
        "PGRST124",
        400,
        headers=JSON | {"Prefer": "handling=strict, max-affected=2"},
        body=b'{"p_count": 3}',
        text="The query affects 3 rows",
    ),
    Case(
        "max-affected that is kept is echoed",
        "POST /rpc/numbers",
        [1, 2],
        headers=JSON | {"Prefer": "handling=strict, max-affected=2"},
        body=b'{"p_count": 2}',
        head={"Preference-Applied": "handling=strict, max-affected=2"},
    ),
    Case(
        "max-affected does not hold otherwise",
        "POST /rpc/numbers",
        [1, 2, 3],
        headers=JSON | {"Prefer": "max-affected=2"},
        body=b'{"p_count": 3}',
        head={"Preference-Applied": ABSENT},
    ),
    Case(
        "max-affected is for sets",
        "POST /rpc/who",
        "PGRST128",
        400,
        body=b"{}",
        headers=JSON | {"Prefer": "handling=strict, max-affected=2"},
    ),
    Case(
        "timezone decides how times are written",
        "GET /rpc/echo_time?p_value=2026-07-01T00:00Z",
        "2026-07-01T09:00:00+09:00",
        headers={"Prefer": "timezone=Asia/Tokyo"},
        head={"Preference-Applied": "timezone=Asia/Tokyo"},
    ),
    Case(
        "a timezone that there is not is 400",
        "GET /rpc/who",
        "22023",
        400,
        headers={"Prefer": "timezone=Mars/Phobos"},
    ),
    Case(
        "return= does not matter",
        "POST /rpc/who",
        "web_anon",
        body=b"{}",
        headers=JSON | {"Prefer": "return=representation"},
        head={"Preference-Applied": ABSENT},
    ),
    Case(
        "params=single-object makes the body one argument",
        "POST /rpc/echo_json",
        {"a": [1]},
        headers=JSON | {"Prefer": "params=single-object"},
        body=b'{"a": [1]}',
        head={"Preference-Applied": "params=single-object"},
    ),
    # media and bodies
    Case(
        "nulls=stripped leaves nulls out",
        "GET /rpc/person?p_id=1",
        [{"id": 1, "name": "Ann"}],
        headers={"Accept": "application/vnd.pgrst.array+json;nulls=stripped"},
        head={"Content-Type": "application/vnd.pgrst.array+json;nulls=stripped; charset=utf-8"},
    ),
    Case(
        "nulls=stripped works on a single object",
        "GET /rpc/person?p_id=1",
        {"id": 1, "name": "Ann"},
        headers={"Accept": "application/vnd.pgrst.object+json; nulls=stripped"},
        head={"Content-Type": "application/vnd.pgrst.object+json;nulls=stripped"},
    ),
    Case(
        "nulls=stripped wants one row as well",
        "GET /rpc/people",
        "PGRST116",
        406,
        headers={"Accept": "application/vnd.pgrst.object+json;nulls=stripped"},
    ),
    Case(
        "array+json alone is JSON",
        "GET /rpc/who",
        headers={"Accept": "application/vnd.pgrst.array+json"},
        head={"Content-Type": "application/json; charset=utf-8"},
    ),
    Case(
        "a scalar may be plain text",
        "GET /rpc/echo_text?p_value=%22x%22",
        headers={"Accept": "text/plain"},
        text='"x"',
        head={"Content-Type": "text/plain; charset=utf-8"},
    ),
    Case(
        "a scalar may be bytes",
        "POST /rpc/unnamed_bytes",
        text="a\x00b",
        body=b"a\x00b",
        headers={"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"},
        head={"Content-Type": "application/octet-stream"},
    ),
    Case(
        "a table is no plain text",
        "GET /rpc/people",
        "PGRST107",
        406,
        headers={"Accept": "text/plain"},
    ),
    Case(
        "a form is arguments",
        "POST /rpc/with_default",
        3,
        body=b"p_a=1&p_b=2",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    ),
    Case(
        "a form may repeat a VARIADIC argument",
        "POST /rpc/words",
        "a|b",
        body=b"v=a&v=b",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    ),
    Case(
        "CSV is arguments",
        "POST /rpc/with_default",
        3,
        body=b"p_a,p_b\n1,2\n",
        headers={"Content-Type": "text/csv"},
    ),
    Case(
        "JSON may be one argument without a name",
        "POST /rpc/unnamed_json",
        {"a": 1},
        headers=JSON,
        body=b'{"a": 1}',
    ),
    Case(
        "an array may be one argument without a name",
        "POST /rpc/unnamed_json",
        [{"a": 1}, {"a": 2}],
        headers=JSON,
        body=b'[{"a": 1}, {"a": 2}]',
    ),
    Case(
        "text may be one argument without a name",
        "POST /rpc/unnamed_text",
        "x\ny",
        body=b"x\ny",
        headers={"Content-Type": "text/plain"},
    ),
    Case(
        "XML is for an argument without a name",
        "POST /rpc/echo_text",
        "PGRST202",
        404,
        body=b"<a/>",
        headers={"Content-Type": "text/xml"},
        text="with a single unnamed xml parameter",
    ),
    Case(
        "text is for no other function",
        "POST /rpc/echo_text",
        "PGRST202",
        404,
        body=b"x",
        headers={"Content-Type": "text/plain"},
        text="with a single unnamed text parameter",
    ),
    Case(
        "columns= chooses the keys that are arguments",
        "POST /rpc/with_default?columns=p_a",
        11,
        headers=JSON,
        body=b'{"p_a": 1, "p_b": 5, "other": 1}',
    ),
]

OURS = [
    Case(
        "format=csv is CSV",
        "GET /rpc/one_column?p_count=2&format=csv",
        text="id\n1\n2",
        head={"Content-Type": "text/csv; charset=utf-8"},
    ),
    Case("format=json is JSON", "GET /rpc/who?format=json", "web_anon", headers=CSV),
    Case(
        "a name that ends in .csv is CSV", "GET /rpc/people.csv?select=id&limit=2", text="id\n1\n2"
    ),
    Case(
        ".csv works on POST",
        "POST /rpc/one_column.csv",
        text="id\n1",
        headers=JSON,
        body=b'{"p_count": 1}',
    ),
    Case(
        "an unknown name with .csv is 404",
        "GET /rpc/nosuch.csv",
        "PGRST202",
        404,
        text="api.nosuch without",
    ),
    Case("another format is an argument", "GET /rpc/who?format=xml", "PGRST202", 404),
    Case("a filter may be on a column called format", "GET /rpc/people?format=eq.1", "42703", 400),
]
