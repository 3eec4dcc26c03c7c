"""Expressions that explode end by the time-out, whoever evaluates them."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from tests.support.databases import Database
from tests.support.readapi import Client, running_api
from tests.support.sql_samples import samples_of

LONG = """
CREATE FUNCTION api.long() RETURNS TABLE (name text) LANGUAGE sql STABLE
AS $$ SELECT repeat('a', 3000) || 'b' || repeat('a', 2000) $$"""
BACK_REFERENCES = r"^(a*)(a*)(a*)(a*)(a*)b\1\2\3\4\5$"
"""PostgreSQL tries every way to part 3,000 letters in five; none fits."""
STATES = "|".join(f"(a{{0,200}}b?){{0,4}}{number}" for number in range(3))
"""RE2 is linear, with thousands of states at once; a pattern that needs more is refused."""
SERIES = 3000


async def test_a_filter_of_rpc(postgres_db: Database) -> None:
    async with running_api(postgres_db, statement_timeout_seconds=1) as api:
        await api.sql(LONG, "GRANT EXECUTE ON FUNCTION api.long() TO web_anon")
        for how in ("match", "imatch", "not.match", "match(any)"):
            value = BACK_REFERENCES
            if "any" in how:
                value = '{"' + value.replace("\\", r"\\") + '"}'
            answer = await api.request("GET", f"/rpc/long?name={how}.{quote(value)}")
            assert (answer.status, answer.json["code"]) == (500, "57014"), how
        assert (await api.get("long")).status == 200


async def test_a_selector_of_an_export(postgres_db: Database) -> None:
    await many_series(postgres_db)
    async with running_api(postgres_db, statement_timeout_seconds=0.01) as api:
        asking = asyncio.create_task(export(api, STATES))
        assert (await api.request("GET", "/-/healthy")).status == 200  # nobody waits for it
        status, message = await asking
        assert status == 400
        assert "simpler matchers" in message or "longer than" in message
    async with running_api(postgres_db) as api:
        status, message = await export(api, "((a{1,100}){1,100}){1,100}")
        assert status == 400
        assert "match: " in message


async def many_series(database: Database) -> None:
    """With long labels."""
    async with samples_of(database) as samples:
        await samples.connection.execute(
            "INSERT INTO internal.metric (tenant_id, target, schema, name)"
            " VALUES (1, 'internal', 'common', 'many')"
        )
        await samples.connection.execute(
            "INSERT INTO internal.series"
            " (metric_id, tenant_id, target, name, schema, labels, identity)"
            " SELECT metric_id, 1, 'internal', 'many', 'common', jsonb_build_object("
            "'__name__', 'many', 'job', repeat('a', 1000) || n), decode(md5(n::text), 'hex')"
            f" FROM internal.metric, generate_series(1, {SERIES}) AS n WHERE name = 'many'"
        )


async def export(api: Client, pattern: str) -> tuple[int, str]:
    match = quote(f'{{job=~"{pattern}"}}')
    answer = await api.request("GET", f"/export?metric=many&match={match}")
    return answer.status, answer.json["message"] if answer.status != 200 else ""
