"""`promgres load` against the real write side: what it reports is what is stored."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

import pytest

from ingest.load.histograms import HistogramTemplate
from ingest.load.requests import RequestTemplate
from ingest.load.sender import HEADERS, HEADERS_V2
from ingest.load.shapes import ProtocolVersion
from tests.support.databases import Database, connect
from tests.support.processes import PROMGRES, run
from tests.support.prometheus_receiver import prometheus_receiver
from tests.support.remote_write import WriteSide, send

SERIES, HISTOGRAMS, ROUNDS = 200, 30, 3
ROUND_MS = 15_000

COUNTS = """
SELECT (SELECT count(*) FROM internal.sample) AS sent,
    (SELECT count(*) FROM internal.histogram) AS histograms_sent,
    (SELECT count(*) FROM internal.exemplar) AS exemplars_sent
"""
STORED = {
    "sample": "SELECT labels - '__name__', time, float8send(value), exact",
    "exemplar": "SELECT series.labels - '__name__', time, float8send(value), exemplar.labels",
    "histogram": "SELECT labels - '__name__', to_jsonb(histogram) - 'series_id'",
}


@pytest.mark.parametrize("protocol", [1, 2])
async def test_what_is_acknowledged_is_stored(
    daemon: WriteSide, engine_db: Database, protocol: int
) -> None:
    kinds = ("--series", SERIES, "--exemplars", 0.1, "--histograms", HISTOGRAMS)
    options = ("--url", daemon.url, "--json", "--protocol", protocol, "--duration", 1)
    sender = run(PROMGRES, "load", *map(str, (*options, *kinds, "--senders", 3)), seconds=90)
    assert sender.stderr == ""
    report = json.loads(sender.stdout)
    assert report["statuses"].keys() == {"204"}, report
    assert (report["last_error"], report["short_answers"]) == ("", 0)
    async with connect(engine_db) as connection:
        stored = dict(await connection.fetchrow(COUNTS))
    assert stored == {kind: report[kind] for kind in stored}
    assert min(stored.values()) > 0
    assert sender.process.returncode == 0


@pytest.mark.parametrize("floats", [False, True])
async def test_both_protocols_lead_to_the_same_rows(
    daemon: WriteSide, engine_db: Database, floats: bool
) -> None:
    start_ms = time.time_ns() // 1_000_000 - ROUNDS * ROUND_MS
    send_rounds(daemon, 1, floats, start_ms)
    send_rounds(daemon, 2, floats, start_ms)
    for table, expected in (("sample", SERIES), ("exemplar", 20), ("histogram", HISTOGRAMS)):
        one, two = [await rows(engine_db, table, f"protocol_{number}") for number in (1, 2)]
        assert len(one) == ROUNDS * expected
        assert one == two


@pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed")
def test_a_success_of_a_receiver_of_version_1_is_no_acknowledgement() -> None:
    """Prometheus 2.42 answers 204 to a message of 2.0, and stores nothing of it."""
    with prometheus_receiver() as url:
        options = ("--url", url, "--json", "--protocol", 2, "--duration", 0.2)
        sender = run(PROMGRES, "load", *map(str, options))
    assert sender.stderr == ""
    report = json.loads(sender.stdout)
    assert report["statuses"].keys() == {"204"}
    assert (report["acknowledged"], report["short_answers"]) == (0, report["requests"])
    assert "does not speak remote write 2.0" in report["last_error"]
    assert sender.process.returncode == 1


def send_rounds(side: WriteSide, protocol: ProtocolVersion, floats: bool, start_ms: int) -> None:
    metric = f"protocol_{protocol}"
    templates = (
        RequestTemplate(0, SERIES, metric, protocol=protocol, exemplar_share=0.1),
        HistogramTemplate(0, HISTOGRAMS, metric, protocol, floats),
    )
    for number in range(ROUNDS):
        for template in templates:
            body = template.body(start_ms + number * ROUND_MS)
            answer = send(side.url, body, HEADERS if protocol == 1 else HEADERS_V2)
            assert (answer.status, answer.text) == (204, "")


async def rows(database: Database, table: str, metric: str) -> list[tuple[Any, ...]]:
    """What is stored of a metric, apart from its name."""
    query = (
        f"{STORED[table]} FROM internal.{table} JOIN internal.series USING (series_id)"
        f" WHERE name LIKE '{metric}%' ORDER BY series.labels->>'series', time"
    )
    async with connect(database) as connection:
        return [tuple(row) for row in await connection.fetch(query)]
