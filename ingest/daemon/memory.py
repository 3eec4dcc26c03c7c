"""What a write side knows of its database before it meets it, and what it learns when it does."""

from __future__ import annotations

from ingest import tasks
from ingest.config import Settings
from ingest.errors import MigrationError
from ingest.known import Known, forget, recall, remember
from ingest.logs import get_logger
from ingest.migrate.known import is_of, schema_digest
from ingest.series.cache import SeriesCache
from ingest.storage.engine import Engine, identity_of
from ingest.storage.engines import engine_name, load_engine, recalled_engine
from ingest.storage.life import Life
from ingest.storage.packs import check_packs, named, recorded_packs
from ingest.storage.pool import AnyConnection, Pool, create_pool, lazy_pool
from ingest.storage.urls import place_of
from ingest.writer.spool.file import FOLDER

log = get_logger("ingest")


class Memory:
    """Of one database.

    Attributes:
        known: what an earlier process knew, if that still holds: of the same place, and for the
            schema of this version. Without a spool there is no use for it.
        packs: of the database, once it is met.
        life: of its data, that of what `series` holds.
    """

    def __init__(self, settings: Settings, url: str, series: SeriesCache) -> None:
        self._settings = settings
        self._url = url
        self._folder = settings.data_dir.expanduser() / FOLDER
        self.life = Life(series)
        self._engine: Engine | None = None
        self._identity: str | None = None
        self._is_met = False
        self._noted: Known | None = None
        self.packs: tuple[str, ...] = ()
        self.known = recall(self._folder) if settings.spool.max_bytes else None
        if self.known and not is_of(self.known, url, settings.packs):
            self.known = None

    async def meet(self) -> tuple[Pool, Engine]:
        """Connections to it, and its engine. It is waited for only if nothing is known of it; else
        the first connection, whenever there is one, tells whether that is still true.

        Raises:
            OperatorError: it is not there, or not migrated.
        """
        how = (self._url, self._settings.database, "promgres ingest", self._greet)
        if self.known is not None:
            self._engine = recalled_engine(self.known.engine, self.known.horizons, self._settings)
            self.packs = self.known.packs
            return await lazy_pool(*how), self._engine
        pool = await create_pool(*how)
        try:
            async with pool.acquire() as connection:
                engine = await load_engine(connection, self._settings)
                self.packs = await recorded_packs(connection)
                check_packs(self.packs, self._settings.packs)
                self._identity = await identity_of(connection)
        except BaseException:
            pool.terminate()
            raise
        self._is_met = True
        return pool, engine

    def note(self, engine: Engine, directory: str | None) -> None:
        """Keep what is known for the next process, if the database has said it to this one."""
        if not self._settings.spool.max_bytes or not self._is_met or directory is None:
            return
        schema = schema_digest(engine.name)
        place, kept = place_of(self._url), engine.horizons.kept
        known = Known(place, self._identity, engine.name, self.packs, schema, kept, directory)
        if known != self._noted and remember(self._folder, known):
            self._noted = known

    async def _greet(self, connection: AnyConnection) -> None:
        """Of each new connection: whether the database is the one that we take it for."""
        await self.life.check(connection)
        if self._engine is None or self._is_met or self.known is None:
            return
        name = await engine_name(connection)
        if name != self._engine.name:
            forget(self._folder)
            log.critical("the database has another engine than before", engine=name)
            tasks.end_process("engine")  # the next one begins without what this one believed
        packs = await recorded_packs(connection)
        if set(packs) != set(self.packs):
            forget(self._folder)
            log.critical("the database has other packs than before", packs=named(packs))
            tasks.end_process("packs")
        self._identity = await identity_of(connection)
        if self._identity != self.known.identity:
            log.warning("this is another database than before: what was known of it is forgotten")
        try:
            await self._engine.horizons.read(connection)
        except MigrationError as error:
            raise ConnectionError(str(error)) from None
        self._is_met = True
        log.info("the database is as it was known", engine=name)
