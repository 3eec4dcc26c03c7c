"""What checks look at, and from when on they complain."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ingest.config import Settings
from ingest.doctor.prescription import Prescription
from ingest.sqlfiles import read_sql
from ingest.storage.inspection import Inspection, Row

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR
MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True)
class Thresholds:
    """From when on something is worth a line. Durations in seconds, shares between 0 and 1."""

    rollup_lag: float = 5 * MINUTE
    """Rollups are stored a minute or so after a bucket has ended."""
    rollup_patience: float = 15.0
    """How long to watch whether the worker takes what waits for it."""
    job_overdue: float = 10 * MINUTE
    """The extension's scheduler starts a job within seconds of its time."""
    job_silence_intervals: float = 3
    """Intervals of a job without a success."""
    staging_holder: float = 5.0
    """Our own writers hold a staging table for less."""
    partition_grace: float = 2 * DAY
    """Dropping and compressing run once a day or so."""
    packing: float = 6 * HOUR
    """A partition is closed an hour after its end, and packed and dropped within minutes."""
    spool_age: float = 5 * MINUTE
    spool_share_warning: float = 0.5
    spool_share_problem: float = 0.8
    disk_share_warning: float = 0.10
    disk_share_problem: float = 0.03
    disk_bytes_problem: int = GIB
    inode_share_warning: float = 0.10
    inode_share_problem: float = 0.01
    clock_warning: float = 2.0
    clock_problem: float = MINUTE
    """Minutes are taken for ended, and timestamps for being in the future, by two clocks."""
    transaction_warning: float = 15 * MINUTE
    transaction_problem: float = 12 * HOUR
    slot_bytes: int = 2 * GIB
    """WAL that a replication slot without a consumer keeps."""
    connections_warning: float = 0.8
    connections_problem: float = 0.95
    transaction_ids_warning: int = 1_000_000_000
    transaction_ids_problem: int = 1_600_000_000
    """PostgreSQL stops at 2.1 billion; autovacuum should act at 0.2."""
    key_expiry: float = 7 * DAY
    key_idle: float = 90 * DAY


@dataclass(frozen=True, kw_only=True)
class Site:
    """This machine: settings, and how to write commands for it.

    Attributes:
        now: this machine's clock, in seconds since 1970.
        key: API key with which the write side shows every tenant's metrics, where it asks for one.
    """

    settings: Settings
    key: str | None = field(default=None, repr=False)
    prescribe: Prescription = field(default_factory=Prescription)
    thresholds: Thresholds = field(default_factory=Thresholds)
    now: Callable[[], float] = time.time


@dataclass(frozen=True, kw_only=True)
class Case(Site):
    """A migrated database, seen from this machine.

    Attributes:
        url: the owner's.
        engine: what the database recorded at its first migration.
    """

    url: str
    database: Inspection
    engine: str

    async def rows(self, name: str, *arguments: object) -> list[Row]:
        """The rows of `sql/doctor/NAME.sql`."""
        return await self.database.ask(query(name), *arguments)

    async def row(self, name: str, *arguments: object) -> Row:
        """The only row of `sql/doctor/NAME.sql`."""
        (only,) = await self.rows(name, *arguments)
        return only


def query(name: str) -> str:
    """The text of `sql/doctor/NAME.sql`."""
    return read_sql(f"doctor/{name}.sql")
