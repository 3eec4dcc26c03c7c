"""What differs between the engines, behind one interface. `storage/engines/` is the table of them.

`internal.setting` says which engine a database has (`promgres migrate` recorded it).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

import asyncpg

from ingest.errors import MigrationError
from ingest.storage.pool import AnyConnection, Pool, borrow
from ingest.stores import RETAINED, STORES

DAY_MS = 86_400_000
OLDEST_POSTGRES = 15
"""The first version of PostgreSQL that has all that `sql/` uses, on every engine."""

EXPIRED_ROWS_AT_ONCE = 20_000
HOUSEKEEPING_SECONDS = 600

HORIZON_SECONDS = 60.0
"""How old what is known of the retention may be: `promgres migrate` changes it at any moment."""

ASKING_SECONDS = 10
"""The longest that asking for it may take."""

IDENTITY = (
    "SELECT concat_ws(' ', system_identifier, oid) FROM pg_control_system(), pg_database"
    " WHERE datname = current_database()"
)

Progress = Callable[[int, int], None]
"""Called with steps done and steps in all."""


@dataclass(frozen=True)
class Horizon:
    """How far back a target's raw samples, or what applications push, reach.

    Attributes:
        retention_days: what the database keeps; None for ever.
        dropped_before_ms: raw samples before this are gone, whatever the retention is now.
    """

    retention_days: int | None
    dropped_before_ms: int

    def start_ms(self, now_ms: int) -> int:
        """Older samples are refused: they could no longer be aggregated with their neighbours.

        A day in UTC begins here, one day later than what retention keeps: no hour and no day is
        ever recomputed from a part of its samples.
        """
        if self.retention_days is None:
            return self.dropped_before_ms
        today_ms = now_ms - now_ms % DAY_MS
        return max(self.dropped_before_ms, today_ms - (self.retention_days - 1) * DAY_MS)


class Horizons:
    """How far back each store reaches, as the database said lately."""

    def __init__(self, oldest_ms: int) -> None:
        self._oldest_ms = oldest_ms
        self._known: dict[str, Horizon] = {}
        self._due = 0.0

    def start_ms(self, store: str, now_ms: int) -> int:
        """Older rows are rejected: partitions before it are dropped and never made again, and no
        rollup would hold them. What comes beside samples follows those of `internal`."""
        return self._known[STORES[store].schema].start_ms(now_ms)

    @property
    def kept(self) -> dict[str, tuple[int | None, int]]:
        """What is known, by store, for a process to come."""
        return {
            store: (one.retention_days, one.dropped_before_ms) for store, one in self._known.items()
        }

    def restore(self, kept: Mapping[str, tuple[int | None, int]]) -> None:
        """What an earlier process knew, until the database is asked."""
        self._known = {}
        for store in RETAINED:
            retention_days, dropped_ms = kept[store]
            self._known[store] = Horizon(retention_days, max(self._oldest_ms, dropped_ms))

    async def keep_fresh(self, pool: Pool) -> None:
        """Ask again what is kept, unless the last answer is young.

        Raises:
            asyncpg.PostgresError, OSError: what was known still stands.
        """
        if time.monotonic() >= self._due:
            async with borrow(pool, ASKING_SECONDS) as connection:
                await self.read(connection)

    async def read(self, connection: AnyConnection) -> None:
        """Ask the database what is kept."""
        self._known = {target: await self._ask(connection, target) for target in RETAINED}
        self._due = time.monotonic() + HORIZON_SECONDS

    async def _ask(self, connection: AnyConnection, target: str) -> Horizon:
        row = await connection.fetchrow(
            "SELECT retention_days, dropped_before FROM internal.horizon($1)", target
        )
        if row is None:
            raise MigrationError("the database is older than this version: promgres migrate")
        dropped_before = row["dropped_before"]
        dropped_ms = to_ms(dropped_before) if dropped_before else self._oldest_ms
        return Horizon(row["retention_days"], max(self._oldest_ms, dropped_ms))


class Straight(NamedTuple):
    """A table that rows of samples are copied into past staging.

    Attributes:
        table: in the schema of a target.
        is_late: blocks may have the same samples, and are asked before the commit.
    """

    table: str
    is_late: bool = False


class Engine(Protocol):
    """One way to keep samples and rollups in a database."""

    name: str
    horizons: Horizons

    async def prepare(self, pool: Pool, store: str, oldest_ms: int, newest_ms: int) -> None:
        """Make room for rows of this period, in transactions of their own.

        A period known to be prepared costs nothing.

        Args:
            store: the name of one that grows.

        Raises:
            asyncpg.PostgresError, OSError: the database refuses, or is away.
        """

    def straight_into(self, target: str, oldest_ms: int, newest_ms: int) -> Straight | None:
        """Which table samples of this period may be copied straight into; None: they go through
        staging. A wrong answer costs an attempt."""

    def forget(self, store: str) -> None:
        """Prepare everything again: rows met no place, so somebody else took it away."""

    async def work(self, pool: Pool) -> int:
        """One short round of background work.

        Returns:
            How much it found to do; 0 when idle.

        Raises:
            asyncpg.PostgresError, OSError: the database refuses, or is away; try again later.
        """

    async def refresh(
        self, connection: AnyConnection, start: datetime, end: datetime, progress: Progress
    ) -> None:
        """Recompute the rollups of a period (whole days in UTC) from raw samples.

        Where raw samples were dropped, rollups stay as they are.
        """


@dataclass(frozen=True)
class Extension:
    """An extension of PostgreSQL that an engine stands on.

    Attributes:
        name: in SQL.
        title: as people write it.
        oldest: the first version that will do.
        license_setting: a setting, and what it has to be.
    """

    name: str
    title: str
    oldest: tuple[int, ...]
    license_setting: tuple[str, str]


@dataclass(frozen=True)
class EngineEntry:
    """One line of the table of engines (`storage/engines/`).

    Attributes:
        name: in the settings and in the record, and of its folder in `sql/engines/`.
        make: its class.
        extension: what `promgres migrate` creates before everything else.
        owner_logs_in: jobs run in the database as promgres_owner, who must be able to log in.
    """

    name: str
    make: Callable[[Horizons], Engine]
    extension: Extension | None = None
    owner_logs_in: bool = False


async def identity_of(connection: AnyConnection) -> str | None:
    """What tells a database from its copies; None where we may not know it."""
    try:
        identity: str = await connection.fetchval(IDENTITY)
    except asyncpg.PostgresError:
        return None
    return identity


HOURS_WAIT = (
    "SELECT EXISTS (SELECT FROM internal.hours_mark WHERE target = $1 AND day = $2)"
    " OR EXISTS (SELECT FROM internal.hours_todo WHERE target = $1 AND day = $2)"
)
HOURS_PATIENCE_SECONDS = 60.0
"""How long a refresh waits for others: they may not know that they are to mark what they store."""


async def make_hours_again(connection: AnyConnection, target: str, day: datetime) -> None:
    """Hours of series of a day, from its samples.

    Readers take samples until they are made; what others hold up for longer than that, the worker
    makes.
    """
    until = day + timedelta(days=1)
    if not await connection.fetchval(f"SELECT {target}.mark_hours_between($1, $2)", day, until):
        return
    deadline = time.monotonic() + HOURS_PATIENCE_SECONDS
    while await connection.fetchval(HOURS_WAIT, target, day) and time.monotonic() < deadline:
        if await connection.fetchval(f"SELECT {target}.make_hours(p_quiet => '0')"):
            deadline = time.monotonic() + HOURS_PATIENCE_SECONDS
        else:
            await asyncio.sleep(0.1)


async def drop_expired_keys(connection: AnyConnection) -> bool:
    """Forget a bounded piece of the idempotency keys that are a week old; whether that was all."""
    dropped: int = await connection.fetchval(
        "SELECT internal.drop_expired_idempotency($1)", EXPIRED_ROWS_AT_ONCE
    )
    return dropped < EXPIRED_ROWS_AT_ONCE


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970; a moment without a zone is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1000)


def to_datetime(timestamp_ms: int) -> datetime:
    """The moment, in UTC."""
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
