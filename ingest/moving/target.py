"""The database of ours that history goes into, the way of every write: ids, shards, partitions,
dedupe. What was stored before, by us or by others, is found there and stays."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from ingest.config import Settings
from ingest.errors import DatabaseUnreachable, MigrationError, OperatorError, Unavailable
from ingest.intake.limits import TimeLimits, TimeWindow
from ingest.intake.quotas import TenantQuotas
from ingest.logs import get_logger
from ingest.metrics import REGISTRY, TenantNames
from ingest.model import Intake, Rejection, Series, SeriesId, TenantId
from ingest.routing import Router
from ingest.series.cache import SeriesCache
from ingest.sqlfiles import query
from ingest.storage.clock import DatabaseClock
from ingest.storage.database import Database
from ingest.storage.engine import Engine
from ingest.storage.engines import load_engine
from ingest.storage.life import Life
from ingest.storage.packs import recorded_packs
from ingest.storage.pgerrors import operator_error, translated, went_away
from ingest.storage.pool import Pool, create_pool, forget_lost_answers
from ingest.storage.urls import owner_database_url
from ingest.stores import ROLLED_UP
from ingest.writer.ledger import Ledger
from ingest.writer.pipeline import Pipeline
from ingest.writer.series_ids import ids_of
from ingest.writer.truncate_staging import empty_staging

log = get_logger("import")

PATIENCE_SECONDS = 60.0
"""How long a database that is away is waited for, after which the import says so and ends."""
STOP_SECONDS = 5.0
MOST_CACHED_SERIES = 500_000
LONGEST_REASON = 160
_SERIES_AND_TIME = re.compile(
    r"^.*: (?=native histogram: |timestamp )(.*?timestamp \S+ is )?", re.DOTALL
)
"""What differs from row to row at the beginning of a reason: they are counted by the rest."""

Again = Callable[[], Awaitable[Intake]]
Tell = Callable[[str, float | None], None]
"""Called with what is done now and how much of it, 0 to 1; None where no one can say."""


@dataclass
class Report:
    """What became of rows: read = stored + present + all of left_out, but that a dry run cannot
    tell the first two apart.

    Attributes:
        present: were there already, or another row of the same series and time was.
        left_out: by reason.
    """

    read: int = 0
    stored: int = 0
    present: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def leave_out(self, reason: str, rows: int) -> None:
        """Count rows that are not stored."""
        if rows:
            self.left_out[reason[:LONGEST_REASON]] += rows

    def to_json(self) -> str:
        """All counts, for `from_json`."""
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> Report:
        """What `to_json` wrote."""
        counts = json.loads(text)
        return cls(**{**counts, "left_out": Counter(counts["left_out"])})


@dataclass
class Part:
    """One part of an import, such as a table: how far it is, and what became of it.

    Attributes:
        source: names it in `internal.import_progress`; holds no password.
        position: all before it is stored; None at the beginning.
        continues: an earlier run was killed, whose counts are in the report.
        read_before: rows that it had read.
    """

    title: str
    source: str
    report: Report = field(default_factory=Report)
    position: str | None = None
    continues: bool = False
    read_before: int = 0


class Target:
    """See `open_target`.

    Attributes:
        router: as the database's packs and the settings say.
        limits: which timestamps are taken.
        dry_run: nothing is written; rows that would be count as stored.
    """

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        engine: Engine,
        router: Router,
        cache: SeriesCache,
        life: Life,
        dry_run: bool,
    ) -> None:
        self.pool = pool
        self.router = router
        self.dry_run = dry_run
        self.cache = cache
        self.database = Database(pool, settings.database.command_timeout_seconds, life)
        self._engine = engine
        self._made_up = map(SeriesId, count(1))
        self._names = TenantNames()
        self._ledger = Ledger(self._names)
        quotas = TenantQuotas(settings.limits)
        self._pipeline = Pipeline(
            self.database,
            engine,
            self.cache,
            self._ledger,
            settings.writer,
            settings.receiver,
            quotas,
        )
        self._pipeline.start()
        self.clock = DatabaseClock(pool)
        max_future_ms = int(settings.receiver.max_future_seconds * 1000)
        self.limits = TimeLimits(engine.horizons.start_ms, max_future_ms, self.clock.ahead_ms)

    def window(self) -> TimeWindow:
        """Which timestamps are taken now."""
        return self.limits.window(time.time_ns() // 1_000_000)

    def oldest_ms(self, store: str) -> int:
        """The oldest timestamp of a store that is taken now."""
        return self.limits.oldest_ms(store, time.time_ns() // 1_000_000)

    async def ask(self, statement: str, *arguments: object) -> list[Any]:
        """Rows that the database answers, in a transaction by itself.

        Raises:
            OperatorError: it refuses, or is away.
        """
        with translated(operator_error, went_away):
            rows: list[Any] = await self.pool.fetch(statement, *arguments)
        return rows

    async def tenant(self, name: str) -> TenantId | None:
        """The id of a tenant; None if there is none of this name."""
        found = await self.ask("SELECT tenant_id FROM app.tenant WHERE name = $1", name)
        return found[0][0] if found else None

    async def known_tenant(self, name: str) -> TenantId:
        """The same of one that has to be there.

        Raises:
            OperatorError: it is not.
        """
        found = await self.tenant(name)
        if found is None:
            raise OperatorError(f"there is no tenant {name!a}: promgres tenant create")
        return found

    async def ids(self, series: Sequence[Series]) -> Mapping[bytes, SeriesId]:
        """Ids of series by identity; missing ones are created. A dry run makes up its own.

        Raises:
            DatabaseUnreachable: the database is away.
        """
        found: dict[bytes, SeriesId] = {}
        unknown = {}
        for one in series:
            series_id = self.cache.id_of(one.identity)
            if series_id is None:
                unknown[one.identity] = one
            else:
                found[one.identity] = series_id
        if self.dry_run:
            for identity, one in unknown.items():
                found[identity] = next(self._made_up)
                self.cache.remember(one, found[identity])
        elif unknown:
            with translated(operator_error, went_away):
                found |= await ids_of(self.database, self.cache, list(unknown.values()))
        return found

    async def begin(self, tenant_id: TenantId, title: str, source: str, anew: bool) -> Part:
        """A part of an import: where an earlier run of it was killed, it goes on.

        Args:
            anew: begin at the beginning in any case.
        """
        part = Part(title, source)
        if anew or self.dry_run:
            return part
        for position, counts in await self.ask(
            "SELECT position, counts::text FROM internal.import_progress"
            " WHERE tenant_id = $1 AND source = $2 AND finished_at IS NULL",
            tenant_id,
            source,
        ):
            part.position, part.continues = position, True
            part.report = Report.from_json(counts)
            part.read_before = part.report.read
        return part

    async def save(
        self, tenant_id: TenantId, part: Part, position: str, finished: bool = False
    ) -> None:
        """Note that all before the position is stored."""
        part.position = position
        if not self.dry_run:
            counts = part.report.to_json()
            save = query("moving/save")
            await self.ask(save, tenant_id, part.source, position, counts, finished)

    async def store(self, intake: Intake, report: Report, again: Again | None = None) -> None:
        """Store rows and count what became of them. One call at a time: it reads the accounts.

        Args:
            again: makes the same rows once more, with the ids that their series have by then: one
                of which nothing was left may be removed under an import. None: they hold no ids.

        Raises:
            DatabaseUnreachable: they are not known to be stored; the same import goes on later.
        """
        refused = list(intake.rejections)
        stored = intake.storable
        report.read += intake.received
        report.leave_out("a rule drops them, or they end a series of exact values", intake.dropped)
        if not self.dry_run and not intake.is_empty:
            before = self._written(intake.tenant_id)
            rejections = await self._write(intake, again)
            stored = self._written(intake.tenant_id) - before
            rejected = sum(rejection.accounted for rejection in rejections)
            report.present += intake.storable - stored - rejected
            refused += rejections
        report.stored += stored
        for rejection in refused:
            report.leave_out(reason_of(rejection.reason), rejection.accounted)

    async def _write(self, intake: Intake, again: Again | None) -> list[Rejection]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            self._ledger.receive(intake)
            pending = self._ledger.begin(intake)
            try:
                rejections = await self._pipeline.write(intake, pending, is_replay=True)
                break
            except Unavailable as error:
                pending.settle_rest("unavailable")
                if time.monotonic() > deadline:
                    raise DatabaseUnreachable(
                        f"{error}: nothing is lost, the same command goes on where this one was"
                    ) from None
                log.warning("waiting for the database", reason=str(error))
            finally:
                pending.end()
            await asyncio.sleep(1)
            if again is not None:
                intake = await again()
        pauses = [pause for shard in self._pipeline.shards for pause in shard.pauses]
        await empty_staging(self.database, pauses)
        return rejections

    def _written(self, tenant_id: TenantId) -> int:
        labels = {"tenant": self._names(tenant_id), "result": "written"}
        return int(REGISTRY.get_sample_value("promgres_samples_total", labels) or 0)

    async def store_rollups(self, tell: Tell) -> None:
        """Work off what the import has marked, with whoever else does (engine postgres): until then
        readers compute it, rightly and slowly. Jobs of the extension do it on the other engine."""
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        done = 0
        has_marks = "SELECT internal.has_marks_before($1, $2)"
        with translated(operator_error, went_away):
            while marks := await self._engine.work(self.pool):
                done += marks
                tell(f"rollups: {done:,} marks", None)
                left = [await self.ask(has_marks, target, hour) for target in ROLLED_UP]
                if not any(rows[0][0] for rows in left):
                    break

    async def stop(self) -> None:
        """Let go of the database."""
        await self._pipeline.stop(STOP_SECONDS)


def reason_of(said: str) -> str:
    """A reason as it is counted: without the series and the time that it begins with."""
    return _SERIES_AND_TIME.sub("", said)


@asynccontextmanager
async def open_target(settings: Settings, dry_run: bool) -> AsyncIterator[Target]:
    """The migrated database of the settings, embedded or not.

    Raises:
        OperatorError: there is none, or it is not migrated to this version.
    """
    forget_lost_answers(asyncio.get_running_loop())
    cache = SeriesCache(min(settings.writer.max_cached_series, MOST_CACHED_SERIES))
    life, url = Life(cache), owner_database_url(settings)
    pool = await create_pool(url, settings.database, "promgres import", life.check)
    try:
        async with pool.acquire() as connection:
            engine = await load_engine(connection, settings)
            packs = await recorded_packs(connection)
            if not await connection.fetchval(
                "SELECT to_regclass('internal.import_progress') IS NOT NULL"
            ):
                raise MigrationError("the database is older than this version: promgres migrate")
        target = Target(settings, pool, engine, Router(settings, packs), cache, life, dry_run)
        await target.clock.look()
        try:
            yield target
        finally:
            await target.stop()
    finally:
        await pool.close()
