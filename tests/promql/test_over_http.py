"""The same evaluations through remote write and HTTP, on every engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.promql.over_http import FEATURES, running
from tests.support.databases import Database
from tests.support.promqltest import Eval, read, run

OURS = sorted((Path(__file__).parent / "data").glob("*.test"))
STORED = ("found", "selectors", "starts")
"""The files about which samples are read. What is computed of them is one code for both engines,
which `test_own` asks all of: of the other files PostgreSQL is asked every third evaluation, and
TimescaleDB none, but where examples are many (`make conformance`)."""
FOLDER = os.environ.get("PROMGRES_PROMQLTEST")
THEIRS = sorted(Path(FOLDER).glob("*.test")) if FOLDER else []
TYPED = "type_and_unit"
"""The file whose samples have their type and unit as labels."""
EXCEPTIONS = {
    "start_timestamps": {
        66: "a start at the time of its own sample",
        74: "the same",
        82: "the same",
        284: "a start before the sample before its own",
        289: "the same",
        305: "a start after its own sample",
    }
}
"""What answers otherwise through the database, by file and line: starts are kept once a series, not
with each sample (docs/reference/promql.md)."""


@pytest.mark.timeout(900)
def test_ours(engine_db: Database) -> None:
    few = int(os.environ.get("PROMGRES_EXAMPLES", "0")) < 2000
    others = {"postgres": 3, "timescaledb": 0}[engine_db.engine] if few else 1
    stored = [path for path in OURS if path.stem in STORED]
    assert len(stored) == len(STORED)
    asked = [(path, 1 if path in stored else others) for path in OURS if path in stored or others]
    assert wrong_of(asked, engine_db) == {}


@pytest.mark.skipif(not THEIRS, reason="PROMGRES_PROMQLTEST names no folder with *.test files")
@pytest.mark.timeout(3600)
def test_prometheus_own(engine_db: Database) -> None:
    typed = [(path, 1) for path in THEIRS if path.stem == TYPED]
    rest = [(path, 1) for path in THEIRS if path.stem != TYPED]
    wrong = wrong_of(rest, engine_db) | wrong_of(typed, engine_db, "type-and-unit-labels")
    assert wrong == {}


def wrong_of(paths: list[tuple[Path, int]], database: Database, *features: str) -> dict[str, str]:
    """What is wrong with which evaluations, and which exceptions are none.

    Args:
        paths: of files, and every which of its evaluations is asked.
    """
    wrong = {}
    settings = {"PROMGRES_QUERY__FEATURES": ",".join([FEATURES, *features])}
    with running(database, **settings) as runner:
        evaluations = exceptions = 0
        for path, every in paths:
            runner.clear()
            known = EXCEPTIONS.get(path.stem, {})
            commands = read(path.read_text())
            wanted = [command for command in commands if isinstance(command, Eval)][::every]
            asked = [each for each in commands if not isinstance(each, Eval) or each in wanted]
            for command, problem in run(asked, runner):
                evaluations += 1
                exceptions += command.line in known and problem is not None
                if (problem is None) == (command.line in known):
                    wrong[f"{path.stem}:{command.line}"] = problem or "it passes: no exception"
        print(f"{evaluations} evaluations, {exceptions} exceptions, {len(wrong)} wrong")
    return wrong
