"""Starlark scripts in a write side that runs: what is stored, what is refused; it goes on."""

from __future__ import annotations

import json
import re
import time
import tomllib
from typing import Any

from ingest.cli.telegraf import promgres_toml, read_telegraf
from tests.acceptance.test_databases_refused import refused
from tests.support.databases import Database, blocking, connect
from tests.support.messages import series
from tests.support.metrics import Metrics
from tests.support.remote_write import WriteSide, write_side
from tests.support.telegraf import LIKE_THE_OLD_STACK

NOW = time.time_ns() // 1_000_000
SCRIPT = """
def apply(metric):
    kind = metric.tags.get("kind")
    if kind == "endless":
        for i in range(1 << 60):
            pass
    if kind == "large":
        text = "x"
        for i in range(64):
            text = "%s%s" % (text, text)
    if kind == "value":
        metric.tags["high"] = str(metric.fields["up"] > 1)
    if kind == "drop":
        return None
    metric.fields["schema"] = "mine"
    return metric
"""


def scripted(*sources: str) -> dict[str, str]:
    return {"PROMGRES_STARLARK": json.dumps([{"source": source} for source in sources])}


async def stored(database: Database) -> list[tuple[str, str, str, dict[str, str], float]]:
    """Target, schema, name, labels and value of every sample."""
    found: list[Any] = []
    async with connect(database) as connection:
        for target in ("internal", "cumsum"):
            found += await connection.fetch(
                f"SELECT '{target}', schema, name, labels, value FROM {target}.sample"
                " JOIN internal.series USING (series_id) ORDER BY name, labels::text, time"
            )
    return [(*row[:3], json.loads(row[3]), row[4]) for row in found]


def write(side: WriteSide, kind: str, moment: int = 0) -> tuple[int, str, float]:
    """Status and text of the answer to one good sample and one of `kind`, and what it took."""
    began = time.monotonic()
    answer = side.write(
        series({"name": "up", "kind": kind}, (NOW + moment, 2.0)),
        series({"name": "up", "kind": "good"}, (NOW + moment, 3.5)),
    )
    return answer.status, answer.text, time.monotonic() - began


def test_a_script_that_fails_costs_its_series_and_nothing_else(postgres_db: Database) -> None:
    with write_side(postgres_db, **scripted(SCRIPT)) as side:
        for moment, (kind, line, said) in enumerate(
            [
                ("endless", "[56]", "limits.script_steps"),
                ("large", "10", "limits.script_"),
                ("value", "12", "the value of a sample"),
            ]
        ):
            status, text, seconds = write(side, kind, moment)
            assert status == 400
            assert re.search(rf'up{{kind="{kind}"}}: starlark\[0\], line {line}: ', text), text
            assert said in text
            assert seconds < 10
        assert write(side, "drop", 3)[0] == 204
        metrics = Metrics(side.address)
        assert metrics.value("promgres_script_refusals_total") == 3
        assert metrics.value("promgres_samples_total", tenant="default", result="dropped") == 1
        metrics.assert_balanced()
    rows = blocking(stored(postgres_db))
    assert [(*row[:2], row[3], row[4]) for row in rows] == [
        ("internal", "mine", {"__name__": "up", "kind": "good"}, 3.5)
    ] * 4


def test_scripts_that_were_written_from_a_telegraf_conf(engine_db: Database) -> None:
    found = tomllib.loads(promgres_toml(read_telegraf(LIKE_THE_OLD_STACK, {})))
    variables = {f"PROMGRES_{name.upper()}": json.dumps(found[name]) for name in found}
    with write_side(engine_db, **variables) as side:
        for moment in range(3):  # first sight, once more, and from the cache
            answer = side.write(
                series({"name": "Web_Requests", "job": "a"}, (NOW + moment, 1.0 + moment)),
                series({"name": "up", "manifest_tier": "testnet"}, (NOW + moment, 0.0)),
            )
            assert answer.status == 204, answer.text
    rows = blocking(stored(engine_db))
    up = {"__name__": "up", "manifest_tier": "testnet"}
    web = {"__name__": "Web_Requests", "job": "a"}
    assert rows == [
        *[("internal", "testnet", "up", up, 0.0)] * 3,
        *[("cumsum", "cumsum", "web_requests", web, 1.0 + moment) for moment in range(3)],
    ]


def test_a_script_that_is_wrong_is_one_line_before_anything_is_started(
    postgres_db: Database, open_path: Any
) -> None:
    wrong = scripted("def apply(metric):\n    return nope\n")
    for command in (("ingest",), ("up",), ("config", "check")):
        said = refused(postgres_db.url, *command, folder=open_path, **wrong)
        assert said.strip() == "promgres: starlark[0], line 2: name 'nope' is not defined"
