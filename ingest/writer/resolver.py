"""Ids for series that are new here; one that the database refuses costs no other its id."""

from __future__ import annotations

from typing import NamedTuple

from ingest.model import NewSamples, Rejection, Series
from ingest.series.cache import SeriesCache
from ingest.storage.database import DATABASE_ERRORS, Database, unavailable
from ingest.storage.pgerrors import Verdict, verdict_of
from ingest.writer.culprits import rejection_of_series
from ingest.writer.metrics import SERIES_RESOLVED


class Resolved(NamedTuple):
    """What the database says to new series: an id, or why never."""

    ids: dict[bytes, int]
    rejections: list[Rejection]


class Resolver:
    """Asks the database, and has the cache remember."""

    def __init__(self, database: Database, cache: SeriesCache) -> None:
        self._database = database
        self._cache = cache

    async def resolve(self, new: list[NewSamples]) -> Resolved:
        """Ids by identity, committed; missing series are created.

        Raises:
            Unavailable: the database is away or unwell.
        """
        by_identity: dict[bytes, list[NewSamples]] = {}
        for samples in new:
            by_identity.setdefault(samples.series.identity, []).append(samples)
        resolved = Resolved({}, [])
        pending = [[samples[0].series for samples in by_identity.values()]]
        while pending:
            piece = pending.pop()
            error = await self._ask(piece, resolved.ids)
            if error is not None and len(piece) > 1:
                middle = len(piece) // 2
                pending += [piece[middle:], piece[:middle]]
            elif error is not None:
                refused = by_identity[piece[0].identity]
                resolved.rejections.append(rejection_of_series(refused, error))
        return resolved

    async def _ask(self, series: list[Series], ids: dict[bytes, int]) -> BaseException | None:
        """Fill in the ids of these series; the error if one of them is refused for ever."""
        try:
            found = await self._database.resolve_series(series)
        except DATABASE_ERRORS as error:
            if verdict_of(error) is Verdict.REJECT:
                return error
            raise unavailable(error) from error
        SERIES_RESOLVED.inc(len(series))
        for one in series:
            self._cache.remember(one, found[one.identity])
        ids.update(found)
        return None
