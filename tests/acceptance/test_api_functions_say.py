"""What functions, roles and operators decide of an answer: headers, limits, caching, schemas."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from pydantic import SecretStr, ValidationError

from ingest.config import ApiSettings, AuthSettings
from ingest.errors import OperatorError
from ingest.http.problems import REFUSED
from ingest.rpc import schema_cache
from tests.support.databases import Database
from tests.support.readapi import Client, add_functions, running_api, token

SAY = """
CREATE FUNCTION api.say(p_headers text, p_status text DEFAULT '') RETURNS text LANGUAGE plpgsql
VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$ BEGIN
    INSERT INTO visit (who) VALUES (p_headers);
    PERFORM set_config('response.headers', p_headers, true),
        set_config('response.status', p_status, true);
    RETURN 'said';
END $$
"""


@pytest.fixture
async def say(postgres_db: Database) -> AsyncIterator[Client]:
    await add_functions(postgres_db)
    async with running_api(postgres_db) as client:
        await client.sql(SAY, "GRANT EXECUTE ON FUNCTION api.say TO web_anon", "SELECT 1")
        yield client


async def test_a_function_chooses_headers_and_status(say: Client) -> None:
    headers = '[{"Cache-Control": "max-age=60"}, {"X-Odd": "ü"}]'
    answer = await say.post("say", p_headers=headers, p_status="202")
    assert (answer.status, answer.json) == (202, "said")
    assert answer.headers["Cache-Control"] == "max-age=60"
    assert answer.headers.getall("Cache-Control") == ["max-age=60"]
    after = await say.get("who")
    assert (after.status, after.headers["Cache-Control"]) == (200, "no-cache")
    answer = await say.post("say", p_headers="[]", p_status="204")
    assert (answer.status, answer.body) == (204, b"")
    assert "Content-Type" not in answer.headers
    answer = await say.post("say", p_headers='[{"content-type": "text/html"}]')
    assert answer.headers.getall("Content-Type") == ["text/html"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ("no json", "", "PGRST111"),
        ('{"a": "b"}', "", "PGRST111"),
        ('[{"a": "b", "c": "d"}]', "", "PGRST111"),
        ('[{"a": 1}]', "", "PGRST111"),
        ('["a"]', "", "PGRST111"),
        ('[{"a": "b\\r\\nX-Forged: 1"}]', "", "PGRST111"),
        ('[{"a b": "c"}]', "", "PGRST111"),
        ('[{"Content-Length": "0"}]', "", "PGRST111"),
        ('[{"Transfer-Encoding": "chunked"}]', "", "PGRST111"),
        ("[]", "teapot", "PGRST112"),
        ("[]", "100", "PGRST112"),
        ("[]", "999", "PGRST112"),
    ],
)
async def test_what_means_nothing_is_500_and_nothing_is_written(
    say: Client, headers: str, status: str, code: str
) -> None:
    answer = await say.post("say", p_headers=headers, p_status=status)
    assert (answer.status, answer.json["code"]) == (500, code)
    assert "X-Forged" not in answer.headers
    assert (await say.get("visits")).json == 0


async def test_a_function_goes_before_all(postgres_db: Database) -> None:
    await add_functions(postgres_db)
    async with running_api(
        postgres_db, pre_request="public.before", app_settings={"who": "me"}
    ) as api:
        await api.sql(
            "CREATE FUNCTION public.before() RETURNS void LANGUAGE plpgsql AS $$ BEGIN"
            " IF current_setting('request.headers', true)::json ->> 'x-stop' IS NOT NULL THEN"
            " RAISE EXCEPTION 'stopped' USING ERRCODE = 'PT429'; END IF;"
            " PERFORM set_config('request.extra', current_user || ' ' ||"
            " current_setting('app.settings.who'), true),"
            """ set_config('response.headers', '[{"X-Before": "yes"}]', true); END $$""",
            "SELECT 1",
        )
        answer = await api.get("setting", p_name="request.extra")
        assert answer.json == "web_anon me"
        assert answer.headers["X-Before"] == "yes"
        assert (await api.post("setting", p_name="request.extra")).json == "web_anon me"
        answer = await api.get("who", headers={"X-Stop": "1"})
        assert (answer.status, answer.json["message"]) == (429, "stopped")


async def test_no_answer_has_more_rows_than_allowed(postgres_db: Database) -> None:
    await add_functions(postgres_db)
    async with running_api(postgres_db, max_rows=3) as api:
        assert (await api.get("numbers", p_count=9)).json == [1, 2, 3]
        assert (await api.request("GET", "/rpc/numbers?p_count=9&limit=5&offset=2")).json == [
            3,
            4,
            5,
        ]
        answer = await api.post("numbers", p_count=9, headers={"Prefer": "count=exact"})
        assert (answer.status, answer.headers["Content-Range"]) == (206, "0-2/9")
        assert (await api.get("who")).json == "web_anon"


class TestSettingsOfRoles:
    @pytest.fixture(autouse=True)
    def _seen_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(schema_cache, "ROLE_SECONDS", 0.0)

    async def test_a_role_s_time_and_plan_are_in_force(self, own_api: Client) -> None:
        await own_api.sql(
            "ALTER ROLE web_anon SET statement_timeout = '100ms'",
            "ALTER ROLE web_anon SET work_mem = '7MB'",
            "SELECT 1",
        )
        try:
            assert (await own_api.get("setting", p_name="work_mem")).json == "7MB"
            answer = await own_api.post("nap", p_seconds=30)
            assert (answer.status, answer.json["code"]) == (500, "57014")
            writer = token(role="writer")
            assert (await own_api.post("nap", writer, p_seconds=0.2)).status == 204
            assert (await own_api.get("setting", writer, p_name="work_mem")).json != "7MB"
        finally:
            await own_api.sql("ALTER ROLE web_anon RESET ALL", "SELECT 1")

    @pytest.mark.parametrize(
        ("name", "value", "shown"),
        [
            ("DateStyle", "German", "ISO, MDY"),
            ("IntervalStyle", "iso_8601", "postgres"),
            ("TimeZone", "Asia/Tokyo", "UTC"),
            ("extra_float_digits", "0", "1"),
            ("search_path", "internal", '"api", public, pg_temp'),
            ("default_transaction_isolation", "serializable", "read committed"),
            ("promgres.tenant_id", "77", "1"),
        ],
    )
    async def test_what_answers_say_is_not_theirs(
        self, own_api: Client, name: str, value: str, shown: str
    ) -> None:
        await own_api.sql(f"ALTER ROLE web_anon SET {name} = '{value}'", "SELECT 1")
        try:
            assert (await own_api.get("setting", p_name=name)).json == shown
        finally:
            await own_api.sql("ALTER ROLE web_anon RESET ALL", "SELECT 1")

    async def test_a_function_s_time_is_in_force(self, own_api: Client) -> None:
        own = "api.nap(float8)"
        await own_api.sql(f"ALTER FUNCTION {own} SET statement_timeout = '100ms'", "SELECT 1")
        assert (await own_api.post("nap", p_seconds=30)).json["code"] == "57014"
        await own_api.sql(f"ALTER FUNCTION {own} RESET statement_timeout", "SELECT 1")
        assert (await own_api.post("nap", p_seconds=0.2)).status == 204

    async def test_a_function_may_have_more_time_than_others(self, postgres_db: Database) -> None:
        await add_functions(postgres_db)
        async with running_api(postgres_db, statement_timeout_seconds=1.5) as api:
            assert (await api.post("nap", p_seconds=2)).status == 500
            await api.sql("ALTER FUNCTION api.nap SET statement_timeout = '20s'", "SELECT 1")
            assert (await api.post("nap", p_seconds=2)).status == 204


class TestCaching:
    async def test_the_same_answer_is_not_sent_twice(self, api: Client) -> None:
        first = await api.get("one_column", p_count=2)
        tag = first.headers["ETag"]
        assert first.headers["Cache-Control"] == "no-cache"
        for wanted in (tag, f'"x", {tag}', tag.removeprefix("W/"), "*"):
            again = await api.get("one_column", p_count=2, headers={"If-None-Match": wanted})
            assert (again.status, again.body) == (304, b"")
            assert again.headers["ETag"] == tag
            assert "Content-Type" not in again.headers
            assert again.headers["Vary"] == first.headers["Vary"]
        other = await api.get("one_column", p_count=3, headers={"If-None-Match": tag})
        assert other.status == 200
        head = await api.request("HEAD", "/rpc/one_column?p_count=2")
        assert head.headers["ETag"] == tag

    async def test_the_form_and_the_count_are_part_of_it(self, api: Client) -> None:
        plain = await api.get("numbers", p_count=2)
        counted = await api.get("numbers", p_count=2, headers={"Prefer": "count=exact"})
        assert counted.body == plain.body
        assert counted.headers["ETag"] != plain.headers["ETag"]

    async def test_a_long_answer_in_one_buffer_has_a_tag(self, api: Client) -> None:
        first = await api.get("large", p_count=100_000)
        again = await api.get(
            "large", p_count=100_000, headers={"If-None-Match": first.headers["ETag"]}
        )
        assert (again.status, again.body) == (304, b"")

    async def test_what_is_posted_has_none(self, api: Client) -> None:
        assert "ETag" not in (await api.post("numbers", p_count=2)).headers

    async def test_what_a_token_decides_is_private(self, api: Client) -> None:
        answer = await api.get("who", token(role="writer"))
        assert answer.headers["Cache-Control"] == "private, no-cache"


class TestSupabase:
    async def test_its_prefix(self, api: Client) -> None:
        assert (await api.request("GET", "/rest/v1/rpc/with_default?p_a=1")).json == 11
        assert (await api.request("GET", "/rest/v1/")).json["swagger"] == "2.0"
        for path in ("/rest/v1/who", "/rest/v2/rpc/who", "/rest/", "/rest/v1/rpc/"):
            assert (await api.request("GET", path)).json["code"] == "PGRST125"
        assert (await api.request("GET", "/rest/v1/rpc/setting?p_name=request.path")).json == (
            "/rpc/setting"
        )

    async def test_its_key_is_one_credential_with_the_bearer(self, api: Client) -> None:
        signed = token(role="writer")
        for headers in (
            {"apikey": signed},
            {"apikey": signed, "Authorization": f"Bearer {signed}"},
        ):
            assert (await api.get("who", headers=headers)).json == "writer"
        answer = await api.get("who", headers={"apikey": signed, "Authorization": "Bearer x.y.z"})
        assert answer.status == 401
        answer = await api.get("setting", p_name="request.headers", headers={"apikey": signed})
        assert signed not in answer.text
        assert (await api.get("who", headers={"apikey": ""})).json == "web_anon"


class TestSchemas:
    @pytest.fixture
    async def two(self, postgres_db: Database) -> AsyncIterator[Client]:
        await add_functions(postgres_db)
        async with running_api(postgres_db, schemas=["api", "More Api"]) as client:
            await client.sql(
                'CREATE SCHEMA "More Api"',
                'GRANT USAGE ON SCHEMA "More Api" TO web_anon',
                """CREATE FUNCTION "More Api".who() RETURNS text LANGUAGE sql STABLE"""
                " AS $$ SELECT current_schemas(false)::text $$",
                "SELECT 1",
            )
            yield client

    async def test_the_first_is_asked_unless_another_is_named(self, two: Client) -> None:
        answer = await two.get("who")
        assert (answer.json, answer.headers["Content-Profile"]) == ("web_anon", "api")
        answer = await two.get("who", headers={"Accept-Profile": "More Api"})
        assert (answer.json, answer.headers["Content-Profile"]) == (
            '{"More Api",public}',
            "More Api",
        )
        answer = await two.post("who", headers={"Content-Profile": "More Api"})
        assert answer.json == '{"More Api",public}'

    async def test_each_has_its_own_functions(self, two: Client) -> None:
        answer = await two.get("numbers", p_count=1, headers={"Accept-Profile": "More Api"})
        assert answer.json["message"].startswith("Could not find the function More Api.numbers")
        answer = await two.request("GET", "/", headers={"Accept-Profile": "More Api"})
        paths = [path for path in answer.json["paths"] if path.startswith("/rpc/")]
        assert paths == ["/rpc/who"]

    async def test_no_other_is_served(self, two: Client) -> None:
        answer = await two.get("who", headers={"Accept-Profile": "internal"})
        assert answer.json["hint"] == "Only the following schemas are exposed: api, More Api"

    @pytest.mark.parametrize("schemas", [[], ["internal"], ["api", "app"], ["a", "a"]])
    def test_what_cannot_be_served_is_refused_at_start(self, schemas: list[str]) -> None:
        with pytest.raises(ValidationError):
            ApiSettings(schemas=schemas)


async def test_the_document_says_what_is_answered(api: Client) -> None:
    document = (await api.request("GET", "/")).json
    answers = {
        name: document["paths"][f"/rpc/{name}"]["post"]["responses"]
        for name in ("rows_of", "a_pair", "numbers", "who", "nothing", "any_record")
    }
    number = {"type": "integer", "format": "integer", "x-nullable": True}
    text = {"type": "string", "format": "text", "x-nullable": True}
    amount = {"type": "number", "format": "numeric", "x-nullable": True}
    row = {"id": number, "name": text, "amount": amount}
    assert answers == {
        "rows_of": _schema({"type": "array", "items": {"type": "object", "properties": row}}),
        "a_pair": _schema({"type": "object", "properties": {"a": number, "b": text}}),
        "numbers": _schema({"type": "array", "items": number}),
        "who": _schema(text),
        "nothing": {"204": {"description": "Nothing"}, "default": REFUSED},
        "any_record": _schema({}),
    }


def _schema(schema: object) -> object:
    return {"200": {"description": "OK", "schema": schema}, "default": REFUSED}


async def test_tokens_of_a_key_set(read_only_db: Database) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    key = {"kid": "k", **ECAlgorithm.to_jwk(private.public_key(), as_dict=True)}
    auth = AuthSettings(jwt_audience="us", jwt_role_claim="$.app.roles[0]")
    secret = SecretStr(json.dumps({"keys": [key]}))
    async with running_api(read_only_db, jwt_secret=secret, auth=auth) as api:

        def signed(**claims: object) -> str:
            return jwt.encode(claims, private, "ES256", headers={"kid": "k"})

        assert (await api.get("who", signed(app={"roles": ["writer"]}, aud="us"))).json == "writer"
        assert (await api.get("who", signed(role="writer"))).json == "web_anon"
        answer = await api.get("who", signed(aud="them"))
        assert (answer.status, answer.json["code"]) == (401, "PGRST303")
        answer = await api.get("who", token(role="writer"))  # HS256 is no algorithm here
        assert (answer.status, answer.json["code"]) == (401, "PGRST301")
        answer = await api.get("who", signed(app={"roles": ["postgres"]}))
        assert answer.status == 403


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"jwt_secret": SecretStr('{"kty": "RSA", "n": "AQAB", "e": "AQAB"}')}, "jwt_secret"),
        ({"auth": AuthSettings(jwt_role_claim="$.a[")}, "auth.jwt_role_claim"),
    ],
)
async def test_keys_that_cannot_be_read_end_the_start(
    read_only_db: Database, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(OperatorError, match=said):
        async with running_api(read_only_db, **changes):
            pass
