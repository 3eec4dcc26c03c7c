"""Merging requests into batches."""

from ingest.model import Rows
from ingest.stores import STORES
from ingest.writer.batch import SampleBatch, halves
from ingest.writer.commit import DAY_MS, runs_of_days
from tests.support.rows import rows_of


def merge(requests: list[Rows]) -> SampleBatch:
    first, *others = [SampleBatch(STORES["internal"], rows) for rows in requests]
    return first.merge(others)


def test_rows_come_out_sorted_and_the_first_of_equal_keys_stays() -> None:
    batch = merge(
        [rows_of((2, 5, 1.0), (1, 9, 2.0)), rows_of((1, 9, 3.0), (1, 3, 4.0), (2, 5, 9.0))]
    )
    assert batch.rows.series_id.tolist() == [1, 1, 2]
    assert batch.rows.timestamp_ms.tolist() == [3, 9, 5]
    assert batch.rows.value.tolist() == [4.0, 2.0, 1.0]


def test_exact_values_follow_their_rows() -> None:
    batch = merge(
        [
            rows_of((2, 5, 1.0), (1, 9, 2.0), exact={0: "1", 1: "2"}),
            rows_of((1, 9, 3.0), (1, 3, 4.0), exact={0: "3", 1: "4"}),
        ]
    )
    assert batch.rows.exact == {0: "4", 1: "2", 2: "1"}


def test_halves_are_the_whole() -> None:
    batch = merge([rows_of((1, 1, 1.0), (1, 2, 2.0), (1, 2, 2.5), (1, 3, 3.0), exact={3: "3"})])
    first, second = (half.rows for half in halves(batch))
    assert first.value.tolist() + second.value.tolist() == [1.0, 2.0, 3.0]
    assert second.exact == {1: "3"}


def test_partitions_are_wanted_only_for_days_with_rows() -> None:
    days = [10, 11, 11, 400, 402]
    rows = rows_of(*[(1, day * DAY_MS + 5, 0.0) for day in days])
    assert runs_of_days(rows.timestamp_ms) == [(10, 11), (400, 400), (402, 402)]
