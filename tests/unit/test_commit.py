"""What of a batch rollups are told: late samples whose they are, current ones nothing."""

from __future__ import annotations

import numpy as np

from ingest.storage.database import Touched
from ingest.stores import STORES
from ingest.writer.batch import SampleBatch
from ingest.writer.commit import touched_by
from tests.support.rows import rows_of

MINUTE, HOUR = 60_000, 3_600_000
NOW = 1_780_000_000_000 // HOUR * HOUR


def batch_of(*keys: tuple[int, int]) -> SampleBatch:
    rows = rows_of(*[(series_id, timestamp_ms, 1.0) for series_id, timestamp_ms in keys])
    return SampleBatch(STORES["internal"], rows)


def test_of_current_samples_the_minutes() -> None:
    batch = batch_of((7, NOW), (8, NOW + 1), (9, NOW - 4 * MINUTE))
    assert touched_by([batch], NOW) == Touched([NOW - 4 * MINUTE, NOW], None)


def test_of_late_samples_whose_they_are() -> None:
    late = NOW - HOUR
    batches = [batch_of((7, late), (7, late + MINUTE)), batch_of((8, late), (9, NOW))]
    assert touched_by(batches, NOW) == Touched([late, late + MINUTE], [7, 8], [NOW])


def test_each_series_at_hours_of_its_own_is_for_the_rows_to_say() -> None:
    hours = NOW - np.arange(1, 11) * HOUR
    own = batch_of(*[(series_id, int(hour)) for series_id, hour in enumerate(hours)])
    assert touched_by([own], NOW) is None
    everywhere = batch_of(*[(series_id, int(hour)) for series_id in (1, 2) for hour in hours])
    touched = touched_by([everywhere], NOW)
    assert touched is not None
    assert (touched.series_ids, len(touched.minutes_ms)) == ([1, 2], 10)
