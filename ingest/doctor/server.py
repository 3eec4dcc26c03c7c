"""The server, the extension, and how far both are migrated."""

from __future__ import annotations

import re

from ingest.doctor.case import Case, Site
from ingest.doctor.finding import Finding, ok, problem, warning
from ingest.doctor.prescription import identifier
from ingest.errors import DatabaseUnreachable, MigrationError
from ingest.migrate import status
from ingest.storage.engine import OLDEST_POSTGRES
from ingest.storage.engines import engine_entry
from ingest.storage.inspection import Row
from ingest.storage.packs import check_packs, named

DATABASE, ENGINE, PACKS = "database", "engine", "packs"
MIGRATIONS, OBJECTS = "migrations", "objects"
MOST_NAMED = 5

MISSES_BUCKETS = {(2, 22, 0), (2, 28, 0), (2, 28, 1), (2, 28, 2)}
"""TimescaleDB whose refresh of continuous aggregates can leave buckets out."""

BREAKS_JOBS = 150_020
"""PostgreSQL 15.20: TimescaleDB's background jobs fail on it."""


def check_server(site: Site, server: Row) -> list[Finding]:
    """What `sql/doctor/server.sql` found: a server of a version that we know, that takes writes."""
    version = f"PostgreSQL {server['version'].split()[0]}"
    if server["version_number"] < OLDEST_POSTGRES * 10_000:
        what = f"{version} is too old: {OLDEST_POSTGRES} or newer is needed"
        todo = "dump, restore into a newer server: docs/how-to/operations.md, Backup"
        return [problem(DATABASE, what, todo)]
    if server["is_standby"]:
        what = f"{version} is a standby: nothing can be written to it"
        return [problem(DATABASE, what, "give the primary's address in PROMGRES_DATABASE_URL")]
    if server["encoding"] != "UTF8":
        what = f"the database is encoded in {server['encoding']}: it cannot hold all text"
        todo = "dump it, restore it into one made with ENCODING 'UTF8' TEMPLATE template0"
        return [problem(DATABASE, what, f"{todo}: docs/how-to/operations.md, Backup")]
    if server["is_read_only"]:
        what = "transactions are read-only: a provider does this when the disk is full"
        database = identifier(server["database"])
        reset = f"ALTER DATABASE {database} SET default_transaction_read_only = off"
        return [problem(DATABASE, what, f"make room, then {site.prescribe.sql(reset)}")]
    return ok(DATABASE, f"{version}, database {server['database']}, login {server['login']}")


async def check_engine(case: Case) -> list[Finding]:
    """The recorded engine against the settings and the extension."""
    wanted = case.settings.engine
    if wanted not in ("auto", case.engine):
        what = f"--engine is {wanted}, but the database was made with {case.engine} for good"
        return [problem(ENGINE, what, "leave --engine (PROMGRES_ENGINE) out")]
    if engine_entry(case.engine).extension is None:
        return ok(ENGINE, case.engine)
    found = await case.row("engine")
    obstacle = _extension_obstacle(case, found)
    if obstacle:
        return [obstacle]
    version = tuple(int(number) for number in re.findall(r"\d+", found["extension"])[:3])
    server = await case.row("server")
    return [
        *check_version(case, found["extension"], version),
        *check_postgres_version(server["version_number"]),
    ]


async def check_recorded_packs(case: Case) -> list[Finding]:
    """The recorded packs against the settings."""
    recorded = (await case.row("packs"))["packs"]
    try:
        check_packs(recorded, case.settings.packs)
    except MigrationError as error:
        what, _, todo = str(error).partition(": ")
        return [problem(PACKS, what, todo)]
    return ok(PACKS, named(recorded))


def _extension_obstacle(case: Case, found: Row) -> Finding | None:
    if found["extension"] is None:
        what = "the database was made with timescaledb, and the extension is not there"
        return problem(ENGINE, what, "restore a backup: docs/how-to/operations.md, Backup")
    if found["license"] is None:
        what = "the server does not load TimescaleDB: no job runs, hypertables cannot be used"
        todo = (
            "shared_preload_libraries = 'timescaledb' in postgresql.conf, then restart the server"
        )
        return problem(ENGINE, what, todo)
    if found["license"] != "timescale":
        what = f"timescaledb.license is {found['license']}: no aggregate is refreshed"
        return problem(
            ENGINE,
            what,
            case.prescribe.setting("ALTER SYSTEM SET timescaledb.license = 'timescale'"),
        )
    if found["is_restoring"]:
        what = "the database is still in restoring mode: no job runs"
        return problem(ENGINE, what, case.prescribe.sql("SELECT public.timescaledb_post_restore()"))
    return None


def check_version(site: Site, name: str, version: tuple[int, ...]) -> list[Finding]:
    """The extension's version, as text and as numbers."""
    update = site.prescribe.promgres("psql", "-X", "-c", "ALTER EXTENSION timescaledb UPDATE")
    todo = f"install a newer TimescaleDB on the server, then {update}"
    extension = engine_entry("timescaledb").extension
    if extension is not None and version < extension.oldest:
        oldest = ".".join(map(str, extension.oldest))
        return [problem(ENGINE, f"TimescaleDB {name}: {oldest} or newer is needed", todo)]
    if version in MISSES_BUCKETS:
        what = f"TimescaleDB {name} can leave buckets out of continuous aggregates"
        return [warning(ENGINE, what, f"{todo}; {site.prescribe.promgres('refresh')}")]
    return ok(ENGINE, f"timescaledb {name}")


def check_postgres_version(version_number: int) -> list[Finding]:
    """Whether the extension's jobs run on this server (its `server_version_num`)."""
    if version_number != BREAKS_JOBS:
        return []
    what = "PostgreSQL 15.20 breaks the jobs of TimescaleDB"
    return [warning(ENGINE, what, "install another minor version on the server")]


async def check_migrations(case: Case) -> list[Finding]:
    """Whether the database is what this version of the program expects."""
    try:
        found = await status(case.url, case.settings)
    except DatabaseUnreachable:
        raise
    except MigrationError as error:
        return [problem(MIGRATIONS, str(error), "install the release that the message asks for")]
    if found.pending:
        rest = f" and {len(found.pending) - 1} more" if len(found.pending) > 1 else ""
        what = f"not applied yet: {found.pending[0]}{rest}"
        return [problem(MIGRATIONS, what, case.prescribe.migrate)]
    return ok(MIGRATIONS, f"up to date, {len(found.applied)} files")


async def check_objects(case: Case) -> list[Finding]:
    """Functions, views and triggers of ours: none is gone, no trigger is off."""
    rows = await case.rows("missing_objects")
    if not rows:
        return ok(OBJECTS, "every function, view and trigger is there")
    named = ", ".join(f"{row['kind']} {row['name']}" for row in rows[:MOST_NAMED])
    rest = f" and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else ""
    repair = case.prescribe.promgres("migrate", "repair")
    return [problem(OBJECTS, f"gone or switched off: {named}{rest}", repair)]


def not_migrated(site: Site) -> Finding:
    """For a database that was never migrated."""
    return problem(MIGRATIONS, "the database is not migrated", site.prescribe.migrate)
