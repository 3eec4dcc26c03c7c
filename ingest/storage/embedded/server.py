"""The embedded server itself: started, waited for, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import asyncpg

from ingest.errors import OperatorError
from ingest.logs import get_logger
from ingest.sqlfiles import query
from ingest.storage.embedded.account import ENVIRONMENT, Account, server_account
from ingest.storage.embedded.cluster import make_cluster
from ingest.storage.embedded.datadir import has_name, user_name
from ingest.storage.embedded.layout import (
    API_LOGIN,
    DEFAULT_PORT,
    INGEST_LOGIN,
    Layout,
    addressable_socket_dir,
    socket_url,
)
from ingest.storage.embedded.niceness import LOOK_SECONDS, Niceness
from ingest.storage.embedded.orphans import clear_files, cluster_name, stop_orphans
from ingest.storage.embedded.programs import Programs, choose_programs, reachable_programs
from ingest.users import SOCKET_GROUP, Side, User

log = get_logger("embedded")

FIRST_LOOK_SECONDS = 0.03
LONGEST_PAUSE_SECONDS = 1.0  # every look during a recovery is a line in the server's log
SAY_SO_EVERY_SECONDS = 10.0

NOT_YET = (
    asyncpg.CannotConnectNowError,  # starting, recovering
    asyncpg.TooManyConnectionsError,  # everybody comes back at the same time
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
)

HBA = """\
# Written by promgres at every start. Who asks at the socket is what the kernel says, and may be the
# logins that pg_ident.conf grants: nobody else gets in, whatever name he gives.
local all         all peer map=promgres
local replication all peer map=promgres
"""
HBA_NAMELESS = """\
# Written by promgres at every start. Our user has no name here (a container), so the kernel's word
# is worth nothing to PostgreSQL; nobody else can pass to the socket.
local all         all trust
local replication all trust
"""
HBA_TCP = """\
host all all 0.0.0.0/0 scram-sha-256
host all all ::/0 scram-sha-256
"""


class EmbeddedPostgres:
    """PostgreSQL below a data directory, as a child of this process.

    The caller holds the directory's lock, so that no other process starts a server there.

    Args:
        data_dir: as `prepare_data_dir` returned it.
        listen: `HOST:PORT` for TCP besides the socket, for logins that have a password.
        password: of the superuser `postgres`, for TCP.
        users: as root, who runs what (`users_of`): the server's user for a new cluster; the write
            side's and the read side's get in at the socket as their own logins alone.
    """

    def __init__(
        self,
        data_dir: Path,
        listen: str | None = None,
        password: str | None = None,
        users: Mapping[Side, User] | None = None,
    ) -> None:
        self._layout = Layout(data_dir)
        self._listen = listen
        self._password = password
        self._users = users or {}
        self._port = int(listen.rpartition(":")[2]) if listen else DEFAULT_PORT
        self._socket_dir = self._layout.socket_dir
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """The superuser's URL, by socket. Valid once started."""
        return socket_url(self._socket_dir, self._port)

    @property
    def ingest_url(self) -> str:
        """The write side's URL: a login that owns the tables, and nothing else of the server."""
        return socket_url(self._socket_dir, self._port, INGEST_LOGIN)

    @property
    def logs(self) -> Path:
        """Where the server writes its log."""
        return self._layout.logs

    async def start(self) -> None:
        """Make the cluster if there is none, start its server, wait until it takes connections.

        What a dead parent left is stopped first. A recovery is waited for as long as it lasts.
        May be called again after the server has ended.

        Raises:
            OperatorError: it cannot run here, or ended instead of answering.
        """
        try:
            self._process = await self._launch()
        except OSError as error:  # a full disk, no more processes, a tree that was meddled with
            raise OperatorError(f"the database in {self._layout.postgres}: {error}") from None
        await self._until_it_answers(self._process)

    async def make_ingest_login(self) -> None:
        """Make the login of `ingest_url`, if it is missing. The database is migrated."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(query("embedded/ingest_login"))
        finally:
            await connection.close()

    async def keep_readers_nice(self) -> None:
        """Have backends that answer questions make way for those that write, until cancelled.
        Started once."""
        title = f"postgres: {cluster_name(self._layout.cluster)}:"
        niceness = Niceness(title, self.url, server_account(self._layout.cluster).uid)
        while True:
            if self._process and self._process.returncode is None:
                await niceness.look(self._process.pid)
            await asyncio.sleep(LOOK_SECONDS)

    async def wait(self) -> int:
        """Wait until the server has ended; its exit status, negative for a signal."""
        assert self._process, "not started"
        return await self._process.wait()

    async def stop(self, at_once: bool = False) -> None:
        """Fast shutdown: clients are disconnected, a checkpoint is written. `at_once` skips the
        checkpoint, and the next start recovers. Does nothing when no server runs."""
        if not self._process:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
        await self._process.wait()
        if self._socket_dir != self._layout.socket_dir:
            self._socket_dir.unlink(missing_ok=True)

    async def _launch(self) -> asyncio.subprocess.Process:
        account = server_account(self._layout.cluster, self._users.get("server"))
        programs = choose_programs(self._layout)
        self._make_directories(account)
        programs = reachable_programs(programs, account, self._layout)
        await stop_orphans(self._layout)
        if not self._layout.cluster.exists():
            await make_cluster(self._layout, programs, account)
        clear_files(self._layout, account)
        return await self._spawn(programs, account)

    def _make_directories(self, account: Account) -> None:
        self._layout.postgres.mkdir(exist_ok=True)
        self._layout.postgres.chmod(0o711 if account.identity else 0o700)
        others = [user for side, user in self._users.items() if side != "server"]
        account.own(self._layout.socket_dir, SOCKET_GROUP if others else None)
        account.own(self._layout.logs)
        account.require_way_to(self._layout.socket_dir)
        hba = HBA if has_name(os.geteuid()) else HBA_NAMELESS
        for file, text in (
            (self._layout.hba_file, hba + (HBA_TCP if self._listen else "")),
            (self._layout.ident_file, self._logins(account)),
        ):
            file.write_text(text)
            file.chmod(0o644)
        self._socket_dir = addressable_socket_dir(self._layout, self._port)

    def _logins(self, account: Account) -> str:
        """pg_ident.conf: we and the cluster's owner may be anybody, the sides only themselves."""
        everybody = dict.fromkeys((user_name(os.geteuid()), account.name))
        logins = [(user, "all") for user in everybody]
        own: dict[Side, str] = {"ingest": INGEST_LOGIN, "api": API_LOGIN}
        for side, login in own.items():
            if side in self._users and self._users[side].name not in everybody:
                logins.append((self._users[side].name, login))
        lines = [f'promgres "{user}" {login}\n' for user, login in logins]
        return "# Written by promgres at every start.\n" + "".join(lines)

    async def _spawn(self, programs: Programs, account: Account) -> asyncio.subprocess.Process:
        settings = [f"--{name}={value}" for name, value in self._settings().items()]
        with self._open_startup_log() as output:
            return await asyncio.create_subprocess_exec(
                programs.path("postgres"), "-D", self._layout.cluster, *settings,
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                env=ENVIRONMENT, cwd="/", start_new_session=True, **account.identity,
            )  # fmt: skip

    def _settings(self) -> dict[str, str]:
        """What must hold whatever postgresql.conf says."""
        host = self._listen.rpartition(":")[0].strip("[]") if self._listen else ""
        quoted = str(self._socket_dir).replace('"', '""')
        return {
            "listen_addresses": host,
            "port": str(self._port),
            "unix_socket_directories": f'"{quoted}"',
            # Who may pass to the socket, its directory says: a group that the server is not in.
            "unix_socket_permissions": "0777" if self._users else "0700",
            "hba_file": str(self._layout.hba_file),
            "ident_file": str(self._layout.ident_file),
            "log_directory": str(self._layout.logs),
            "cluster_name": cluster_name(self._layout.cluster),
        }

    def _open_startup_log(self) -> IO[bytes]:
        self._layout.startup_log.unlink(missing_ok=True)
        return self._layout.startup_log.open("wb")

    async def _until_it_answers(self, process: asyncio.subprocess.Process) -> None:
        loop = asyncio.get_running_loop()
        began = said = loop.time()
        pause = FIRST_LOOK_SECONDS
        ended = asyncio.ensure_future(process.wait())
        try:
            while not await self._answers():
                await asyncio.wait([ended], timeout=pause)
                pause = min(pause * 1.3, LONGEST_PAUSE_SECONDS)
                if ended.done():
                    raise OperatorError(self._why_it_ended(ended.result()))
                if loop.time() - said > SAY_SO_EVERY_SECONDS:
                    said = loop.time()
                    log.warning("the database is recovering", seconds=round(said - began))
        finally:
            ended.cancel()

    async def _answers(self) -> bool:
        """Whether it takes connections; on the first one the password of TCP is set."""
        try:
            connection = await asyncpg.connect(self.url, timeout=10)
            try:
                if self._password and self._listen:
                    await _set_password(connection, self._password)
            finally:
                await connection.close()
        except NOT_YET:
            return False
        except asyncpg.PostgresError as error:
            raise OperatorError(
                f"the database in {self._layout.postgres} answers: {error}"
            ) from None
        return True

    def _why_it_ended(self, status: int) -> str:
        log_text = self._layout.startup_log.read_text(errors="replace")
        fatal = [line for line in log_text.splitlines() if "FATAL:" in line or "PANIC:" in line]
        why = fatal[0].partition(":  ")[2] if fatal else f"it ended with status {status}"
        return f"PostgreSQL does not start: {why}; its log is in {self._layout.logs}"


async def _set_password(connection: asyncpg.Connection[asyncpg.Record], password: str) -> None:
    """Set the superuser's password, and have no log tell it."""
    await connection.execute("SET log_statement = 'none'; SET log_min_duration_statement = -1")
    await connection.execute("SET log_min_error_statement = 'panic'")
    literal = await connection.fetchval("SELECT quote_literal($1::text)", password)
    await connection.execute(f"ALTER ROLE postgres PASSWORD {literal}")
