"""Who may call what of schema `api`, and whose data it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from tests.engines.native import Native, copy, store
from tests.engines.record_rows import Event, Measure, push
from tests.engines.sql_api import Api, Sample

MINUTE = timedelta(minutes=1)
TIERS = ("mainnet", "testnet", "common", "cumsum")
TOKENS = ("circulating_supply", "burned_supply", "fdv", "market_cap")
PERIOD = "p_interval interval, p_from timestamp with time zone, p_to timestamp with time zone"
PUSHED = (
    "p_name text, p_from timestamp with time zone, p_to timestamp with time zone,"
    " p_attributes jsonb, p_limit integer, p_before_time timestamp with time zone,"
    " p_before_id uuid"
)
READS = {
    "get_agg_metric": f"p_metric_name text, p_schema text, {PERIOD}",
    "get_agg_cumsum_metric": f"p_metric_name text, p_schema text, {PERIOD}",
    "histogram_quantile": "p_quantile double precision, p_metric_name text,"
    f" p_schema text, {PERIOD}",
    "histogram_count": f"p_metric_name text, p_schema text, {PERIOD}",
    "histogram_sum": f"p_metric_name text, p_schema text, {PERIOD}",
    "get_exemplars": "p_metric_name text, p_schema text,"
    " p_from timestamp with time zone, p_to timestamp with time zone",
    "get_metric_metadata": "",
    "get_measures": PUSHED,
    "get_events": PUSHED,
    "get_measure_buckets": "p_interval interval, p_name text,"
    " p_from timestamp with time zone, p_to timestamp with time zone, p_attributes jsonb,"
    " p_limit integer",
    "get_latest_geo_coordinates": "",
    "get_latest_mainnet_circulating_supply_value": "",
    "get_latest_mainnet_total_supply_value": "",
    "get_all_latest_token_metrics": "p_schema text",
    "get_excluded_addresses": "",
}
TIMES = "p_from timestamp with time zone, p_to timestamp with time zone"
READS |= {
    "list_metrics": "p_like text",
    "list_labels": "p_metric text",
    "list_label_values": "p_metric text, p_label text, p_limit integer",
    "list_series": "p_metric text, p_match jsonb, p_limit integer",
    "query_metric": "p_metric text, p_match jsonb, p_by text[], p_aggregate text,"
    f" p_step interval, {TIMES}, p_fill text, p_timezone text",
    "top_series": "p_metric text, p_match jsonb, p_by text[], p_aggregate text,"
    f" {TIMES}, p_limit integer",
    "newest": "p_metric text, p_match jsonb",
    "cardinality": "p_limit integer",
}
READS |= {f"get_all_latest_{tier}_metrics": "" for tier in TIERS}
READS |= {f"get_latest_{token}": "p_schema text" for token in TOKENS}
READS |= {f"get_agg_{token}": f"p_schema text, {PERIOD}" for token in TOKENS}
WRITES = {"add_excluded_address": "p_value text", "rm_excluded_address": "p_value text"}

# One call of each read function, to which the samples of `store_a_bit_of_everything` answer.
CALLS = [
    "get_agg_metric('manifest_tokenomics_total_supply', 'mainnet', '1 s', '-infinity', 'infinity')",
    "get_agg_metric('manifest_tokenomics_total_supply', 'mainnet', '1 d', '-infinity', 'infinity')",
    "get_agg_cumsum_metric('web_requests', 'cumsum', '1 s', '-infinity', 'infinity')",
    "get_agg_cumsum_metric('web_requests', 'cumsum', '1 d', '-infinity', 'infinity')",
    "histogram_quantile(0.5, 'h', 'common', '1 d', '-infinity', 'infinity')",
    "histogram_count('h', 'common', '1 d', '-infinity', 'infinity')",
    "histogram_sum('h', 'common', '1 d', '-infinity', 'infinity')",
    "get_exemplars('h', 'common', '-infinity', 'infinity')",
    "get_metric_metadata()",
    "get_measures()",
    "get_events()",
    "get_measure_buckets('1 h')",
    "get_latest_geo_coordinates()",
    "get_all_latest_token_metrics('mainnet')",
    "get_excluded_addresses()",
    "list_metrics()",
    "list_labels()",
    "list_label_values()",
    "list_series()",
    "query_metric()",
    "query_metric('up', p_by => '{*}', p_aggregate => 'p50')",
    "query_metric('web_requests', p_aggregate => 'rate', p_fill => 'null')",
    "top_series()",
    "newest()",
    *(f"get_all_latest_{tier}_metrics()" for tier in TIERS),
    *(f"get_latest_{token}('mainnet')" for token in TOKENS),
    *(f"get_agg_{token}('mainnet', '1 h', '-infinity', 'infinity')" for token in TOKENS),
]
VALUES = [
    "get_latest_mainnet_circulating_supply_value()",
    "get_latest_mainnet_total_supply_value()",
]


async def store_a_bit_of_everything(api: Api, tenant_id: int, supply: str) -> None:
    """Something for every function."""
    time = await api.minute() - MINUTE
    labels = {"instance": "a", "country_name": "Ecuador", "city": "Quito"}
    geo = {"schema": "geo", "target": "geo", "labels": labels, "tenant_id": tenant_id}
    await api.store(
        Sample(
            time,
            "manifest_tokenomics_total_supply",
            exact=supply,
            schema="mainnet",
            tenant_id=tenant_id,
        ),
        Sample(time, "total_mfx_burned", 5, schema="mainnet", tenant_id=tenant_id),
        Sample(time, "up", schema="testnet", tenant_id=tenant_id),
        Sample(time, "talib_mfx_power_conversion", 2, tenant_id=tenant_id),
        Sample(time, "web_requests", 60, None, "cumsum", "cumsum", tenant_id=tenant_id),
        *(Sample(time, f"manifest_geo_{name}", **geo) for name in ("latitude", "longitude")),
        Sample(time, "manifest_geo_metadata", **geo),
    )
    histograms = [Native(time - MINUTE, {1: 5}), Native(time, {1: 5, 2: 3}, sum=9)]
    ids = await store(api, histograms, tenant_id=tenant_id)
    await copy(api, "exemplar", [(time, ids[0], 1.5, '{"trace_id": "a"}')])
    await copy(api, "metadata", [(time, tenant_id, "h", "histogram", "seconds", "Help.")])
    await push(api, Measure(time, "queue_length", tenant_id=tenant_id))
    await push(api, Event(time, "login", tenant_id=tenant_id))
    async with as_tenant(api, str(tenant_id)):
        await api.rows("add_excluded_address('an address')")


@asynccontextmanager
async def as_tenant(api: Api, tenant_id: str) -> AsyncIterator[None]:
    """Read as this tenant inside the block."""
    await api.connection.execute(f"SET promgres.tenant_id = '{tenant_id}'")
    yield
    await api.connection.execute("SET promgres.tenant_id = ''")


async def test_no_function_shows_another_tenants_data(api: Api) -> None:
    other = await api.connection.fetchval(
        "INSERT INTO app.tenant (name) VALUES ('other') RETURNING tenant_id"
    )
    await store_a_bit_of_everything(api, other, "700")
    for _ in range(2):
        async with as_tenant(api, str(other)):
            answers = {call: await api.rows(call) for call in CALLS + VALUES}
        assert all(answers.values()), answers
        assert [answers[value] for value in VALUES] == [[(700,)], [(700,)]]
        for tenant in ("", "999"):
            async with as_tenant(api, tenant):
                assert [call for call in CALLS if await api.rows(call)] == []
                assert [await api.rows(value) for value in VALUES] == [[(None,)], [(None,)]]
        await api.roll_up()


async def test_two_tenants_with_the_same_names_do_not_mix(api: Api) -> None:
    other = await api.connection.fetchval(
        "INSERT INTO app.tenant (name) VALUES ('other') RETURNING tenant_id"
    )
    await store_a_bit_of_everything(api, 1, "300")
    await store_a_bit_of_everything(api, other, "700")
    for _ in range(2):
        for tenant, supply in (("", "300"), ("1", "300"), (str(other), "700")):
            async with as_tenant(api, tenant):
                assert await api.values(CALLS[0]) == await api.values(CALLS[1]) == [supply]
                assert await api.values("get_latest_fdv('mainnet')") == [f"{int(supply) * 2}"]
                assert await api.values(CALLS[2]) == await api.values(CALLS[3]) == ["60"]
                assert await api.values("get_all_latest_cumsum_metrics()") == ["60"]
                assert len(await api.rows("get_latest_geo_coordinates()")) == 1
        await api.roll_up()


async def test_a_tenant_that_is_no_number_is_refused(api: Api) -> None:
    async with as_tenant(api, "default"):
        with pytest.raises(asyncpg.InvalidTextRepresentationError):
            await api.rows("get_excluded_addresses()")


async def test_addresses_come_and_go(api: Api) -> None:
    for address in ("b", "a"):
        await api.rows("add_excluded_address($1)", address)
    assert await api.rows("get_excluded_addresses()") == [(1, "b"), (2, "a")]
    with pytest.raises(asyncpg.UniqueViolationError):
        await api.rows("add_excluded_address('a')")
    for _ in range(2):
        await api.rows("rm_excluded_address('b')")
    assert await api.values("get_excluded_addresses()") == ["a"]
    await api.rows("add_excluded_address($1)", None)
    assert await api.values("get_excluded_addresses()") == ["a"]


async def described(api: Api) -> dict[str, asyncpg.Record]:
    """The functions of schema `api`, by name."""
    rows = await api.connection.fetch("""
        SELECT proname, pg_get_function_identity_arguments(oid) AS arguments, prosecdef,
            proisstrict, pronargdefaults, provolatile::text, proconfig,
            pg_get_userbyid(proowner) AS owner,
            obj_description(oid, 'pg_proc') AS comment,
            ARRAY(SELECT grantee::regrole::text FROM aclexplode(proacl)
                  WHERE privilege_type = 'EXECUTE' ORDER BY 1) AS executors
        FROM pg_proc WHERE pronamespace = 'api'::regnamespace
    """)
    return {row["proname"]: row for row in rows}


async def test_every_function_is_there_and_safe(api: Api) -> None:
    functions = await described(api)
    assert {name: row["arguments"] for name, row in functions.items()} == READS | WRITES
    for name, row in functions.items():
        assert row["prosecdef"], name
        assert row["owner"] == "promgres_owner", name
        assert "search_path=pg_catalog, pg_temp" in row["proconfig"], name
        takes_null = not row["arguments"] or row["pronargdefaults"]  # null is "no filter"
        assert row["proisstrict"] == (not takes_null), name
        assert row["provolatile"] == ("v" if name in WRITES else "s"), name
        readers = [] if name in WRITES else ["web_anon"]
        assert row["executors"] == sorted(["promgres_owner", "writer", *readers]), name


async def test_every_function_says_what_it_does(api: Api) -> None:
    for name, row in (await described(api)).items():
        summary, blank, *rest = row["comment"].split("\n")
        assert summary.endswith(".") or "writer" in summary, name
        assert len(summary) <= 100, name
        assert blank == "", name
        assert any(line.startswith(f"Example: {name}(") for line in rest), name


async def test_public_may_execute_nothing(api: Api) -> None:
    assert not await api.connection.fetch("""
        SELECT oid::regprocedure
        FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
        WHERE grantee = 0 AND proowner = 'promgres_owner'::regrole
    """)
    assert not await api.connection.fetch("""
        SELECT nspname FROM pg_namespace, aclexplode(nspacl)
        WHERE grantee = 0 AND nspname IN ('api', 'internal', 'cumsum', 'geo', 'app')
    """)


@asynccontextmanager
async def as_role(api: Api, role: str) -> AsyncIterator[None]:
    """Act as a role inside the block, in a transaction that leaves nothing."""
    transaction = api.connection.transaction()
    await transaction.start()
    await api.connection.execute(f"SET LOCAL ROLE {role}")
    yield
    await transaction.rollback()


async def refused(api: Api, statement: str, *arguments: Any) -> bool:
    """Whether a statement is refused for want of privileges."""
    try:
        async with api.connection.transaction():
            await api.connection.execute(statement, *arguments)
    except asyncpg.InsufficientPrivilegeError:
        return True
    return False


@pytest.mark.parametrize("role", ["web_anon", "writer"])
async def test_readers_call_functions_and_touch_nothing_else(postgres_api: Api, role: str) -> None:
    await store_a_bit_of_everything(postgres_api, 1, "300")
    async with as_role(postgres_api, role):
        for call in CALLS + VALUES:
            assert await postgres_api.rows(call), call
        for relation in (
            "internal.sample",
            "internal.series",
            "internal.metric",
            "internal.excluded_addresses",
            "internal.exemplar",
            "internal.histogram",
            "internal.metadata",
            "staging_internal.histogram",
            "internal.rollup_1d",
            "cumsum.rollup_1m",
            "geo.latest_coords",
            "staging_internal.sample",
            "app.tenant",
        ):
            assert await refused(postgres_api, f"SELECT FROM {relation}"), relation
        assert await refused(postgres_api, "SELECT internal.current_tenant_id()")
        assert await refused(postgres_api, "CREATE FUNCTION api.f() RETURNS int RETURN 1")


async def test_only_a_writer_changes_addresses(postgres_api: Api) -> None:
    for function in WRITES:
        statement = f"SELECT api.{function}('a')"
        async with as_role(postgres_api, "web_anon"):
            assert await refused(postgres_api, statement)
        async with as_role(postgres_api, "writer"):
            assert not await refused(postgres_api, statement)


async def test_the_login_of_the_read_side_may_call_nothing_by_itself(postgres_api: Api) -> None:
    for role in ("authenticator", "promgres_api"):
        async with as_role(postgres_api, role):
            assert await refused(postgres_api, "SELECT api.get_excluded_addresses()")


async def test_a_new_function_is_nobodys_until_granted(postgres_api: Api) -> None:
    create = "CREATE FUNCTION api.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    await postgres_api.connection.execute("SET ROLE promgres_owner")
    await postgres_api.connection.execute(create)
    await postgres_api.connection.execute("RESET ROLE")
    async with as_role(postgres_api, "web_anon"):
        assert await refused(postgres_api, "SELECT api.mine()")
    await postgres_api.connection.execute("GRANT EXECUTE ON FUNCTION api.mine() TO web_anon")
    async with as_role(postgres_api, "web_anon"):
        assert not await refused(postgres_api, "SELECT api.mine()")


async def test_a_temporary_table_cannot_stand_in_for_ours(postgres_api: Api) -> None:
    await store_a_bit_of_everything(postgres_api, 1, "300")
    async with as_role(postgres_api, "web_anon"):
        await postgres_api.connection.execute("CREATE TEMP TABLE sample AS SELECT 666 AS value")
        await postgres_api.connection.execute(
            "CREATE FUNCTION pg_temp.trim_scale(numeric) RETURNS numeric"
            " LANGUAGE sql AS 'SELECT 666::numeric'"
        )
        assert await postgres_api.values("get_latest_circulating_supply('mainnet')") == ["300"]
