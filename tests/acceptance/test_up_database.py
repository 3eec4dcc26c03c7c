"""The embedded server by itself: a real one in each test, with what can befall it."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import psutil
import pytest

from ingest.errors import OperatorError
from ingest.storage.embedded import EmbeddedPostgres, prepare_data_dir, running_url
from ingest.storage.embedded.account import Account, server_account
from ingest.storage.embedded.layout import MOST_SOCKET_PATH_BYTES, Layout
from ingest.storage.embedded.programs import Programs, _installed, reachable_programs
from tests.support.processes import (
    Program,
    command,
    free_port,
    is_alive,
    processes_of,
    wait_until,
)

pytestmark = pytest.mark.timeout(120)

Start = Callable[..., Awaitable[EmbeddedPostgres]]


@pytest.fixture
def data_dir(place: Path) -> Path:
    return prepare_data_dir(place / "data")


@pytest.fixture
async def start(data_dir: Path) -> AsyncIterator[Start]:
    """Starts a server in the data directory; all of them are stopped at the end."""
    started: list[EmbeddedPostgres] = []

    async def start_one(directory: Path = data_dir, **arguments: str) -> EmbeddedPostgres:
        server = EmbeddedPostgres(directory, **arguments)
        started.append(server)
        await server.start()
        return server

    yield start_one
    for server in started:
        await server.stop(at_once=True)


def cluster(data_dir: Path) -> Path:
    return Layout(data_dir).cluster


def postmaster(data_dir: Path) -> psutil.Process:
    """The server's process, found by its command line and not by any file."""
    wanted = f"-D {cluster(data_dir)} "
    found = [
        each for each in psutil.process_iter() if wanted in command(each) + " " and is_alive(each)
    ]
    parents = {each.pid for each in found}
    [root] = [each for each in found if each.ppid() not in parents]
    return root


def server_processes(data_dir: Path) -> list[psutil.Process]:
    return [each for each in processes_of(data_dir) if each.name() == "postgres"]


