"""Raw samples of a period: series by selectors, then their samples, slice after slice.

Each question has a transaction of its own: neither a long answer nor a client that dawdles holds a
connection, or a snapshot that would keep partitions from being dropped. What is committed meanwhile
may be part of a later slice; what is there is never changed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import NamedTuple

from ingest.copy_format import POSTGRES_EPOCH_MS
from ingest.errors import QueryRefused
from ingest.promql.matchers import Matcher, matching
from ingest.promql.values import Floats, Ints
from ingest.storage.pgerrors import QUERY_CANCELED
from ingest.storage.pool import AnyConnection
from ingest.storage.selecting import elements, what_indexes_know

PAGE_SERIES = 2_000
"""That are matched at once: a pattern that takes long is given up between two pages."""
SLICE_SAMPLES = 50_000
"""Most of a slice; half of it is aimed at."""
FIRST_WIDTH = timedelta(hours=1)
LEAST_WIDTH = timedelta(microseconds=1)
WIDER = 8
"""How much wider the next slice may be, at most. One that is too wide costs a slice's time."""
PAGE = "SELECT * FROM internal.page_of_series($1, $2, $3, $4)"

Reading = Callable[[], AbstractAsyncContextManager[AnyConnection]]
"""A transaction that reads for one tenant."""


class Series(NamedTuple):
    """One series: the text of its labels is a JSON object."""

    series_id: int
    target: str
    schema: str
    labels: str


class Slice(NamedTuple):
    """N samples, oldest first, of equal times by series.

    Attributes:
        series_ids: [N].
        times_us: [N], microseconds since 1970.
        values: [N].
        texts: values whose decimal text is not that of the float, by their place.
    """

    series_ids: Ints
    times_us: Ints
    values: Floats
    texts: dict[int, str]


async def series_pages(
    reading: Reading, names: Sequence[str] | None, matchers: Sequence[Matcher]
) -> AsyncIterator[list[Series]]:
    """Series that meet all matchers, some of them at a time, by their ids.

    Args:
        names: in lower case; None: any.
    """
    known, labels = what_indexes_know(matchers)
    if names is not None:
        known = sorted(set(names) if known is None else set(names).intersection(known))
    asked, after = list(matchers), 0

    def meet(page: Sequence[Series]) -> list[Series]:
        return [each for each in page if matching(asked, json.loads(each.labels))]

    while True:
        async with reading() as connection:
            rows = await connection.fetch(PAGE, known, labels, after, PAGE_SERIES)
        page = [Series(*row) for row in rows]
        yield await asyncio.to_thread(meet, page) if asked else page
        if len(page) < PAGE_SERIES:
            return
        after = page[-1].series_id


async def slices(
    reading: Reading, target: str, series_ids: Sequence[int], start: datetime, end: datetime
) -> AsyncIterator[Slice]:
    """Samples of series of one target with `start <= time < end`, oldest first.

    How wide a slice is follows from how many samples the one before had: planning a statement costs
    the more, the more partitions it may touch, and reading one that is too long is in vain.

    Raises:
        QueryRefused: not even a second of it can be read in the time of a statement.
    """
    width = FIRST_WIDTH
    waiting = [(list(series_ids), start, end)]
    while waiting:
        ids, start, end = waiting.pop()
        until = end if end - start <= width else start + width
        found = await _slice(reading, target, ids, start, until)
        if found is None and until - start > LEAST_WIDTH:
            width = max(LEAST_WIDTH, (until - start) / WIDER)
            waiting.append((ids, start, end))
            continue
        if until < end:
            waiting.append((ids, until, end))
        if found is None:  # more series at one moment than a slice has room for
            half = len(ids) // 2
            waiting += [(ids[half:], start, until), (ids[:half], start, until)]
            continue
        count = len(found.series_ids)
        wider = min(WIDER, SLICE_SAMPLES // (2 * count)) if count else WIDER
        if wider > 1 and width < end - start:
            width *= wider
        if count:
            yield found


async def _slice(
    reading: Reading, target: str, ids: list[int], start: datetime, until: datetime
) -> Slice | None:
    """None if it is too long."""
    statement = f"SELECT * FROM {target}.exported_samples($1, $2, $3, $4)"  # noqa: S608 (of ours)
    try:
        async with reading() as connection:
            row = await connection.fetchrow(statement, ids, start, until, SLICE_SAMPLES)
    except QueryRefused as error:
        if error.sqlstate == QUERY_CANCELED and until - start > timedelta(seconds=1):
            return None
        raise
    if row is None or row["times"] is None:
        none = elements([], ">i8")
        return Slice(none, none, elements([], ">f8"), {})
    series = elements([row["series_ids"]], ">i8")
    if len(series) >= SLICE_SAMPLES:
        return None
    times_us: Ints = elements([row["times"]], ">i8") + POSTGRES_EPOCH_MS * 1000
    texts = dict(zip(row["places"] or (), row["texts"] or (), strict=True))
    return Slice(series, times_us, elements([row["values"]], ">f8"), texts)
