"""Fixtures of every layer. A test asks for a database by what it needs of it:

- `postgres_db`, `timescale_db`: one engine, migrated;
- `engine_db`: both, one after the other (ids `postgres` and `timescaledb`);
- `timescale_roles_db`: TimescaleDB, for tests that change roles;
- `native_db`: TimescaleDB with background workers, on the server of PROMGRES_TEST_TIMESCALEDB_URL;
- `empty_postgres_db`, `empty_timescale_db`, `empty_engine_db`, `empty_spoken_db`: nothing in them;
- `spoken_db`: `postgres_db`, and one whose server speaks German (ids `english` and `german`);
- `cluster`: the PostgreSQL 18 under `postgres_db`, for tests of roles and of the server itself.

A process that root starts gets its data directory below `open_path`.
Each is a database of that test alone: see `tests.support.databases.Database`. A folder below
`tests/` is a layer, and a mark: `pytest -m 'not acceptance'`.

TimescaleDB is PGlite, which has one backend and no workers. With PROMGRES_TEST_TIMESCALEDB_URL it
is the server of that URL (superuser `postgres`, trusted), whose workers rest but in `native_db`.
With PROMGRES_TEST_POSTGRES PostgreSQL is not the wheel's but that of these programs.
"""

from __future__ import annotations

import fcntl
import os
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import settings

from ingest.migrate import migrate
from tests.support import debian
from tests.support.databases import Database, blocking, execute
from tests.support.install import pglite_installed
from tests.support.logs import ServerLogs
from tests.support.native_timescaledb import NATIVE_URL, NativeServer
from tests.support.postgres import POSTGRES, Cluster, start_cluster
from tests.support.processes import (
    SCRATCH,
    command,
    is_alive,
    kill_all,
    public_directory,
)
from tests.support.timescaledb import PgliteServer, PgliteSupply

LAYERS = ("unit", "client", "property", "promql", "engines", "acceptance", "faults", "attacks")
KNOBS = (
    "PROMGRES_SOAK_SECONDS",
    "PROMGRES_EXAMPLES",
    "PROMGRES_FAULT_ROUNDS",
    "PROMGRES_FAULT_SEED",
    "PROMGRES_OUTAGE_SECONDS",
    "PROMGRES_OVERLOAD_SECONDS",
    "PROMGRES_TEST_OLD_STACK",
    "PROMGRES_TEST_PROMETHEUS",
    "PROMGRES_PROMQLTEST",
    "PROMGRES_ATTACK_SECONDS",
    "PROMGRES_REPLAY_DAYS",
    "PROMGRES_PICTURE",
    NATIVE_URL,
    POSTGRES,
)
# hypothesis: the same examples in CI every time, and no deadline on a shared machine.
MOST_EXAMPLES = int(os.environ.get("PROMGRES_EXAMPLES", "50"))
"""Examples of a property; more than usual are for machines only, which say how many they try."""

settings.register_profile(
    "promgres",
    deadline=None,
    derandomize="CI" in os.environ,
    max_examples=min(MOST_EXAMPLES, 100),
)
settings.load_profile("promgres")
SERVERS = {
    "cluster",
    "german_cluster",
    "pglite_logs",
    "engine_db",
    "empty_engine_db",
    "native_server",
}
"""Fixtures that start a database, or that choose one by name."""

