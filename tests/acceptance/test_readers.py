"""Logins for people with SQL: what a reader of one tenant sees, and what it tries to see more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from tests.acceptance.isolation import NOW_MS, World, fill, running_world
from tests.support.databases import Database, connect
from tests.support.native_timescaledb import NativeServer
from tests.support.processes import PROMGRES, run

READER = "reader_of_alpha"
VIEWS = (
    "internal.prometheus_remote_write", "cumsum.prometheus_remote_write",
    "internal.prometheus_remote_write_tag", "internal.prometheus_remote_write_with_tags",
    "cumsum.prometheus_remote_write_with_tags",
    "internal.prometheus_remote_write_last_day", "cumsum.prometheus_remote_write_last_day",
    "internal.rollup_1m", "internal.rollup_1h", "internal.rollup_1d",
    "internal.series_hour", "cumsum.series_hour",
    "cumsum.rollup_1m", "cumsum.rollup_1h", "cumsum.rollup_1d",
    "cumsum.all_metrics_minute", "internal.cagg_calculated_metric",
    "internal.prometheus_mainnet_1m", "internal.prometheus_testnet_1m",
    "internal.prometheus_common_1m", "geo.latest_coords", "internal.newest",
)  # fmt: skip
RELATIONS = """
    SELECT oid::regclass::text FROM pg_class
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
        AND relnamespace::regnamespace::text !~ '^(pg_|information_schema|_?timescaledb)'
"""
FUNCTIONS = """
    SELECT p.oid::regprocedure::text FROM pg_proc p
    WHERE pronamespace::regnamespace::text !~ '^(pg_|information_schema|_?timescaledb|public)'
        AND has_function_privilege($1, p.oid, 'EXECUTE')
"""
PERIOD = "now() - interval '1 day', now() + interval '1 day'"


def as_login(url: str, login: str) -> str:
    """The same database for another login, whom the server trusts."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}"))


