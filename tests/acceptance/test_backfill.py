"""`promgres backfill`: twenty rules over the past of a real Prometheus, killed and continued.

`PROMGRES_REPLAY_DAYS` (3) is how long that past is; 92 is what a release is tested with.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import Database, blocking, connect
from tests.support.past import (
    CHAINED,
    DAY_MS,
    RULES,
    STEP_MS,
    Past,
    exposition,
    prometheus_with,
    rule_file,
)
from tests.support.processes import PROMGRES, Program, free_port, run, wait_until
from tests.support.read_side import ReadSide, read_side
from tests.support.remote_write import WriteSide, write_side
from tests.support.senders import require

DAYS = int(os.environ.get("PROMGRES_REPLAY_DAYS", "3"))
END_MS = time.time_ns() // 1_000_000 // 3_600_000 * 3_600_000 - 3_600_000
START_MS = END_MS - DAYS * DAY_MS
POINTS = DAYS * DAY_MS // STEP_MS
KILLS = 3
STORED = """
    SELECT name, labels::text, (extract(epoch FROM time) * 1000)::bigint, value, exact::text
    FROM (SELECT * FROM internal.sample UNION ALL SELECT * FROM cumsum.sample
          UNION ALL SELECT * FROM geo.sample) AS samples
    JOIN internal.series USING (series_id)
"""
REFRESH = "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'refresh_rollups'"
ROLLED_UP = """
    WITH raw AS (
        SELECT date_bin('1 hour', time, '2000-01-03') AS bucket, name, count(*) AS samples,
            sum(value::text::numeric) AS sum
        FROM {target}.sample JOIN internal.series USING (series_id) GROUP BY 1, 2
    ), rolled_up AS (
        SELECT bucket, name, sum(samples)::bigint AS samples FROM {target}.rollup_1h GROUP BY 1, 2
    )
    SELECT count(*) FROM raw FULL JOIN rolled_up USING (bucket, name)
    WHERE raw.samples IS DISTINCT FROM rolled_up.samples
"""

pytestmark = pytest.mark.timeout(180 + 30 * DAYS)

Key = tuple[str, frozenset[tuple[str, str]]]
"""A metric's name and its other labels."""


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    """A Prometheus with a day more of the past than is replayed."""
    folder = tmp_path_factory.mktemp("past")
    with prometheus_with(folder, exposition(START_MS - DAY_MS, END_MS)) as running:
        yield running


@dataclass
class Replay:
    """The command, with what all calls of it have in common."""

    folder: Path
    arguments: list[str]
    env: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {"PROMGRES_DATA_DIR": str(self.folder / "data"), **self.env}

    def start(self, *more: str) -> Program:
        return Program(PROMGRES, "backfill", *self.arguments, *more, env=self.environment)

    def run(self, *more: str, seconds: float = 60 + 30 * DAYS) -> Program:
        return run(
            PROMGRES, "backfill", *self.arguments, *more, env=self.environment, seconds=seconds
        )

    def done_ms(self) -> int:
        """Up to which time the group is replayed, as the state has it."""
        for path in (self.folder / "data" / "backfill").glob("*.json"):
            reached: int = json.loads(path.read_text())["done_ms"].get("past", 0)
            return reached
        return 0


def _replay(past: Past, url: str, folder: Path, *more: str) -> Replay:
    return Replay(
        folder,
        [
            f"--rules={rule_file(folder)}",
            f"--datasource={past.url}",
            f"--from={START_MS // 1000}",
            f"--to={END_MS // 1000}",
            "--step=15m",
            f"--url={url}",
            *more,
        ],
    )


def _expected(past: Past) -> dict[Key, dict[int, tuple[float, str | None]]]:
    """What must be stored: value and exact value at each time of each series, by asking Prometheus
    rule by rule; of chained rules by adding up what it says of the rule before."""
    found: dict[Key, dict[int, tuple[float, str | None]]] = defaultdict(dict)
    for rule in RULES:
        name, own = rule["record"], rule.get("labels", {})
        if name in CHAINED:
            from_ms = START_MS - 4 * STEP_MS
            sums = {at: float(value) for _, at, value in past.range("sum(raw_1)", from_ms, END_MS)}
            values = ((own, at, CHAINED[name](sums, at)) for at in sums if at >= START_MS)
        elif name == "zone:raw:b":
            values = past.range('sum(raw_1{zone="b"})', START_MS, END_MS)
        else:
            values = past.range(rule["expr"], START_MS, END_MS)
        for labels, at, value in values:
            kept = {**labels, **own, "__name__": name}
            exact = kept.pop("supply", None)
            key = name, frozenset(kept.items())
            found[key][at] = float(value), exact
    return dict(found)


