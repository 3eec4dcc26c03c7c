"""What comes back from /rpc: arguments in, shapes and media types out, over real HTTP."""

import gzip
from typing import Any

import cramjam
import pytest

from tests.support.readapi import Client, token

JSON = "application/json; charset=utf-8"
BIG = "987654321098765432101"


@pytest.mark.parametrize(
    ("path", "body", "content_range"),
    [
        ("one_column?p_count=2", '[{"id":1}, \n {"id":2}]', "0-1/*"),
        ("one_column?p_count=0", "[]", "*/*"),
        ("numbers?p_count=3", "[1, 2, 3]", "0-2/*"),
        ("numbers?p_count=0", "[]", "*/*"),
        ("with_default?p_a=1", "11", "0-0/*"),
        ("with_default?p_a=1&p_b=2", "3", "0-0/*"),
        ("overloaded?p_a=1", '"a"', "0-0/*"),
        ("overloaded?p_a=1&p_b=2", '"ab"', "0-0/*"),
        ("two_out", '{"a":1,"b":"x"}', "0-0/*"),
        ("one_out", '{"a":1}', "0-0/*"),
        ("a_pair", '{"a":1,"b":"x"}', "0-0/*"),
        ("a_table", '[{"a":1,"b":"x"}, \n {"a":2,"b":null}]', "0-1/*"),
        ("any_record", '{"?column?":1,"text":"x"}', "0-0/*"),
        ("any_records", '[{"?column?":1,"text":"x"}, \n {"?column?":2,"text":"y"}]', "0-1/*"),
        ("echo_text?p_value=%C3%BC%22", '"ü\\""', "0-0/*"),
        (f"echo_numeric?p_value={BIG}.50", f"{BIG}.50", "0-0/*"),
        ("echo_array?p_value=%7B1,2%7D", "[1,2]", "0-0/*"),
        ("echo_json?p_value=%7B%22a%22:1%7D", '{"a": 1}', "0-0/*"),
        ("echo_boolean?p_value=true", "true", "0-0/*"),
        ("echo_time?p_value=2026-01-01", '"2026-01-01T00:00:00+00:00"', "0-0/*"),
        ("echo_text?p_value=first&p_value=last", '"last"', "0-0/*"),
        ("total?p_values=1&p_values=2&p_values=3", "6", "0-0/*"),
        ("total?p_values=%7B4,5%7D", "9", "0-0/*"),
        ("total?p_values=7", "7", "0-0/*"),
        ("is_null?p_value=null", "false", "0-0/*"),
        (
            "special_floats",
            '[{"value":"NaN"}, \n {"value":"Infinity"}, \n {"value":"-Infinity"},'
            ' \n {"value":0.1}]',
            "0-3/*",
        ),
    ],
)
async def test_get(api: Client, path: str, body: str, content_range: str) -> None:
    answer = await api.request("GET", f"/rpc/{path}")
    assert (answer.status, answer.text) == (200, body)
    assert answer.headers["Content-Type"] == JSON
    assert answer.headers["Content-Range"] == content_range
    assert answer.headers["Vary"] == (
        "Accept, Prefer, Range, Accept-Encoding,"
        " Authorization, X-API-Key, apikey, X-PMETRICS-API-KEY, X-Scope-OrgID"
    )


