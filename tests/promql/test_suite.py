"""Prometheus' own PromQL tests, in process: the engine over samples in memory.

The files are not in the repository: PROMGRES_PROMQLTEST is the folder that holds them
(`promql/promqltest/testdata` of prometheus/prometheus). `make conformance` asks for it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.promqltest import FEATURES, Eval, MemoryRunner, read, run

FOLDER = os.environ.get("PROMGRES_PROMQLTEST")
FILES = sorted(Path(FOLDER).glob("*.test")) if FOLDER else []
EXCEPTIONS: dict[str, dict[int, str]] = {}
"""Evaluations that answer otherwise here, by file and line; docs/reference/promql.md says why."""


@pytest.mark.skipif(not FILES, reason="PROMGRES_PROMQLTEST names no folder with *.test files")
@pytest.mark.parametrize("path", FILES or [Path("none")], ids=lambda path: path.stem)
@pytest.mark.timeout(600)
def test_every_evaluation_answers_as_prometheus_does(path: Path) -> None:
    features = replace(FEATURES, type_and_unit_labels=path.stem == "type_and_unit")
    commands = read(path.read_text())
    known = EXCEPTIONS.get(path.stem, {})
    wrong = {
        command.line: problem
        for command, problem in run(commands, MemoryRunner(features))
        if problem is not None
    }
    assert {line: what for line, what in wrong.items() if line not in known} == {}
    assert known.keys() <= wrong.keys(), "these pass now: take them out of EXCEPTIONS"
    print(f"{path.name}: {sum(isinstance(command, Eval) for command in commands)} evaluations")
