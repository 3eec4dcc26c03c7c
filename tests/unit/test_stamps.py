"""What is known to be stored is; what may be is told apart from what cannot."""

from __future__ import annotations

import os

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.model import Rows, SeriesId
from ingest.series import stamps
from ingest.series.stamps import KEPT, Stamps
from tests.support.rows import rows_of

MOST = 1 << 11
IDS = [1, 2, 3, 1023, 1024, 1025, MOST + 1, MOST + 2, 9 * MOST + 1]
"""Some with one slot, some that make it grow."""
Keys = st.lists(st.tuples(st.sampled_from(IDS), st.integers(0, 9)), max_size=9, unique=True)
Steps = st.lists(st.tuples(Keys, st.sampled_from(["sent", "stored", "removed", "gone"])))


def rows(*keys: tuple[int, int]) -> Rows:
    return rows_of(*[(series_id, timestamp_ms, 1.0) for series_id, timestamp_ms in sorted(keys)])


def known(memory: Stamps, *keys: tuple[int, int]) -> list[bool]:
    return memory.look(rows(*keys)).stored.tolist()  # type: ignore[no-any-return]


@settings(max_examples=int(os.environ.get("PROMGRES_EXAMPLES", "200")))
@given(Steps)
def test_nothing_is_taken_for_stored_that_is_not(
    steps: list[tuple[list[tuple[int, int]], str]],
) -> None:
    memory = Stamps(MOST)
    stored: set[tuple[int, int]] = set()
    sent: dict[int, int] = {}
    for keys, what in steps:
        batch = rows(*keys)
        if what in ("sent", "stored"):
            memory.send(batch)
            for series_id, timestamp_ms in keys:
                sent[series_id] = max(timestamp_ms, sent.get(series_id, -1))
        if what == "stored":
            memory.store(batch)
            stored |= set(keys)
        elif what == "removed":
            gone = {series_id for series_id, _ in keys}
            memory.forget([SeriesId(each) for each in gone])
            stored = {key for key in stored if key[0] not in gone}
        elif what == "gone":
            memory.clear()
            stored.clear()
        every = sorted((series_id, at) for series_id in IDS for at in range(10))
        look = memory.look(rows(*every))
        assert not (look.stored & look.doubtful).any()
        for key, is_stored, is_doubtful in zip(every, look.stored, look.doubtful, strict=True):
            assert not is_stored or key in stored
            assert not is_doubtful or key[1] <= sent[key[0]]


def test_of_each_series_the_last_few() -> None:
    memory = Stamps(MOST)
    batch = rows((1, 1), *[(2, at) for at in range(KEPT + 2)], (3, 5))
    memory.send(batch)
    assert not memory.look(batch).stored.any()
    assert memory.look(batch).doubtful.all()
    memory.store(batch)
    assert known(memory, (1, 1), (2, 1), (2, 2), (2, KEPT + 1), (2, KEPT + 2), (3, 5)) == [
        True, False, True, True, False, True,
    ]  # fmt: skip
    memory.store(batch)  # once more: nothing is pushed out
    assert known(memory, (2, 2)) == [True]
    later = rows((2, 99))
    memory.send(later)
    memory.store(later)
    assert known(memory, (2, 2), (2, 3), (2, 99)) == [False, True, True]


def test_it_grows_with_ids_and_no_further_than_it_may() -> None:
    memory = Stamps(MOST - 1)
    assert memory.approximate_bytes == 0
    for series_id in (1, stamps.FEWEST, 40 * MOST + 5):
        memory.send(rows((series_id, 1)))
        memory.store(rows((series_id, 1)))
    assert known(memory, (1, 1), (stamps.FEWEST, 1), (40 * MOST + 5, 1)) == [True] * 3
    assert memory.approximate_bytes == MOST * (2 + KEPT) * np.dtype(np.int64).itemsize
    memory.send(rows((40 * MOST + 1, 7)))  # has the slot of 1, which is forgotten
    assert known(memory, (1, 1), (40 * MOST + 1, 1)) == [False, False]


def test_removal_takes_out_what_it_names() -> None:
    memory = Stamps(MOST)
    batch = rows((1, 1), (2, 1))
    memory.send(batch)
    memory.store(batch)
    memory.forget([SeriesId(2), SeriesId(MOST + 1)])
    assert known(memory, (1, 1), (2, 1)) == [True, False]
    assert memory.generation == 1