@pytest.mark.parametrize(
    ("function", "document", "body"),
    [
        ("echo_numeric", f'{{"p_value": {BIG}}}', BIG),
        ("echo_numeric", f'{{"p_value": "{BIG}.10"}}', f"{BIG}.10"),
        ("echo_text", '{"p_value": 1.10}', '"1.10"'),
        ("echo_text", '{"p_value": true}', '"true"'),
        ("echo_text", '{"p_value": {"a": [1]}}', '"{\\"a\\": [1]}"'),
        ("echo_text", '{"p_value": null}', "null"),
        ("echo_boolean", '{"p_value": false}', "false"),
        ("echo_array", '{"p_value": [1, null, 3]}', "[1,null,3]"),
        ("echo_array", '{"p_value": "{1,2}"}', "[1,2]"),
        ("echo_json", '{"p_value": {"b": 1.00, "a": []}}', '{"a": [], "b": 1.00}'),
        ("echo_json", '{"p_value": "text"}', '"text"'),
        ("echo_interval", '{"p_value": "90 minutes"}', '"01:30:00"'),
        ("is_null", '{"p_value": null}', "true"),
        ("pair_text", '{"p_pair": {"a": 1, "b": "x"}}', '"x1"'),
        ("total", '{"p_values": [1, 2]}', "3"),
        ("with_default", '{"p_a": 1}', "11"),
        ("with_default", '[{"p_a": 5}, {"p_a": 6}]', "15"),
        ("one_out", "", '{"a":1}'),
        ("one_out", "{}", '{"a":1}'),
    ],
)
async def test_post(api: Client, function: str, document: str, body: str) -> None:
    answer = await api.request("POST", f"/rpc/{function}", data=document.encode())
    assert (answer.status, answer.text) == (200, body)


async def test_rows_keep_every_digit(api: Client) -> None:
    answer = await api.get("rows_of", p_count=1)
    assert answer.text == '[{"id":1,"name":"row 1","amount":987654321098765432102.50}]'


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_void_is_204_without_a_body(api: Client, method: str) -> None:
    answer = await api.request(method, "/rpc/nothing")
    assert (answer.status, answer.body) == (204, b"")
    assert "Content-Type" not in answer.headers
    assert "Content-Length" not in answer.headers
    assert answer.headers["Content-Range"] == "0-0/*"


async def test_void_has_no_shape(api: Client) -> None:
    """Parameters for one have no place in its statement."""
    for headers in ({"Range": "0-3"}, {"Range": "0-3", "Prefer": "count=exact"}):
        answer = await api.request("GET", "/rpc/nothing", headers=headers)
        assert (answer.status, answer.body) == (204, b"")


async def test_head_is_get_without_the_body(api: Client) -> None:
    answer = await api.request("HEAD", "/rpc/numbers?p_count=3", headers={"Prefer": "count=exact"})
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Type"] == JSON
    assert answer.headers["Content-Range"] == "0-2/3"
    assert "Content-Length" not in answer.headers
    refused = await api.request("HEAD", "/rpc/nosuch")
    assert (refused.status, refused.body) == (404, b"")


@pytest.mark.parametrize(
    ("path", "content_range"),
    [("numbers?p_count=3", "0-2/3"), ("numbers?p_count=0", "*/0"), ("one_out", "0-0/1")],
)
async def test_count(api: Client, path: str, content_range: str) -> None:
    answer = await api.request("GET", f"/rpc/{path}", headers={"Prefer": "count=exact"})
    assert answer.status == 200
    assert answer.headers["Content-Range"] == content_range
    assert answer.headers["Preference-Applied"] == "count=exact"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("rows_of?p_count=2", 'id,name,amount\n1,"row 1",{0}2.50\n2,"row 2",{0}3.50'),
        ("rows_of?p_count=0", "\n"),
        ("numbers?p_count=2", "pgrst_scalar\n1\n2"),
        ("echo_text?p_value=a,b", 'pgrst_scalar\n"a,b"'),
        ("two_out", "a,b\n1,x"),
        ("csv_traps", '"a,b",c\n"back\\slash","quote"" and\nnewline"\n"",'),
    ],
)
async def test_csv(api: Client, path: str, body: str) -> None:
    answer = await api.request("GET", f"/rpc/{path}", headers={"Accept": "text/csv"})
    assert (answer.status, answer.text) == (200, body.format("98765432109876543210"))
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"


