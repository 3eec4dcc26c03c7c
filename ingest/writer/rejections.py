"""Samples and series that the database will never take: which they are, and why.

What is refused at a replay from the spool is kept nowhere else, so a reason tells all of a sample.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ingest.logs import get_logger
from ingest.model import Labels, NewSamples, Rejection, SeriesId
from ingest.storage.database import DATABASE_ERRORS, Database
from ingest.text import series_text
from ingest.writer.batch import Batch

log = get_logger("writer")


class RejectedRow(NamedTuple):
    """A batch of one row, and what the database says to it."""

    row: Batch
    error: BaseException

    @property
    def series_id(self) -> SeriesId | None:
        """Whose sample or item it is; None of metadata and of what is pushed."""
        return SeriesId(self.row.owner_ids[0]) if self.row.store.owner == "series" else None

    def rejection(self, series: str) -> Rejection:
        """For the sender, or for the spool's list."""
        reason = f"{series} {self.row.describe(0)}".lstrip() + f": {_refused_because(self.error)}"
        counted_as = self.row.store.counted_as
        return Rejection(reason, **({counted_as: 1} if counted_as else {}))


async def rejections_of(database: Database, rows: Sequence[RejectedRow]) -> list[Rejection]:
    """Reasons that name the series; by its id alone where the database is gone by now."""
    series_ids = {each.series_id for each in rows if each.series_id is not None}
    labels = await _labels(database, series_ids)
    names: dict[SeriesId | None, str] = {None: ""}
    for series_id in series_ids:
        found = series_id in labels
        names[series_id] = _text(labels[series_id]) if found else f"series {series_id}"
    return [each.rejection(names[each.series_id]) for each in rows]


def rejection_of_series(samples: Sequence[NewSamples], error: BaseException) -> Rejection:
    """Why what was sent of one series cannot be stored: the database refuses the series itself."""
    return rejection_of(samples, _refused_because(error))


def rejection_of(samples: Sequence[NewSamples], reason: str) -> Rejection:
    """All that was sent of one series is refused."""
    return Rejection(
        f"{_text(samples[0].series.labels)}: {reason}",
        sum(len(each.timestamp_ms) for each in samples),
        sum(len(each.histograms) for each in samples),
        sum(len(each.exemplars) for each in samples),
    )


async def _labels(
    database: Database, series_ids: Collection[SeriesId]
) -> Mapping[SeriesId, Labels]:
    try:
        return await database.labels_of(series_ids) if series_ids else {}
    except Exception as error:  # the rest of their request is stored, whatever this is
        is_ours = not isinstance(error, DATABASE_ERRORS)
        log.warning("rejected rows stay without names", error=str(error), exc_info=is_ours)
        return {}


def _text(labels: Labels) -> str:
    return series_text((name.encode(), value.encode()) for name, value in labels)


def _refused_because(error: BaseException) -> str:
    return "the database refuses it: " + " ".join(str(error).split())
