"""Whatever PromQL of the right types is asked, it is answered or refused; and printing it loses
nothing."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given, note
from hypothesis import strategies as st

from ingest.errors import PromqlError, PromqlSyntax
from ingest.promql.evaluate import Answer
from ingest.promql.parser import ALL_FEATURES, parse
from ingest.promql.printer import pretty, text
from tests.support.promqltest import Load, MemoryRunner, read
from tests.support.promqltrees import DATA, ORDINARY, scalars, vectors

expressions = st.one_of(vectors(), scalars(3))


@pytest.fixture(scope="module")
def runner() -> MemoryRunner:
    found = MemoryRunner()
    for command in read(DATA + ORDINARY):
        assert isinstance(command, Load)
        found.load(command)
    return found


@given(expressions)
def test_printing_loses_nothing(query: str) -> None:
    tree = parse(query, ALL_FEATURES)
    assert parse(text(tree), ALL_FEATURES) == tree
    assert parse(pretty(tree), ALL_FEATURES) == tree
    assert text(parse(text(tree), ALL_FEATURES)) == text(tree)


@given(expressions, st.sampled_from([0, 60_000, 300_000, 601_000]))
@example("mixed smoothed", 601_000)  # nothing but a stale marker is left
def test_an_instant_query_is_answered_or_refused(
    runner: MemoryRunner, query: str, time: int
) -> None:
    note(query)
    with np.errstate(all="raise", under="ignore"):
        answer = _asked(runner, query, time, None, 0)
    if answer is not None and answer.type == "vector":
        assert len(answer.samples.times) == len(answer.samples.labels)


@given(expressions)
def test_a_range_is_its_instants(runner: MemoryRunner, query: str) -> None:
    """The matrix of three steps holds what three instant queries find, but for what knows of the
    range, and for order."""
    note(query)
    answer = _asked(runner, query, 240_000, 360_000, 60_000)
    if any(word in query for word in ("step()", "end()", "start()", "sort")):
        return
    found = None if answer is None else _points(answer)
    for time in (240_000, 300_000, 360_000):
        one = _asked(runner, query, time, None, 0)
        if found is None:
            continue  # a single step may go well where the range does not
        assert one is not None
        if one.type == "scalar":
            assert _same(found[(), time], one.scalar)
            continue
        single = {(key, time): value for (key, _), value in _points(one).items()}
        here = {at: value for at, value in found.items() if at[1] == time}
        assert here.keys() == single.keys()
        assert all(_same(here[at], single[at]) for at in here)


def _asked(
    runner: MemoryRunner, query: str, start: int, end: int | None, step: int
) -> Answer | None:
    try:
        return runner.ask(query, start, end, step)
    except PromqlError:
        return None


def _points(answer: Answer) -> dict[tuple[object, int], float]:
    """Values, or counts of histograms, by labels and time."""
    samples, found = answer.samples, {}
    for series, labels in enumerate(samples.labels):
        for at in range(samples.offsets[series], samples.offsets[series + 1]):
            value = float(samples.values[at])
            if samples.rows is not None and samples.rows[at] >= 0:
                assert samples.histograms is not None
                value = float(samples.histograms.count[samples.rows[at]])
            found[tuple(labels.items()), int(samples.times[at])] = value
    return found


def _same(one: float, two: float) -> bool:
    return bool(np.isclose(one, two, rtol=1e-9, atol=0, equal_nan=True))


@given(st.text(alphabet="abm{}[]()\"'`=!~<>@:,.+-*/%^ 0123456789eE_sumbyonoffset\n\\", max_size=40))
def test_any_text_is_a_query_or_a_syntax_error(query: str) -> None:
    with suppress(PromqlSyntax):
        tree = parse(query, ALL_FEATURES)
        assert parse(text(tree), ALL_FEATURES) == tree
