"""What /rpc refuses: the status, the four keys, and that nothing came of it."""

import json
from collections.abc import AsyncIterator

import pytest

from tests.support.answer import Answer
from tests.support.databases import Database
from tests.support.readapi import SECRET, Client, add_functions, running_api, token


def assert_problem(answer: Answer, status: int, code: str) -> dict[str, str | None]:
    assert (answer.status, answer.json["code"]) == (status, code), answer.text
    assert set(answer.json) == {"code", "message", "details", "hint"}
    assert all(value is None or isinstance(value, str) for value in answer.json.values())
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["Proxy-Status"] == f"Promgres; error={code}"
    problem: dict[str, str | None] = answer.json
    return problem


METRIC = {
    "p_metric_name": "up",
    "p_schema": "common",
    "p_interval": "1 minute",
    "p_from": "2026-01-01T00:00:00Z",
    "p_to": "2026-01-02T00:00:00Z",
}


class TestArguments:
    async def test_an_unknown_function(self, api: Client) -> None:
        for answer in (await api.get("no_such_function"), await api.post("no_such_function")):
            problem = assert_problem(answer, 404, "PGRST202")
            assert "api.no_such_function without parameters" in str(problem["message"])

    async def test_a_missing_argument(self, api: Client) -> None:
        arguments = {name: value for name, value in METRIC.items() if name != "p_to"}
        for answer in (
            await api.get("get_agg_metric", **arguments),
            await api.post("get_agg_metric", **arguments),
        ):
            problem = assert_problem(answer, 404, "PGRST202")
            assert problem["hint"] == (
                "Perhaps you meant to call the function"
                " api.get_agg_metric(p_from, p_interval, p_metric_name, p_schema, p_to)"
            )

    async def test_a_superfluous_argument(self, api: Client) -> None:
        for answer in (
            await api.get("get_agg_metric", **METRIC, p_step="1"),
            await api.post("get_agg_metric", **METRIC, p_step=1),
        ):
            problem = assert_problem(answer, 404, "PGRST202")
            assert "p_step" in str(problem["message"])

    @pytest.mark.parametrize(
        ("name", "value", "code"),
        [
            ("p_interval", "every now and then", "22007"),
            ("p_interval", "-1 minute", "22023"),
            ("p_from", "noonish", "22007"),
            ("p_to", "2026-13-01", "22008"),
        ],
    )
    async def test_a_value_that_the_type_does_not_take(
        self, api: Client, name: str, value: str, code: str
    ) -> None:
        arguments = METRIC | {name: value}
        for answer in (
            await api.get("get_agg_metric", **arguments),
            await api.post("get_agg_metric", **arguments),
        ):
            assert_problem(answer, 400, code)

    @pytest.mark.parametrize(
        ("query", "hint"),
        [
            ("2026-01-01T00:00:00+00:00", "%2B"),
            ("2026-01-01T00:00+01", "%2B"),
            ("1767225600", "2026-01-31T12:00:00Z"),
            ("1767225600.5", "2026-01-31T12:00:00Z"),
            ("yesterdai", None),
        ],
    )
    async def test_what_is_wrong_with_a_time(
        self, api: Client, query: str, hint: str | None
    ) -> None:
        answer = await api.request("GET", f"/rpc/echo_time?p_value={query}")
        assert answer.status == 400
        assert answer.json["code"] in ("22007", "22008", "22009")
        assert (hint in answer.json["hint"]) if hint else answer.json["hint"] is None

    async def test_a_number_is_no_time_in_json_either(self, api: Client) -> None:
        answer = await api.request("POST", "/rpc/echo_time", data=b'{"p_value": 1767225600}')
        assert answer.status == 400
        assert "2026-01-31T12:00:00Z" in answer.json["hint"]

    async def test_sql_in_a_value_is_only_a_value(self, api: Client) -> None:
        evil = "'; drop table public.visit; --"
        assert (await api.get("echo_text", p_value=evil)).json == evil
        assert (await api.post("echo_text", p_value=evil)).json == evil
        arguments = METRIC | {"p_metric_name": "'; drop table", "p_schema": '"); drop'}
        assert (await api.get("get_agg_metric", **arguments)).text == "[]"
        assert (await api.get("get_agg_metric", **METRIC | {"p_interval": evil})).status == 400
        answer = await api.request("GET", "/rpc/echo_text?p_value%22%20%3D%3E%201;--=1")
        assert_problem(answer, 404, "PGRST202")
        assert_problem(await api.request("GET", "/rpc/who%22();drop"), 404, "PGRST202")
        assert (await api.get("visits")).json == 0

    async def test_u0000(self, api: Client) -> None:
        assert_problem(await api.get("echo_text", p_value="a\0b"), 400, "22021")
        assert_problem(await api.post("echo_text", p_value="a\0b"), 400, "22P05")

    async def test_ambiguous_overloads(self, api: Client) -> None:
        assert_problem(await api.get("ambiguous", p_a="1"), 300, "PGRST203")

    @pytest.mark.parametrize("function", ["unnamed", "polymorphic"])
    async def test_functions_that_cannot_be_called_by_name_are_none(
        self, api: Client, function: str
    ) -> None:
        assert_problem(await api.get(function, p_value="1"), 404, "PGRST202")

    async def test_query_arguments_of_a_post(self, api: Client) -> None:
        answer = await api.request("POST", "/rpc/rows_of?p_count=3")
        assert_problem(answer, 400, "PGRST100")


