"""The write side put together: receive, decode, identify, route, batch, COPY."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import signal
import sys

from ingest import tasks
from ingest.admission import Admission
from ingest.auth.proxies import Proxies
from ingest.auth.tenancy import Tenancy
from ingest.config import Settings
from ingest.config.addresses import is_loopback
from ingest.daemon.background import (
    AUDIT_EVERY_SECONDS,
    AUDIT_ROWS_AT_ONCE,
    CLOCK_EVERY_SECONDS,
    DRAIN_IDLE_SECONDS,
    ROLLUP_IDLE_SECONDS,
    STAGING_EVERY_SECONDS,
    repeat,
    watch_loop,
)
from ingest.daemon.memory import Memory
from ingest.daemon.readiness import Readiness
from ingest.http.connections import Connections
from ingest.http.server import Handler, HttpServer
from ingest.http.shares import UnderWay
from ingest.intake.limits import RequestLimits, TimeLimits
from ingest.intake.quotas import TenantQuotas
from ingest.intake.rates import RateLimiter
from ingest.intake.records import RecordDecoder
from ingest.intake.remote_write import Decoder
from ingest.lifeline import unless_ended, watch_parent
from ingest.logs import get_logger
from ingest.metrics import TenantNames
from ingest.ports.write import (
    READS_AT_ONCE,
    ReadsHere,
    come_again,
    refuse,
    write_port,
    write_routes,
)
from ingest.records.read import ReadRecords
from ingest.records.write import WriteRecords
from ingest.remote_write.handler import RemoteWrite
from ingest.reserve import Reserve
from ingest.routing import Router
from ingest.series.cache import SeriesCache
from ingest.storage.clock import DatabaseClock
from ingest.storage.database import Database
from ingest.storage.engine import Engine
from ingest.storage.pool import Pool, forget_lost_answers
from ingest.storage.read import Lane
from ingest.storage.removal import Removal
from ingest.storage.tenants import CONNECTIONS as KEY_CONNECTIONS
from ingest.storage.tenants import TenantDatabase
from ingest.storage.turns import Turns
from ingest.writer.ledger import Ledger
from ingest.writer.pipeline import Pipeline
from ingest.writer.spool.file import FOLDER
from ingest.writer.spool.queue import open_spool
from ingest.writer.spool.replay import Replay
from ingest.writer.store_or_spool import StoreOrSpool
from ingest.writer.truncate_staging import empty_staging

log = get_logger("ingest")

DRAIN_SECONDS = 3.0
"""How long requests under way may take once we are asked to end. What the database has not
confirmed by half of it is spooled; a body that does not come is not waited for."""
ORPHANS_DRAIN_SECONDS = 1.0
"""The same when our parent is gone: the next one waits for us, and for what we hold."""
LAST_BATCH_SECONDS = 1.0
"""How long batches may take once every request has its answer. Nothing is owed for them any more:
their rows are in the spool, or with senders that were told to try again."""
STOP_SECONDS = 10.0
"""However much hangs, we have ended by then."""
GOODBYE_SECONDS = 1.0
"""How long connections may take to end in good order."""
KEEPALIVE_SECONDS = 3630.0
"""Longer than any sender or proxy keeps an idle connection: so none meets a closed one."""
REMEMBER_EVERY_SECONDS = 5.0
GARBAGE_OBJECTS = 20_000
"""Containers that are made before a look for those that hold each other (Python's own choice is
700, of which a few small requests have as many): a fortieth of a small request's time."""


