"""How many buckets may be asked for; a slip of the pen is told what would do."""

from typing import Any

import pytest

from tests.support.databases import Database
from tests.support.readapi import Client, add_functions, running_api

YEAR = {"p_from": "2025-11-27", "p_to": "2026-11-27"}
METRIC = {"p_metric_name": "up", "p_schema": "common"}


async def _refused(api: Client, most: int | None = None, **arguments: Any) -> str:
    """The hint of a refusal, the same by GET and POST."""
    hints = set()
    for call in (api.get, api.post):
        answer = await call("get_agg_metric", **METRIC, **arguments)
        assert (answer.status, answer.json["code"]) == (400, "PGRSTX02"), answer.text
        hints.add(answer.json["hint"])
    (hint,) = hints
    return str(hint)


async def _passes(api: Client, **arguments: Any) -> None:
    for call in (api.get, api.post):
        answer = await call("get_agg_metric", **METRIC, **arguments)
        assert (answer.status, answer.text) == (200, "[]")


@pytest.fixture
async def bounded(postgres_db: Database) -> Any:
    await add_functions(postgres_db)
    async with running_api(postgres_db) as api:
        yield api


async def test_a_year_of_minutes_passes_and_of_microseconds_does_not(bounded: Client) -> None:
    await _passes(bounded, p_interval="1 minute", **YEAR)
    assert "'1 minute' would do" in await _refused(bounded, p_interval="1 microsecond", **YEAR)
    assert "'1 minute' would do" in await _refused(bounded, p_interval="30 s", **YEAR)


@pytest.mark.parametrize(
    ("since", "until"),
    [("-infinity", "infinity"), ("2000-01-01", "now"), ("1900-01-01", "2999-12-31")],
)
async def test_endless_periods_are_as_long_as_samples_may_be(
    bounded: Client, since: str, until: str
) -> None:
    await _refused(bounded, p_interval="1 s", p_from=since, p_to=until)
    await _passes(bounded, p_interval="1 hour", p_from=since, p_to=until)


@pytest.mark.parametrize("until", ["now", "today", "tomorrow", "2026-11-27T00:00:00Z"])
async def test_edges_are_read_as_postgresql_reads_them(bounded: Client, until: str) -> None:
    await _refused(bounded, p_interval="1 us", p_from="2020-01-01", p_to=until)
    await _passes(bounded, p_interval="P1D", p_from="2020-01-01", p_to=until)


async def test_what_is_no_interval_is_told_so_by_the_function(bounded: Client) -> None:
    for interval, code in (("0", "22023"), ("-1 day", "22023"), ("soon", "22007")):
        answer = await bounded.get("get_agg_metric", **METRIC, p_interval=interval, **YEAR)
        assert (answer.status, answer.json["code"]) == (400, code), answer.text
    answer = await bounded.get(
        "get_agg_metric", **METRIC, p_interval="1 day", p_from="2026-01-01 Mars/Phobos", p_to="now"
    )
    assert (answer.status, answer.json["code"]) == (400, "22023")
    assert "mars/phobos" in answer.json["message"].lower()


async def test_functions_of_users_too_with_their_defaults(bounded: Client) -> None:
    await bounded.sql(
        "CREATE FUNCTION api.mine(p_to date DEFAULT current_date, p_interval interval DEFAULT"
        " '1 hour', p_from timestamptz DEFAULT now() - interval '7 days') RETURNS int"
        " LANGUAGE sql STABLE AS 'SELECT 1'",
        "CREATE FUNCTION api.other(p_interval int, p_from int, p_to int) RETURNS int"
        " LANGUAGE sql STABLE AS 'SELECT 1'",
    )
    assert (await bounded.get("mine")).text == "1"
    assert (await bounded.get("mine", p_interval="1 s")).text == "1"
    assert (await bounded.get("mine", p_interval="1 ms")).status == 400
    assert (await bounded.post("mine", p_interval="1 s", p_from="2000-01-01")).status == 400
    assert (await bounded.post("mine", p_interval=None, p_from="2000-01-01")).text == "1"
    assert (await bounded.get("other", p_interval=1, p_from=1, p_to=9)).text == "1"


async def test_a_page_of_them_is_as_long_as_it_is(bounded: Client) -> None:
    await bounded.sql(
        "CREATE FUNCTION api.words(p_interval interval, p_from timestamptz, p_to timestamptz,"
        " p_limit text DEFAULT 'none') RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'",
    )
    for call in (bounded.get, bounded.post):
        assert (await call("get_measure_buckets", p_interval="1 minute")).text == "[]"
        assert (await call("words", p_interval="1 day", **YEAR)).text == "1"
        assert (await call("words", p_interval="1 us", **YEAR)).status == 400
    answer = await bounded.post("get_measure_buckets", p_interval="1 minute", p_limit=None)
    assert (answer.status, answer.json["code"]) == (400, "PGRSTX02")


async def test_the_limit_is_a_setting(postgres_db: Database) -> None:
    async with running_api(postgres_db, max_buckets=10) as api:
        await _passes(api, p_interval="1 day", p_from="2026-01-01", p_to="2026-01-11")
        await _refused(api, p_interval="1 day", p_from="2026-01-01", p_to="2026-01-12")