async def ask(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def note(url: str, text: str) -> None:
    await ask(url, "CREATE TABLE IF NOT EXISTS note (text text)")
    await ask(url, f"INSERT INTO note VALUES ('{text}')")


async def notes(url: str) -> object:
    return await ask(url, "SELECT string_agg(text, ' ') FROM note")


async def test_what_a_new_database_is_like(start: Start, data_dir: Path) -> None:
    server = await start()
    assert await ask(server.url, "SELECT current_user || '/' || current_database()") == (
        "postgres/postgres"
    )
    assert await ask(server.url, "SHOW server_version_num") >= "180000"
    assert await ask(server.url, "SHOW server_encoding") == "UTF8"
    assert await ask(server.url, "SHOW timezone") == "UTC"
    assert await ask(server.url, "SHOW listen_addresses") == ""
    assert await ask(server.url, "SHOW fsync") == "on"
    assert await ask(server.url, "SHOW synchronous_commit") == "on"
    assert await ask(server.url, "SELECT 'B' < 'a' AND lower('Ä') = 'ä'") is True
    assert running_url(data_dir) == server.url


async def test_only_its_account_gets_to_the_socket(start: Start, data_dir: Path) -> None:
    await start()
    socket_dir = Layout(data_dir).socket_dir
    status = socket_dir.stat()
    assert mode(socket_dir) == 0o700
    assert status.st_uid == cluster(data_dir).stat().st_uid
    connections = postmaster(data_dir).net_connections(kind="inet")
    assert [each for each in connections if each.status == psutil.CONN_LISTEN] == []


async def test_the_server_sees_nothing_of_our_environment(
    start: Start, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PROMGRES_JWT_SECRET", "s" * 32)
    await start()
    variables = postmaster(data_dir).environ()
    assert not [name for name in variables if name.startswith(("PROMGRES", "PGPORT", "PGDATA"))]


async def test_yesterday_s_data_is_there(start: Start, data_dir: Path) -> None:
    server = await start()
    await note(server.url, "yesterday")
    await server.stop()
    assert server_processes(data_dir) == []
    assert running_url(data_dir) is None
    server = await start()
    assert await notes(server.url) == "yesterday"


async def test_an_orphan_is_stopped_and_its_data_kept(start: Start, data_dir: Path) -> None:
    await note((await start()).url, "orphaned")
    orphan = postmaster(data_dir)
    server = await start()
    assert not is_alive(orphan)
    assert await notes(server.url) == "orphaned"


async def test_an_orphan_is_recognised_without_its_files(start: Start, data_dir: Path) -> None:
    """Somebody cleaned up: neither socket nor postmaster.pid tells of the orphan."""
    await note((await start()).url, "kept")
    for file in Layout(data_dir).socket_dir.iterdir():
        file.unlink()
    orphan = postmaster(data_dir)
    server = await start()
    assert not is_alive(orphan)
    assert await notes(server.url) == "kept"


async def test_a_killed_server_recovers(start: Start, data_dir: Path) -> None:
    server = await start()
    await note(server.url, "committed")
    postmaster(data_dir).kill()
    assert await server.wait() == -signal.SIGKILL
    assert (cluster(data_dir) / "postmaster.pid").exists()
    await server.start()
    assert await notes(server.url) == "committed"


async def test_backends_of_a_killed_server_are_in_nobody_s_way(
    start: Start, data_dir: Path
) -> None:
    """A backend amid a long query does not notice that its postmaster is gone."""
    server = await start()
    busy = await asyncpg.connect(server.url)
    backend = psutil.Process(await busy.fetchval("SELECT pg_backend_pid()"))
    endless = "DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$"
    query = asyncio.ensure_future(busy.execute(endless))
    await asyncio.to_thread(wait_until, lambda: backend.cpu_times().user > 0.1)
    postmaster(data_dir).kill()
    await server.wait()
    await server.start()
    assert not is_alive(backend)
    with pytest.raises(asyncpg.PostgresConnectionError):
        await query


async def test_a_recycled_pid_is_left_alone(start: Start, data_dir: Path) -> None:
    """The id in the files is now a living process of the very user that runs the server."""
    server = await start()
    await note(server.url, "kept")
    layout = Layout(data_dir)
    lock = layout.socket_dir / ".s.PGSQL.5432.lock"
    files = {file: file.read_bytes() for file in (layout.cluster / "postmaster.pid", lock)}
    await server.stop(at_once=True)
    account = server_account(layout.cluster)
    bystander = start_bystander(account)
    for file, content in files.items():
        _, _, rest = content.partition(b"\n")
        file.write_bytes(b"%d\n%s" % (bystander.pid, rest))
        os.chown(file, account.uid, account.gid)
    server = await start()
    assert await notes(server.url) == "kept"
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def start_bystander(account: Account) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sleep", "600"], **account.identity)


async def test_another_cluster_s_server_is_left_alone(start: Start, place: Path) -> None:
    """In a copy of a data directory all files name the original, which runs."""
    original = await start()
    await note(original.url, "original")
    await original.stop()
    copy = place / "copy"
    await copy_tree(place / "data", copy)
    await original.start()
    shutil.copy2(cluster(place / "data") / "postmaster.pid", cluster(copy) / "postmaster.pid")
    assert running_url(copy) is None
    second = await start(prepare_data_dir(copy))
    await note(second.url, "copy")
    assert await notes(original.url) == "original"
    assert await notes(second.url) == "original copy"


async def copy_tree(source: Path, target: Path) -> None:
    copying = await asyncio.create_subprocess_exec("cp", "-a", source, target)
    assert await copying.wait() == 0


async def test_a_moved_data_directory_works(start: Start, place: Path) -> None:
    server = await start()
    await note(server.url, "moved")
    await server.stop()
    (place / "data").rename(place / "elsewhere")
    server = await start(prepare_data_dir(place / "elsewhere"))
    assert await notes(server.url) == "moved"


async def test_a_recovery_is_waited_for_as_long_as_it_lasts(
    start: Start, data_dir: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it lasts until a file appears: what restores WAL waits for that."""
    server = await start()
    await note(server.url, "recovered")
    await server.stop()
    go = place / "go"
    prolong_recovery(cluster(data_dir), f"until [ -e {go} ]; do sleep 0.1; done; false")
    said = asyncio.Event()
    monkeypatch.setattr("ingest.storage.embedded.server.SAY_SO_EVERY_SECONDS", 0.5)
    monkeypatch.setattr(
        "ingest.storage.embedded.server.log.warning", lambda *_, **__: said.set(), raising=False
    )
    starting = asyncio.ensure_future(server.start())
    await asyncio.wait_for(said.wait(), 60)
    assert not starting.done()
    go.touch()
    await asyncio.wait_for(starting, 60)
    assert await notes(server.url) == "recovered"


def prolong_recovery(directory: Path, restore: str) -> None:
    """Have the next start recover, and ask `restore` for every file of WAL."""
    with (directory / "postgresql.conf").open("a") as file:
        file.write(f"restore_command = '{restore}'\nhot_standby = off\n")
    (directory / "recovery.signal").touch()
    os.chown(directory / "recovery.signal", directory.stat().st_uid, -1)


async def test_an_initdb_that_was_killed_leaves_no_half_database(
    start: Start, data_dir: Path
) -> None:
    first = asyncio.ensure_future(start())
    await asyncio.to_thread(
        wait_until, lambda: list(Layout(data_dir).postgres.glob("partial-*/base")), 20
    )
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert not cluster(data_dir).exists()
    server = await start()
    assert await ask(server.url, "SELECT 1") == 1
    assert not list(Layout(data_dir).postgres.glob("partial-*"))


@pytest.mark.parametrize(
    "name", ["d" * MOST_SOCKET_PATH_BYTES, "with, a comma", "Application Support", "a'b\"c&d=ü%20"]
)
async def test_any_path_will_do(start: Start, place: Path, name: str) -> None:
    layout = Layout(place / name)
    if "'" in name and not server_account(layout.cluster).can_run(older().path("initdb")):
        pytest.skip("initdb is copied below the data directory here, and its shell knows no quotes")
    server = await start(prepare_data_dir(place / name))
    await note(server.url, "reached")
    assert running_url(place / name) == server.url
    assert list(Layout(place / name).socket_dir.glob(".s.PGSQL.5432")), "the socket stays below"
    orphan = postmaster(place / name)
    server = await start(place / name)
    assert not is_alive(orphan)
    assert await notes(server.url) == "reached"
    await server.stop()
    assert not is_alias(server.url), "it is removed"


STARTER = """
import asyncio, sys
from pathlib import Path
from ingest.storage.embedded import EmbeddedPostgres
asyncio.run(EmbeddedPostgres(Path(sys.argv[1])).start())
"""


async def test_an_orphan_s_initdb_is_in_nobody_s_way(start: Start, data_dir: Path) -> None:
    postgres = Layout(data_dir).postgres
    with Program(sys.executable, "-c", STARTER, data_dir) as parent:
        await asyncio.to_thread(
            wait_until, lambda: list(postgres.glob("partial-*/base")), 60, parent.output
        )
        parent.kill()
    server = await start()
    assert await ask(server.url, "SELECT 1") == 1
    assert not list(postgres.glob("partial-*"))
    assert [each for each in processes_of(data_dir) if "initdb" in command(each)] == []


def is_alias(url: str) -> bool:
    """Whether a URL names a socket directory by a symlink."""
    [host] = urllib.parse.parse_qs(url.partition("?")[2])["host"]
    return Path(host).is_symlink()


async def test_tcp_needs_the_password(start: Start) -> None:
    port = free_port()
    tcp = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    password = 'it\'s \\ a "secret"'
    server = await start(listen=f"127.0.0.1:{port}", password=password)
    assert await ask(server.url, "SELECT 1") == 1
    connection = await asyncpg.connect(tcp, password=password)
    await connection.close()
    for wrong in ("", "wrong"):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(tcp, password=wrong)
    logs = "".join(file.read_text() for file in server.logs.iterdir())
    assert "secret" not in logs


async def test_without_tcp_again_nobody_listens(start: Start, data_dir: Path) -> None:
    port = free_port()
    server = await start(listen=f"127.0.0.1:{port}", password="secret")
    await server.stop()
    await start()
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0
    assert "host" not in Layout(data_dir).hba_file.read_text()


def older() -> Programs:
    """The oldest PostgreSQL in the wheel."""
    return min(_installed(), key=lambda each: each.major)


def make_cluster_with(programs: Programs, layout: Layout) -> None:
    layout.postgres.mkdir()
    layout.postgres.chmod(0o711)
    account = server_account(layout.cluster)
    account.own(layout.cluster)
    options = ["-D", layout.cluster, "-U", "postgres", "-E", "UTF8", "--locale=C"]
    reachable = reachable_programs(programs, account, layout)
    initdb = [reachable.path("initdb"), *options]
    subprocess.run(initdb, check=True, cwd="/", capture_output=True, **account.identity)


async def test_the_version_that_made_it_runs_it(start: Start, data_dir: Path) -> None:
    old, newest = older(), max(each.major for each in _installed())
    assert old.major < newest, "the wheel ships more than one major version"
    make_cluster_with(old, Layout(data_dir))
    server = await start()
    version = await ask(server.url, "SHOW server_version_num")
    assert int(str(version)) // 10_000 == old.major


async def test_a_version_that_is_not_installed_is_one_clear_line(
    start: Start, data_dir: Path
) -> None:
    server = await start()
    await server.stop()
    version = cluster(data_dir) / "PG_VERSION"
    version.write_text("17\n")
    with pytest.raises(OperatorError, match="made by PostgreSQL 17") as refusal:
        await start()
    assert "\n" not in str(refusal.value)
    version.write_text("18\n")


async def test_a_server_that_cannot_start_says_why(start: Start, data_dir: Path) -> None:
    server = await start()
    await server.stop()
    with (cluster(data_dir) / "postgresql.conf").open("a") as file:
        file.write("shared_buffers = '1 elephant'\n")
    with pytest.raises(OperatorError, match="PostgreSQL does not start: ") as refusal:
        await start()
    assert "\n" not in str(refusal.value)
    assert str(Layout(data_dir).logs) in str(refusal.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the server another account")
async def test_as_root_it_runs_as_somebody_lesser(start: Start, data_dir: Path) -> None:
    await start()
    runner = postmaster(data_dir)
    uids, gids = runner.uids(), runner.gids()
    assert set(uids) == {cluster(data_dir).stat().st_uid}
    assert 0 not in {*uids, *gids}
    assert 0 not in groups_of(runner.pid)
    assert mode(data_dir) == 0o711


def groups_of(pid: int) -> list[int]:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("Groups:"))
    return [int(word) for word in line.split()[1:]]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a cluster to another user")
async def test_a_cluster_keeps_its_account(start: Start, data_dir: Path) -> None:
    """Made when the machine had no user postgres; one came with a package since."""
    server = await start()
    await note(server.url, "kept")
    await server.stop()
    nobody = pwd.getpwnam("nobody")
    layout = Layout(data_dir)
    for top in (layout.cluster, layout.logs):
        for path in (top, *top.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    server = await start()
    assert await notes(server.url) == "kept"
    assert postmaster(data_dir).uids().real == nobody.pw_uid
