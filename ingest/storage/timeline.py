"""Notice that the database is not the one whose series ids we hold.

A restore from a backup, or a failover to a replica that was behind, takes the newest series away
and gives their ids to others. Whatever is written under an id from before would be somebody else's.
"""

from __future__ import annotations

from ingest.logs import get_logger
from ingest.series.cache import SeriesCache
from ingest.storage.pool import AnyConnection

log = get_logger("storage")

IDENTITY = "SELECT identity FROM internal.series WHERE series_id = $1"


class WentBack(OSError):
    """The database went back in time; what was decoded before has to be decoded again."""


class Timeline:
    """Asks every new connection for the newest series that we know; ids only ever grow."""

    def __init__(self, cache: SeriesCache) -> None:
        self._cache = cache

    async def check(self, connection: AnyConnection) -> None:
        """Clear the cache if the newest series is not there, or is another one.

        Raises:
            WentBack: it was cleared.
        """
        if self._cache.newest is None:
            return
        series_id, identity = self._cache.newest
        if await connection.fetchval(IDENTITY, series_id) == identity:
            return
        self._cache.clear()
        log.error("the database went back in time: series are looked up anew", series_id=series_id)
        raise WentBack("the database went back in time")
