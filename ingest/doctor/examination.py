"""All checks, in the order of the table."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields

from ingest.doctor.access import (
    GRANTS,
    READ_LOGIN,
    ROLES,
    check_grants,
    check_login,
    check_read_login,
    check_roles,
)
from ingest.doctor.case import Case, Site, query
from ingest.doctor.durability import DURABILITY, check_durability
from ingest.doctor.finding import Finding, problem, warning
from ingest.doctor.jobs import (
    COMPRESSION,
    JOBS,
    ROLLUPS,
    check_compression,
    check_jobs,
    check_refresh,
)
from ingest.doctor.keys import KEYS, check_keys
from ingest.doctor.load import (
    CONNECTIONS,
    TRANSACTIONS,
    VACUUM,
    check_connections,
    check_transactions,
    check_vacuum,
)
from ingest.doctor.machine import CLOCK, check_clock, check_disk, check_spool
from ingest.doctor.rollups import (
    HISTOGRAMS,
    HOURS,
    MINUTES,
    check_histograms,
    check_hours,
    check_minutes,
    check_rollups,
)
from ingest.doctor.server import (
    DATABASE,
    ENGINE,
    MIGRATIONS,
    OBJECTS,
    PACKS,
    check_engine,
    check_migrations,
    check_objects,
    check_recorded_packs,
    check_server,
    not_migrated,
)
from ingest.doctor.sides import (
    check_accounts,
    check_open_doors,
    check_read_side,
    check_write_side,
    get,
)
from ingest.doctor.tables import (
    BLOCKS,
    INDEXES,
    PARTITIONS,
    RETENTION,
    SERIES,
    STAGING,
    check_blocks,
    check_indexes,
    check_partitions,
    check_retention,
    check_series,
    check_staging,
)
from ingest.errors import MigrationError, OperatorError, QueryRefused
from ingest.storage.engines import engine_entry
from ingest.storage.inspection import Inspection, inspect
from ingest.storage.urls import owner_database_url

Check = Callable[[Case], Awaitable[list[Finding]]]

FOUNDATIONS: dict[str, Check] = {
    ENGINE: check_engine,
    PACKS: check_recorded_packs,
    MIGRATIONS: check_migrations,
    OBJECTS: check_objects,
    ROLES: check_roles,
    GRANTS: check_grants,
    READ_LOGIN: check_read_login,
    KEYS: check_keys,
    DURABILITY: check_durability,
}
OF_ENGINE: dict[str, dict[str, Check]] = {
    "postgres": {
        ROLLUPS: check_rollups,
        PARTITIONS: check_partitions,
        BLOCKS: check_blocks,
        HISTOGRAMS: check_histograms,
        MINUTES: check_minutes,
        HOURS: check_hours,
    },
    "timescaledb": {JOBS: check_jobs, ROLLUPS: check_refresh, COMPRESSION: check_compression},
}
TABLES_AND_LOAD: dict[str, Check] = {
    STAGING: check_staging,
    RETENTION: check_retention,
    INDEXES: check_indexes,
    SERIES: check_series,
    TRANSACTIONS: check_transactions,
    VACUUM: check_vacuum,
    CONNECTIONS: check_connections,
    CLOCK: check_clock,
}


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        unreachable: why the database could not be asked; None if it was.
    """

    findings: list[Finding] = field(default_factory=list)
    unreachable: OperatorError | None = None


async def examine(site: Site) -> Examination:
    """Look at everything; what needs no database is looked at without one as well."""
    try:
        findings, unreachable = await examine_database(site), None
    except OperatorError as error:
        what, _, todo = str(error).partition("; ")
        findings, unreachable = [problem(DATABASE, what, todo)], error
    return Examination(findings + await asyncio.to_thread(examine_machine, site), unreachable)


def examine_machine(site: Site) -> list[Finding]:
    """What can be seen without a database. Blocks on disks and on both sides' answers."""
    is_drained = get(site.settings.listen, "/-/healthy").status == 200
    return [
        *check_spool(site, is_drained),
        *check_disk(site),
        *check_write_side(site),
        *check_accounts(site),
        *check_read_side(site),
        *check_open_doors(site),
    ]


async def examine_database(site: Site) -> list[Finding]:
    """What the database says about itself.

    Raises:
        OperatorError: it cannot be asked.
    """
    url = owner_database_url(site.settings)
    async with inspect(url, site.settings.database) as database:
        return await _examine(site, url, database)


async def _examine(site: Site, url: str, database: Inspection) -> list[Finding]:
    try:
        (server,) = await database.ask(query("server"))
    except QueryRefused as error:
        return [problem(DATABASE, str(error), "PostgreSQL 15 or newer is needed")]
    findings = check_server(site, server)
    if not server["is_migrated"]:
        return [*findings, not_migrated(site)]
    findings += check_login(site, server)
    if not server["is_owner"]:
        return findings
    (recorded,) = await database.ask(query("engine"))
    known = {each.name: getattr(site, each.name) for each in fields(site)}
    try:
        engine = engine_entry(recorded["engine"]).name
    except MigrationError as error:
        what, _, todo = str(error).partition(": ")
        return [*findings, problem(ENGINE, what, todo)]
    case = Case(**known, url=url, database=database, engine=engine)
    checks = FOUNDATIONS | OF_ENGINE[case.engine] | TABLES_AND_LOAD
    for name, check in checks.items():
        findings += await _run(name, check, case)
    return findings


async def _run(name: str, check: Check, case: Case) -> list[Finding]:
    """One check; a question that the database does not answer must not hide the others."""
    try:
        return await check(case)
    except QueryRefused as error:
        what = f"cannot be checked: {error}"
        return [warning(name, what, f"see migrations above; or {case.prescribe.migrate}")]
