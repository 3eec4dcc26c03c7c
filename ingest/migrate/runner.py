"""Bring a database to this version: forward only, from as many processes at once as you like.

Every transaction takes the same lock (see `lock`) and then looks again at what is applied, so that
processes share the work instead of repeating it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import asyncpg

from ingest.config import Settings
from ingest.errors import MigrationError
from ingest.logs import get_logger
from ingest.migrate.choice import check_unchanged, choose_engine, recorded_engine
from ingest.migrate.lock import locked
from ingest.migrate.old_stack import OldStack, set_aside
from ingest.migrate.place import check_place
from ingest.migrate.plan import Plan, SqlFile, read_bootstrap, read_plan
from ingest.migrate.roles import retry_role_races, set_password
from ingest.sqlfiles import query
from ingest.storage.engines import engine_entry
from ingest.storage.packs import check_known, record_packs, recorded_packs
from ingest.storage.pgerrors import operator_error
from ingest.storage.pool import AnyConnection, Pool, create_pool
from ingest.stores import RETAINED

_log = get_logger("migrate")


@dataclass(frozen=True)
class MigrationReport:
    """What a run did.

    Attributes:
        engine: the engine of the database.
        applied: files that this run applied, in order; empty when there was nothing to do.
        old_stack: what stands aside for us, if that was asked for.
    """

    engine: str
    applied: list[str] = field(default_factory=list)
    old_stack: OldStack | None = None


@dataclass(frozen=True)
class MigrationStatus:
    """Where a database stands.

    Attributes:
        engine: None before the first migration.
        packs: those that are on.
        applied: files whose present content is applied.
        pending: files that `promgres migrate` would apply.
    """

    engine: str | None
    packs: Sequence[str] = ()
    applied: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)


async def migrate(
    url: str, settings: Settings, *, repair: bool = False, beside_old_stack: bool = False
) -> MigrationReport:
    """Bring the database at `url` to this version, and back what is gone of functions, views,
    triggers and jobs.

    The user of the URL is a superuser, or may create roles, and schemas in the database.

    Args:
        repair: make functions, views and triggers again though none seems to be gone.
        beside_old_stack: where the old stack stands, rename its schemas first.

    Raises:
        DatabaseUnreachable: no server, or it refuses the login.
        MigrationError: the database cannot be brought to this version; what to do about it.
    """
    async with _pool(url, settings) as pool:
        old_stack = None
        if beside_old_stack:
            async with pool.acquire() as connection:
                old_stack = await set_aside(connection)
        chosen = await choose_engine(pool, settings.engine)
        async with pool.acquire() as connection:
            report = await _migrate(connection, chosen, settings, repair)
            return replace(report, old_stack=old_stack)


async def _migrate(
    connection: AnyConnection, chosen: str, settings: Settings, repair: bool
) -> MigrationReport:
    engine = await retry_role_races(lambda: _bootstrap(connection, chosen, settings.engine))
    await _check_owner(connection, engine)
    applied = await _apply_migrations(connection, read_plan(engine, ()))
    applied += await _apply_repeatables(connection, engine, settings.packs, repair)
    await _apply_policies(connection, settings)
    for login, secret in (
        ("promgres_api", settings.api_password),
        ("promgres_reader", settings.database.reader_password),
    ):
        if secret is not None:
            setting = functools.partial(set_password, connection, login, secret.get_secret_value())
            await retry_role_races(setting)
    _log.info("database is migrated", engine=engine, applied=len(applied))
    return MigrationReport(engine, applied)


async def status(url: str, settings: Settings) -> MigrationStatus:
    """Compare the database at `url` with this version; changes nothing.

    Raises:
        DatabaseUnreachable, MigrationError: as for `migrate`.
    """
    async with _pool(url, settings) as pool, pool.acquire() as connection:
        await check_place(connection, to_write=False)
        engine = await recorded_engine(connection)
        if engine is None:
            return MigrationStatus(None)
        packs = await recorded_packs(connection)
        check_known(packs)
        plan = read_plan(engine, packs)
        record = await _read_record(connection)
        _check_record(plan, record)
        files = [*plan.migrations, *plan.repeatables]
        current = [file.name for file in files if record.get(file.name) == file.checksum]
        pending = [file.name for file in files if file.name not in current]
        return MigrationStatus(engine, packs, current, pending)


@asynccontextmanager
async def _pool(url: str, settings: Settings) -> AsyncIterator[Pool]:
    pool = await create_pool(url, settings.database, "promgres migrate")
    try:
        yield pool
    except asyncpg.InsufficientPrivilegeError as error:
        raise MigrationError(
            f"the user of the database URL may not do this: {_one_line(error)}; connect as who"
            " ran the first `promgres migrate` (the owner, with CREATEROLE), or as a superuser"
        ) from error
    except asyncpg.PostgresError as error:
        raise operator_error(error) from error
    finally:
        await pool.close()


async def _bootstrap(connection: AnyConnection, chosen: str, requested: str) -> str:
    async with locked(connection):
        engine = await recorded_engine(connection) or chosen
        check_unchanged(engine, requested)
        await connection.execute("SELECT set_config('promgres.engine', $1, true)", engine)
        await connection.execute(read_bootstrap())
    return engine


async def _check_owner(connection: AnyConnection, engine: str) -> None:
    can_login = await connection.fetchval(
        "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'promgres_owner'"
    )
    entry = engine_entry(engine)
    if entry.owner_logs_in and entry.extension and not can_login:
        raise MigrationError(
            f"role promgres_owner was made for another engine and {entry.extension.title} cannot"
            " run jobs as it: ALTER ROLE promgres_owner LOGIN (it needs no password)"
        )


async def _read_record(connection: AnyConnection) -> dict[str, str]:
    rows = await connection.fetch("SELECT file, checksum FROM internal.migration")
    return {row["file"]: row["checksum"] for row in rows}


def _check_record(plan: Plan, record: dict[str, str]) -> None:
    """Refuse a database that a newer program migrated, and files that changed afterwards."""
    checksums = {file.name: file.checksum for file in plan.migrations}
    newer = sorted(path for path in record if "/migrations/" in path and path not in checksums)
    if newer:
        raise MigrationError(
            f"the database was migrated by a newer promgres ({newer[-1]}): upgrade this one"
        )
    for path, checksum in checksums.items():
        if record.get(path, checksum) != checksum:
            raise MigrationError(
                f"{path} is not what was applied to this database: use the promgres that made it, "
                "or a newer release"
            )


async def _apply_migrations(connection: AnyConnection, plan: Plan) -> list[str]:
    applied = []
    for file in plan.migrations:
        async with locked(connection):
            record = await _read_record(connection)
            _check_record(plan, record)
            if file.name not in record:
                await _apply(connection, [file])
                applied.append(file.name)
    return applied


async def _apply_repeatables(
    connection: AnyConnection, engine: str, packs: Sequence[str] | None, everything: bool
) -> list[str]:
    """Apply the first one that changed and all after it, at once: later ones may stand on it. All
    of them, where something is gone that they made, or a table has changed since: a template has
    that table's columns in it. What no file makes any more is dropped, and a file that is no more
    is forgotten: so does a pack go that is not among `packs` (None: those that are recorded)."""
    async with locked(connection):
        await connection.execute("SET LOCAL ROLE promgres_owner")
        record = await _read_record(connection)
        before = await recorded_packs(connection)
        check_known(before)
        packs = before if packs is None else packs
        plan = read_plan(engine, packs)
        _check_record(plan, record)
        changed = [record.get(file.name) != file.checksum for file in plan.repeatables]
        if everything or await _is_behind_tables(connection) or await _misses_objects(connection):
            first = 0
        else:
            first = [*changed, True].index(True)
        files = plan.repeatables[first:]
        kept = [file.name for file in plan.repeatables[:first]]
        objects = await connection.fetch(
            "DELETE FROM internal.object WHERE file <> ALL ($1) RETURNING kind, name", kept
        )
        for file in files:
            await _apply(connection, [file])
            if "CREATE OR REPLACE" in file.text:  # else it alters or grants, others' objects too
                await connection.execute(query("migrate/record_objects"), file.name)
        await _drop_all_but_recorded(connection, objects)
        await connection.execute(
            "DELETE FROM internal.migration"
            " WHERE file <> ALL ($1) AND file NOT LIKE '%/migrations/%'",
            [file.name for file in plan.repeatables],
        )
        await record_packs(connection, packs)
        if any("/migrations/" not in name for name in record):  # else nothing was ever routed
            _tell_of_packs(before, packs)
        return [file.name for file in files]


def _tell_of_packs(before: Sequence[str], packs: Sequence[str]) -> None:
    """What follows from another choice of packs, beside what it makes and drops."""
    routed = (
        "restart the write sides: from then on, new samples of metrics that it routes start new"
        " series"
    )
    for pack in sorted(set(before) - set(packs)):
        _log.warning(
            f"pack {pack} is off: its functions and views are gone, all data stays; {routed}"
        )
    for pack in sorted(set(packs) - set(before)):
        _log.warning(f"pack {pack} is on; {routed}")


async def _drop_all_but_recorded(
    connection: AnyConnection, objects: Sequence[asyncpg.Record]
) -> None:
    """Drop those of the objects that no file has made again."""
    rows = await connection.fetch("SELECT kind, name FROM internal.object")
    made = {(row["kind"], row["name"]) for row in rows}
    gone = [each for each in map(tuple, objects) if each not in made]
    if gone:
        kinds, names = zip(*gone, strict=True)
        try:
            await connection.execute("SELECT internal.drop_objects($1, $2)", kinds, names)
        except asyncpg.PostgresError as error:
            raise MigrationError(f"what is no longer ours cannot go: {_one_line(error)}") from error


async def _is_behind_tables(connection: AnyConnection) -> bool:
    """Whether a migration came after a file that may stand on its tables; also one of a run that
    was ended before it came to these files."""
    is_behind: bool = await connection.fetchval(
        "SELECT coalesce(max(applied_at) FILTER (WHERE file LIKE '%/migrations/%')"
        " > min(applied_at) FILTER (WHERE file NOT LIKE '%/migrations/%'), false)"
        " FROM internal.migration"
    )
    return is_behind


async def _misses_objects(connection: AnyConnection) -> bool:
    if await connection.fetchval("SELECT to_regclass('internal.missing_object')") is None:
        return True
    missing: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM internal.missing_object)")
    return missing


async def _apply(connection: AnyConnection, files: Sequence[SqlFile]) -> None:
    await connection.execute("SET LOCAL ROLE promgres_owner")
    for file in files:
        try:
            for statements in await _expanded(connection, file):
                await connection.execute(statements)
        except asyncpg.PostgresError as error:
            raise MigrationError(f"{file.path}: {_one_line(error)}") from error
        await connection.execute(
            "INSERT INTO internal.migration (file, checksum) VALUES ($1, $2)"
            " ON CONFLICT (file) DO UPDATE SET checksum = excluded.checksum, applied_at = now()",
            file.name,
            file.checksum,
        )


async def _apply_policies(connection: AnyConnection, settings: Settings) -> None:
    wanted = {f"retention.{target}_days": settings.retention.days(target) for target in RETAINED}
    wanted["retention.series_hours_days"] = settings.retention.series_hours_days
    wanted["compress_after_days"] = settings.retention.compress_after_days
    values = ["" if days is None else str(days) for days in wanted.values()]
    async with locked(connection):
        await connection.execute("SET LOCAL ROLE promgres_owner")
        begins_to_pack = settings.storage.pack and await connection.fetchval(
            "SELECT EXISTS (SELECT FROM internal.series) AND NOT EXISTS ("
            "SELECT FROM internal.setting WHERE (key, value) = ('storage.pack', 'on'))"
        )
        await connection.execute(
            "SELECT internal.apply_policies($1, $2)",
            [*wanted, "storage.pack"],
            [*values, "on" if settings.storage.pack else "off"],
        )
        if begins_to_pack and await recorded_engine(connection) == "postgres":
            _log.info(
                "samples are put into blocks from now on, those that are there already in the"
                " background, the oldest first: the line `blocks` of promgres doctor says how far"
                " it is; storage.pack = false leaves rows as they are"
            )


async def _expanded(connection: AnyConnection, file: SqlFile) -> list[str]:
    """The text of a file; of a template one for each row that it is for."""
    if file.for_each is None:
        return [file.text]
    rows = await connection.fetch(
        f"SELECT internal.expand($1, $2::jsonb || to_jsonb(e)) FROM {file.for_each} AS e",  # noqa: S608
        file.text,
        json.dumps(dict(file.pieces)),
    )
    return [row[0] for row in rows]


def _one_line(error: asyncpg.PostgresError) -> str:
    return " ".join(f"{error} {error.context or ''}".split())  # its text has detail and hint