class TestSingleObject:
    headers = {"Accept": "application/vnd.pgrst.object+json"}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("one_column?p_count=1", '{"id":1}'),
            ("two_out", '{"a":1,"b":"x"}'),
            ("who", '"web_anon"'),
        ],
    )
    async def test_one_row(self, api: Client, path: str, body: str) -> None:
        answer = await api.request("GET", f"/rpc/{path}", headers=self.headers)
        assert (answer.status, answer.text) == (200, body)
        assert answer.headers["Content-Type"] == f"{self.headers['Accept']}; charset=utf-8"

    @pytest.mark.parametrize("count", [0, 2])
    async def test_not_one_row(self, api: Client, count: int) -> None:
        answer = await api.get("one_column", p_count=count, headers=self.headers)
        assert answer.status == 406
        assert answer.json == {
            "code": "PGRST116",
            "message": "Cannot coerce the result to a single JSON object",
            "details": f"The result contains {count} rows",
            "hint": None,
        }

    async def test_what_was_written_is_rolled_back(self, own_api: Client) -> None:
        writer = token(role="writer")
        answer = await own_api.post(
            "add_visits", writer, p_who="x", p_count=2, headers=self.headers
        )
        assert answer.status == 406
        assert (await own_api.get("visits")).json == 0
        answer = await own_api.post(
            "add_visits", writer, p_who="x", p_count=1, headers=self.headers
        )
        assert answer.status == 200
        assert (await own_api.get("visits")).json == 1


@pytest.mark.parametrize(
    ("encoding", "decompress"),
    [("gzip", gzip.decompress), ("zstd", cramjam.zstd.decompress)],
)
@pytest.mark.parametrize("tens", [1000, 100_000])  # in the loop and in a thread
async def test_long_answers_are_compressed(
    api: Client, encoding: str, decompress: Any, tens: int
) -> None:
    answer = await api.get("large", p_count=tens, headers={"Accept-Encoding": encoding})
    assert answer.headers["Content-Encoding"] == encoding
    assert int(answer.headers["Content-Length"]) == len(answer.body) < tens
    assert bytes(decompress(answer.body)) == b'"' + b"0123456789" * tens + b'"'


async def test_short_answers_are_not_compressed(api: Client) -> None:
    answer = await api.get("large", p_count=10, headers={"Accept-Encoding": "zstd, gzip"})
    assert "Content-Encoding" not in answer.headers


async def test_a_compressed_body_is_taken(api: Client) -> None:
    body = gzip.compress(b'{"p_value": "x"}')
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = await api.request("POST", "/rpc/echo_text", data=body, headers=headers)
    assert answer.json == "x"
    headers = {"Content-Encoding": "gzip"}
    answer = await api.request("POST", "/rpc/echo_text", data=b"not gzip", headers=headers)
    assert answer.status == 400


async def test_profile_is_echoed(api: Client) -> None:
    answer = await api.get("who", headers={"Accept-Profile": "api", "Content-Profile": "other"})
    assert answer.headers["Content-Profile"] == "api"
    assert "Content-Profile" not in (await api.get("who")).headers


async def test_options_and_preflight(api: Client) -> None:
    assert (await api.request("OPTIONS", "/rpc/who")).headers["Allow"] == "OPTIONS,GET,HEAD,POST"
    answer = await api.request("OPTIONS", "/rpc/add_visit", headers={"Origin": "http://a"})
    assert answer.headers["Allow"] == "OPTIONS,POST"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    preflight = await api.request(
        "OPTIONS",
        "/rpc/who",
        headers={
            "Origin": "http://a",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-profile,x-client-info",
        },
    )
    assert preflight.status == 200
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    allowed = preflight.headers["Access-Control-Allow-Headers"]
    assert allowed.startswith("Authorization, content-profile,x-client-info, Accept")
    assert preflight.headers["Access-Control-Max-Age"] == "86400"


async def test_a_page_of_another_origin_may_read_the_headers(api: Client) -> None:
    answer = await api.get("who", headers={"Origin": "http://a"})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Content-Range" in answer.headers["Access-Control-Expose-Headers"]
    failed = await api.get("nosuch", headers={"Origin": "http://a"})
    assert failed.headers["Access-Control-Allow-Origin"] == "*"


