"""What late samples have to mark, and what is known to be marked."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from ingest.model import SeriesId
from ingest.series import marks as module
from ingest.series.marks import DAY_MS, MINUTE_MS, Late, LateState, Marks

HOUR_MS = 60 * MINUTE_MS
NOON_MS = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() * 1000)
MARCH = NOON_MS // DAY_MS
"""The first, as a day since 1970."""


class World:
    """A database's answers; series 10 n and the nine after it are of metric n."""

    def __init__(self, hours_before: int = 0, most: int = 1000) -> None:
        self.marks = Marks(most)
        self.taken = 1
        self.hours_before = hours_before
        self.asked: list[list[int]] = []

    def late(self, *rows: tuple[int, int], now: float = 0.0) -> Late:
        """Of rows (series, time in ms)."""
        series_ids, timestamp_ms = np.array(rows, np.int64).T
        while (asked := self.marks.asks("internal", series_ids, now)) is not None:
            self.asked.append(asked.tolist())
            state = LateState(self.taken, (asked // 10).tolist(), self.hours_before)
            self.marks.learn("internal", asked, state, now)
        late = self.marks.of("internal", series_ids, timestamp_ms)
        assert late is not None
        return late


def marked(late: Late) -> dict[int, set[int]]:
    """Minutes after noon that are new, by metric."""
    found: dict[int, set[int]] = {}
    for metric, newest, bits in zip(*late.new, strict=True):
        minutes = {newest // 60 * 60 + bit for bit in range(60) if bits >> bit & 1}
        assert max(minutes) == newest
        found.setdefault(metric, set()).update(each - NOON_MS // MINUTE_MS for each in minutes)
    return found


def test_a_row_an_hour_and_metric_has_all_its_minutes() -> None:
    rows = [
        (10, NOON_MS - 1), (10, NOON_MS), (10, NOON_MS + MINUTE_MS - 1),
        (11, NOON_MS + 59 * MINUTE_MS), (11, NOON_MS + HOUR_MS), (25, NOON_MS + 7 * MINUTE_MS),
    ]  # fmt: skip
    late = World().late(*rows)
    assert marked(late) == {1: {-1, 0, 59, 60}, 2: {7}}
    assert late.new.metric_ids == [1, 1, 1, 2]


def test_what_is_committed_stands_for_all_series_of_the_metric() -> None:
    world = World()
    world.late((10, NOON_MS), (11, NOON_MS)).committed()
    late = world.late((12, NOON_MS), (13, NOON_MS + 1), (14, NOON_MS + MINUTE_MS))
    assert marked(late) == {1: {1}}
    assert (late.taken, late.standing.metric_ids, late.standing.bits) == (1, [1], [1])
    assert world.asked == [[10, 11], [12, 13, 14]]


def test_what_is_not_committed_does_not_stand() -> None:
    world = World()
    first = world.late((10, NOON_MS), (11, NOON_MS))
    assert marked(world.late((10, NOON_MS))) == marked(first) == {1: {0}}


def test_marks_that_were_taken_do_not_stand_once_that_is_known() -> None:
    world = World()
    world.late((10, NOON_MS), (11, NOON_MS)).committed()
    world.taken = 2
    before = world.late((10, NOON_MS), now=0.9)  # told to the database, which then marks anew
    assert (before.taken, before.standing.metric_ids) == (1, [1])
    after = world.late((10, NOON_MS), now=1.1)
    assert (after.taken, marked(after), after.standing.metric_ids) == (2, {1: {0}}, [])


@pytest.mark.parametrize("how", ["clear", "taken"])
def test_a_commit_that_is_heard_of_late_tells_nothing_of_the_new_life(how: str) -> None:
    world = World()
    late = world.late((10, NOON_MS), (11, NOON_MS))
    if how == "clear":
        world.marks.clear()
    else:
        world.taken = 2
        world.late((10, NOON_MS), now=2)
    late.committed()
    assert marked(world.late((10, NOON_MS), now=2)) == {1: {0}}


def test_a_scrape_of_many_metrics_is_remembered() -> None:
    rows = [(10 * metric, NOON_MS) for metric in range(1, 50)]
    world = World()
    world.late(*rows).committed()
    assert marked(world.late(*rows)) == {}


def test_a_minute_for_nearly_each_row_is_not_remembered() -> None:
    world = World()
    past = [(10, NOON_MS + minute * MINUTE_MS) for minute in range(100)]
    late = world.late(*past)
    assert len(marked(late)[1]) == 100
    assert late.keys == []


def test_series_of_one_slot_are_all_known() -> None:
    world = World(most=1)
    ids = [10, 11, 12, 13]
    rows = [(each, NOON_MS) for each in ids]
    assert marked(world.late(*rows)) == {1: {0}}
    world.late(*rows)
    assert len(world.asked) == 1


def test_a_larger_id_makes_room_and_loses_nothing() -> None:
    world = World(most=1 << 20)
    world.late((10, NOON_MS))
    assert set(marked(world.late((10, NOON_MS), (500_000, NOON_MS)))) == {1, 50_000}


def test_a_crowd_of_others_is_forgotten_and_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_STANDING", 3)
    world = World(most=1)
    for first in range(10, 60, 10):
        rows = [(series_id, NOON_MS) for series_id in range(10, first + 10)]
        late = world.late(*rows, now=first)
        late.committed()
        assert len(late.memory) <= 5
        assert set(marked(late)) | set(late.standing.metric_ids) == set(range(1, first // 10 + 1))


def test_a_series_that_is_removed_is_asked_for_again() -> None:
    world = World(most=1)
    world.late((10, NOON_MS), (20, NOON_MS))
    world.marks.forget([SeriesId(10), SeriesId(20), SeriesId(30)])
    world.late((10, NOON_MS), (20, NOON_MS))
    assert world.asked == [[10, 20], [10, 20]]


def test_the_largest_metric_has_marks_of_its_own() -> None:
    marks = Marks(1000)
    for series_id, metric_id in ((1, 2**31 - 1), (2, 1)):
        marks.learn("internal", np.array([series_id]), LateState(1, [metric_id], 0), 0)
    late = marks.of("internal", np.array([1, 2]), np.array([NOON_MS, NOON_MS]))
    assert late is not None
    assert late.new.metric_ids == [1, 2**31 - 1]
    assert set(late.new.minutes) == {NOON_MS // MINUTE_MS}


def test_days_that_have_hours_are_listed_by_series_once() -> None:
    day = DAY_MS
    rows = [(10, NOON_MS - 2 * day), (10, NOON_MS - day), (10, NOON_MS - day + 1), (10, NOON_MS),
            (11, NOON_MS - day), (12, NOON_MS)]  # fmt: skip
    late = World(hours_before=MARCH).late(*rows)
    assert list(zip(late.series_ids, late.days, strict=True)) == [
        (10, MARCH - 2), (10, MARCH - 1), (11, MARCH - 1),
    ]  # fmt: skip
    assert late.from_day == MARCH
    assert World(hours_before=MARCH - 5).late((10, NOON_MS), (11, NOON_MS - day)).from_day == (
        MARCH - 1
    )


def test_where_nothing_is_marked_nothing_is_asked() -> None:
    marks = Marks(1000)
    ids, times = np.array([10]), np.array([NOON_MS])
    asked = marks.asks("geo", ids, 0)
    assert asked is not None
    marks.learn("geo", asked, LateState(None, [], None), 0)
    assert marks.asks("geo", ids, 0.5) is None
    assert marks.of("geo", ids, times) is None