@pytest.fixture(scope="module", params=["postgres", "timescaledb"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """Of an engine; PGlite does for no test of privileges, all of its sessions are superusers'."""
    if request.param == "postgres":
        yield request.getfixturevalue("shared_postgres_db")
        return
    server: NativeServer = request.getfixturevalue("native_server")
    with server.lend(migrated=True, workers=False) as url:
        yield Database(url, "timescaledb")


@pytest.fixture(scope="module")
def world(database: Database) -> Iterator[World]:
    """Three tenants with the same names; ours has a reader."""
    with running_world(database) as running:
        for tenant in (running.ours, running.theirs, running.default):
            fill(running, tenant)
        made = run(
            PROMGRES, "reader", "create", running.ours.name, "--login", READER,
            env=database.environment(),
        )  # fmt: skip
        assert made.process.returncode == 0, made.output
        yield running
        run(PROMGRES, "reader", "drop", READER, env=database.environment())


async def ask(world: World, query: str, *before: str, login: str = READER) -> list[Any]:
    """Rows that a reader gets, after some statements of its own."""
    connection = await asyncpg.connect(as_login(world.database.url, login))
    try:
        for statement in before:
            await connection.execute(statement)
        return list(await connection.fetch(query))
    finally:
        await connection.close()


def said(rows: list[Any]) -> str:
    return "\n".join(str(dict(row)) for row in rows)


class TestWhatIsSeen:
    @pytest.mark.parametrize("view", VIEWS)
    async def test_a_view_shows_its_own_tenant_s_rows(self, world: World, view: str) -> None:
        seen = await ask(world, f"SELECT * FROM {view}")
        async with connect(world.database) as owner:
            tenant_id = world.ours.tenant_id
            await owner.execute(f"SET promgres.tenant_id = {tenant_id}")
            columns = [row[0] for row in await owner.fetch(
                f"SELECT attname FROM pg_attribute WHERE attrelid = '{view}'::regclass"
            )]  # fmt: skip
            where = f" WHERE tenant_id = {tenant_id}" if "tenant_id" in columns else ""
            expected = list(await owner.fetch(f"SELECT * FROM {view}{where}"))
        assert (
            expected
            or "series_hour" in view
            or "testnet" in view
            or "calculated" in view
            or "mainnet" in view
        )
        assert sorted(map(str, seen)) == sorted(map(str, expected))
        assert world.named_in(said(seen)) == []

    async def test_functions_answer_for_its_tenant(self, world: World) -> None:
        for call in (
            f"get_agg_metric('up', 'common', '1 minute', {PERIOD})",
            f"get_agg_cumsum_metric('web_requests', 'cumsum', '1 minute', {PERIOD})",
            "get_all_latest_common_metrics()", "get_measures()", "get_events()",
            "get_excluded_addresses()", "get_latest_geo_coordinates()", "get_metric_metadata()",
        ):  # fmt: skip
            plain = said(await ask(world, f"SELECT * FROM api.{call}"))
            assert plain, call
            assert world.named_in(plain) == [], call
            other = f"SET promgres.tenant_id = {world.theirs.tenant_id}"
            assert said(await ask(world, f"SELECT * FROM api.{call}", other)) == plain, call

    async def test_promgres_reader_sees_tenant_default(self, world: World) -> None:
        seen = said(await ask(world, "SELECT * FROM internal.rollup_1m", login="promgres_reader"))
        assert world.default.digits in seen
        assert world.ours.digits not in seen
        assert world.theirs.digits not in seen


class TestWhatIsTried:
    @pytest.mark.parametrize(
        "statement",
        [
            "SET promgres.tenant_id = {theirs}",
            "SET ROLE sql_reader",
            "SET ROLE web_anon",
            "SET row_security = off",
            "SET default_transaction_read_only = off",
            "SET search_path = pg_temp, internal, public",
        ],
    )
    async def test_no_setting_shows_more(self, world: World, statement: str) -> None:
        text = statement.format(theirs=world.theirs.tenant_id)
        try:
            rows = await ask(world, "SELECT * FROM internal.rollup_1m", text)
        except asyncpg.InsufficientPrivilegeError:
            return
        assert world.ours.digits in said(rows)
        assert world.named_in(said(rows)) == []

    @pytest.mark.parametrize(
        "statement",
        [
            "SET SESSION AUTHORIZATION promgres_owner",
            "SET SESSION AUTHORIZATION promgres_reader",
            "SET ROLE promgres_owner",
            "SET ROLE promgres_api",
            "SET ROLE promgres_reader",
            "SET session_preload_libraries = 'x'",
            "INSERT INTO app.reader (login, tenant_id) VALUES ('x', 1)",
            "UPDATE app.reader SET tenant_id = 1",
            "SELECT app.create_reader('default', 'x', NULL)",
            "SELECT app.list_readers()",
            "SELECT internal.api_catalogue()",
            "SELECT internal.api_catalogue_of(ARRAY['api'])",
            "COPY internal.sample TO STDOUT",
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "SELECT pg_read_file('/etc/passwd')",
            "CREATE TABLE api.x ()",
            "CREATE FUNCTION internal.x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "SELECT * FROM pg_authid",
            "SELECT api.add_excluded_address('x')",
            "DELETE FROM internal.prometheus_remote_write_tag",
            "TRUNCATE internal.series",
        ],
    )
    async def test_nothing_else_is_allowed(self, world: World, statement: str) -> None:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(world, statement, "SET default_transaction_read_only = off")

    async def test_it_reads_views_alone(self, world: World) -> None:
        async with connect(world.database) as owner:
            names = [row[0] for row in await owner.fetch(RELATIONS)]
        readable = set()
        for name in names:
            try:
                await ask(world, f"SELECT * FROM {name} LIMIT 0")
            except asyncpg.InsufficientPrivilegeError:
                continue
            readable.add(name)
        assert readable == set(VIEWS)

    async def test_it_calls_what_is_the_web_s_and_what_its_views_call(self, world: World) -> None:
        async with connect(world.database) as owner:
            mine = {row[0] for row in await owner.fetch(FUNCTIONS, READER)}
            web = {row[0] for row in await owner.fetch(FUNCTIONS, "web_anon")}
        beside = {name.partition("(")[0] for name in mine - web}
        assert web < mine
        assert beside <= {
            "internal.current_tenant_id", "internal.reader_tenant_id",
            "internal.live", "cumsum.live", "internal.minute_bit", "internal.newest_of_metric",
            "internal.hours_from", "internal.of_hour",
            "geo.newest_places", "internal.prometheus_remote_write_between",
            "cumsum.prometheus_remote_write_between",
        }  # fmt: skip

    async def test_what_its_views_call_tells_it_no_more(self, world: World) -> None:
        if world.database.engine != "postgres":
            pytest.skip("its views call nothing there")
        hour = f"date_bin('1 hour', to_timestamp({NOW_MS // 1000}), '2000-01-03 00:00+00')"
        async with connect(world.database) as owner, connect(world.database) as holder:
            metrics = await owner.fetch(
                "SELECT tenant_id, array_agg(metric_id) AS ids FROM internal.metric"
                " WHERE target = 'internal' GROUP BY 1"
            )
            async with holder.transaction():  # whose lock keeps the worker from what is live
                await holder.execute(
                    "SELECT FROM internal.target WHERE target = 'internal' FOR UPDATE"
                )
                await owner.execute(
                    "INSERT INTO internal.rollup_mark (metric_id, hour, minutes)"
                    f" SELECT metric_id, {hour}, -1 FROM internal.metric"
                )
                told = {
                    row["tenant_id"]: await ask(
                        world,
                        f"SELECT * FROM internal.live('1 minute', ARRAY{row['ids']}, {hour},"
                        f" {hour} + interval '1 hour')",
                    )
                    for row in metrics
                }
        assert {tenant_id for tenant_id, rows in told.items() if rows} == {world.ours.tenant_id}

    @pytest.mark.parametrize(
        "condition",
        [
            "(name || schema)::int = 1",
            "1 / (CASE WHEN tenant_id = {ours} THEN 1 ELSE 0 END) = 1",
            "('x' || sum)::numeric > 0",
        ],
    )
    async def test_no_error_tells_of_a_row(self, world: World, condition: str) -> None:
        """An error quotes the value that it failed on: the barrier lets none of others meet it."""
        text = condition.format(ours=world.ours.tenant_id)
        query = f"SELECT count(*) FROM internal.rollup_1m WHERE {text}"
        heard = ""
        try:
            await ask(world, query)
        except asyncpg.DataError as error:
            heard = f"{error} {error.detail} {error.hint}"
        assert world.named_in(heard) == []
        assert "division" not in heard

    async def test_no_function_of_its_own_sees_a_row(self, world: World) -> None:
        """Anybody may make functions in a temporary schema, unless the database says otherwise."""
        spy = (
            "CREATE FUNCTION pg_temp.spy(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS"
            " $$ BEGIN RAISE NOTICE 'spied %', $1; RETURN true; END $$"
        )
        connection = await asyncpg.connect(as_login(world.database.url, READER))
        heard: list[str] = []
        connection.add_log_listener(lambda _, message: heard.append(str(message)))
        try:
            await connection.execute("SET default_transaction_read_only = off")
            try:
                await connection.execute(spy)
            except asyncpg.InsufficientPrivilegeError:
                return
            for view, column in (
                ("internal.prometheus_remote_write_tag", "labels::text"),
                ("internal.prometheus_remote_write", "value::text"),
                ("internal.prometheus_remote_write_with_tags", "instance"),
                ("internal.rollup_1m", "max::text"),
                ("geo.latest_coords", "city"),
            ):
                await connection.fetch(f"SELECT 1 FROM {view} WHERE pg_temp.spy({column})")
        finally:
            await connection.close()
        assert heard
        assert world.named_in("\n".join(heard)) == []

    async def test_no_statistics_tell_of_a_row(self, world: World) -> None:
        async with connect(world.database) as owner:
            await owner.execute("ANALYZE internal.series")
        [row] = await ask(world, "SELECT count(*) FROM pg_stats WHERE schemaname !~ '^(pg_|inf)'")
        assert row["count"] == 0
        activity = said(await ask(world, "SELECT query FROM pg_stat_activity"))
        assert world.named_in(activity) == []


class TestLife:
    async def test_a_dropped_reader_sees_nothing(self, world: World) -> None:
        env = world.database.environment()
        made = run(PROMGRES, "reader", "create", world.ours.name, env=env)
        login = "promgres_reader_alpha_inc"
        assert login in made.stderr
        assert len(made.stdout.split()) == 1
        assert made.stdout.strip() not in made.stderr
        connection = await asyncpg.connect(as_login(world.database.url, login))
        count = "SELECT count(*) FROM internal.rollup_1m"
        assert await connection.fetchval(count) > 0
        async with connect(world.database) as owner:
            await owner.execute("DELETE FROM app.reader WHERE login = $1", login)
            assert await connection.fetchval(count) == 0, "a reader of no tenant"
            await owner.execute("INSERT INTO app.reader VALUES ($1, 1)", login)
        await connection.close()
        dropped = run(PROMGRES, "reader", "drop", login, env=env)
        assert dropped.process.returncode == 0, dropped.output
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await asyncpg.connect(as_login(world.database.url, login))
        async with connect(world.database) as owner:
            audited = await owner.fetch(
                "SELECT action, details FROM app.audit WHERE details ->> 'login' = $1", login
            )
        assert [row["action"] for row in audited] == ["create_reader", "drop_reader"]

    def test_what_is_no_reader_is_left_alone(self, world: World) -> None:
        env = world.database.environment()
        for login in ("promgres_api", "promgres_owner", "postgres", "web_anon", "Ärger", READER):
            refused = run(PROMGRES, "reader", "create", "default", "--login", login, env=env)
            assert refused.process.returncode == 2, login
            assert len(refused.stderr.splitlines()) == 1
        assert run(PROMGRES, "reader", "drop", "postgres", env=env).process.returncode == 2
        nobody = run(PROMGRES, "reader", "create", "no-such-tenant", env=env)
        assert "no tenant" in nobody.stderr

    def test_it_is_listed(self, world: World) -> None:
        listed = run(PROMGRES, "reader", "list", "--json", env=world.database.environment())
        found = {row["login"]: row["tenant"] for row in json.loads(listed.stdout)}
        assert found == {READER: world.ours.name, "promgres_reader": "default"}

    async def test_its_statements_end_and_change_nothing(self, world: World) -> None:
        [row] = await ask(
            world,
            "SELECT current_setting('statement_timeout') AS timeout,"
            " current_setting('default_transaction_read_only') AS read_only,"
            " current_setting('jit') AS jit",
        )
        assert tuple(row) == ("30s", "on", "off")


async def test_the_plan_reads_the_partitions_of_the_period(world: World) -> None:
    """A condition on time passes the barrier, whatever else the query says."""
    if world.database.engine != "postgres":
        pytest.skip("chunks come with samples, and there are few here")
    since = f"to_timestamp({NOW_MS / 1000}) - interval '10 minutes'"
    async with connect(world.database) as owner:
        await owner.execute(
            "SELECT internal.ensure_partitions('internal', now() - interval '20 days', now())"
        )
        days = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'internal.hot'::regclass"
        partitions = await owner.fetchval(days)
    query = (
        "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) SELECT time, value"
        f" FROM internal.prometheus_remote_write WHERE time >= {since} AND name LIKE 'u%'"
    )
    plan = "\n".join(row[0] for row in await ask(world, query))
    assert "Subplans Removed" in plan or plan.count("hot_p") < partitions, plan
