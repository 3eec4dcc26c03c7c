"""Ids for series that are new here; one that the database refuses costs no other its id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ingest.logs import get_logger
from ingest.model import NewSamples, Rejection, Series, SeriesId
from ingest.series.cache import SeriesCache
from ingest.storage.database import DATABASE_ERRORS, Database, unavailable
from ingest.storage.life import LifeEnded
from ingest.storage.pgerrors import Verdict, verdict_of
from ingest.writer.metrics import SERIES_RESOLVED
from ingest.writer.rejections import rejection_of, rejection_of_series
from ingest.writer.series_limits import SeriesLimits

log = get_logger("writer")

ATTEMPTS = 5


class Resolved(NamedTuple):
    """What the database says to new series: an id, or why never."""

    ids: dict[bytes, SeriesId]
    rejections: list[Rejection]


class SeriesIds:
    """Asks the database, and has the cache remember."""

    def __init__(self, database: Database, cache: SeriesCache, series_limits: SeriesLimits) -> None:
        self._database = database
        self._cache = cache
        self._series_limits = series_limits

    async def resolve(self, new: list[NewSamples], is_admitted: bool) -> Resolved:
        """Ids by identity, committed; missing series are created.

        Args:
            new: of one tenant, at least one.
            is_admitted: they were acknowledged before, so no limit of new series holds.

        Raises:
            Unavailable: the database is away or unwell.
        """
        by_identity: dict[bytes, list[NewSamples]] = {}
        for samples in new:
            by_identity.setdefault(samples.series.identity, []).append(samples)
        resolved = Resolved({}, [])
        admitted: list[Series] = []
        if not is_admitted and self._series_limits.is_limited(new[0].series.tenant_id):
            admitted = await self._admit(by_identity, resolved)
        try:
            await self._create(by_identity, resolved)
        finally:
            self._series_limits.settle(admitted, resolved.ids)
        return resolved

    async def _create(self, by_identity: dict[bytes, list[NewSamples]], resolved: Resolved) -> None:
        """Ids for all, by one question unless the database refuses some."""
        pending = [[samples[0].series for samples in by_identity.values()]]
        while pending:
            piece = pending.pop()
            if not piece:
                continue
            error = await self._ask(piece, resolved.ids)
            if error is not None and len(piece) > 1:
                middle = len(piece) // 2
                pending += [piece[middle:], piece[:middle]]
            elif error is not None:
                refused = by_identity[piece[0].identity]
                resolved.rejections.append(rejection_of_series(refused, error))

    async def _admit(
        self, by_identity: dict[bytes, list[NewSamples]], resolved: Resolved
    ) -> list[Series]:
        """Take out series that do not exist and are too many; those that may be created. A cache
        that is cold, after a restart, knows no series; the database does."""
        first = next(iter(by_identity.values()))[0].series
        try:
            found = await self._database.find_series(list(by_identity))
            if len(found) < len(by_identity):
                await self._series_limits.count(first.tenant_id)
        except DATABASE_ERRORS as error:
            raise unavailable(error) from error
        admitted = []
        for identity in [identity for identity in by_identity if identity not in found]:
            series = by_identity[identity][0].series
            refusal = self._series_limits.admit(series)
            if refusal is None:
                admitted.append(series)
            else:
                resolved.rejections.append(rejection_of(by_identity.pop(identity), refusal))
        return admitted

    async def _ask(self, series: list[Series], ids: dict[bytes, SeriesId]) -> BaseException | None:
        """Fill in the ids of these series; the error if one of them is refused for ever."""
        try:
            found = await ids_of(self._database, self._cache, series)
        except DATABASE_ERRORS as error:
            if verdict_of(error) is Verdict.REJECT:
                return error
            log.warning("series not created", error=str(error))
            raise unavailable(error) from error
        SERIES_RESOLVED.inc(len(series))
        ids.update(found)
        return None


async def ids_of(
    database: Database, cache: SeriesCache, series: Sequence[Series]
) -> dict[bytes, SeriesId]:
    """Ids by identity, which the cache remembers, and which mean what they say at this moment: some
    may be removed while we ask. Missing series are created.

    Raises:
        DATABASE_ERRORS: there are none.
    """
    for _ in range(ATTEMPTS):
        generation = cache.generation
        try:
            found = await database.resolve_series(series)
        except LifeEnded:
            continue
        ended = cache.ended_since(generation)
        if ended is not None and ended.isdisjoint(found.values()):
            for one in series:
                cache.remember(one, found[one.identity])
            return found
    raise LifeEnded("series are being removed as fast as they are asked for")
