"""Ids for series that are new here; one that the database refuses costs no other its id."""

from __future__ import annotations

from typing import NamedTuple

from ingest.model import NewSamples, Rejection, Series
from ingest.series.cache import SeriesCache
from ingest.storage.database import DATABASE_ERRORS, Database, unavailable
from ingest.storage.pgerrors import Verdict, verdict_of
from ingest.writer.culprits import rejection_of, rejection_of_series
from ingest.writer.metrics import SERIES_RESOLVED
from ingest.writer.newcomers import Newcomers


class Resolved(NamedTuple):
    """What the database says to new series: an id, or why never."""

    ids: dict[bytes, int]
    rejections: list[Rejection]


class Resolver:
    """Asks the database, and has the cache remember."""

    def __init__(self, database: Database, cache: SeriesCache, newcomers: Newcomers) -> None:
        self._database = database
        self._cache = cache
        self._newcomers = newcomers

    async def resolve(self, new: list[NewSamples], is_admitted: bool) -> Resolved:
        """Ids by identity, committed; missing series are created.

        Args:
            is_admitted: they were acknowledged before, so no limit of new series holds.

        Raises:
            Unavailable: the database is away or unwell.
        """
        by_identity: dict[bytes, list[NewSamples]] = {}
        for samples in new:
            by_identity.setdefault(samples.series.identity, []).append(samples)
        resolved = Resolved({}, [])
        if self._newcomers.is_limited and not is_admitted:
            await self._admit(by_identity, resolved)
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
        return resolved

    async def _admit(self, by_identity: dict[bytes, list[NewSamples]], resolved: Resolved) -> None:
        """Take out series that do not exist and are too many. A cache that is cold, after a
        restart, knows no series; the database does."""
        try:
            found = await self._database.find_series(list(by_identity))
        except DATABASE_ERRORS as error:
            raise unavailable(error) from error
        for identity in [identity for identity in by_identity if identity not in found]:
            refusal = self._newcomers.admit(by_identity[identity][0].series)
            if refusal is not None:
                resolved.rejections.append(rejection_of(by_identity.pop(identity), refusal))

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