LOGS = pytest.StashKey[ServerLogs]()
LEFT_BEHIND = pytest.StashKey[list[str]]()
LEFT_A_PROCESS = 10
"""How such a run ends: not as one whose failed tests `make test` may try once more."""
_names = count(1)
Made = Callable[[Path], Path]


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    # What is ignored here, as by nohup or in the background of a shell, is ignored by every child.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    tempfile.tempdir = os.environ["TMPDIR"] = str(SCRATCH)  # also pytest's tmp_path, and children's
    for variable in [name for name in os.environ if name.startswith("PROMGRES_")]:
        if variable not in KNOBS:
            del os.environ[variable]  # the settings of whoever runs the tests are not the tests'
    for layer in LAYERS:
        config.addinivalue_line("markers", f"{layer}: tests below tests/{layer}")
    config.addinivalue_line("markers", "database: tests that ask for a database server")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        layer = item.path.relative_to(Path(__file__).parent).parts[0]
        if layer in LAYERS:
            item.add_marker(layer)
        if SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("database")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A test run that leaves a process behind has failed. Of several workers each looks after its
    own; their parent hears of it in `pytest_testnodedown`."""
    if session.config.pluginmanager.hasplugin("dsession"):
        if session.config.stash.get(LEFT_BEHIND, []):
            session.exitstatus = LEFT_A_PROCESS
        return
    left = [each for each in psutil.Process().children(recursive=True) if is_alive(each)]
    commands = [command(process) for process in left]
    session.config.stash[LEFT_BEHIND] = commands
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_behind"] = commands
    kill_all(left)
    if left:
        session.exitstatus = LEFT_A_PROCESS


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended: remember what it left behind."""
    left = getattr(node, "workeroutput", {}).get("left_behind", [])
    node.config.stash.setdefault(LEFT_BEHIND, []).extend(left)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for left in config.stash.get(LEFT_BEHIND, []):
        terminalreporter.write_line(f"left behind, killed: {left}", red=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and LOGS in item.stash:
        report.sections += item.stash[LOGS].sections()
    return report


@pytest.fixture
def server_logs(request: pytest.FixtureRequest) -> ServerLogs:
    """Logs that are shown if this test fails: `server_logs.watch("name", path)`."""
    item: pytest.Item = request.node
    return item.stash.setdefault(LOGS, ServerLogs())


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL 18 for the whole session."""
    started = start_cluster()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def _postgres_template(cluster: Cluster) -> str:
    """Name of a migrated database that others are cloned from."""
    blocking(execute(cluster.url("postgres"), "CREATE DATABASE migrated"))
    _migrate(Database(cluster.url("migrated"), "postgres"))
    return "migrated"


def _migrate(database: Database) -> None:
    blocking(migrate(database.url, database.settings()))


def _clone(cluster: Cluster, template: str, logs: ServerLogs) -> Iterator[Database]:
    name = f"test_{next(_names)}"
    admin = cluster.url("postgres")
    logs.watch("PostgreSQL", cluster.log)
    blocking(execute(admin, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"))
    yield Database(cluster.url(name), "postgres")
    blocking(execute(admin, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def empty_postgres_db(cluster: Cluster, server_logs: ServerLogs) -> Iterator[Database]:
    """PostgreSQL 18, nothing in it."""
    yield from _clone(cluster, "template0", server_logs)


@pytest.fixture
def postgres_db(
    cluster: Cluster, _postgres_template: str, server_logs: ServerLogs
) -> Iterator[Database]:
    """PostgreSQL 18, migrated to engine `postgres`."""
    yield from _clone(cluster, _postgres_template, server_logs)


@pytest.fixture(scope="session")
def german_cluster() -> Iterator[Cluster]:
    """Debian's PostgreSQL, whose messages are German; skips where it is not."""
    with debian.german_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def _german_template(german_cluster: Cluster) -> str:
    blocking(execute(german_cluster.url("postgres"), "CREATE DATABASE migrated TEMPLATE template0"))
    _migrate(Database(german_cluster.url("migrated"), "postgres"))
    return "migrated"


@pytest.fixture
def empty_german_db(german_cluster: Cluster, server_logs: ServerLogs) -> Iterator[Database]:
    """PostgreSQL with German messages, nothing in it."""
    yield from _clone(german_cluster, "template0", server_logs)


@pytest.fixture
def german_db(
    german_cluster: Cluster, _german_template: str, server_logs: ServerLogs
) -> Iterator[Database]:
    """PostgreSQL with German messages, migrated to engine `postgres`."""
    yield from _clone(german_cluster, _german_template, server_logs)


@pytest.fixture(params=["english", "german"])
def spoken_db(request: pytest.FixtureRequest) -> Database:
    """A migrated PostgreSQL, once in each language: no message may decide anything."""
    name = {"english": "postgres_db", "german": "german_db"}[request.param]
    database: Database = request.getfixturevalue(name)
    return database


@pytest.fixture(params=["english", "german"])
def empty_spoken_db(request: pytest.FixtureRequest) -> Database:
    """The same with nothing in it."""
    name = {"english": "empty_postgres_db", "german": "empty_german_db"}[request.param]
    database: Database = request.getfixturevalue(name)
    return database


@pytest.fixture(scope="session")
def pglite_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where PGlite writes its logs; without PGlite the test skips (in CI it fails)."""
    if not pglite_installed():
        missing = "PGlite is not installed: python -m tests.support.install"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return tmp_path_factory.mktemp("pglite")


def _made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Made) -> Path:
    """A file that one worker makes while the others, which need it too, wait."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path = folder / name
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            make(path.with_suffix(".new")).rename(path)
    return path


@pytest.fixture(scope="session")
def empty_pglite(tmp_path_factory: pytest.TempPathFactory, pglite_logs: Path) -> Path:
    return _made_once(tmp_path_factory, "empty.tar", partial(_dump_empty, pglite_logs))


def _dump_empty(logs: Path, path: Path) -> Path:
    server = PgliteServer(logs).open()
    # The database in use is template1; the two others are half of what each test's server unpacks.
    unused = (
        "DROP DATABASE postgres",
        "ALTER DATABASE template0 IS_TEMPLATE false",
        "DROP DATABASE template0",
        "CHECKPOINT",
    )
    blocking(execute(server.url, *unused))
    dump = server.dump(path)
    server.stop()
    return dump


@pytest.fixture(scope="session")
def _migrated_pglite(
    tmp_path_factory: pytest.TempPathFactory, pglite_logs: Path, empty_pglite: Path
) -> Path:
    make = partial(_dump_migrated, pglite_logs, empty_pglite)
    return _made_once(tmp_path_factory, "migrated.tar", make)


def _dump_migrated(logs: Path, empty: Path, path: Path) -> Path:
    server = PgliteServer(logs).open(empty)
    _migrate(_pglite(server))
    dump = server.dump(path)
    server.stop()
    return dump


@pytest.fixture(scope="session")
def _empty_pglites(pglite_logs: Path, empty_pglite: Path) -> Iterator[PgliteSupply]:
    with PgliteSupply(pglite_logs, empty_pglite) as supply:
        yield supply


@pytest.fixture(scope="session")
def _migrated_pglites(pglite_logs: Path, _migrated_pglite: Path) -> Iterator[PgliteSupply]:
    with PgliteSupply(pglite_logs, _migrated_pglite) as supply:
        yield supply


@pytest.fixture(scope="session")
def native_server() -> Iterator[NativeServer]:
    """A TimescaleDB that is a server of its own; without one the test skips."""
    if not (url := os.environ.get(NATIVE_URL)):
        pytest.skip(f"{NATIVE_URL} names no TimescaleDB with background workers")
    with NativeServer(url) as server:
        yield server


def _timescaledb(request: pytest.FixtureRequest, *, migrated: bool) -> Iterator[Database]:
    if os.environ.get(NATIVE_URL):
        native: NativeServer = request.getfixturevalue("native_server")
        with native.lend(migrated=migrated, workers=False) as url:
            yield Database(url, "timescaledb")
        return
    supply: PgliteSupply = request.getfixturevalue(
        "_migrated_pglites" if migrated else "_empty_pglites"
    )
    yield from _serve(supply, request.getfixturevalue("server_logs"))


def _pglite(server: PgliteServer) -> Database:
    return Database(server.url, "timescaledb", one_session=True)


def _serve(supply: PgliteSupply, logs: ServerLogs) -> Iterator[Database]:
    with supply.lend() as server:
        logs.watch("PGlite", server.log)
        yield _pglite(server)


@pytest.fixture
def timescale_roles_db(
    _migrated_pglites: PgliteSupply, server_logs: ServerLogs
) -> Iterator[Database]:
    """TimescaleDB with roles of its own, migrated: always PGlite."""
    yield from _serve(_migrated_pglites, server_logs)


@pytest.fixture
def empty_timescale_db(request: pytest.FixtureRequest) -> Iterator[Database]:
    """TimescaleDB can be created, nothing in it."""
    yield from _timescaledb(request, migrated=False)


@pytest.fixture
def timescale_db(request: pytest.FixtureRequest) -> Iterator[Database]:
    """TimescaleDB whose jobs run only when they are called, migrated."""
    yield from _timescaledb(request, migrated=True)


@pytest.fixture
def native_db(native_server: NativeServer) -> Iterator[Database]:
    """TimescaleDB whose jobs run by themselves, migrated."""
    with native_server.lend(migrated=True, workers=True) as url:
        yield Database(url, "timescaledb")


@pytest.fixture(params=["postgres", "timescaledb"])
def engine_db(request: pytest.FixtureRequest) -> Database:
    """A migrated database, once on each engine."""
    fixtures = {"postgres": "postgres_db", "timescaledb": "timescale_db"}
    database: Database = request.getfixturevalue(fixtures[request.param])
    return database


@pytest.fixture(params=["postgres", "timescaledb"])
def empty_engine_db(request: pytest.FixtureRequest) -> Database:
    """An empty database, once on each engine."""
    fixtures = {"postgres": "empty_postgres_db", "timescaledb": "empty_timescale_db"}
    database: Database = request.getfixturevalue(fixtures[request.param])
    return database


@pytest.fixture
def open_path() -> Iterator[Path]:
    """What `tmp_path` is, where also the users get to that root lends its processes."""
    with public_directory() as directory:
        yield directory
