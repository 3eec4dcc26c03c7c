"""Every function of ours says the same by GET, by POST, as CSV, and to both clients."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from postgrest import AsyncPostgrestClient

from tests.engines.sql_api import Api
from tests.engines.test_api_access import READS, store_a_bit_of_everything
from tests.support.databases import Database, connect
from tests.support.install import POSTGREST_JS, installed, node
from tests.support.readapi import Client, running_api

ALWAYS_ONE = "1234567890123456789012.5"
"""More digits than a float has, for all that has an exact value."""

BY_NAME = {
    "get_agg_metric": {"p_metric_name": "manifest_tokenomics_total_supply"},
    "get_agg_cumsum_metric": {"p_metric_name": "web_requests", "p_schema": "cumsum"},
    "histogram_quantile": {"p_metric_name": "h", "p_schema": "common"},
    "histogram_count": {"p_metric_name": "h", "p_schema": "common"},
    "histogram_sum": {"p_metric_name": "h", "p_schema": "common"},
    "get_exemplars": {"p_metric_name": "h", "p_schema": "common"},
    "get_measures": {"p_name": "queue_length"},
    "get_events": {"p_name": "login"},
    "get_measure_buckets": {"p_name": "queue_length"},
    "list_metrics": {"p_like": "%"},
    "list_label_values": {"p_label": "city", "p_metric": "manifest_geo_metadata"},
    "list_labels": {"p_metric": "manifest_geo_metadata"},
    "list_series": {"p_metric": "manifest_geo_metadata"},
    "newest": {"p_metric": "manifest_geo_metadata"},
    "query_metric": {"p_metric": "manifest_geo_metadata", "p_timezone": "Europe/Vienna"},
    "top_series": {"p_metric": "manifest_geo_metadata"},
}
USUAL: dict[str, Any] = {
    "p_schema": "mainnet",
    "p_interval": "1 minute",
    "p_step": "15 seconds",
    "p_quantile": "0.5",
    "p_match": {"city": "Quito"},
    "p_by": ["*"],
    "p_aggregate": "max",
    "p_fill": "linear",
    "p_limit": 20,
    "p_attributes": {},
    "p_before_time": "infinity",
    "p_before_id": "ffffffff-ffff-ffff-ffff-ffffffffffff",
}


@pytest.fixture
async def served(engine_db: Database) -> AsyncIterator[tuple[Client, dict[str, dict[str, Any]]]]:
    """A read side, and arguments of each function to which it has an answer."""
    async with connect(engine_db) as connection:
        api = Api(engine_db, connection)
        await store_a_bit_of_everything(api, 1, ALWAYS_ONE)
        minute = await api.minute()
    period = {
        "p_from": (minute - timedelta(hours=1)).isoformat(),
        "p_to": (minute + timedelta(hours=1)).isoformat(),
    }
    arguments = {
        name: {
            argument: given[argument]
            for argument in (each.split()[0] for each in declared.split(", ") if each)
            for given in ({**USUAL, **period, **BY_NAME.get(name, {})},)
        }
        for name, declared in READS.items()
    }
    async with running_api(engine_db) as client:
        yield client, arguments


async def test_the_same_text(served: tuple[Client, dict[str, dict[str, Any]]]) -> None:
    client, arguments = served
    steps: list[Any] = []
    said = {}
    async with AsyncPostgrestClient(client.url, schema="api") as python:
        for name, given in arguments.items():
            in_query = {key: _in_query(value) for key, value in given.items()}
            got = await client.get(name, **in_query)
            posted = await client.post(name, **given)
            assert (got.status, got.text) == (posted.status, posted.text), name
            assert got.status == 200, (name, got.text)
            said[name] = got.json
            assert said[name] not in ([], None), name
            for method, sent in ((client.get, in_query), (client.post, given)):
                table = await method(name, **sent, headers={"Accept": "text/csv"})
                _check_csv(name, table.text, said[name])
            for get, sent in ((False, given), (True, in_query)):
                data = (await python.rpc(name, sent, get=get).execute()).data
                assert data == said[name], name
                steps.append([("rpc", name, sent, {"get": get})])
            steps.append([("rpc", name, given, {}), ("csv",)])
    assert ALWAYS_ONE in json.dumps(said["get_agg_metric"])
    if not installed(POSTGREST_JS):
        pytest.skip("the JavaScript client is not installed: make test-deps")
    results = iter(await _in_javascript(client.url, steps))
    for name in arguments:
        posted_by_js, got_by_js, table_of_js = (next(results)["data"] for _ in range(3))
        expected = json.loads(json.dumps(said[name]), parse_int=float)  # as JavaScript's are
        assert json.loads(json.dumps(posted_by_js), parse_int=float) == expected, name
        assert json.loads(json.dumps(got_by_js), parse_int=float) == expected, name
        _check_csv(name, table_of_js, said[name])


def _in_query(value: Any) -> str:
    """JSON as itself, an array as PostgreSQL writes it."""
    if isinstance(value, list):
        return "{" + ",".join(value) + "}"
    return value if isinstance(value, str) else json.dumps(value)


def _check_csv(name: str, table: str, said: Any) -> None:
    """The same columns and rows; times as PostgreSQL writes them, JSON as text."""
    if not isinstance(said, list):
        said = [{"pgrst_scalar": said}]
    lines = list(csv.reader(io.StringIO(table)))
    assert lines[0] == list(said[0]), name
    assert len(lines) == len(said) + 1, name
    for line, row in zip(lines[1:], said, strict=True):
        for text, value in zip(line, row.values(), strict=True):
            assert _is_written(text, value), (name, text, value)


def _is_written(text: str, value: Any) -> bool:
    if value is None:
        return text == ""
    if isinstance(value, str):
        return text == value or _time(text) == _time(value) is not None
    if isinstance(value, list):
        return text == "{" + ",".join(value) + "}"
    return bool(json.loads(text) == value)


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


async def _in_javascript(url: str, calls: list[Any]) -> list[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        node(),
        POSTGREST_JS / "calls.mjs",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    asked = {"url": url, "token": None, "calls": calls}
    output, _ = await process.communicate(json.dumps(asked).encode())
    results: list[dict[str, Any]] = json.loads(output)
    return results
