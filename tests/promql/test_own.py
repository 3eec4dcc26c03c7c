"""Evaluations of our own in Prometheus' format (`data/*.test`), in process; each was checked once
against Prometheus 3.14."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.promqltest import FEATURES, Eval, MemoryRunner, Mismatch, evaluate, read, run

HERE = Path(__file__).parent
PLAIN = HERE / "plain.test"
"""Names go at once in it, as by default; elsewhere at the end, as Prometheus' runner has it."""

FILES = [*sorted((HERE / "data").glob("*.test")), PLAIN]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.timeout(300)
def test_it_answers_as_expected(path: Path) -> None:
    wrong = [
        f"{path.name}:{command.line}: {problem}"
        for command, problem in run(
            read(path.read_text()),
            MemoryRunner(replace(FEATURES, delayed_name_removal=path != PLAIN)),
        )
        if problem is not None
    ]
    assert wrong == []


def test_there_are_enough() -> None:
    commands = [command for path in FILES for command in read(path.read_text())]
    assert sum(isinstance(command, Eval) for command in commands) >= 800


WRONG = [
    "eval instant at 1m m\n  m 2",
    "eval instant at 1m m\n  n 1",
    "eval instant at 1m m\n  m 1\n  n 1",
    "eval instant at 1m m",
    "eval instant at 1m m\n  expect fail",
    "eval instant at 1m nothing(m)\n  m 1",
    "eval instant at 1m m\n  expect warn\n  m 1",
    "eval instant at 1m rate(m[2m])\n  expect no_info\n  {} 0.016666666666666666",
    "eval instant at 1m h\n  h {{count:3 sum:2 buckets:[1 1]}}",
    "eval instant at 1m h\n  h {{count:2 sum:2 buckets:[2]}}",
    "eval instant at 1m h\n  h 2",
    "eval range from 0 to 1m step 1m m\n  m 0 2",
    "eval range from 0 to 1m step 1m m\n  m 0",
    "eval instant at 1m 1\n  2",
    'eval instant at 1m "a"\n  expect string "b"',
    "eval instant at 1m sort(m)\n  expect ordered\n  n 1\n  m 1",
]


@pytest.mark.parametrize("text", WRONG)
def test_the_runner_sees_what_is_wrong(text: str) -> None:
    runner = MemoryRunner()
    load, command = read(
        "load 1m\n  m 0 1\n  h {{}} {{count:2 sum:2 buckets:[1 1]}}\n\n" + text.strip() + "\n"
    )
    runner.load(load)  # type: ignore[arg-type]
    with pytest.raises(Mismatch):
        evaluate(command, runner)  # type: ignore[arg-type]
