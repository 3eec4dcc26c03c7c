"""The whole way: pushgateway, Prometheus, vmalert's recording rules, Promgres, /rpc.

`PROMGRES_SOAK_SECONDS` (6) is how long the senders run; 300 is what a release is tested with.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.support import chain
from tests.support.chain import EACH_EVALUATION, FIRST, RULES, SECOND, TIERS, Tokenomics
from tests.support.databases import Database, blocking, connect
from tests.support.logs import ServerLogs
from tests.support.processes import Program, get, wait_until
from tests.support.read_side import ReadSide, read_side
from tests.support.remote_write import WriteSide, write_side
from tests.support.senders import (
    Prometheus,
    Pushgateway,
    Sender,
    prometheus,
    pushgateway,
    vmagent,
    vmalert,
)

SOAK_SECONDS = float(os.environ.get("PROMGRES_SOAK_SECONDS", "6"))
ALL_TIME = {"p_from": "2020-01-01T00:00:00Z", "p_to": "2100-01-01T00:00:00Z"}
LATELY = {"p_from": (datetime.now(UTC) - timedelta(days=5)).isoformat()}
EACH_SECOND = {"p_interval": "1 second", **ALL_TIME, **LATELY}
EVER = {"p_interval": "1000 years", **ALL_TIME}

pytestmark = pytest.mark.timeout(SOAK_SECONDS + 240)


@dataclass
class Chain:
    """Everything that runs, on one database."""

    database: Database
    write: WriteSide
    read: ReadSide
    gateway: Pushgateway
    prometheus: Prometheus
    vmalert: Sender

    def programs(self) -> dict[str, Program]:
        """All of their processes."""
        return {
            "promgres ingest": self.write.program,
            "promgres api": self.read.program,
            "pushgateway": self.gateway.program,
            "Prometheus": self.prometheus.program,
            "vmalert": self.vmalert.program,
        }

    def count(self, where: str) -> int:
        """Stored samples, in every target, of series for which `where` holds."""
        return blocking(_count(self.database, where))

    def scrape(self, tiers: dict[str, Tokenomics]) -> None:
        """Push the fixture, and wait until vmalert has recorded it."""
        self.gateway.push("chain", chain.exposition(tiers))
        wait_until(lambda: self._recorded(tiers), what="the fixture is in the database")

    def _recorded(self, tiers: dict[str, Tokenomics]) -> bool:
        return all(
            self.latest("manifest_tokenomics_total_supply", tier) == at.total
            and self.latest("total_mfx_burned", tier) == at.burned
            and self.latest("talib_mfx_power_conversion", "common") == at.conversion
            for tier, at in tiers.items()
        )

    def latest(self, name: str, schema: str) -> str:
        """The newest value of a metric, to the second."""
        arguments = {"p_metric_name": name, "p_schema": schema, **EACH_SECOND}
        rows = self.read.rows("get_agg_metric", **arguments)
        return rows[0]["value"] if rows else ""


async def _count(database: Database, where: str) -> int:
    samples = " UNION ALL ".join(
        f"SELECT series_id, value FROM {target}.sample" for target in ("internal", "cumsum", "geo")
    )
    async with connect(database) as connection:
        count: int = await connection.fetchval(
            f"SELECT count(*) FROM ({samples}) AS s JOIN internal.series USING (series_id)"
            f" WHERE {where}"
        )
        return count


@pytest.fixture
def running(engine_db: Database, tmp_path: Path, server_logs: ServerLogs) -> Iterator[Chain]:
    """The chain, with the first fixture recorded."""
    with ExitStack() as stack:
        write = stack.enter_context(write_side(engine_db))
        read = stack.enter_context(read_side(engine_db))
        gateway = stack.enter_context(pushgateway())
        gateway.push("chain", chain.exposition(FIRST))
        server = stack.enter_context(
            prometheus(
                tmp_path,
                write.url,
                {"pushgateway": gateway.address},
                external_labels={"sender": "prometheus"},
            )
        )
        wait_until(lambda: server.query("chain_requests"), what="the fixture is scraped")
        rules = stack.enter_context(
            vmalert(
                tmp_path,
                server.url,
                f"http://{write.address}",
                RULES,
                external_labels={"sender": "vmalert"},
            )
        )
        chained = Chain(engine_db, write, read, gateway, server, rules)
        for name, program in chained.programs().items():
            server_logs.watch_output(name, partial(_output_of, program))
        yield chained


def _output_of(program: Program) -> str:
    return program.output


def test_senders_write_without_error_and_everything_is_stored(running: Chain) -> None:
    assert sum(len(group) for group in RULES.values()) >= 20
    end = time.monotonic() + SOAK_SECONDS
    wait_until(lambda: time.monotonic() > end or not _all_alive(running), SOAK_SECONDS + 10)
    assert _all_alive(running)
    # At its end this vmalert may drop what it is about to send, and says so.
    assert running.vmalert.complaints() == []
    running.vmalert.stop()
    running.prometheus.stop_scraping()

    assert running.prometheus.complaints() == []
    for metric in ("failed", "retried", "dropped"):
        assert running.prometheus.metric(f"prometheus_remote_storage_samples_{metric}_total") == 0
    sent = running.prometheus.metric("prometheus_remote_storage_samples_total")
    assert sent > SOAK_SECONDS * 100
    assert running.count("labels->>'sender' = 'prometheus'") == sent
    recorded = running.count("labels->>'sender' = 'vmalert'")
    assert recorded >= SOAK_SECONDS * 10  # 23 rules a second, less what a busy machine skips
    _accounts_add_up(running, stored=int(sent) + recorded)
    print(
        f"{SOAK_SECONDS:.0f} s: {sent:.0f} samples of Prometheus, {recorded} of vmalert, all stored"
    )


def _all_alive(running: Chain) -> bool:
    return all(program.process.poll() is None for program in running.programs().values())


def _accounts_add_up(running: Chain, stored: int) -> None:
    results = _results(running)
    received = results.pop("received")
    assert sum(results.values()) == received
    assert results["written"] == stored
    assert results["rejected"] == 0


def _results(running: Chain) -> dict[str, float]:
    """What became of the samples that the write side received."""
    _, text = get(f"http://{running.write.address}/metrics")
    pattern = r'^promgres_samples_total\{.*result="(\w+)".*\} (\S+)'
    return {name: float(value) for name, value in re.findall(pattern, text, re.MULTILINE)}


def test_every_function_answers_exactly(running: Chain) -> None:
    running.scrape(FIRST)
    running.scrape(SECOND)
    wait_until(lambda: running.count("name = 'web_requests'") >= 3, what="three evaluations")
    running.vmalert.stop()
    running.prometheus.stop_scraping()
    for tier in TIERS:
        _check_tier(running.read, tier)
    _check_conversion(running.read)
    _check_latest_token_values(running.read)
    _check_cumsum(running)
    _check_geo(running.read)
    _check_excluded_addresses(running.read)
    # each of the four supplies of both tiers left a stale marker behind when it changed
    assert _results(running)["dropped"] == 2 * 4
    assert running.count("labels->>'sender' = 'vmalert' AND s.value = 'NaN'") == 0


def _values(rows: list[dict[str, str]]) -> list[str]:
    assert all(set(row) == {"timestamp", "value"} for row in rows)
    return [row["value"] for row in rows]


def _check_tier(read: ReadSide, tier: str) -> None:
    first, second = FIRST[tier], SECOND[tier]
    answers = {
        "circulating_supply": (first.circulating, second.circulating),
        "burned_supply": (first.burned, second.burned),
        "fdv": (first.fdv, second.fdv),
        "market_cap": (first.market_cap, second.market_cap),
    }
    for name, (old, new) in answers.items():
        each = _values(read.rows(f"get_agg_{name}", p_schema=tier, **EACH_SECOND))
        assert (each[0], each[-1]) == (old, new), name
        assert _values(read.rows(f"get_agg_{name}", p_schema=tier, **EVER)) == [new]
        assert _values(read.rows(f"get_latest_{name}", p_schema=tier)) == [new]
    tokens = read.rows("get_all_latest_token_metrics", p_schema=tier)
    assert [(row["table_name"], row["value"]) for row in tokens] == [
        ("circulating_supply", second.circulating),
        ("fdv", second.fdv),
        ("market_cap", second.market_cap),
    ]
    latest = read.rows(f"get_all_latest_{tier}_metrics")
    assert [(row["table_name"], row["value"]) for row in latest] == [
        ("locked_fees", second.fees),
        ("locked_tokens", second.locked),
        ("manifest_tokenomics_excluded_supply", second.excluded),
        ("manifest_tokenomics_total_supply", second.total),
        ("total_mfx_burned", second.burned),
    ]
    total = {"p_metric_name": "manifest_tokenomics_total_supply", "p_schema": tier}
    each = _values(read.rows("get_agg_metric", **total, **EACH_SECOND))
    assert list(dict.fromkeys(each)) == [second.total, first.total]


def _check_conversion(read: ReadSide) -> None:
    common = read.rows("get_all_latest_common_metrics")
    names = [row["table_name"] for row in common]
    assert names == sorted(set(names))
    values = {row["table_name"]: row["value"] for row in common}
    assert values["talib_mfx_power_conversion"] == SECOND["mainnet"].conversion


def _check_latest_token_values(read: ReadSide) -> None:
    second = SECOND["mainnet"]
    assert read.text("get_latest_mainnet_circulating_supply_value") == second.circulating
    assert read.text("get_latest_mainnet_total_supply_value") == second.total


def _check_cumsum(running: Chain) -> None:
    requests = {"p_metric_name": "web_requests", "p_schema": "cumsum"}
    evaluations = running.count("name = 'web_requests'")
    rows = running.read.rows("get_agg_cumsum_metric", **requests, **EACH_SECOND)
    totals = [str(EACH_EVALUATION * (number + 1)) for number in range(evaluations)]
    assert totals[:3] == ["60", "120", "180"]
    assert _values(rows) == totals
    later = running.read.rows(
        "get_agg_cumsum_metric", **requests, **EACH_SECOND | {"p_from": rows[2]["timestamp"]}
    )
    assert _values(later) == totals[2:]
    latest = running.read.rows("get_all_latest_cumsum_metrics")
    assert [(row["table_name"], row["value"]) for row in latest] == [("web_requests", totals[-1])]


def _check_geo(read: ReadSide) -> None:
    rows = read.rows("get_latest_geo_coordinates")
    assert sorted(rows, key=str) == sorted(chain.COORDINATES, key=str)


def _check_excluded_addresses(read: ReadSide) -> None:
    assert read.rows("get_excluded_addresses") == []
    assert read.write("add_excluded_address", p_value="manifest1abc") == 204
    assert read.write("add_excluded_address", p_value="manifest1abc") == 409
    assert [row["value"] for row in read.rows("get_excluded_addresses")] == ["manifest1abc"]
    assert read.write("rm_excluded_address", p_value="manifest1abc") == 204
    assert read.write("rm_excluded_address", p_value="manifest1abc") == 204
    assert read.rows("get_excluded_addresses") == []


def test_vmagent_scrapes_and_writes(postgres_db: Database, tmp_path: Path) -> None:
    with write_side(postgres_db) as write, pushgateway() as gateway:
        gateway.push("chain", chain.exposition(FIRST))
        with vmagent(tmp_path, write.url, {"pushgateway": gateway.address}) as agent:
            sent = "vmagent_remotewrite_requests_total"
            wait_until(lambda: agent.metric(sent) >= 3, what="three requests")
            agent.stop()
            assert agent.complaints() == []
        assert blocking(_count(postgres_db, "name = 'chain_requests'")) >= 2
