"""`promgres up` without a pack: nothing of it shows, and its metrics are like all others."""

from __future__ import annotations

import time

import asyncpg

from tests.support.messages import payload, series
from tests.support.processes import PROMGRES, get, run
from tests.support.remote_write import send, snappy
from tests.support.stack import running_stack

NAMES = ("locked_fees", "manifest", "mainnet", "circulating", "geo_coordinates")


async def test_nothing_of_it_shows() -> None:
    with running_stack(PROMGRES_PACKS="[]") as stack:
        status, document = get(stack.read_url.removesuffix("rpc/"))
        assert status == 200
        assert "get_agg_metric" in document
        assert [name for name in NAMES if name in document] == []

        mine = series({"__name__": "web_requests"}, (int(time.time() * 1000), 7.0))
        assert send(stack.write_url, snappy(payload(mine))).status == 204
        connection = await asyncpg.connect(stack.database_url)
        try:
            where = await connection.fetch(
                "SELECT target, schema FROM internal.series WHERE name = 'web_requests'"
            )
        finally:
            await connection.close()
        assert [tuple(row) for row in where] == [("internal", "common")]


def test_the_dry_run_goes_by_the_setting() -> None:
    route = (
        PROMGRES,
        "route",
        "--labels",
        '{__name__="locked_fees",manifest_tier="mainnet",amount="5"}',
    )
    on = run(*route)
    assert "built-in mainnet" in on.stdout
    assert "amount = 5" in on.stdout
    off = run(*route, env={"PROMGRES_PACKS": "[]"})
    assert "no rule" in off.stdout
    assert "amount = 5" not in off.stdout
