"""Windows, points in time, the state and the requests of a replay."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.backfill.patience import GaveUp, Patience
from ingest.backfill.plan import MOST_POINTS, POINTS, Plan, Window, parse_moment, plan_of, shown_url
from ingest.backfill.replay import Done, replay
from ingest.backfill.rules import Group, Rule
from ingest.backfill.source import _Series, is_too_much, recorded
from ingest.backfill.state import Progress, state_of
from ingest.backfill.write_side import SAMPLES_A_REQUEST, requests_of
from ingest.errors import OperatorError
from ingest.wire.encoding.snappy import decompress_snappy
from ingest.wire.pb.remote_write_v1_pb2 import WriteRequest
from ingest.wire.remote_write.encode import Run, write_body

NOW_MS = 1_700_000_123_456
RULE = Rule("made", "raw", {"tier": "one", "gone": ""}, "rule 1")


def _plan(*groups: Group, bins: int | None = None) -> Plan:
    return Plan(groups, "http://u:secret@p:9090", "http://w/write", "1y", "now", bins,
                now_ms=NOW_MS)  # fmt: skip


@settings(deadline=None)
@given(
    st.integers(0, 10**9), st.integers(1, 10**9), st.integers(1, 10**6), st.integers(0, 10**6),
    st.none() | st.integers(1, 50),
)  # fmt: skip
def test_windows_hold_every_evaluation_once(
    start_ms: int, length_ms: int, step_ms: int, offset_ms: int, bins: int | None
) -> None:
    step_ms = max(step_ms, length_ms // 30_000)
    group = Group("g", step_ms, (RULE,), offset_ms=offset_ms % step_ms)
    end_ms = start_ms + length_ms
    windows = plan_of(_plan(group, bins=bins), start_ms, end_ms)
    times = [time for window in windows
             for time in range(window.start_ms, window.end_ms, step_ms)]  # fmt: skip
    first_ms = start_ms + (group.offset_ms - start_ms) % step_ms
    assert times == list(range(first_ms, end_ms, step_ms))
    assert all(window.points == len(range(window.start_ms, window.end_ms, step_ms))
               for window in windows)  # fmt: skip
    assert all(window.points <= (MOST_POINTS if bins else POINTS) for window in windows)
    if bins and windows:
        assert len(windows) <= max(bins, -(-len(times) // MOST_POINTS))


def test_the_oldest_windows_come_first() -> None:
    fine, coarse = Group("fine", 60_000, (RULE,)), Group("coarse", 3_600_000, (RULE,))
    windows = plan_of(_plan(fine, coarse), NOW_MS - 10 * 86_400_000, NOW_MS)
    ends = [window.end_ms for window in windows]
    assert ends == sorted(ends)
    assert {window.group.name for window in windows} == {"fine", "coarse"}


@pytest.mark.parametrize(
    ("text", "moment_ms"),
    [
        ("now", NOW_MS),
        ("1h30m", NOW_MS - 5_400_000),
        ("1700000000", 1_700_000_000_000),
        ("1700000000.5", 1_700_000_000_500),
        ("2025-01-31", 1_738_281_600_000),
        ("2025-01-31T12:00:00Z", 1_738_324_800_000),
        ("2025-01-31T12:00+01:00", 1_738_321_200_000),
    ],
)
def test_points_in_time(text: str, moment_ms: int) -> None:
    assert parse_moment(text, NOW_MS) == moment_ms


@pytest.mark.parametrize("text", ["", "yesterday", "1 year ago", "2025-13-01", "17", "0d"])
def test_what_is_no_point_in_time(text: str) -> None:
    with pytest.raises(OperatorError, match="not a point in time"):
        parse_moment(text, NOW_MS)


def test_a_period_has_a_length_and_an_end() -> None:
    plan = _plan()
    assert plan.period_ms() == (NOW_MS - 365 * 86_400_000, NOW_MS)
    with pytest.raises(OperatorError, match="not before"):
        replace(plan, start="now").period_ms()
    with pytest.raises(OperatorError, match="in the future"):
        replace(plan, end="2100-01-01").period_ms()


def test_a_replay_is_known_by_what_was_asked_for() -> None:
    group = Group("g", 60_000, (RULE,))
    plan = _plan(group)
    same = [
        replace(plan, now_ms=NOW_MS + 1),
        replace(plan, bins=3),
        replace(plan, datasource="http://other:words@p:9090"),
        _plan(replace(group, rules=(replace(RULE, place="elsewhere"),))),
    ]
    others = [
        replace(plan, start="2y"),
        replace(plan, url="http://elsewhere/write"),
        replace(plan, whose="abc"),
        replace(plan, with_vmalert=True),
        _plan(replace(group, step_ms=1000)),
        _plan(replace(group, rules=(replace(RULE, expr="other"),))),
    ]
    assert {each.identity() for each in same} == {plan.identity()}
    assert len({each.identity() for each in [plan, *others]}) == len(others) + 1
    assert "secret" not in shown_url(plan.datasource)


def test_the_state_outlives_its_process(tmp_path: Path) -> None:
    with state_of(tmp_path, "a") as state:
        assert state.progress is None
        state.progress = Progress(1, 2, {"g": 3}, samples=4, rejected=5, reasons=["why"])
        state.save()
    with state_of(tmp_path, "a") as state:
        assert state.progress == Progress(1, 2, {"g": 3}, 4, 5, ["why"])
    with state_of(tmp_path, "a", again=True) as state:
        assert state.progress is None


def test_one_process_a_replay(tmp_path: Path) -> None:
    with (
        state_of(tmp_path, "a"),
        state_of(tmp_path, "b"),
        pytest.raises(OperatorError, match="already running"),
        state_of(tmp_path, "a"),
    ):
        pass


def test_a_state_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "backfill").mkdir()
    (tmp_path / "backfill" / "a.json").write_text("{")
    with pytest.raises(OperatorError, match="--again"), state_of(tmp_path, "a"):
        pass


def test_a_data_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="--data-dir"), state_of(tmp_path / "file", "a"):
        pass


@settings(deadline=None)
@given(st.lists(st.integers(0, 25_000), max_size=6))
def test_requests_hold_every_sample_in_order(lengths: list[int]) -> None:
    runs = [Run({"__name__": f"m{number}"}, range(length), range(length))
            for number, length in enumerate(lengths)]  # fmt: skip
    found: dict[str, list[int]] = {}
    for request in requests_of(runs):
        assert 0 < sum(len(run.values) for run in request) <= SAMPLES_A_REQUEST
        for run in request:
            found.setdefault(run.labels["__name__"], []).extend(run.timestamps_ms)
    assert found == {f"m{number}": list(range(length))
                     for number, length in enumerate(lengths) if length}  # fmt: skip


def test_a_body_is_what_the_specification_wants() -> None:
    body = write_body([Run({"b": "2", "__name__": "m", "a": "é"}, [1, 2], [0.0, 1.5])])
    message = WriteRequest.FromString(decompress_snappy(body, 1000))
    (series,) = message.timeseries
    assert [(each.name, each.value) for each in series.labels] == [
        ("__name__", "m"), ("a", "é"), ("b", "2")
    ]  # fmt: skip
    assert [(each.timestamp, each.value) for each in series.samples] == [(1, 0.0), (2, 1.5)]


def _window(limit: int = 0) -> Window:
    return plan_of(_plan(Group("g", 1000, (RULE,), limit=limit)), 0, 5000)[0]


def test_results_get_the_name_and_the_labels_of_the_rule() -> None:
    found = [
        _Series(
            {"__name__": "raw", "tier": "two", "gone": "x", "job": "j"},
            [(1.0, "NaN"), (2.5, "+Inf")],
        )
    ]
    (run,) = recorded(RULE, _window(), found)
    assert run.labels == {"__name__": "made", "tier": "one", "job": "j"}
    assert list(run.timestamps_ms) == [1000, 2500]
    assert str(run.values) == "[nan, inf]"


def test_results_that_no_rule_may_have() -> None:
    twice = [_Series({"gone": "1"}, [(1.0, "1")]), _Series({"gone": "2"}, [(1.0, "1")])]
    with pytest.raises(OperatorError, match="would have the labels"):
        recorded(RULE, _window(), twice)
    with pytest.raises(OperatorError, match="limit 1"):
        recorded(RULE, _window(limit=1), twice)


@pytest.mark.parametrize(
    ("status", "kind", "reason", "much"),
    [
        (422, "execution", "query processing would load too many samples into memory", True),
        (400, "bad_data", "exceeded maximum resolution of 11,000 points per timeseries", True),
        (503, "timeout", "query timed out in expression evaluation", True),
        (422, "execution", "many-to-many matching not allowed", False),
        (400, "bad_data", "1:3: parse error: unexpected <EOF>", False),
        (500, "internal", "too many open files", False),
    ],
)
def test_what_halves_help_against(status: int, kind: str, reason: str, much: bool) -> None:
    assert is_too_much(status, kind, reason) is much


class _KilledError(Exception):
    pass


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.none() | st.integers(1, 9)), max_size=5))
async def test_a_replay_that_is_killed_goes_on(runs: list[tuple[int, int | None]]) -> None:
    """Whatever the bins of each run are: all is evaluated, twice only what was never remembered."""
    groups = [Group("fine", 7000, (RULE,)), Group("coarse", 50_000, (RULE,), offset_ms=3000)]
    plan = replace(_plan(*groups), start="1000000000", end="1000001000")
    evaluated: Counter[tuple[str, int]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for windows, bins in [*runs, (10**6, None)]:
            left = windows

            async def evaluate(window: Window) -> Done:
                nonlocal left
                left -= 1
                if left < 0:
                    raise _KilledError
                times = range(window.start_ms, window.end_ms, window.group.step_ms)
                evaluated.update((window.group.name, time) for time in times)
                return Done(window.points)

            with (
                state_of(Path(folder), "a") as state,
                suppress(_KilledError),
            ):
                outcome = await replay(replace(plan, bins=bins), state, evaluate, lambda *_: None)
    wanted = [
        (group.name, time)
        for group in groups
        for time in range(
            10**12 + (group.offset_ms - 10**12) % group.step_ms, 10**12 + 10**6, group.step_ms
        )
    ]
    assert evaluated == Counter(wanted)
    assert outcome.progress.samples == len(wanted)


async def test_patience_ends() -> None:
    with pytest.raises(GaveUp, match="it: away; the same command goes on"):
        await Patience("it", seconds=-1).wait("away")
