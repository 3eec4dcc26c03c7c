"""Fixtures of the acceptance tests: real processes on real databases."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.support.databases import Database, blocking, execute
from tests.support.postgres import Cluster
from tests.support.processes import kill_all, processes_of, public_directory
from tests.support.readapi import Client, add_functions, running_api
from tests.support.remote_write import WriteSide, write_side
from tests.support.timescaledb import PgliteSupply

DUMP = Path(__file__).parent / "upgrade" / "f917639.sql.gz"
_names = count(1)


@pytest.fixture
def old_db(postgres_db: Database, empty_postgres_db: Database) -> Database:
    """The dump of an earlier version (see test_upgrade.py), restored. Roles belong to the cluster,
    which made them for `postgres_db`."""
    blocking(execute(empty_postgres_db.url, gzip.decompress(DUMP.read_bytes()).decode()))
    return empty_postgres_db


@pytest.fixture
def daemon(engine_db: Database) -> Iterator[WriteSide]:
    """A write side on each engine."""
    with write_side(engine_db) as side:
        yield side


@pytest.fixture
def postgres_write_side(postgres_db: Database) -> Iterator[WriteSide]:
    """A write side on PostgreSQL, where the engine makes no difference."""
    with write_side(postgres_db) as side:
        yield side


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for data directories; whatever still runs there afterwards is killed."""
    with public_directory() as directory:
        yield directory
        kill_all(processes_of(directory))


@pytest.fixture
def data_dir(place: Path) -> Path:
    """Of one `promgres up`."""
    return place / "data"


@pytest.fixture(scope="module", params=["postgres", "timescaledb"])
def shared_db(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database that all tests of a module share, on each engine: they tell their rows apart."""
    if request.param == "timescaledb":
        supply: PgliteSupply = request.getfixturevalue("_migrated_pglites")
        with supply.lend() as server:
            yield Database(server.url, "timescaledb", one_session=True)
    else:
        yield from _shared(
            request.getfixturevalue("cluster"), request.getfixturevalue("_postgres_template")
        )


@pytest.fixture(scope="module")
def shared_daemon(shared_db: Database) -> Iterator[WriteSide]:
    """The write side on it."""
    with write_side(shared_db) as side:
        yield side


@pytest.fixture(scope="module")
def shared_postgres_db(cluster: Cluster, _postgres_template: str) -> Iterator[Database]:
    """The same on PostgreSQL, where the engine makes no difference."""
    yield from _shared(cluster, _postgres_template)


@pytest.fixture(scope="module")
def shared_write_side(shared_postgres_db: Database) -> Iterator[WriteSide]:
    """The write side on it."""
    with write_side(shared_postgres_db) as side:
        yield side


def _shared(cluster: Cluster, template: str) -> Iterator[Database]:
    admin, name = cluster.url("postgres"), f"shared_{next(_names)}"
    blocking(execute(admin, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"))
    yield Database(cluster.url(name), "postgres")
    blocking(execute(admin, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="module")
def read_only_db(cluster: Cluster, _postgres_template: str) -> Iterator[Database]:
    """PostgreSQL with functions of every shape in schema api, for tests that change nothing."""
    admin, name = cluster.url("postgres"), "read_only"
    blocking(execute(admin, f"CREATE DATABASE {name} TEMPLATE {_postgres_template}"))
    database = Database(cluster.url(name), "postgres")
    blocking(add_functions(database))
    yield database
    blocking(execute(admin, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def api(read_only_db: Database) -> AsyncIterator[Client]:
    """A read API for tests that change nothing."""
    async with running_api(read_only_db) as client:
        yield client


@pytest.fixture
async def own_api(postgres_db: Database) -> AsyncIterator[Client]:
    """A read API on a database that is this test's alone."""
    await add_functions(postgres_db)
    async with running_api(postgres_db) as client:
        yield client
