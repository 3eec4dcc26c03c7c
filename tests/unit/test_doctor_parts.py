"""The parts of the doctor that need no database."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from ingest.config import Settings
from ingest.doctor import Finding, Level, Prescription, Site, worst
from ingest.doctor.access import LOGIN
from ingest.doctor.durability import turn_on
from ingest.doctor.examination import FOUNDATIONS, OF_ENGINE, TABLES_AND_LOAD
from ingest.doctor.machine import DISK, SPOOL
from ingest.doctor.prescription import identifier
from ingest.doctor.server import DATABASE, check_postgres_version, check_server, check_version
from ingest.doctor.sides import ACCOUNTS, OPEN, READ_SIDE, WRITE_SIDE
from ingest.doctor.words import count, size, span

ROOT = Path(__file__).parents[2]
QUERIES = ROOT / "sql" / "doctor"
SITE = Site(settings=Settings(_env_file=None))
SERVER = {
    "version": "17.5 (Debian 17.5-1)",
    "version_number": 170005,
    "database": "metrics",
    "login": "me",
    "encoding": "UTF8",
    "is_standby": False,
    "is_read_only": False,
}


@pytest.mark.parametrize(
    ("change", "level", "word"),
    [
        ({}, Level.OK, "PostgreSQL 17.5, database metrics, login me"),
        ({"version": "14.2", "version_number": 140002}, Level.PROBLEM, "14.2 is too old"),
        ({"is_standby": True}, Level.PROBLEM, "standby"),
        ({"is_read_only": True}, Level.PROBLEM, "read-only"),
        ({"encoding": "LATIN1"}, Level.PROBLEM, "encoded in LATIN1"),
    ],
)
def test_servers(change: dict[str, Any], level: Level, word: str) -> None:
    (found,) = check_server(SITE, SERVER | change)
    assert found.level == level
    assert word in found.what
    assert bool(found.todo) == (level != Level.OK)


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("2.18.2", Level.PROBLEM),
        ("2.19.0", Level.OK),
        ("2.22.0", Level.WARNING),
        ("2.22.1", Level.OK),
        ("2.27.9", Level.OK),
        ("2.28.0", Level.WARNING),
        ("2.28.1", Level.WARNING),
        ("2.28.2", Level.WARNING),
        ("2.28.3", Level.OK),
        ("3.0.0", Level.OK),
    ],
)
def test_versions_of_the_extension(version: str, level: Level) -> None:
    (found,) = check_version(SITE, version, tuple(map(int, version.split("."))))
    assert found.level == level
    assert version in found.what
    assert ("ALTER EXTENSION timescaledb UPDATE" in found.todo) == (level != Level.OK)


def test_a_server_that_breaks_jobs() -> None:
    (found,) = check_postgres_version(150020)
    assert found.level == Level.WARNING
    assert check_postgres_version(150019) == check_postgres_version(180000) == []


@pytest.mark.parametrize(
    ("source", "todo"),
    [
        ("command line", "take fsync off the server's command line, then restart it"),
        (
            "configuration file",
            "promgres psql -c 'ALTER SYSTEM SET fsync = on' -c 'SELECT pg_reload_conf()'",
        ),
    ],
)
def test_how_a_setting_is_turned_on(source: str, todo: str) -> None:
    assert turn_on(SITE, {"name": "fsync", "source": source}) == todo


def test_the_worst_of_all() -> None:
    levels = [Level.OK, Level.PROBLEM, Level.WARNING]
    assert worst([Finding("x", level, "") for level in levels]) == Level.PROBLEM
    assert worst([Finding("x", Level.WARNING, ""), Finding("x", Level.OK, "")]) == Level.WARNING
    assert worst([]) == Level.OK


@pytest.mark.parametrize(
    "statement",
    ["SELECT 1", "SELECT 'it''s'", 'ALTER ROLE "A b" LOGIN', "SELECT '$x', \"y\", '`z`'", "a\\b"],
)
def test_statements_survive_the_shell(statement: str) -> None:
    command = Prescription(("--data-dir", "/a b")).sql("SELECT 0", statement)
    words = ["promgres", "psql", "--data-dir", "/a b", "-c", "SELECT 0", "-c", statement]
    assert shlex.split(command) == words


def test_sql_with_quotes_stays_readable() -> None:
    assert Prescription().sql("SELECT f('x')") == """promgres psql -c "SELECT f('x')\""""


def test_how_to_migrate() -> None:
    assert Prescription().migrate == "promgres migrate up"
    embedded = Prescription(("--data-dir", "/d"), embedded=True)
    assert embedded.migrate == "restart it: promgres up --data-dir /d"


def test_identifiers() -> None:
    assert identifier("promgres_api") == "promgres_api"
    assert identifier('My "db"') == '"My ""db"""'


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**30, "1.0 GiB"), (300 * 2**20, "300 MiB")],
)
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (3600, "1 h"),
        (86400 + 7300, "1 d 2 h"),
        (-90, "1 min 30 s"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_counts() -> None:
    assert count(1, "sample") == "1 sample"
    assert count(2000, "sample") == "2,000 samples"
    assert count(2, "index", "indexes") == "2 indexes"


@pytest.mark.parametrize("path", sorted(QUERIES.glob("*.sql")), ids=lambda path: path.name)
def test_every_query_says_what_it_is_for_and_is_used(path: Path) -> None:
    assert path.read_text().startswith("-- ")
    code = "".join(each.read_text() for each in (ROOT / "ingest" / "doctor").glob("*.py"))
    assert re.search(rf'"{path.stem}"', code)


def test_operators_can_look_up_every_check() -> None:
    operations = (ROOT / "docs/how-to/operations.md").read_text()
    at_3 = operations.partition("## At 3 a.m.")[2].partition("\n## ")[0]
    of_engines = {name for checks in OF_ENGINE.values() for name in checks}
    others = {DATABASE, LOGIN, SPOOL, DISK, WRITE_SIDE, READ_SIDE, ACCOUNTS, OPEN}
    checks = {*FOUNDATIONS, *TABLES_AND_LOAD, *of_engines, *others}
    assert [name for name in checks if f"`{name}`" not in at_3] == []