async def _stored(database: Database) -> dict[Key, dict[int, tuple[float, str | None]]]:
    found: dict[Key, dict[int, tuple[float, str | None]]] = defaultdict(dict)
    async with connect(database) as connection:
        for name, labels, at, value, exact in await connection.fetch(STORED):
            series = found[name, frozenset(json.loads(labels).items())]
            assert at not in series, (name, labels, at)
            series[at] = value, exact
    return dict(found)


@dataclass
class Watcher:
    """Asks the read side, again and again, and keeps every row that was ever answered."""

    read: ReadSide
    seen: dict[tuple[str, str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    times: int = 0

    QUESTIONS = (
        ("get_agg_metric", "raw:sum", "common"),
        ("get_agg_metric", "raw:peak", "common"),
        ("get_agg_metric", "manifest_tokenomics_total_supply", "mainnet"),
        ("get_agg_cumsum_metric", "web_requests", "cumsum"),
    )

    def ask(self) -> dict[tuple[str, str, str], str]:
        """Every row as it is now, by function, metric and bucket."""
        period = {"p_interval": "15 minutes", "p_from": _text(START_MS), "p_to": _text(END_MS)}
        return {
            (function, metric, row["timestamp"]): row["value"]
            for function, metric, schema in self.QUESTIONS
            for row in self.read.rows(function, p_metric_name=metric, p_schema=schema, **period)
        }

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While the block runs."""
        ended, failed = threading.Event(), []

        def watch() -> None:
            while not ended.wait(0.2):  # else it takes the replay's processor
                try:
                    for key, value in self.ask().items():
                        self.seen[key].add(value)
                except BaseException as error:
                    failed.append(error)
                    return
                self.times += 1

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        assert not failed, failed


def _text(timestamp_ms: int) -> str:
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).isoformat()


@pytest.fixture(params=["postgres_db", "timescale_db", "native_db"])
def replayed_db(request: pytest.FixtureRequest) -> tuple[Database, bool]:
    """Each engine, and a TimescaleDB whose jobs run by themselves if there is one; and whether
    they have to be run."""
    return request.getfixturevalue(request.param), request.param == "timescale_db"


def test_killed_and_continued_it_lands_completely_and_once(
    replayed_db: tuple[Database, bool], past: Past, tmp_path: Path
) -> None:
    assert len(RULES) == 20
    database, rests = replayed_db
    with write_side(database) as write, read_side(database) as read:
        replay = _replay(past, write.url, tmp_path, "--bins=12")
        watcher = Watcher(read)
        began = time.monotonic()
        with watcher.watching():
            _kill_and_continue(replay)
        seconds = time.monotonic() - began
        done = replay.run()
        assert "nothing to do" in done.stdout
        expected = _expected(past)
        assert blocking(_stored(database)) == expected
        samples = sum(len(series) for series in expected.values())
        assert f"{samples:,} samples acknowledged, 0 of them by this run" in done.stdout
        complete = _complete_seconds(database, rests=rests)
        final = watcher.ask()
        _check_answers(final, expected)
        wrong = {key: seen for key, seen in watcher.seen.items() if seen != {final.get(key)}}
        assert not wrong
        assert watcher.times
    print(
        f"{database.engine}: {samples:,} samples in {seconds:.1f} s with {KILLS} kills; asked"
        f" {watcher.times} times meanwhile; aggregates complete after {complete:.1f} s"
    )


def _kill_and_continue(replay: Replay) -> None:
    for _ in range(KILLS):
        reached = replay.done_ms()
        with replay.start() as program:
            wait_until(
                lambda reached=reached: replay.done_ms() > reached, 60 + 30 * DAYS, "a window"
            )
            program.kill()
            assert program.wait() == -signal.SIGKILL, program.output
    assert replay.done_ms() < END_MS
    done = replay.run()
    assert done.process.returncode == 0, done.output
    assert "20 rules from" in done.stdout


def _complete_seconds(database: Database, *, rests: bool) -> float:
    """How long it takes until no rollup lacks a sample, which is a minute at most.

    Args:
        rests: its jobs run only when they are called.
    """
    began = time.monotonic()
    if rests:
        blocking(_refresh(database))
    wait_until(lambda: blocking(_incomplete(database)) == 0, 60, "every aggregate is complete")
    return time.monotonic() - began


async def _refresh(database: Database) -> None:
    async with connect(database) as connection:
        await connection.execute(f"CALL run_job({await connection.fetchval(REFRESH)})")


async def _incomplete(database: Database) -> int:
    """How many hours of metrics lack samples in the rollups."""
    async with connect(database) as connection:
        return sum(
            [
                await connection.fetchval(ROLLED_UP.format(target=target))
                for target in ("internal", "cumsum")
            ]
        )


def _check_answers(
    final: dict[tuple[str, str, str], str],
    expected: dict[Key, dict[int, tuple[float, str | None]]],
) -> None:
    """What the functions answer in the end is what the samples say, to the last digit."""
    for function, metric, _ in Watcher.QUESTIONS:
        (series,) = (series for (name, _), series in expected.items() if name == metric)
        values = {at: Decimal(exact or repr(value)) for at, (value, exact) in series.items()}
        if function == "get_agg_cumsum_metric":
            total = Decimal(0)
            for at in sorted(values):
                total += values[at]
                values[at] = total
        answered = {
            round(datetime.fromisoformat(bucket).timestamp() * 1000): Decimal(value)
            for (asked, name, bucket), value in final.items()
            if (asked, name) == (function, metric)
        }
        assert answered == values, metric


def test_vmalert_records_the_same(postgres_db: Database, past: Past, tmp_path: Path) -> None:
    require("vmalert")
    with write_side(postgres_db) as write:
        replay = _replay(past, write.url, tmp_path, "--bins=5", "--vmalert")
        with replay.start() as program:
            wait_until(lambda: replay.done_ms() > 0, 60 + 30 * DAYS, "a window")
            program.kill()
        done = replay.run()
        assert done.process.returncode == 0, done.output
    expected = _expected(past)
    assert blocking(_stored(postgres_db)) == expected
    assert f"{sum(map(len, expected.values())):,} samples acknowledged" in done.stdout


@pytest.mark.parametrize("vmalert", [(), ("--vmalert",)], ids=["by itself", "vmalert"])
def test_a_write_side_that_goes_away_meanwhile(
    postgres_db: Database, past: Past, tmp_path: Path, vmalert: tuple[str, ...]
) -> None:
    if vmalert:
        require("vmalert")
    listen = {"PROMGRES_LISTEN": f"127.0.0.1:{free_port()}"}
    with write_side(postgres_db, **listen) as write:
        replay = _replay(past, write.url, tmp_path, "--bins=6", *vmalert)
        program = replay.start()
        wait_until(lambda: replay.done_ms() > 0, 60 + 30 * DAYS, "a window")
    with program, write_side(postgres_db, **listen):
        assert program.wait(120 + 30 * DAYS) == 0, program.output
    assert blocking(_stored(postgres_db)) == _expected(past)


def test_what_is_too_much_for_the_data_source_is_asked_in_halves(
    postgres_db: Database, tmp_path: Path
) -> None:
    lines = exposition(START_MS - DAY_MS, END_MS)
    with (
        prometheus_with(tmp_path, lines, "--query.max-samples=150") as small,
        write_side(postgres_db) as write,
    ):
        replay = _replay(small, write.url, tmp_path)
        rule_file(tmp_path, [rule for rule in RULES if rule["record"] == "raw:1:last"])
        done = replay.run()
        assert done.process.returncode == 0, done.output
        rule_file(tmp_path, [{"record": "never", "expr": "sum(raw_1[2d:1s])"}])
        refused = replay.run()
        assert refused.process.returncode == 2, refused.output
        assert "rule 1 (never): " in refused.stderr
        assert refused.stderr.count("\n") == 1
    stored = blocking(_stored(postgres_db))
    assert [len(series) for series in stored.values()] == [POINTS, POINTS]


def test_again_begins_anew_and_stores_nothing_twice(
    postgres_db: Database, past: Past, tmp_path: Path
) -> None:
    with write_side(postgres_db) as write:
        replay = _replay(past, write.url, tmp_path, "--label=team=web")
        first, second = replay.run(), replay.run("--again", "--bins=7")
        planned = replay.run("--again", "--dry-run")
        assert "done until" not in planned.stdout
        assert "nothing to do" in replay.run().stdout  # a dry run has forgotten nothing
        assert f"done until {_text(END_MS)[:16]}" in replay.run("--dry-run").stdout
    for done in (first, second):
        assert done.process.returncode == 0, done.output
        said = done.stdout.splitlines()[-1].split(": ")[1]
        count = said.split()[0]
        assert said == f"{count} samples acknowledged, {count} of them by this run"
    stored = blocking(_stored(postgres_db))
    assert sum(map(len, stored.values())) == int(count.replace(",", ""))
    assert all(("team", "web") in labels for _, labels in stored)


def test_what_is_rejected_is_said_and_the_rest_is_stored(
    postgres_db: Database, past: Past, tmp_path: Path
) -> None:
    oldest_ms = END_MS - DAY_MS
    with write_side(postgres_db, PROMGRES_RECEIVER__OLDEST_TIMESTAMP=_text(oldest_ms)) as write:
        replay = _replay(past, write.url, tmp_path)
        done = replay.run()
        assert done.process.returncode == 1, done.output
        again = replay.run()
        assert again.process.returncode == 0, again.output  # a container is not started for ever
        assert "nothing to do" in again.stdout
    expected = _expected(past)
    taken = {
        key: {at: sample for at, sample in series.items() if at >= oldest_ms}
        for key, series in expected.items()
    }
    assert blocking(_stored(postgres_db)) == {
        key: series for key, series in taken.items() if series
    }
    rejected = sum(map(len, expected.values())) - sum(map(len, taken.values()))
    assert f"{rejected:,} samples were rejected for good:" in done.stdout
    assert f"{rejected:,} samples were rejected for good:" in again.stdout


def test_a_dry_run_writes_nothing(past: Past, postgres_db: Database, tmp_path: Path) -> None:
    with write_side(postgres_db) as write:
        done = _replay(past, write.url, tmp_path).run("--dry-run")
    assert done.process.returncode == 0, done.output
    assert f"group past: 20 rules, a step of 900 s, {POINTS:,} evaluations of each" in done.stdout
    assert "  zone:raw:sum: 2 series at " in done.stdout
    assert "nothing was written" in done.stdout
    assert not list((tmp_path / "data").rglob("*.json"))
    assert blocking(_stored(postgres_db)) == {}


REFUSED: dict[str, tuple[list[str], str]] = {
    "no data source": (["--datasource=http://127.0.0.1:9"], "--datasource http://127.0.0.1:9: "),
    "no write side": (["--url=http://127.0.0.1:9/write"], "--url http://127.0.0.1:9/write: "),
    "another page": (["--url={write}/nowhere"], "/nowhere: 404"),
    "a data source that is none": (["--datasource={write}"], "--datasource http"),
    "no rule file": (["--rules=/nowhere.yml"], "/nowhere.yml: No such file"),
    "the future": (["--to=2100-01-01"], "--to 2100-01-01 is in the future"),
    "no time": (["--from=soon"], "'soon' is not a point in time"),
    "no step": (["--step=often"], "--step: 'often' is not a length of time"),
    "no key": (["--key=letmein"], "this is not an API key"),
    "no vmalert": (["--vmalert=/nowhere"], "there is no program /nowhere"),
    "a step that vmalert has not": (["--vmalert", "--step=1s"], "must be whole seconds"),
    "no label": (["--label=team"], "--label team: needs NAME=VALUE"),
    "no URL": (["--url=ftp://x/"], "--url ftp://x/: needs http:// or https://"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_one_line(
    past: Past, postgres_write_side: WriteSide, tmp_path: Path, arguments: list[str], said: str
) -> None:
    address = f"http://{postgres_write_side.address}"
    given = [argument.format(write=address) for argument in arguments]
    done = _replay(past, postgres_write_side.url, tmp_path).run(*given)
    assert done.process.returncode == 2, done.output
    assert done.stderr.count("\n") == 1, done.output
    assert said in done.stderr
    assert "letmein" not in done.output


BAD_RULES = {
    "no PromQL": ({"record": "bad", "expr": "sum("}, "the data source says: "),
    "many to many": (
        {"record": "bad", "expr": "raw_1 * on (instance) raw_2"},
        "the data source says: ",
    ),
    "two of one": (
        {"record": "bad", "expr": "raw_1", "labels": {"zone": ""}},
        "two of its series would have the labels",
    ),
}


@pytest.mark.parametrize(("rule", "said"), BAD_RULES.values(), ids=BAD_RULES)
def test_a_rule_that_cannot_be_replayed_is_named(
    past: Past, postgres_write_side: WriteSide, tmp_path: Path, rule: dict[str, Any], said: str
) -> None:
    replay = _replay(past, postgres_write_side.url, tmp_path)
    rule_file(tmp_path, [rule])
    done = replay.run()
    assert done.process.returncode == 2, done.output
    assert done.stderr.count("\n") == 1, done.output
    assert "group 1 (past), rule 1 (bad): " in done.stderr
    assert said in done.stderr


def test_a_key_is_needed_where_keys_are(postgres_db: Database, past: Past, tmp_path: Path) -> None:
    done = run(PROMGRES, "key", "create", "default", "--json", env=postgres_db.environment())
    key = json.loads(done.stdout)["key"]
    with write_side(postgres_db, PROMGRES_AUTH__REQUIRED="true") as write:
        replay = _replay(past, write.url, tmp_path)
        refused = replay.run()
        assert refused.process.returncode == 2, refused.output
        assert ": 401: " in refused.stderr
        replay.env["PROMGRES_KEY"] = key
        done = replay.run()
        assert done.process.returncode == 0, done.output
        assert key not in done.output
    assert blocking(_stored(postgres_db)) == _expected(past)
