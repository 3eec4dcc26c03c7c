"""`promgres migrate` on empty databases, old ones, newer ones, and from many places at once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from ingest.config import RetentionSettings
from ingest.errors import MigrationError
from ingest.migrate import migrate, plan, status
from ingest.migrate.scram import scram_verifier
from ingest.sqlfiles import engine_names
from ingest.storage.engines import ENGINES, load_engine
from tests.support.databases import Database, blocking, connect, execute
from tests.support.debian import german_cluster
from tests.support.doctoring import diagnose
from tests.support.postgres import Cluster, start_cluster
from tests.support.processes import PROMGRES, run


@pytest.fixture
def own_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `sql/` that the test may change."""
    root = tmp_path / "sql"
    shutil.copytree(plan.sql_root(), root)
    monkeypatch.setattr(plan, "sql_root", lambda: root)
    return root


def list_migration(root: Path, path: str) -> None:
    """One more in `order.toml`."""
    order = (root / "order.toml").read_text()
    (root / "order.toml").write_text(order.replace("]", f'  "{path}",\n]', 1))


async def test_a_second_run_has_nothing_to_do(empty_engine_db: Database) -> None:
    settings = empty_engine_db.settings()
    assert (await status(empty_engine_db.url, settings)).engine is None
    first = await migrate(empty_engine_db.url, settings)
    assert first.engine == empty_engine_db.engine
    assert first.applied
    assert (await migrate(empty_engine_db.url, settings)).applied == []
    found = await status(empty_engine_db.url, settings)
    assert (found.engine, found.pending) == (empty_engine_db.engine, [])
    assert sorted(found.applied) == sorted(first.applied)


async def test_many_at_once_share_the_work(empty_spoken_db: Database) -> None:
    database = empty_spoken_db
    settings = database.settings()
    reports = await asyncio.gather(*(migrate(database.url, settings) for _ in range(6)))
    applied = [path for report in reports for path in report.applied]
    assert len(applied) == len(set(applied))
    assert (await status(database.url, settings)).pending == []


