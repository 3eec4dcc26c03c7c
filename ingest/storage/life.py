"""Whether the database still is what a process remembers of it: ids of series, what is stored.

A restore from a backup, or a failover to a replica that was behind, takes the newest series away
and gives their ids to others; removal takes those of which nothing is left. Whatever is written
under such an id would be nobody's, or somebody else's. So each transaction that relies on what is
remembered ends with the statement that `Life.end` makes: it is an error there if that no longer
holds (sql/core/catalogue/life.sql), and nothing of the transaction is stored.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg

from ingest.logs import get_logger
from ingest.series.cache import SeriesCache
from ingest.storage.pool import AnyConnection
from ingest.storage.session import literal

log = get_logger("storage")

ENDED = "PL001"
"""SQLSTATE of `internal.end_writing`."""
_OF_THE_SESSION = 2
"""Words of a life that cannot change while a session lasts: cluster and database."""
SINCE = "SELECT life, ended_series FROM internal.life_since($1, $2, $3)"
ENROL = "SELECT internal.enrol_writer($1)"


NOT_MIGRATED = (
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedFunctionError,  # migrated by an older version
)
NOWHERE_TO_BEGIN = (
    *NOT_MIGRATED,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, or read-only by default
    asyncpg.ObjectNotInPrerequisiteStateError,  # a standby, that is asked for its place in the log
)
"""No transaction of ours gets to its end there; that of a standby others have the words for."""


class WentBack(OSError):
    """The database went back in time; what was decoded before has to be decoded again."""


class LifeEnded(OSError):
    """Nothing of a transaction is stored: something that it relied on was removed. By now the
    cache has forgotten it."""


class End(NamedTuple):
    """How a transaction ends that relies on what was remembered when this was made.

    Attributes:
        reliance: on what, the first arguments of `internal.end_writing`; empty: on nothing.
        mark: of what is remembered once it is committed, if something is.
    """

    reliance: str
    writer: UUID
    mark: int | None = None

    @property
    def sql(self) -> str:
        """A statement to stand before COMMIT, or nothing; CALL is not planned as a SELECT is."""
        mark = "" if self.mark is None else f", {self.mark}"
        return f"CALL internal.end_writing({self.reliance}{mark}); " if self.reliance else ""

    def marking(self, target: str, minutes: str) -> str:
        """The same for one that has stored current samples of a target, and says so to rollups.

        Args:
            minutes: those with samples, an array as SQL.
        """
        if not self.reliance:
            return f"SELECT internal.mark_samples('{target}', {minutes}, NULL); "
        return f"CALL internal.end_samples({self.reliance}, '{target}', {minutes}); "


class Life:
    """What a process remembers, of which life of the data.

    Each commit after which something is remembered leaves a mark, a number that only grows: a
    database that went back to a moment before has a smaller one. Whoever remembers without a
    commit of its own, as of many small ones, may leave one now and then, and rely only on what
    came before.

    Where none can begin yet, beside a schema that waits for its migration, nothing is remembered
    and no transaction begun that could not end: what is said of rows there is not believed.

    Args:
        cache: what is remembered.
    """

    def __init__(self, cache: SeriesCache) -> None:
        self._cache = cache
        self._writer = uuid4()
        self._mark = 0
        self._last_mark = 0
        self._life: str | None = None
        self._is_told = False
        self._asking = asyncio.Lock()

    @property
    def has_begun(self) -> bool:
        """Whether a transaction could end."""
        return self._life is not None

    async def check(self, connection: AnyConnection) -> None:
        """Of each new connection: forget what no longer holds. It may read where no life begins.

        Raises:
            WentBack: all of it.
        """
        try:
            holds = await self.renew(connection)
        except NOWHERE_TO_BEGIN:
            if self._life is not None:
                raise
            return
        if not holds:
            raise WentBack("the database went back in time")

    async def begin(self, connection: AnyConnection) -> None:
        """Before the first transaction.

        Raises:
            NOWHERE_TO_BEGIN: there can be none; the log says so if that is for long.
        """
        try:
            await self.renew(connection)
        except NOT_MIGRATED as error:
            if not self._is_told:
                self._is_told = True
                log.warning(
                    "nothing is written: the database waits for promgres migrate", error=str(error)
                )
            raise

    async def renew(self, connection: AnyConnection) -> bool:
        """Ask which life this is, and forget what ended; False if all of it did.

        Raises:
            NOWHERE_TO_BEGIN: there is none.
        """
        async with self._asking:
            if self._life is None:
                await self._enrol(connection)
                return True
            row = await connection.fetchrow(SINCE, self._writer, self._mark, self._life)
            assert row is not None
            if row["ended_series"] is None:
                log.error("the database went back in time: series are looked up anew")
                self._cache.clear()
                await self._enrol(connection)
                return False
            if row["life"] != self._life:
                self._cache.forget(row["ended_series"])
                self._life = row["life"]
            return True

    def end(self, remembers: bool = False) -> End:
        """How to end a transaction that relies on what is remembered at this moment.

        Args:
            remembers: something more is, once it is committed; `committed` is to be told.
        """
        mark = None
        if remembers:
            self._last_mark = mark = self._last_mark + 1
        here = " ".join((self._life or "").split()[_OF_THE_SESSION:])
        reliance = f"'{self._writer}', {self._mark}, {literal(here)}"
        return End(reliance, self._writer, mark)

    def committed(self, end: End) -> None:
        """A transaction that ended so is committed."""
        if end.mark is not None and end.writer == self._writer:
            self._mark = max(self._mark, end.mark)

    async def _enrol(self, connection: AnyConnection) -> None:
        """Begin anew, with nothing remembered."""
        writer = uuid4()
        life = await connection.fetchval(ENROL, writer)
        self._writer, self._mark, self._last_mark, self._life = writer, 0, 0, life
