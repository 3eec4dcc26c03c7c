"""Engine `postgres`: partitions made ahead of the batch, rollups and blocks by a worker in the
daemon."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg
from prometheus_client import Counter, Gauge

from ingest.logs import get_logger
from ingest.metrics import REGISTRY
from ingest.storage.engine import (
    DAY_MS,
    EXPIRED_ROWS_AT_ONCE,
    HOUSEKEEPING_SECONDS,
    EngineEntry,
    Horizons,
    Progress,
    Straight,
    drop_expired_keys,
    make_hours_again,
    to_datetime,
    to_ms,
)
from ingest.storage.pool import AnyConnection, Pool, borrow
from ingest.stores import GROWING, HISTOGRAM, ROLLED_UP, TARGETS

log = get_logger("storage")

PARTITION_DAYS_AT_ONCE = 31
"""Days of one transaction that makes partitions: none holds its locks for long."""

ROUND_SECONDS = 0.5
"""How long one round of rollup work should take: the window of minutes follows from it."""

PREPARE_SECONDS, WORK_SECONDS = 60, 600
"""The longest that making partitions, and one piece of background work, may take."""

PASS_SECONDS = 10.0
"""No hour is taken again before so much time has passed: minutes that ended long ago and still fill
(late data) are recomputed so often and not with every batch, while what is new is never far behind.
Readers compute what waits."""

PACK_STEPS = (
    "internal.settle_fresh('{target}')",
    "internal.close_hot('{target}')",
    "{target}.pack_hot()",
    "{target}.pack_late()",
    "{target}.join_blocks()",
    "internal.drop_retired('{target}')",
)
"""Each a transaction of its own that does a bounded piece, and says how much that was."""

STEP_OF_HISTOGRAMS = "internal.pack_histograms()"
"""The same of native histograms, of series of all targets. There is never any haste."""

STEPS_OF_ROLLED_UP = (
    "{target}.pack_minutes()",
    "{target}.make_hours()",
    "{target}.drop_expired_hours()",
)
"""The same of minutes and of hours of series, where a target has rollups."""

PACK_IDLE_SECONDS = 20.0
"""Between two looks for something to pack, or for hours to make."""

BACKLOG_SECONDS, LONGEST_REST_SECONDS = 86_400.0, 1.0
"""Hours that ended a day ago are what an upgrade or a backfill left: no haste. After a piece of
them it rests as long as that took: a small machine has the other half for those who wait."""

TELL_SECONDS = 60.0
"""How often the log says how far such a backlog is."""

PACKED = Counter(
    "promgres_packed_samples",
    "Samples that were put into blocks, by target; more than once if late ones joined them.",
    ["target"],
    registry=REGISTRY,
)
BEHIND = Gauge(
    "promgres_pack_behind_seconds",
    "How long ago the oldest hours ended that should be in blocks and are not, by target; else 0.",
    ["target"],
    registry=REGISTRY,
)
HELD = Gauge(
    "promgres_pack_held_seconds",
    "For how long the oldest packed partition has been waiting for transactions of others that may"
    " read it, by target; 0 if none waits.",
    ["target"],
    registry=REGISTRY,
)

HOURS_BEHIND = Gauge(
    "promgres_series_hours_behind_seconds",
    "How long ago the oldest hours of series could have been made, or made again, that are not, by"
    " target; else 0.",
    ["target"],
    registry=REGISTRY,
)
MINUTES_BEHIND = Gauge(
    "promgres_pack_minutes_behind_seconds",
    "How long ago the oldest minutes of rollups could have been packed that are not, by target;"
    " else 0.",
    ["target"],
    registry=REGISTRY,
)
HISTOGRAMS_BEHIND = Gauge(
    "promgres_pack_histograms_behind_seconds",
    "How long ago the oldest native histograms could have been packed that are not; else 0.",
    registry=REGISTRY,
)

LONGEST_WINDOW = timedelta(days=1)
SHORTEST_WINDOW = timedelta(minutes=1)
EXPIRED_PARTITIONS_AT_ONCE = 2
"""To drop one locks its table: writers wait for as long as the transaction lasts."""


class RollupPass(NamedTuple):
    """One way through the marked hours, from the newest to the oldest.

    Attributes:
        began: monotonic seconds.
        oldest: the oldest hour that was taken; None at the beginning.
    """

    began: float
    oldest: datetime | None = None


class PostgresEngine:
    """Range partitions, marks, stored rollups, and blocks; see `sql/engines/postgres`."""

    name = "postgres"

    def __init__(self, horizons: Horizons) -> None:
        self.horizons = horizons
        self._prepared: dict[str, set[int]] = {store: set() for store in GROWING}
        self._windows = dict.fromkeys(ROLLED_UP, timedelta(hours=1))
        self._passes: dict[str, RollupPass] = {}
        self._housekeeping_due = 0.0
        self._packing_due = 0.0
        self._backlog: dict[str, float] = {}
        self._packs_histograms = False
        # By target: before which time no hot rows are taken, and before which blocks are read.
        self._closed_ms: dict[str, int] = {}
        self._packed_ms: dict[str, int] = {}

    async def prepare(self, pool: Pool, store: str, oldest_ms: int, newest_ms: int) -> None:
        """See `Engine`: partitions for every day from the oldest to the newest row."""
        days = range(oldest_ms // DAY_MS, newest_ms // DAY_MS + 1)
        prepared = self._prepared[store]
        for start in range(days.start, days.stop, PARTITION_DAYS_AT_ONCE):
            chunk = range(start, min(start + PARTITION_DAYS_AT_ONCE, days.stop))
            if prepared.issuperset(chunk):
                continue
            async with borrow(pool, PREPARE_SECONDS) as connection:
                await connection.execute(
                    "SELECT internal.ensure_partitions($1, $2, $3)",
                    store,
                    to_datetime(chunk.start * DAY_MS),
                    to_datetime(chunk.stop * DAY_MS - 1),
                )
            prepared.update(chunk)

    def straight_into(self, target: str, oldest_ms: int, newest_ms: int) -> Straight | None:
        """See `Engine`: what is closed and not packed is for staging, which looks into both."""
        if oldest_ms >= self._closed_ms.get(target, oldest_ms):
            return Straight("hot")
        if newest_ms < self._packed_ms.get(target, newest_ms):
            return Straight("late", is_late=True)
        return None

    def forget(self, store: str) -> None:
        """See `Engine`: a partition was dropped, or closed, since."""
        self._prepared[store].clear()

    async def work(self, pool: Pool) -> int:
        """See `Engine`: a window of marked minutes a target; partitions now and then."""
        await self.horizons.keep_fresh(pool)
        marks = 0
        for target in ROLLED_UP:
            async with borrow(pool, WORK_SECONDS) as connection:
                marks += await self._store_rollups(connection, target)
        if not marks:
            self._passes.clear()
        if time.monotonic() >= self._housekeeping_due:
            async with borrow(pool, WORK_SECONDS) as connection:
                finished = await self._drop_expired(connection)
            if finished:
                self._housekeeping_due = time.monotonic() + HOUSEKEEPING_SECONDS
        packed = 0
        if time.monotonic() >= self._packing_due:
            began = time.monotonic()
            packed = await self._pack(pool)
            if self._backlog or self._packs_histograms:
                await asyncio.sleep(min(time.monotonic() - began, LONGEST_REST_SECONDS))
            if not packed:
                self._packing_due = time.monotonic() + PACK_IDLE_SECONDS
        return marks + packed

    async def _pack(self, pool: Pool) -> int:
        """A bounded piece of each kind of packing, and of hours of series, of each target; how much
        that was."""
        done = 0
        for target in TARGETS:
            steps = PACK_STEPS + (STEPS_OF_ROLLED_UP if target in ROLLED_UP else ())
            steps += (STEP_OF_HISTOGRAMS,) if target == HISTOGRAM.schema else ()
            async with borrow(pool, WORK_SECONDS) as connection:
                for step in steps:
                    try:
                        did = await connection.fetchval(f"SELECT {step.format(target=target)}")
                    except asyncpg.LockNotAvailableError:
                        log.debug("others are at it; later", step=step, target=target)
                        continue
                    done += did
                    if step == STEP_OF_HISTOGRAMS:
                        self._packs_histograms = did > 0
                    if step in PACK_STEPS and "pack_" in step:
                        PACKED.labels(target).inc(did)
                found = await connection.fetchrow(
                    "SELECT closed_before, packed_before, waiting, behind_seconds, held_seconds"
                    " FROM internal.packing_of($1)",
                    target,
                )
                if target in ROLLED_UP:
                    behind = await connection.fetchrow(
                        f"SELECT {target}.minutes_behind(), {target}.hours_behind()"
                    )
                    assert behind is not None
                    MINUTES_BEHIND.labels(target).set(behind[0])
                    HOURS_BEHIND.labels(target).set(behind[1])
                if target == HISTOGRAM.schema:
                    waiting = await connection.fetchval("SELECT internal.histograms_behind()")
                    HISTOGRAMS_BEHIND.set(waiting)
            assert found is not None
            self._tell(target, found["waiting"], found["behind_seconds"])
            self._closed_ms[target] = to_ms(found["closed_before"])
            self._packed_ms[target] = to_ms(found["packed_before"])
            BEHIND.labels(target).set(found["behind_seconds"])
            HELD.labels(target).set(found["held_seconds"])
        return done

    def _tell(self, target: str, partitions: int, behind_seconds: float) -> None:
        """Of a backlog the log has a line a minute, and one when it is gone."""
        if behind_seconds > BACKLOG_SECONDS:
            if time.monotonic() >= self._backlog.get(target, 0.0):
                self._backlog[target] = time.monotonic() + TELL_SECONDS
                days = int(behind_seconds // 86_400)
                log.info(
                    "older samples are being put into blocks, the oldest first",
                    target=target, partitions=partitions, oldest_days=days,
                )  # fmt: skip
        elif self._backlog.pop(target, None) is not None:
            log.info("older samples are in blocks", target=target)

    async def _store_rollups(self, connection: AnyConnection, target: str) -> int:
        window = self._windows[target]
        began = time.monotonic()
        under_way = self._passes.get(target)
        if under_way is None or began > under_way.began + PASS_SECONDS:
            under_way = RollupPass(began)
        round_ = f"{target}.rollup_round($1::interval, now() - interval '70 s', $2::timestamptz)"
        async with connection.transaction(isolation="read_committed"):
            row = await connection.fetchrow(
                f"SELECT marks, oldest FROM {round_}",  # noqa: S608
                window,
                under_way.oldest,
            )
        assert row is not None
        marks: int = row["marks"]
        self._passes[target] = under_way._replace(oldest=row["oldest"] or under_way.oldest)
        elapsed = time.monotonic() - began
        if elapsed > ROUND_SECONDS:
            self._windows[target] = max(window / 2, SHORTEST_WINDOW)
        elif marks and elapsed < ROUND_SECONDS / 4:
            self._windows[target] = min(window * 2, LONGEST_WINDOW)
        return marks

    async def _drop_expired(self, connection: AnyConnection) -> bool:
        """A bounded piece of it; whether that was all."""
        partitions = [await self._drop_partitions(connection, store) for store in GROWING]
        rows = [
            await connection.fetchval(
                f"SELECT {target}.drop_expired_minutes($1)", EXPIRED_ROWS_AT_ONCE
            )
            for target in ROLLED_UP
        ]
        rows.append(
            await connection.fetchval(
                "SELECT internal.drop_expired_histograms($1)", EXPIRED_ROWS_AT_ONCE
            )
        )
        finished = [
            max(partitions) < EXPIRED_PARTITIONS_AT_ONCE,
            max(rows) < EXPIRED_ROWS_AT_ONCE,
            await drop_expired_keys(connection),
        ]
        return all(finished)

    async def _drop_partitions(self, connection: AnyConnection, store: str) -> int:
        try:
            dropped: int = await connection.fetchval(
                "SELECT internal.drop_expired_partitions($1, $2)",
                store,
                EXPIRED_PARTITIONS_AT_ONCE,
            )
        except asyncpg.LockNotAvailableError:
            return 0  # a long reader holds one; next time
        return dropped

    async def refresh(
        self, connection: AnyConnection, start: datetime, end: datetime, progress: Progress
    ) -> None:
        """See `Engine`: marks a day, then works until its marks are gone.

        Readers meanwhile compute what is marked, so what they see is right throughout.
        """
        first_ms = to_ms(start) // DAY_MS * DAY_MS
        days = [to_datetime(day_ms) for day_ms in range(first_ms, to_ms(end), DAY_MS)]
        steps = [(target, day) for target in ROLLED_UP for day in days]
        for done, (target, day) in enumerate(steps):
            progress(done, len(steps))
            until = day + timedelta(days=1)
            if await connection.fetchval(f"SELECT {target}.mark_period($1, $2)", day, until):
                await self._work_off(connection, target, day, until)
            await make_hours_again(connection, target, day)
        progress(len(steps), len(steps))

    async def _work_off(
        self, connection: AnyConnection, target: str, start: datetime, end: datetime
    ) -> None:
        while await connection.fetchval(f"SELECT {target}.has_work($1, $2)", start, end):
            self._passes.pop(target, None)
            if not await self._store_rollups(connection, target):
                await asyncio.sleep(0.1)  # another process is at work on them


ENTRY = EngineEntry("postgres", PostgresEngine)