@pytest.fixture(params=["english", "german"])
def fresh_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster without our roles: what it says while they are made may be in German."""
    if request.param == "german":
        with german_cluster() as started:
            yield started
        return
    started = start_cluster()
    yield started
    started.stop()


async def test_two_databases_of_a_new_cluster_at_once(fresh_cluster: Cluster) -> None:
    """Roles belong to the cluster: both migrations create them."""
    names = [f"d{n}" for n in range(4)]
    await execute(fresh_cluster.url("postgres"), *(f"CREATE DATABASE {name}" for name in names))
    databases = [Database(fresh_cluster.url(name), "postgres") for name in names]
    secret = SecretStr("a password")
    await asyncio.gather(
        *(migrate(one.url, one.settings(api_password=secret)) for one in databases)
    )
    for one in databases:
        assert (await status(one.url, one.settings())).pending == []


async def test_every_object_belongs_to_the_owner(engine_db: Database) -> None:
    async with connect(engine_db) as connection:
        strangers = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace::regnamespace::text = ANY ($1)"
            " AND relowner <> 'promgres_owner'::regrole"
            " UNION ALL SELECT proname FROM pg_proc"
            " WHERE pronamespace::regnamespace::text = ANY ($1)"
            " AND proowner <> 'promgres_owner'::regrole",
            SCHEMAS,
        )
        owner = await connection.fetchrow(
            "SELECT rolsuper, rolcreaterole, rolcanlogin FROM pg_roles"
            " WHERE rolname = 'promgres_owner'"
        )
    assert strangers == []
    assert tuple(owner) == (False, False, engine_db.engine == "timescaledb")


SCHEMAS = [
    "internal", "cumsum", "geo", "api", "app", "staging_internal", "staging_cumsum", "staging_geo",
    "staging_app",
]  # fmt: skip


async def test_public_may_execute_and_read_nothing(engine_db: Database) -> None:
    async with connect(engine_db) as connection:
        executable = await connection.fetch(
            "SELECT oid::regprocedure FROM pg_proc"
            " WHERE pronamespace::regnamespace::text = ANY ($1)"
            " AND EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner)))"
            "             WHERE grantee = 0)",
            SCHEMAS,
        )
        readable = await connection.fetch(
            "SELECT oid::regclass FROM pg_class WHERE relnamespace::regnamespace::text = ANY ($1)"
            " AND EXISTS (SELECT FROM aclexplode(relacl) WHERE grantee = 0)",
            SCHEMAS,
        )
        unsafe = await connection.fetch(
            "SELECT oid::regprocedure FROM pg_proc"
            " WHERE pronamespace::regnamespace::text = ANY ($1) AND prosecdef"
            " AND NOT EXISTS (SELECT FROM unnest(proconfig) AS c"
            "                 WHERE c LIKE 'search_path=%pg_temp')",
            SCHEMAS,
        )
    assert (executable, readable, unsafe) == ([], [], [])


async def test_what_people_meet_is_commented(engine_db: Database) -> None:
    async with connect(engine_db) as connection:
        silent = await connection.fetch(
            "SELECT oid::regclass::text FROM pg_class"
            " WHERE relnamespace::regnamespace::text = ANY ($1) AND relkind IN ('r', 'v', 'p')"
            " AND NOT relispartition AND obj_description(oid, 'pg_class') IS NULL"
            " UNION ALL SELECT oid::regprocedure::text FROM pg_proc"
            " WHERE pronamespace = 'api'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL",
            SCHEMAS,
        )
    assert [row[0] for row in silent] == []


async def test_a_changed_migration_is_refused(empty_postgres_db: Database, own_sql: Path) -> None:
    settings = empty_postgres_db.settings()
    await migrate(empty_postgres_db.url, settings)
    with (own_sql / "core/migrations/0001_catalogue.sql").open("a") as file:
        file.write("-- changed\n")
    with pytest.raises(MigrationError, match=r"0001_catalogue\.sql is not what was applied"):
        await migrate(empty_postgres_db.url, settings)
    with pytest.raises(MigrationError, match="is not what was applied"):
        await status(empty_postgres_db.url, settings)


async def test_a_newer_database_is_refused(empty_postgres_db: Database, own_sql: Path) -> None:
    settings = empty_postgres_db.settings()
    order = (own_sql / "order.toml").read_text()
    newer = "engines/postgres/migrations/0999_future.sql"
    (own_sql / newer).write_text("CREATE TABLE internal.future ();\n")
    list_migration(own_sql, newer)
    await migrate(empty_postgres_db.url, settings)
    (own_sql / "order.toml").write_text(order)
    with pytest.raises(MigrationError, match=r"newer promgres .*0999_future.*upgrade this one"):
        await migrate(empty_postgres_db.url, settings)


async def test_a_migration_that_fails_leaves_nothing(
    empty_postgres_db: Database, own_sql: Path
) -> None:
    settings = empty_postgres_db.settings()
    broken = own_sql / "core/migrations/0998_broken.sql"
    list_migration(own_sql, "core/migrations/0998_broken.sql")
    broken.write_text("CREATE TABLE internal.half ();\nSELECT 1 / 0;\n")
    with pytest.raises(MigrationError, match=r"0998_broken\.sql: division by zero"):
        await migrate(empty_postgres_db.url, settings)
    async with connect(empty_postgres_db) as connection:
        assert await connection.fetchval("SELECT to_regclass('internal.half')") is None
    broken.write_text("CREATE TABLE internal.half ();\n")
    assert (
        "common/migrations/0998_broken.sql"
        in (await migrate(empty_postgres_db.url, settings)).applied
    )


async def test_a_changed_function_is_replaced_with_all_after_it(
    empty_postgres_db: Database, own_sql: Path
) -> None:
    settings = empty_postgres_db.settings()
    await migrate(empty_postgres_db.url, settings)
    with (own_sql / "engines/postgres/rollups/worker.sql").open("a") as file:
        file.write("-- changed\n")
    applied = (await migrate(empty_postgres_db.url, settings)).applied
    assert applied[0] == "engines/postgres/rollups/worker.sql"
    assert "engines/postgres/rollups/live.sql" not in applied
    assert "packs/manifest/old_stack_views.sql" in applied


async def test_a_template_follows_the_columns_of_its_table(engine_db: Database) -> None:
    """A migration that gives a table a column changes no file that moves rows into it."""
    async with connect(engine_db) as connection:
        for table in ("app.event", "staging_app.event"):
            await connection.execute(f"ALTER TABLE {table} ADD COLUMN note text")
        await connection.execute(
            "UPDATE internal.migration SET applied_at = clock_timestamp()"
            " WHERE file = 'common/migrations/0001_catalogue.sql'"
        )
    assert (await migrate(engine_db.url, engine_db.settings())).applied
    async with connect(engine_db) as connection:
        moves = await connection.fetchval(
            "SELECT pg_get_functiondef('staging_app.move_events'::regproc)"
        )
    assert "note" in moves
    assert (await migrate(engine_db.url, engine_db.settings())).applied == []


async def test_hooks_of_a_template(postgres_db: Database) -> None:
    async with connect(postgres_db) as connection:
        expand = "SELECT internal.expand($1, $2)"
        hooks = '{"name": "sample", "table": "geo.@name@"}'
        text = await connection.fetchval(expand, "date_bin(@origin@) FROM @table@;", hooks)
        assert text == "date_bin('2000-01-03 00:00+00') FROM geo.sample;"
        with pytest.raises(asyncpg.PostgresError, match="nothing fills @no_hook@"):
            await connection.fetchval(expand, "SELECT @no_hook@", hooks)


async def test_the_engine_never_changes(engine_db: Database) -> None:
    other = "postgres" if engine_db.engine == "timescaledb" else "timescaledb"
    with pytest.raises(MigrationError, match=f"made with engine {engine_db.engine}"):
        await migrate(engine_db.url, engine_db.settings(engine=other))
    same = engine_db.settings(engine=engine_db.engine)
    assert (await migrate(engine_db.url, same)).applied == []


async def test_an_engine_that_nobody_knows_is_an_error(postgres_db: Database) -> None:
    await execute(
        postgres_db.url, "UPDATE internal.setting SET value = 'citus' WHERE key = 'engine'"
    )
    settings = postgres_db.settings()
    for ask in (migrate, status):
        with pytest.raises(MigrationError, match="there is no engine 'citus', only timescaledb,"):
            await ask(postgres_db.url, settings)
    async with connect(postgres_db) as connection:
        with pytest.raises(MigrationError, match="upgrade this one"):
            await load_engine(connection, settings)
    assert "there is no engine 'citus'" in (await diagnose(postgres_db)).only("engine").what


def test_the_folders_are_the_table() -> None:
    """So that the settings know every engine that there is."""
    assert engine_names() == set(ENGINES)
    assert {getattr(entry.make, "name", None) for entry in ENGINES.values()} == set(ENGINES)


async def test_timescaledb_must_be_there_if_asked_for(empty_postgres_db: Database) -> None:
    settings = empty_postgres_db.settings(engine="timescaledb")
    with pytest.raises(MigrationError, match="does not offer the extension timescaledb"):
        await migrate(empty_postgres_db.url, settings)
    assert (await status(empty_postgres_db.url, settings)).engine is None


async def test_engine_postgres_where_timescaledb_would_do(empty_timescale_db: Database) -> None:
    settings = empty_timescale_db.settings(engine="postgres")
    assert (await migrate(empty_timescale_db.url, settings)).engine == "postgres"


async def test_an_ordinary_user_with_createrole(fresh_cluster: Cluster) -> None:
    """Managed PostgreSQL: no superuser anywhere, and nobody is a member of roles not there yet."""
    await execute(
        fresh_cluster.url("postgres"),
        "CREATE ROLE dba LOGIN CREATEROLE CREATEDB",
        "CREATE DATABASE managed OWNER dba",
        "CREATE ROLE stranger LOGIN",
        "CREATE ROLE second LOGIN",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    )
    managed = Database(fresh_cluster.url("managed", "dba"), "postgres")
    settings = managed.settings(api_password=SecretStr("secret"))
    assert (await migrate(managed.url, settings)).engine == "postgres"
    assert (await migrate(managed.url, settings)).applied == []
    async with connect(managed) as connection:
        await connection.fetch(
            "SELECT internal.ensure_partitions('internal', now(), now()), internal.rollup_work()"
        )
        await connection.execute("INSERT INTO staging_internal.sample VALUES (now(), 1, 1)")
    stranger = Database(fresh_cluster.url("managed", "stranger"), "postgres")
    with pytest.raises(MigrationError, match="user of the database URL may not do this"):
        await migrate(stranger.url, stranger.settings())
    # Who was made a member may migrate as well.
    await execute(managed.url, "GRANT promgres_owner TO second")
    second = Database(fresh_cluster.url("managed", "second"), "postgres")
    assert (await migrate(second.url, second.settings())).applied == []
    # But for what brings a role of ours: that takes who made the others, and is said in one line.
    await execute(
        fresh_cluster.url("managed"),
        "DROP OWNED BY sql_reader, promgres_reader",
        "DROP ROLE promgres_reader, sql_reader",
    )
    with pytest.raises(MigrationError, match="user of the database URL may not do this") as refused:
        await migrate(second.url, second.settings())
    assert "\n" not in str(refused.value)
    assert "first `promgres migrate`" in str(refused.value)
    await migrate(managed.url, settings, repair=True)


async def test_the_api_login_gets_its_password(empty_postgres_db: Database) -> None:
    secret = SecretStr("pässword – 1")
    await migrate(empty_postgres_db.url, empty_postgres_db.settings(api_password=secret))
    async with connect(empty_postgres_db) as connection:
        verifier = await connection.fetchval(
            "SELECT rolpassword FROM pg_authid WHERE rolname = 'promgres_api'"
        )
    salt = base64.b64decode(verifier.split("$")[1].split(":")[1])
    assert verifier == scram_verifier("pässword – 1", salt)


def test_a_verifier_is_what_postgresql_makes(cluster: Cluster) -> None:
    """The server's own verifiers of the same passwords, with the salts that it chose."""

    async def compare(password: str) -> None:
        connection = await asyncpg.connect(cluster.url("postgres"))
        try:
            quoted = await connection.fetchval("SELECT quote_literal($1::text)", password)
            await connection.execute(f"CREATE ROLE verified PASSWORD {quoted}")
            verifier = await connection.fetchval(
                "SELECT rolpassword FROM pg_authid WHERE rolname = 'verified'"
            )
            await connection.execute("DROP ROLE verified")
        finally:
            await connection.close()
        salt = base64.b64decode(verifier.split("$")[1].split(":")[1])
        assert verifier == scram_verifier(password, salt), password

    for password in (
        "plain",
        "ﬁ ½ Å",
        "non\u00a0breaking",
        "soft\u00adhyphen",
        "אבג",
        "אa",
        "\u0007",
    ):
        blocking(compare(password))


