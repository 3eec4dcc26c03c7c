"""The same evaluations through remote write and HTTP, on every engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.promql.over_http import running
from tests.support.databases import Database
from tests.support.promqltest import Eval, read, run

OURS = sorted((Path(__file__).parent / "data").glob("*.test"))
FOLDER = os.environ.get("PROMGRES_PROMQLTEST")
THEIRS = sorted(Path(FOLDER).glob("*.test")) if FOLDER else []
UNSENT = {"starts", "start_timestamps", "type_and_unit"}
"""What these ask for is not read: start timestamps of samples, types as labels."""


@pytest.mark.timeout(900)
def test_ours(engine_db: Database) -> None:
    assert OURS
    assert wrong_of([path for path in OURS if path.stem not in UNSENT], engine_db) == {}


@pytest.mark.skipif(not THEIRS, reason="PROMGRES_PROMQLTEST names no folder with *.test files")
@pytest.mark.timeout(3600)
def test_prometheus_own(engine_db: Database) -> None:
    wrong = wrong_of([path for path in THEIRS if path.stem not in UNSENT], engine_db)
    assert wrong == {}


def wrong_of(paths: list[Path], database: Database) -> dict[str, str]:
    """What is wrong with which evaluations."""
    wrong = {}
    with running(database) as runner:
        evaluations = 0
        for path in paths:
            runner.clear()
            for command, problem in run(read(path.read_text()), runner):
                evaluations += isinstance(command, Eval)
                if problem is not None:
                    wrong[f"{path.stem}:{command.line}"] = problem
        print(f"{evaluations} evaluations, {len(wrong)} otherwise")
    return wrong
