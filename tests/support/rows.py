"""Rows for tests, written as one tuple a sample."""

import numpy as np

from ingest.model import Rows


def rows_of(*samples: tuple[int, int, float], exact: dict[int, str] | None = None) -> Rows:
    """Rows of (series id, time in ms, value)."""
    series_id, timestamp_ms, value = zip(*samples, strict=True) if samples else ((), (), ())
    return Rows(
        np.array(series_id, np.int64),
        np.array(timestamp_ms, np.int64),
        np.array(value, np.float64),
        exact or {},
    )