def test_scram_example_of_the_standard() -> None:
    """RFC 7677, section 3: user `user`, password `pencil`."""
    verifier = scram_verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    server_key = base64.b64decode(verifier.rsplit(":", 1)[1])
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    salted = f"r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    message = f"n=user,r=rOprNGfwEbeRWgbNEkqO,{salted},c=biws,r={nonce}"
    signature = hmac.new(server_key, message.encode(), hashlib.sha256).digest()
    assert base64.b64encode(signature) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


async def test_policies_follow_the_settings(engine_db: Database) -> None:
    async def horizon() -> tuple[int | None, object]:
        async with connect(engine_db) as connection:
            row = await connection.fetchrow("SELECT * FROM internal.horizon('internal')")
        return row["retention_days"], row["dropped_before"]

    assert await horizon() == (365, None)
    short = RetentionSettings(internal_days=30, compress_after_days=None)
    await migrate(engine_db.url, engine_db.settings(retention=short))
    assert await horizon() == (30, None), "nothing is dropped yet"
    await migrate(
        engine_db.url, engine_db.settings(retention=RetentionSettings(internal_days=None))
    )
    assert (await horizon())[0] is None


async def test_timescaledb_gets_the_policies(timescale_db: Database) -> None:
    async def policies() -> dict[str, int]:
        async with connect(timescale_db) as connection:
            rows = await connection.fetch(
                "SELECT job_id, proc_name"
                " || coalesce(' of ' || hypertable_schema || '.' || hypertable_name, '') AS what"
                " FROM timescaledb_information.jobs"
                " WHERE owner::text = 'promgres_owner'"
            )
        return {row["what"]: row["job_id"] for row in rows}

    before = await policies()
    assert set(before) == {
        "refresh_rollups",
        "compress_rollups",
        "make_series_hours",
        "drop_expired",
        "policy_compression of internal.sample",
        "policy_compression of cumsum.sample",
        "policy_compression of geo.sample",
        "policy_compression of internal.exemplar",
        "policy_compression of internal.histogram",
        "policy_compression of app.measure",
        "policy_compression of app.event",
    }
    await migrate(timescale_db.url, timescale_db.settings())
    assert await policies() == before
    none = RetentionSettings(internal_days=None, app_days=None, compress_after_days=None)
    await migrate(timescale_db.url, timescale_db.settings(retention=none))
    ours = {"refresh_rollups", "compress_rollups", "make_series_hours", "drop_expired"}
    assert set(await policies()) == ours


