"""Real senders with all they have: native histograms, exemplars and metadata, without a complaint.

`PROMGRES_SOAK_SECONDS` (10) is how long they run; 300 is what a release is tested with.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.exporter import PER_SCRAPE, SCHEMA, Exporter, exporter
from tests.support.databases import Database, connect
from tests.support.logs import ServerLogs
from tests.support.metrics import Metrics
from tests.support.processes import Program, wait_until
from tests.support.remote_write import WriteSide, write_side
from tests.support.senders import Prometheus, Sender, prometheus, vmagent, vmalert

SOAK_SECONDS = float(os.environ.get("PROMGRES_SOAK_SECONDS", "10"))
FEATURES = ("native-histograms", "exemplar-storage")
EVERYTHING = {
    "send_exemplars": True,
    "send_native_histograms": True,
    "metadata_config": {"send": True, "send_interval": "1s"},
}
RULES: dict[str, list[dict[str, object]]] = {
    "demo": [
        {"record": "demo:seconds:p90", "expr": "histogram_quantile(0.9, demo_seconds)"},
        {"record": "demo:requests:rate", "expr": "rate(demo_requests_total[5s])"},
    ]
}

pytestmark = pytest.mark.timeout(SOAK_SECONDS + 180)


@dataclass
class Running:
    """Everything that runs, on one database."""

    database: Database
    write: WriteSide
    target: Exporter
    prometheus: Prometheus
    others: dict[str, Sender]

    def programs(self) -> dict[str, Program]:
        """All of their processes."""
        others = {name: sender.program for name, sender in self.others.items()}
        return {"ingest": self.write.program, "Prometheus": self.prometheus.program, **others}


@pytest.fixture
def running(postgres_db: Database, tmp_path: Path, server_logs: ServerLogs) -> Iterator[Running]:
    """All senders write to one daemon."""
    with ExitStack() as stack:
        write = stack.enter_context(write_side(postgres_db))
        target = stack.enter_context(exporter())
        jobs = {"demo": target.address}
        server = stack.enter_context(
            prometheus(
                tmp_path,
                write.url,
                jobs,
                external_labels={"sender": "prometheus"},
                features=FEATURES,
                remote_write=EVERYTHING,
            )
        )
        others = {
            "vmagent": stack.enter_context(vmagent(tmp_path, write.url, jobs)),
            "vmalert": stack.enter_context(
                vmalert(
                    tmp_path,
                    server.url,
                    f"http://{write.address}",
                    RULES,
                    external_labels={"sender": "vmalert"},
                )
            ),
        }
        everything = Running(postgres_db, write, target, server, others)
        for name, program in everything.programs().items():
            server_logs.watch_output(name, partial(_output_of, program))
        yield everything


def _output_of(program: Program) -> str:
    return program.output


async def test_real_senders_write_everything_without_a_complaint(running: Running) -> None:
    end = time.monotonic() + SOAK_SECONDS
    wait_until(lambda: time.monotonic() > end or _died(running), SOAK_SECONDS + 10)
    assert _died(running) == []
    for sender in running.others.values():
        sender.stop()
    running.prometheus.stop_scraping()

    for name, sender in {"Prometheus": running.prometheus, **running.others}.items():
        assert sender.complaints() == [], name
    _no_trouble(running.prometheus)
    _every_answer_is_204(running.write)
    stored = await _stored(running.database)
    sent = {kind: running.prometheus.sent(kind) for kind in ("samples", "exemplars", "histograms")}
    print(f"{SOAK_SECONDS:.0f} s, sent by Prometheus: {sent}, stored of all: {stored}")
    assert stored["samples"] == sent["samples"]
    assert stored["histograms"] == sent["histograms"] > SOAK_SECONDS * 0.2
    assert stored["exemplars"] == sent["exemplars"] > SOAK_SECONDS * 0.2
    assert stored["recorded"] > 0
    assert stored["agent"] > 0
    await _histograms_are_exact(running)
    await _metadata_is_there(running.database)


def _died(running: Running) -> list[str]:
    return [name for name, each in running.programs().items() if each.process.poll() is not None]


def _no_trouble(server: Prometheus) -> None:
    for kind in ("samples", "exemplars", "histograms", "metadata"):
        for trouble in ("failed", "retried", "dropped"):
            metric = f"prometheus_remote_storage_{kind}_{trouble}_total"
            assert server.metric(metric) == 0, metric


def _every_answer_is_204(write: WriteSide) -> None:
    metrics = Metrics(write.address)
    for status in ("400", "413", "415", "503"):
        assert metrics.value("promgres_write_requests_total", status=status) == 0
    assert metrics.value("promgres_write_requests_total", status="204") > SOAK_SECONDS
    assert metrics.samples("duplicate") == metrics.samples("rejected") == 0
    metrics.assert_balanced()


async def _stored(database: Database) -> dict[str, int]:
    sender = "series_id IN (SELECT series_id FROM internal.series WHERE labels->>'sender' = '{}')"
    prometheus, alert = sender.format("prometheus"), sender.format("vmalert")
    agent = (
        "series_id IN (SELECT series_id FROM internal.series WHERE NOT labels ? 'sender'"
        " AND name = 'demo_temperature')"
    )
    counts = {
        "samples": f"internal.sample WHERE {prometheus}",
        "histograms": f"internal.histogram WHERE {prometheus}",
        "exemplars": f"internal.exemplar WHERE {prometheus}",
        "recorded": f"internal.sample WHERE {alert}",
        "agent": f"internal.sample WHERE {agent}",
    }
    async with connect(database) as connection:
        return {
            name: await connection.fetchval(f"SELECT count(*) FROM {rows}")
            for name, rows in counts.items()
        }


async def _histograms_are_exact(running: Running) -> None:
    rows = await _fetch(
        running.database,
        "SELECT count, sum, zero_count, schema, positive_indexes, positive_counts, is_float,"
        " is_stale FROM internal.histogram ORDER BY time",
    )
    assert not any(row["is_stale"] for row in rows[:-1])
    for row in [row for row in rows if not row["is_stale"]]:
        number = row["zero_count"]
        assert 0 < number <= running.target.scrapes
        assert row["count"] == PER_SCRAPE * number
        assert row["sum"] == 5.5 * number
        assert (row["schema"], row["is_float"]) == (SCHEMA, False)
        assert row["positive_indexes"] == [-4, 4]
        assert row["positive_counts"] == [2 * number, 3 * number]


async def _metadata_is_there(database: Database) -> None:
    rows = await _fetch(
        database, "SELECT name, type, help FROM internal.metadata WHERE name LIKE 'demo%'"
    )
    assert {tuple(row) for row in rows} >= {
        ("demo_requests_total", "counter", "Requests served."),
        ("demo_temperature", "gauge", "How warm it is."),
        ("demo_seconds", "histogram", "How long it takes."),
    }
    traces = await _fetch(database, "SELECT DISTINCT labels->>'trace_id' FROM internal.exemplar")
    assert {"counter1", "counter2"} & {row[0] for row in traces}


async def _fetch(database: Database, query: str) -> list[Any]:
    async with connect(database) as connection:
        rows: list[Any] = await connection.fetch(query)
        return rows
