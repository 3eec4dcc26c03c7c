"""`promgres import push`: the three tables of the push API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.databases import Database, blocking, connect, execute
from tests.support.processes import PROMGRES, Program, run, wait_until

ROWS = 25_000
NOW = datetime.now(UTC).replace(microsecond=123456)

TABLES = f"""
CREATE SCHEMA monitoring;
CREATE TABLE monitoring.tenant (
    uid serial PRIMARY KEY, tenantname text NOT NULL, apikey text NOT NULL
);
CREATE TABLE monitoring.measure (
    id serial, tenant_id int NOT NULL REFERENCES monitoring.tenant (uid),
    insertion_time timestamptz NOT NULL DEFAULT now(), name text NOT NULL,
    measurement float NOT NULL, dict jsonb NOT NULL
);
CREATE TABLE monitoring.event (
    id serial, tenant_id int NOT NULL, insertion_time timestamptz NOT NULL DEFAULT now(),
    name text NOT NULL, dict jsonb NOT NULL
);
INSERT INTO monitoring.tenant (tenantname, apikey)
VALUES ('shop', 'clear-key-1'), ('test', 'clear-key-2'), ('test', 'clear-key-3');
INSERT INTO monitoring.measure (tenant_id, insertion_time, name, measurement, dict)
SELECT 1 + n % 3, '{NOW.isoformat()}'::timestamptz - n * interval '1 minute', 'Checkout_seconds',
    n * 0.1, jsonb_build_object('n', n)
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO monitoring.event (tenant_id, insertion_time, name, dict)
SELECT 1 + n % 2, '{NOW.isoformat()}'::timestamptz - n * interval '1 minute', 'node_data',
    CASE n WHEN 1 THEN 'null' WHEN 2 THEN '[1, 2]' ELSE '{{"a": "b"}}' END::jsonb
FROM generate_series(1, 1000) AS n;
INSERT INTO monitoring.measure (tenant_id, insertion_time, name, measurement, dict)
VALUES (1, '{(NOW - timedelta(days=800)).isoformat()}', 'old', 1, '{{}}'),
    (1, '{NOW.isoformat()}', '', 1, '{{}}');
INSERT INTO monitoring.event (tenant_id, name, dict) VALUES (99, 'of nobody', '{{}}');
"""


@pytest.fixture
def source(empty_postgres_db: Database) -> Database:
    blocking(execute(empty_postgres_db.url, TABLES))
    return empty_postgres_db


def start(source: Database, target: Database, *options: str) -> Program:
    environment = {**target.environment(), "PROMGRES_IMPORT_SOURCE": source.url}
    return run(PROMGRES, "import", "push", *options, env=environment, seconds=120)


def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    async def ask() -> list[tuple[Any, ...]]:
        async with connect(database) as connection:
            return [tuple(row) for row in await connection.fetch(statement)]

    return blocking(ask())


STORED = """
SELECT tenant.name, 'measure', measure.name, count(*), sum(value)::numeric(20, 1), max(time)
FROM app.measure JOIN app.tenant USING (tenant_id) GROUP BY 1, 3
UNION ALL
SELECT tenant.name, 'event', event.name, count(*), NULL, max(time)
FROM app.event JOIN app.tenant USING (tenant_id) GROUP BY 1, 3
ORDER BY 1, 2
"""


def test_tenants_measures_and_events(source: Database, engine_db: Database) -> None:
    program = start(source, engine_db)
    assert program.process.returncode == 0, program.output
    said = program.stdout
    assert "tenant 1 'shop': 'shop', which is made" in said
    assert "tenant 3 'test': 'test-3', which is made" in said  # strangers stay strangers
    assert f"measures: {ROWS + 2:,} read, {ROWS:,} stored, 0 already there, 2 left out" in said
    assert "events: 1,001 read, 1,000 stored, 0 already there, 1 left out" in said
    assert "1 left out: of no tenant" in said
    assert "1 left out: the name is empty" in said
    assert "the oldest that is taken" in said
    names = {"shop": 1, "test": 2, "test-3": 3}
    old = rows(
        source,
        "SELECT tenant_id, count(*), sum(measurement)::numeric(20, 1), max(insertion_time)"
        " FROM monitoring.measure WHERE name = 'Checkout_seconds' GROUP BY 1 ORDER BY 1",
    )
    found = rows(engine_db, STORED)
    measures = {row[0]: row[3:] for row in found if row[1] == "measure"}
    assert {names[name]: counts for name, counts in measures.items()} == {
        uid: tuple(counts) for uid, *counts in old
    }
    assert sum(row[3] for row in found if row[1] == "event") == 1000
    assert rows(engine_db, "SELECT attributes::text FROM app.event ORDER BY time DESC LIMIT 3") == [
        ("null",), ("[1, 2]",), ('{"a": "b"}',)
    ]  # fmt: skip
    assert rows(engine_db, "SELECT count(*) FROM app.api_key") == [(0,)]
    assert "clear-key" not in program.output

    again = start(source, engine_db)
    assert "which is there" in again.stdout
    assert f"measures: {ROWS + 2:,} read, 0 stored, {ROWS:,} already there" in again.stdout
    assert rows(engine_db, STORED) == found


def test_killed_in_the_middle_it_goes_on(source: Database, postgres_db: Database) -> None:
    environment = {**postgres_db.environment(), "PROMGRES_IMPORT_SOURCE": source.url}
    progress = "SELECT FROM internal.import_progress"
    with Program(PROMGRES, "import", "push", env=environment) as program:
        wait_until(lambda: rows(postgres_db, progress), 60)
        program.kill()
    assert rows(postgres_db, f"{progress} WHERE finished_at IS NOT NULL") == []
    said = start(source, postgres_db).stdout
    assert f"measures: {ROWS + 2:,} read (with those of the run before it)" in said
    assert rows(postgres_db, "SELECT count(*) FROM app.measure") == [(ROWS,)]
    assert rows(postgres_db, "SELECT count(*) FROM app.event") == [(1000,)]


def test_a_dry_run_makes_no_tenant(source: Database, postgres_db: Database) -> None:
    program = start(source, postgres_db, "--dry-run")
    assert program.process.returncode == 0, program.output
    assert f"{ROWS:,} would be stored or are there already" in program.stdout
    assert rows(postgres_db, "SELECT name FROM app.tenant") == [("default",)]
    assert rows(postgres_db, "SELECT count(*) FROM app.measure") == [(0,)]


def test_another_name_for_a_tenant(source: Database, postgres_db: Database) -> None:
    program = start(source, postgres_db, "--tenant", "2=lab", "--tenant", "3=field")
    assert program.process.returncode == 0, program.output
    assert rows(postgres_db, "SELECT name FROM app.tenant ORDER BY 1") == [
        ("default",), ("field",), ("lab",), ("shop",)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--schema", "elsewhere"), "the source has no table elsewhere.tenant (--schema)"),
        (("--tenant", "shop"), "--tenant 'shop': must be UID=NAME"),
        (("--tenant", "77=x"), "--tenant 77=…: the source has no tenant of this uid"),
        (("--tenant", "1= x "), "the name of a tenant is 1 to 100 printable characters"),
    ],
)
def test_what_is_wrong_is_one_line(
    source: Database, postgres_db: Database, options: tuple[str, ...], words: str
) -> None:
    program = start(source, postgres_db, *options)
    assert program.process.returncode == 2, program.output
    assert program.stderr.count("\n") == 1, program.output
    assert words in program.stderr