async def test_tables_of_an_upgrade_get_the_policies_in_force(
    timescale_db: Database,
) -> None:
    async with connect(timescale_db) as connection:

        async def jobs() -> list[str]:
            rows = await connection.fetch(
                "SELECT proc_name, config - 'hypertable_id' AS config"
                " FROM timescaledb_information.jobs"
                " WHERE hypertable_name IN ('exemplar', 'histogram') ORDER BY 1, 2::text"
            )
            return [f"{row['proc_name']} {row['config']}" for row in rows]

        before = await jobs()
        for table in ("exemplar", "histogram"):
            await connection.execute(f"SELECT remove_compression_policy('internal.{table}')")
        assert await jobs() == []
        await migrate(timescale_db.url, timescale_db.settings())
        assert await jobs() == before
        assert len(before) == 2


async def test_the_command(empty_engine_db: Database) -> None:
    environment = dict(empty_engine_db.environment())
    before = run(PROMGRES, "migrate", "status", env=environment)
    assert (before.process.returncode, before.stdout) == (0, "not migrated yet: promgres migrate\n")
    up = run(PROMGRES, "migrate", env=environment)
    assert up.process.returncode == 0, up.stderr
    assert up.stdout.startswith("applied common/migrations/0001_catalogue.sql\n")
    assert up.stdout.endswith(f"engine {empty_engine_db.engine}: the database is up to date\n")
    after = run(PROMGRES, "migrate", "status", env=environment)
    assert after.stdout.endswith("up to date\n")


async def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    for url, words in (
        (None, "no database: none runs in"),
        (f"postgresql://postgres@/x?host={tmp_path}", "cannot connect to the database"),
    ):
        common = {
            "PROMGRES_DATABASE__CONNECT_TIMEOUT_SECONDS": "0.5",
            "PROMGRES_DATA_DIR": str(tmp_path),
        }
        refused = run(PROMGRES, "migrate", env={"PROMGRES_DATABASE_URL": url, **common})
        assert refused.process.returncode == 2
        assert words in refused.stderr
        assert refused.stderr.count("\n") == 1
