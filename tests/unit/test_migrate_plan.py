"""The order of `sql/`, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.errors import MigrationError
from ingest.migrate import choice, plan


def lay(root: Path, *paths: str) -> None:
    (root / "bootstrap.sql").write_text("SELECT 1;\n")
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"-- {path}\n")


@pytest.fixture
def sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(plan, "sql_root", lambda: tmp_path)
    return tmp_path


def test_common_files_and_the_engines_own_interleave_by_number(sql: Path) -> None:
    lay(
        sql,
        "common/migrations/0003_c.sql",
        "common/migrations/0001_a.sql",
        "postgres/migrations/0002_b.sql",
        "postgres/migrations/0010_e.sql",
        "timescaledb/migrations/0002_b.sql",
        "common/repeatable/30_views.sql",
        "postgres/repeatable/4_first.sql",
    )
    found = plan.read_plan("postgres")
    assert [file.path for file in found.migrations] == [
        "common/migrations/0001_a.sql",
        "postgres/migrations/0002_b.sql",
        "common/migrations/0003_c.sql",
        "postgres/migrations/0010_e.sql",
    ]
    assert [file.number for file in found.repeatables] == [4, 30]
    assert len({file.checksum for file in found.migrations}) == 4


def test_a_file_without_a_number_is_refused(sql: Path) -> None:
    lay(sql, "common/migrations/views.sql")
    with pytest.raises(MigrationError, match="is called NUMBER_what_it_does"):
        plan.read_plan("postgres")


def test_both_engines_have_a_plan() -> None:
    for engine in ("postgres", "timescaledb"):
        found = plan.read_plan(engine)  # type: ignore[arg-type]
        numbers = [file.number for file in found.migrations]
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
    found = choice.version_obstacle(version)
    assert (found is None) if obstacle is None else (obstacle in (found or ""))