class TestHttp:
    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "PROPFIND"])
    async def test_other_methods(self, api: Client, method: str) -> None:
        problem = assert_problem(await api.request(method, "/rpc/who"), 405, "PGRST101")
        assert problem["message"] == f"Cannot use the {method} method on RPC"
        assert_problem(await api.request(method, "/"), 405, "PGRST117")

    @pytest.mark.parametrize(
        "path",
        ["/rpc", "/rpc/", "/rpc/who/", "/rpc/who/more", "/who", "/rpc/%FF", "//", "/rpc//who"],
    )
    async def test_other_paths(self, api: Client, path: str) -> None:
        answer = await api.session.get(api.url.rstrip("/") + path, allow_redirects=False)
        assert answer.status == 404
        assert (await answer.json())["code"] == "PGRST125"

    async def test_other_forms(self, api: Client) -> None:
        answer = await api.get("who", headers={"Accept": "image/png"})
        problem = assert_problem(answer, 406, "PGRST107")
        assert problem["message"] == "None of these media types are available: image/png"

    async def test_other_schemas(self, api: Client) -> None:
        answer = await api.get("who", headers={"Accept-Profile": "public"})
        assert_problem(answer, 406, "PGRST106")
        answer = await api.post("who", headers={"Content-Profile": "internal"})
        assert_problem(answer, 406, "PGRST106")

    async def test_bad_bodies(self, api: Client) -> None:
        answer = await api.request("POST", "/rpc/who", data=b"{")
        assert_problem(answer, 400, "PGRST102")
        headers = {"Content-Type": "image/png"}
        answer = await api.request("POST", "/rpc/who", data=b"<a/>", headers=headers)
        problem = assert_problem(answer, 400, "PGRST102")
        assert problem["message"] == "Content-Type not acceptable: image/png"
        headers = {"Content-Type": "application/xml"}  # for a function with one unnamed argument
        answer = await api.request("POST", "/rpc/who", data=b"<a/>", headers=headers)
        assert_problem(answer, 404, "PGRST202")

    async def test_a_body_that_is_too_long(self, api: Client) -> None:
        longest = api.settings.api.max_body_bytes
        body = json.dumps({"p_value": "x" * longest}).encode()
        answer = await api.request("POST", "/rpc/echo_text", data=body)
        assert_problem(answer, 413, "PGRST102")

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(body), 10_000):
                yield body[start : start + 10_000]

        answer = await api.request("POST", "/rpc/echo_text", data=pieces())
        assert_problem(answer, 413, "PGRST102")
        assert (await api.get("who")).status == 200

    @pytest.mark.parametrize(
        "sent",
        [
            b"\x00\x01 nonsense\r\n\r\n",
            b"GET /rpc/who?a=" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /rpc/who HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        ],
        ids=["garbage", "long line", "negative length"],
    )
    async def test_what_is_no_http_is_400(
        self, api: Client, sent: bytes, capfd: pytest.CaptureFixture[str]
    ) -> None:
        answer = await api.raw(sent)
        assert answer.startswith(b"HTTP/1.0 400")
        assert set(json.loads(answer.partition(b"\r\n\r\n")[2])) == {
            "code", "message", "details", "hint",
        }  # fmt: skip
        assert "Traceback" not in capfd.readouterr().err
        assert (await api.get("who")).status == 200

    async def test_a_long_get_is_no_trouble(self, api: Client) -> None:
        assert (await api.get("echo_text", p_value="x" * 20_000)).json == "x" * 20_000

    async def test_a_client_that_asks_before_it_sends_is_answered(self, api: Client) -> None:
        head = b"POST /rpc/who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        answer = await api.raw(head + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", b"{}")
        first, _, rest = answer.partition(b"\r\n\r\n")
        assert first == b"HTTP/1.1 100 Continue"
        assert rest.startswith(b"HTTP/1.1 200 OK")
        tail = b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
        assert (await api.raw(head + tail)).startswith(b"HTTP/1.1 413")


