"""The order of `sql/`, and what it refuses."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path, PurePath

import pytest

from ingest.errors import MigrationError
from ingest.migrate import choice, plan
from ingest.sqlfiles import engine_names
from ingest.storage.engines.timescaledb import ENTRY

TIMESCALEDB = ENTRY.extension
assert TIMESCALEDB is not None


@pytest.fixture
def sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(plan, "sql_root", lambda: tmp_path)
    return tmp_path


def lay(
    root: Path, migrations: list[str], repeatable: list[str], pieces: Sequence[str] = ()
) -> None:
    (root / "order.toml").write_text(
        f"migrations = {migrations}\nrepeatable = {repeatable}\npieces = {list(pieces)}\n"
    )
    for path in [*migrations, *repeatable, *pieces]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"-- {path}\n")


def test_files_come_as_they_are_listed_and_without_those_of_others(sql: Path) -> None:
    lay(
        sql,
        [
            "core/migrations/0003_c.sql",
            "engines/postgres/migrations/0002_b.sql",
            "engines/timescaledb/migrations/0002_b.sql",
            "core/migrations/0001_a.sql",
        ],
        ["engines/timescaledb/x.sql", "engines/postgres/x.sql", "packs/q/x.sql", "packs/p/x.sql"],
    )
    found = plan.read_plan("postgres", ["p"])
    assert [file.path for file in found.migrations] == [
        "core/migrations/0003_c.sql",
        "engines/postgres/migrations/0002_b.sql",
        "core/migrations/0001_a.sql",
    ]
    assert [file.path for file in found.repeatables] == ["engines/postgres/x.sql", "packs/p/x.sql"]
    assert len({file.checksum for file in found.migrations}) == 3


def test_databases_know_migrations_by_the_names_that_they_always_had(sql: Path) -> None:
    lay(
        sql,
        ["core/migrations/0001_a.sql", "engines/postgres/migrations/0002_b.sql"],
        ["core/y.sql"],
    )
    found = plan.read_plan("postgres", ["p"])
    assert [file.name for file in (*found.migrations, *found.repeatables)] == [
        "common/migrations/0001_a.sql",
        "postgres/migrations/0002_b.sql",
        "core/y.sql",
    ]


def test_a_listed_file_that_is_not_there_is_a_broken_installation(sql: Path) -> None:
    lay(sql, [], ["core/y.sql"])
    (sql / "core/y.sql").unlink()
    with pytest.raises(MigrationError, match=r"installation lacks sql/core/y\.sql"):
        plan.read_plan("postgres", ["p"])


def test_a_template_is_another_one_when_a_piece_is(sql: Path) -> None:
    lay(sql, [], ["core/a.sql", "core/b.sql"], ["engines/postgres/mark.sql"])
    (sql / "core/a.sql").write_text("-- For each row of internal.way: moves.\n@mark@\n")

    def checksums(piece: str) -> list[str]:
        (sql / "engines/postgres/mark.sql").write_text(f"-- A piece.\n\n    {piece}\n")
        found = plan.read_plan("postgres", [])
        assert [file.for_each for file in found.repeatables] == ["internal.way", None]
        assert found.repeatables[0].pieces == {"mark": piece}
        return [file.checksum for file in found.repeatables]

    before, after = checksums("SELECT 1;"), checksums("SELECT 2;")
    assert (before[0] == after[0], before[1] == after[1]) == (False, True)


def test_engines_have_the_same_pieces() -> None:
    """What templates of all engines ask for; one that an engine has beside them is for its own."""
    plans = [plan.read_plan(name, []) for name in engine_names()]
    core = [one for one in plans[0].repeatables if one.path.startswith("core/")]
    every = [set(each.repeatables[0].pieces) for each in plans]
    asked = {name for name in set.union(*every) if any(f"@{name}@" in one.text for one in core)}
    assert asked
    assert all(asked <= pieces for pieces in every)


def test_every_file_is_listed_once() -> None:
    root = plan.sql_root()
    order = tomllib.loads((root / "order.toml").read_text())
    there = [
        path.relative_to(root).as_posix()
        for folder in ("core", "engines", "packs")
        for path in (root / folder).rglob("*.sql")
    ]
    assert sorted(order["migrations"] + order["repeatable"] + order["pieces"]) == sorted(there)
    assert all("/migrations/" in path for path in order["migrations"])


def test_migrations_run_in_order_of_their_numbers() -> None:
    for engine in ("postgres", "timescaledb"):
        found = plan.read_plan(engine, [])  # type: ignore[arg-type]
        numbers = [int(PurePath(file.path).name[:4]) for file in found.migrations]
        assert numbers == sorted(set(numbers)), "two migrations of one number have no order"


@pytest.mark.parametrize("major", [9, 14])
def test_an_old_postgresql_is_refused(major: int) -> None:
    with pytest.raises(MigrationError, match=f"this is PostgreSQL {major}; version 15 or newer"):
        choice.check_postgres(major)


@pytest.mark.parametrize(
    ("version", "obstacle"),
    [
        (None, "does not offer"),
        ("2.18.2", "TimescaleDB 2.18.2 is offered; 2.19 or newer"),
        ("2.19.0", None),
        ("2.23.0-dev", None),
        ("3.0", None),
    ],
)
def test_which_timescaledb_will_do(version: str | None, obstacle: str | None) -> None:
    found = choice.version_obstacle(TIMESCALEDB, version)
    assert (found is None) if obstacle is None else (obstacle in (found or ""))
