"""Whether the database still is what a process remembers of it: ids of series, what is stored.

A restore from a backup, or a failover to a replica that was behind, takes the newest series away
and gives their ids to others; removal takes those of which nothing is left. Whatever is written
under such an id would be nobody's, or somebody else's. So each transaction that relies on what is
remembered ends with the statement that `Life.end` makes: it is an error there if that no longer
holds (sql/core/catalogue/life.sql), and nothing of the transaction is stored.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg

from ingest.logs import get_logger
from ingest.series.cache import SeriesCache
from ingest.storage.pgerrors import NOT_MIGRATED
from ingest.storage.pool import AnyConnection
from ingest.storage.session import literal

log = get_logger("storage")

ENDED = "PL001"
"""SQLSTATE of `internal.end_writing`."""
_OF_THE_SESSION = 2
"""Words of a life that cannot change while a session lasts: cluster and database."""
SINCE = "SELECT life, ended_series, ended_samples FROM internal.life_since($1, $2, $3)"
SINCE_AND_ENROL = SINCE.replace(" FROM", ", internal.enrol_writer($4) FROM")
ENROL = "SELECT internal.enrol_writer($1)"
CAN_ENROL = "SELECT to_regprocedure('internal.enrol_writer(uuid)') IS NOT NULL"
REFUSED = ("21", "22", "23", "40", "42", "53", "0A", "PL")
"""Classes of SQLSTATE after which nothing of a transaction is stored. Others may come when it is
already committed, as that of a server that is shut down."""

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
        writer: whose memory it is.
        remembers: something is remembered once it is committed: it leaves a mark.
    """

    reliance: str
    writer: UUID
    remembers: bool = False

    @property
    def sql(self) -> str:
        """A statement to stand before COMMIT, or nothing; CALL is not planned as a SELECT is."""
        mark = ", 1" if self.remembers else ""
        return f"CALL internal.end_writing({self.reliance}{mark}); " if self.reliance else ""

    def marking(self, target: str, minutes: str) -> str:
        """The same for one that has stored current samples of a target, and says so to rollups.

        Args:
            minutes: those with samples, an array as SQL.
        """
        if not self.reliance or self.remembers:
            return f"SELECT internal.mark_samples('{target}', {minutes}, NULL); {self.sql}"
        return f"CALL internal.end_samples({self.reliance}, '{target}', {minutes}); "


class Life:
    """What a process remembers, of which life of the data.

    Each commit after which something is remembered leaves a mark: the database counts them, and so
    do we. A database that went back to a moment before has counted fewer. If the outcome of one is
    unknown we no longer know how many there are, and begin to count anew: a writer that is enrolled
    after all that we remember is as good a mark.

    Where none can begin yet, beside a schema that waits for its migration, nothing is remembered
    and no transaction begun that could not end: what is said of rows there is not believed.

    Args:
        cache: what is remembered.
    """

    def __init__(self, cache: SeriesCache) -> None:
        self._cache = cache
        self._writer = uuid4()
        self._mark = 0
        self._life: str | None = None
        self._is_in_doubt = False
        self._is_told = False
        self._asking = asyncio.Lock()

    @property
    def is_known(self) -> bool:
        """Whether a transaction could end; else it has to `begin`."""
        return self._life is not None and not self._is_in_doubt

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
            writer = uuid4() if self._is_in_doubt else None
            known = (self._writer, self._mark, self._life)
            if writer is None:
                row = await connection.fetchrow(SINCE, *known)
            else:
                row = await connection.fetchrow(SINCE_AND_ENROL, *known, writer)
            assert row is not None
            if row["ended_series"] is None:
                log.error("the database went back in time: series are looked up anew")
                self._cache.clear()
                await self._enrol(connection)
                return False
            if row["life"] != self._life:
                self._cache.forget(row["ended_series"])
                self._life = row["life"]
            if row["ended_samples"]:
                self._cache.stamps.clear()
            if writer is not None:
                self._writer, self._mark, self._is_in_doubt = writer, 0, False
            return True

    def end(self, remembers: bool = False) -> End:
        """How to end a transaction that relies on what is remembered at this moment.

        Args:
            remembers: something more is, once it is committed; `committed` is to be told, or
                `failed`.
        """
        reliance = _reliance(self._writer, self._mark, self._life or "")
        return End(reliance, self._writer, remembers)

    def committed(self, end: End) -> bool:
        """A transaction that ended so is committed. Whether it is covered by a mark that is counted
        now, and so may be remembered."""
        is_covered = end.remembers and end.writer == self._writer
        self._mark += is_covered
        return is_covered

    def failed(self, end: End, error: BaseException) -> None:
        """One that would have ended so did not, or nobody knows."""
        sqlstate = getattr(error, "sqlstate", None) or ""
        if end.remembers and end.writer == self._writer and sqlstate[:2] not in REFUSED:
            self._is_in_doubt = True

    async def _enrol(self, connection: AnyConnection) -> None:
        """Begin anew, with nothing remembered."""
        writer = uuid4()
        if not await connection.fetchval(CAN_ENROL):  # an error of the server is a line of its log
            raise asyncpg.UndefinedFunctionError("there is no function internal.enrol_writer yet")
        life = await connection.fetchval(ENROL, writer)
        self._writer, self._mark, self._life, self._is_in_doubt = writer, 0, life, False


@lru_cache(maxsize=2)  # as long as nothing is remembered they are the same
def _reliance(writer: UUID, mark: int, life: str) -> str:
    return f"'{writer}', {mark}, {literal(' '.join(life.split()[_OF_THE_SESSION:]))}"