class TestDatabaseErrors:
    async def test_they_pass_through(self, api: Client) -> None:
        problem = assert_problem(await api.get("fail_with", p_sqlstate="P0001"), 400, "P0001")
        assert problem["message"] == "failed on purpose"
        assert (problem["details"], problem["hint"]) == ("the detail", "the hint")
        assert (await api.get("fail_with", p_sqlstate="PT402")).status == 402

    async def test_sql_decides_the_whole_answer(self, api: Client) -> None:
        answer = await api.get("teapot")
        assert_problem(answer, 418, "TEA")
        assert answer.headers["X-Tea"] == "green"

    async def test_a_second_time_is_a_conflict(self, own_api: Client) -> None:
        writer = token(role="writer")
        assert (await own_api.post("add_visit", writer, p_who="a")).status == 200
        assert_problem(await own_api.post("add_visit", writer, p_who="a"), 409, "23505")

    async def test_a_get_never_writes(self, api: Client) -> None:
        answer = await api.get("add_visit", token(role="writer"), p_who="a")
        assert_problem(answer, 405, "25006")
        assert (await api.get("visits")).json == 0

    async def test_a_stable_function_never_writes(self, api: Client) -> None:
        assert (await api.post("stable_but_writes")).status in (400, 405)
        assert (await api.get("visits")).json == 0


class TestTokens:
    async def test_a_write_function_without_a_token(self, api: Client) -> None:
        answer = await api.post("add_visit", p_who="a")
        assert_problem(answer, 401, "42501")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        answer = await api.post("add_excluded_address", p_value="a")
        assert_problem(answer, 401, "42501")
        assert (await api.get("visits")).json == 0

    async def test_with_a_token_of_a_role_that_may_not(self, api: Client) -> None:
        assert_problem(await api.get("not_for_anyone", token(role="writer")), 403, "42501")
        assert_problem(await api.post("add_visit", token(role="web_anon"), p_who="a"), 403, "42501")

    @pytest.mark.parametrize(
        ("bad", "code", "message"),
        [
            (token(role="writer", exp=1_000_000_000), "PGRST303", "JWT expired"),
            (token("x" * 32, role="writer"), "PGRST301", "No suitable key or wrong key type"),
            (
                token("", "none", role="writer"),
                "PGRST301",
                "Wrong or unsupported encoding algorithm",
            ),
            ("nonsense", "PGRST301", "Expected 3 parts in JWT; got 1"),
        ],
        ids=["expired", "another key", "alg none", "no token"],
    )
    async def test_a_token_that_is_not_believed(
        self, api: Client, bad: str, code: str, message: str
    ) -> None:
        for answer in (
            await api.post("add_visit", bad, p_who="a"),
            await api.get("who", bad),
            await api.request("GET", "/", bad),
        ):
            assert assert_problem(answer, 401, code)["message"] == message
            assert f'error_description="{message}"' in answer.headers["WWW-Authenticate"]
        assert (await api.get("visits")).json == 0

    @pytest.mark.parametrize(
        "role",
        ["postgres", "promgres_owner", "promgres_api", "authenticator", "nobody_at_all",
         'web_anon"; RESET ROLE; --', "none", "", 7, ["writer"], None],
    )  # fmt: skip
    async def test_no_role_but_those_of_authenticator(self, api: Client, role: object) -> None:
        answer = await api.get("who", token(role=role))
        problem = assert_problem(answer, 403, "42501")
        assert "permission denied to set role" in str(problem["message"])

    async def test_no_tenant_but_those_there_are(self, api: Client) -> None:
        for tenant in ("nobody", "a\0b", "\ud800", 1, ["default"]):
            assert_problem(await api.get("who", token(tenant=tenant)), 403, "42501")


async def test_without_a_secret_tokens_are_refused(postgres_db: Database) -> None:
    await add_functions(postgres_db)
    async with running_api(postgres_db, jwt_secret=None) as api:
        problem = assert_problem(await api.get("who", token(SECRET)), 401, "PGRST300")
        assert "no JWT secret" in str(problem["message"])
        assert (await api.get("who")).json == "web_anon"
