"""What is set for a call stands in the text of a statement: whatever a client sends is heard by the
function as it was sent, and is never SQL, whatever the server thinks of backslashes."""

from __future__ import annotations

import asyncio
import json
import os

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.storage.session import literal
from tests.support.databases import Database
from tests.support.readapi import running_api, token

EXAMPLES = int(os.environ.get("PROMGRES_EXAMPLES", "60"))
EVIL = (
    "'", "''", "\\", "\\'", "\\\\'", "'; DROP TABLE public.heard; --", "\\'; SELECT 1; --", "E'",
    "$$", "$1", "--", "/*", "\\x27", "\\047", "\\u0027", "%27", '"', "', true), ('",
)  # fmt: skip
TEXT = st.lists(
    st.one_of(st.sampled_from(EVIL), st.text(st.characters(exclude_characters="\0"), max_size=5)),
    max_size=6,
).map("".join)
SENDABLE = TEXT.map(lambda text: "".join(each for each in text if " " <= each <= "~").strip())
HEARD = """
CREATE FUNCTION api.heard() RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'header', current_setting('request.headers')::json ->> 'x-odd',
        'cookie', current_setting('request.cookies')::json ->> 'odd',
        'claim', current_setting('request.jwt.claims')::json ->> 'odd',
        'path', current_setting('request.path'))
$$;
GRANT EXECUTE ON FUNCTION api.heard() TO web_anon, writer;
CREATE TABLE public.heard ()"""


@pytest.mark.parametrize("conforming", ["on", "off"])
def test_a_literal_is_the_text(postgres_db: Database, conforming: str) -> None:
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(postgres_db.url, statement_cache_size=0))
        runner.run(
            connection.execute(
                f"SET standard_conforming_strings = {conforming}; SET escape_string_warning = off"
            )
        )

        @settings(max_examples=EXAMPLES, deadline=None)
        @given(TEXT)
        def check(text: str) -> None:
            try:
                text.encode()
            except UnicodeEncodeError:
                return  # nothing that comes by HTTP
            assert runner.run(connection.fetchval(f"SELECT {literal(text)}")) == text

        check()
        runner.run(connection.close())


@pytest.mark.parametrize("conforming", ["on", "off"])
def test_functions_hear_what_was_sent(postgres_db: Database, conforming: str) -> None:
    with asyncio.Runner() as runner:
        api = running_api(postgres_db)
        client = runner.run(api.__aenter__())
        change = f"ALTER ROLE promgres_api SET standard_conforming_strings = {conforming}"
        runner.run(client.sql(*HEARD.split(";\n"), change))

        @settings(
            max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=list(HealthCheck)
        )
        @given(SENDABLE, TEXT)
        def check(sent: str, claim: str) -> None:
            claim = claim.encode("utf-8", "replace").decode()
            headers = {"X-Odd": sent, "Cookie": 'odd="x"'}
            answer = runner.run(
                client.request(
                    "GET", "/rpc/heard", token(role="writer", odd=claim), headers=headers
                )
            )
            assert answer.status == 200, answer.text
            heard = json.loads(answer.text)
            assert (heard["header"], heard["claim"], heard["path"]) == (sent, claim, "/rpc/heard")

        try:
            check()
            assert runner.run(client.sql("SELECT to_regclass('public.heard')::text")) == "heard"
        finally:
            runner.run(client.sql("ALTER ROLE promgres_api RESET standard_conforming_strings"))
            runner.run(api.__aexit__(None, None, None))