async def test_functions_of_users_are_not_taken_for_those_of_postgresql(own_api: Client) -> None:
    """PostgreSQL prefers a function of the very types of a call to its own of any type."""
    await own_api.sql(
        "CREATE FUNCTION public.to_json(int8) RETURNS json LANGUAGE sql AS $$ SELECT '{}'::json $$",
        "CREATE FUNCTION api.to_json(text) RETURNS json LANGUAGE sql AS $$ SELECT '{}'::json $$",
        "CREATE AGGREGATE public.json_agg(int) (sfunc = int4_sum, stype = bigint)",
        "CREATE FUNCTION public.json_to_record(text) RETURNS record LANGUAGE sql"
        " AS $$ SELECT -1 $$",
        "SELECT 1",
    )
    assert (await own_api.get("visits")).text == "0"
    assert (await own_api.get("who")).text == '"web_anon"'
    assert (await own_api.get("numbers", p_count=2)).text == "[1, 2]"
    assert (await own_api.post("numbers", p_count=2)).text == "[1, 2]"


async def test_a_composite_type_in_the_only_result_column_has_its_own_columns(
    own_api: Client,
) -> None:
    await own_api.sql(
        "CREATE FUNCTION api.pairs() RETURNS TABLE (t api.pair) LANGUAGE sql STABLE"
        " AS $$ VALUES ((1, 'x')::api.pair), ((2, 'y')::api.pair) $$",
        "SELECT 1",
    )
    assert (await own_api.get("pairs")).json == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    answer = await own_api.get("pairs", headers={"Accept": "text/csv"})
    assert answer.text == "a,b\n1,x\n2,y"


async def test_an_argument_may_be_called_like_what_shapes_results(own_api: Client) -> None:
    await own_api.sql(
        'CREATE FUNCTION api.paged("limit" int, "order" text DEFAULT NULL) RETURNS text'
        """ LANGUAGE sql STABLE AS $$ SELECT concat_ws(' ', "limit", "order") $$""",
        "SELECT 1",
    )
    answer = await own_api.request("GET", "/rpc/paged?limit=5&order=id.desc")
    assert (answer.status, answer.json) == (200, "5 id.desc")
    assert (await own_api.request("GET", "/rpc/paged?limit=5&offset=0")).json == "5"
    assert len((await own_api.request("GET", "/rpc/rows_of?p_count=3&limit=2")).json) == 2


async def test_one_value_of_a_variadic_argument_is_its_only_element(own_api: Client) -> None:
    await own_api.sql(
        "CREATE FUNCTION api.texts(VARIADIC v text[]) RETURNS text[] LANGUAGE sql STABLE"
        " AS $$ SELECT v $$",
        "CREATE FUNCTION api.documents(VARIADIC v jsonb[]) RETURNS int LANGUAGE sql STABLE"
        " AS $$ SELECT cardinality(v) $$",
        "SELECT 1",
    )
    assert (await own_api.get("texts", v="a,b")).json == ["a,b"]
    assert (await own_api.get("texts", v="")).json == [""]
    assert (await own_api.get("texts", v="{a,b}")).json == ["a", "b"]
    assert (await own_api.get("documents", v='{"a": 1}')).json == 1


async def test_a_text_is_answered_whatever_it_begins_with(own_api: Client) -> None:
    """A byte of our own marks pieces of long answers; it is not taken from what a function says."""
    await own_api.sql(
        "CREATE FUNCTION api.said(p_text text, p_times int DEFAULT 1) RETURNS text LANGUAGE sql"
        " STABLE AS $$ SELECT repeat(p_text, p_times) $$",
        "SELECT 1",
    )
    for method in (own_api.get, own_api.post):
        for text in ("+1 555", "+", "", "no", "\\x2b"):
            answer = await method("said", p_text=text, headers={"Accept": "text/plain"})
            assert (answer.status, answer.text) == (200, text)
    long = await own_api.get(
        "said", p_text="+-", p_times=3_000_000, headers={"Accept": "text/plain"}
    )
    assert long.text == "+-" * 3_000_000