class Daemon:
    """One write side, from settings to a listening server and back.

    Use `start`, then `stop`; `serve` does both around the signals.
    """

    def __init__(self, settings: Settings, database_url: str) -> None:
        self._settings = settings
        self._database_url = database_url
        self._background: list[asyncio.Task[None]] = []
        self._tenants = TenantDatabase(database_url, settings.database, "promgres ingest")
        self._tenancy = Tenancy(self._tenants, settings.auth)
        self._has_parent = False
        self._is_orphan = False
        self.address = ""

    async def start(self) -> None:
        """Connect, set the shards to work, listen.

        Raises:
            OperatorError: no database, not migrated, or the port is taken.
        """
        settings = self._settings
        forget_lost_answers(asyncio.get_running_loop())
        self._cache = SeriesCache(settings.writer.max_cached_series)
        memory = Memory(settings, self._database_url, self._cache)
        waiting = None if memory.known else self._http_server(come_again)
        pool: Pool | None = None
        try:
            if waiting is not None:
                self.address = await waiting.start(settings.listen)
                log.info("waiting for the database", address=self.address)
            pool, engine = await memory.meet()
            self._pool = pool
            await self._tenants.open()
            await self._tenancy.start(memory.known.directory if memory.known else None)
            await self._assemble(engine, memory)
            self._background.append(asyncio.create_task(self._remember(memory, engine)))
            self.address = await self._server.start(
                self.address or settings.listen, waiting.release() if waiting else ()
            )
        except BaseException:
            if pool is not None:
                pool.terminate()
            await self._stop_tenancy()
            raise
        finally:
            if waiting is not None:
                await waiting.close(0)
        log.info("listening", address=self.address, engine=engine.name)
        self._warn_of_strangers()

    async def _remember(self, memory: Memory, engine: Engine) -> None:
        """Keep what is known for the next process, as soon as the database has said it."""

        async def note() -> None:
            await asyncio.to_thread(memory.note, engine, self._tenancy.directory.document)

        await repeat("known", REMEMBER_EVERY_SECONDS, note)

    async def _assemble(self, engine: Engine, memory: Memory) -> None:
        settings = self._settings
        timeout = settings.database.command_timeout_seconds
        database = Database(self._pool, timeout, memory.life)
        directory = self._tenancy.directory
        names = TenantNames(directory.name_of)
        quotas = TenantQuotas(settings.limits, directory.limits_of, names)
        ledger = Ledger(names)
        self._pipeline = Pipeline(
            database,
            engine,
            self._cache,
            ledger,
            settings.writer,
            settings.receiver,
            quotas,
        )
        self._spool = open_spool(settings, ledger, quotas)
        self._store = StoreOrSpool(
            self._pipeline,
            ledger,
            self._spool,
            settings.spool.after,
        )
        router, clock = Router(settings, memory.packs), DatabaseClock(self._pool)
        max_future_ms = int(settings.receiver.max_future_seconds * 1000)
        limits = TimeLimits(engine.horizons.start_ms, max_future_ms, clock.ahead_ms)
        # What was acknowledged is written back whatever limits of sizes, and clocks, are by now.
        replayer = Decoder(router, self._cache, TimeLimits(engine.horizons.start_ms, max_future_ms))
        self._server = self._build_server(database, ledger, quotas, names, router, limits)
        self._pipeline.start()
        self._start_background(engine, database, replayer, ledger, clock)

    def _build_server(
        self,
        database: Database,
        ledger: Ledger,
        quotas: TenantQuotas,
        names: TenantNames,
        router: Router,
        limits: TimeLimits,
    ) -> HttpServer:
        """All that is asked over HTTP, and who answers it."""
        settings, authenticator = self._settings, self._tenancy.authenticator
        admission = Admission(
            authenticator, RateLimiter(quotas), self._pipeline.backlog, ledger, settings.receiver
        )
        samples = RemoteWrite(
            Decoder(router, self._cache, limits, RequestLimits(settings.limits)),
            self._store,
            admission,
        )
        store = WriteRecords(
            RecordDecoder(router, limits, settings.limits), self._store, admission, names
        )
        api = settings.api
        read = ReadRecords(
            authenticator.admit,
            ReadsHere(api.acquire_timeout_seconds, api.statement_timeout_seconds),
            Lane(self._pool, Turns(READS_AT_ONCE), clean=False),
            UnderWay(sys.maxsize),
            api.max_answer_bytes,
        )
        ready = Readiness(database, self._pipeline.outcomes, self._spool)
        routes = write_routes(samples, store, read, ready, authenticator)
        return self._http_server(write_port(routes))

    def _http_server(self, handler: Handler) -> HttpServer:
        """Our port, and what answers there."""
        settings = self._settings
        pools = settings.database.pool_size + KEY_CONNECTIONS
        proxies = Proxies(settings.auth.trusted_proxies)
        return HttpServer(
            handler,
            settings.http,
            Connections(settings.http, pools, proxies.trusts),
            refuse,
            flag="--listen",
            drain_seconds=DRAIN_SECONDS,
            keepalive_seconds=KEEPALIVE_SECONDS,
        )

    def _start_background(
        self,
        engine: Engine,
        database: Database,
        decoder: Decoder,
        ledger: Ledger,
        clock: DatabaseClock,
    ) -> None:
        settings = self._settings
        pauses = [pause for shard in self._pipeline.shards for pause in shard.pauses]
        work = [
            repeat("rollup", ROLLUP_IDLE_SECONDS, lambda: engine.work(self._pool)),
            repeat("staging", STAGING_EVERY_SECONDS, lambda: empty_staging(database, pauses)),
            repeat("clock", CLOCK_EVERY_SECONDS, clock.look),
        ]
        if settings.writer.remove_series:
            removal = Removal(self._pool, settings.writer.remove_series_age_seconds)
            work.append(repeat("removal", removal.idle_seconds, removal.step))
        if self._spool is not None:
            limit_bytes = settings.receiver.max_decompressed_bytes
            replay = Replay(self._spool, decoder, self._pipeline, ledger, limit_bytes)
            work.append(repeat("spool", DRAIN_IDLE_SECONDS, replay.round))
        days = settings.auth.audit_days
        if days is not None:
            drop = functools.partial(self._tenants.drop_expired_audit, days, AUDIT_ROWS_AT_ONCE)
            work.append(repeat("audit", AUDIT_EVERY_SECONDS, drop))
        # In the spool's folder: where root has lent us a user, all else is root's.
        reserve = Reserve(settings.data_dir.expanduser() / FOLDER, settings.reserve_bytes)
        if self._spool is not None and not self._has_parent:  # else the parent keeps it
            work.append(tasks.keep("reserve", reserve.keep))
        work.append(tasks.tell_now_and_then())
        work.append(tasks.keep("loop", watch_loop))
        self._background = [asyncio.create_task(one) for one in work]

    async def stop(self) -> None:
        """Finish the requests under way, write what was taken in, let go of the database."""
        drain_seconds = ORPHANS_DRAIN_SECONDS if self._is_orphan else DRAIN_SECONDS
        self._store.hurry(drain_seconds / 2)
        await self._server.close(drain_seconds)
        await self._stop_background()
        await self._store.stop(LAST_BATCH_SECONDS)
        await self._pipeline.stop(LAST_BATCH_SECONDS)
        if self._spool is not None:
            await self._spool.stop()
        await self._stop_tenancy()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._pool.close(), GOODBYE_SECONDS)
        log.info("stopped")

    async def _stop_tenancy(self) -> None:
        await self._tenancy.stop()
        await self._tenants.close()

    async def _stop_background(self) -> None:
        """What waits for a connection that has fallen silent cannot be waited for."""
        for task in self._background:
            task.cancel()
        if self._background:
            await asyncio.wait(self._background, timeout=GOODBYE_SECONDS)

    async def serve(self) -> None:
        """Run until SIGINT or SIGTERM, or until the parent is gone."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        self._has_parent = watch_parent(loop, lambda: self._be_orphaned(ended))
        if not await unless_ended(ended, self.start()):
            return  # while waiting for a database that recovers
        gc.freeze()  # what stays for ever is not looked through again whenever many series are new
        gc.set_threshold(GARBAGE_OBJECTS)
        await ended.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self.stop()

    def _be_orphaned(self, ended: asyncio.Event) -> None:
        self._is_orphan = True
        ended.set()

    def _warn_of_strangers(self) -> None:
        if not is_loopback(self._settings.listen) and not self._settings.auth.required:
            log.warning(
                "anyone who reaches this address can write, without a key (auth.required is off)",
                address=self.address,
            )
