"""The stack that we replace, in the database that we are to get: out of the way and back again.

Its schemas have the names of ours. Renamed, all of its rows stay what they are and where they are;
its own functions and triggers name tables by the old names and rest until it is taken back.
"""

from __future__ import annotations

from dataclasses import dataclass

from ingest.errors import MigrationError
from ingest.migrate.choice import check_postgres
from ingest.migrate.lock import locked
from ingest.migrate.place import ANOTHER_DATABASE, SCHEMAS, ask_place, check_place
from ingest.sqlfiles import query
from ingest.storage.pool import AnyConnection

OLD_SCHEMAS = ("api", "internal", "cumsum", "geo", "staging_internal", "staging_cumsum")
PREFIX = "old_"
"""What the old stack's schemas get before their names."""
OURS_ASIDE = "promgres_"
"""What ours get, should the old stack be taken back."""
HAS_TIMESCALEDB = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"


@dataclass(frozen=True)
class OldStack:
    """What stands aside.

    Attributes:
        schemas: by its name before, the name of each schema now.
        jobs: ids of TimescaleDB's jobs that were stopped.
        has_timescaledb: whether there are such jobs at all.
    """

    schemas: dict[str, str]
    jobs: list[int]
    has_timescaledb: bool

    def take_back(self) -> str:
        """SQL that makes all of it as it was; what is ours by then is renamed, not dropped."""
        stop_ours = (
            "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs"
            " WHERE owner::text = 'promgres_owner';"
        )
        return "\n".join(
            [
                "BEGIN;",
                *[stop_ours] * self.has_timescaledb,
                *(f"ALTER SCHEMA {name} RENAME TO {OURS_ASIDE}{name};" for name in SCHEMAS),
                *(f"ALTER SCHEMA {now} RENAME TO {was};" for was, now in self.schemas.items()),
                *(f"COMMENT ON SCHEMA {was} IS NULL;" for was in self.schemas),
                *(f"SELECT alter_job({job}, scheduled => true);" for job in self.jobs),
                "COMMIT;",
            ]
        )


async def set_aside(connection: AnyConnection) -> OldStack | None:
    """Rename the old stack's schemas and stop its jobs, in one transaction.

    Returns:
        What stands aside, now or since an earlier call; None if there is no old stack.

    Raises:
        MigrationError: what stands there is not the old stack, or it is in use.
    """
    check_postgres(connection.get_server_version().major)
    async with locked(connection):
        await check_place(connection, to_write=True, strangers_go=True)
        place = await ask_place(connection)
        foreign = set(place["schemas"]) - set(OLD_SCHEMAS)
        if place["schemas"] and (foreign or not place["is_old_stack"]):
            raise MigrationError(
                f"{', '.join(place['strangers'])}: this is not the old stack alone, which has the"
                f" schemas {', '.join(OLD_SCHEMAS)} and a table prometheus_remote_write in internal"
                f" and cumsum; nothing is renamed: {ANOTHER_DATABASE}"
            )
        if place["schemas"]:
            await _rename(connection, place["schemas"])
        return await _standing_aside(connection)


async def _rename(connection: AnyConnection, schemas: list[str]) -> None:
    """Raises MigrationError while somebody else is connected: what writes there would fail, and
    Telegraf drops what it cannot write."""
    if others := [row["who"] for row in await connection.fetch(query("migrate/sessions"))]:
        raise MigrationError(
            f"somebody else is connected to this database: {', '.join(others)}; stop Telegraf,"
            " PostgREST and whoever else uses it first, because its tables get other names"
        )
    taken = await connection.fetchval(
        "SELECT string_agg(nspname, ', ') FROM pg_namespace WHERE nspname = ANY ($1)",
        [PREFIX + name for name in schemas],
    )
    if taken:
        raise MigrationError(f"there is a schema {taken} already: rename it, then try again")
    jobs = []
    if await connection.fetchval(HAS_TIMESCALEDB):
        jobs = [row[0] for row in await connection.fetch(query("migrate/old_stack_jobs"), schemas)]
    for job in jobs:
        await connection.execute(f"SELECT alter_job({job}, scheduled => false)")
    stopped = f"; jobs stopped: {' '.join(map(str, jobs))}" if jobs else ""
    for name in schemas:
        await connection.execute(f"ALTER SCHEMA {name} RENAME TO {PREFIX}{name}")
        await connection.execute(
            f"COMMENT ON SCHEMA {PREFIX}{name} IS 'Renamed from {name} by promgres migrate"
            f" --beside-old-stack{stopped if name == 'internal' else ''}'"
        )


async def _standing_aside(connection: AnyConnection) -> OldStack | None:
    rows = await connection.fetch(query("migrate/old_stack_aside"))
    if not rows:
        return None
    jobs = [int(job) for row in rows for job in row["jobs"].split()]
    schemas = {row["was"]: row["now"] for row in rows}
    return OldStack(schemas, jobs, await connection.fetchval(HAS_TIMESCALEDB))
