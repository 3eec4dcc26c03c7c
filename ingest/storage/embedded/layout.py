"""Where things are below the data directory, and how its socket is addressed."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

DEFAULT_PORT = 5432
"""Names the socket file; nothing listens on TCP unless `database.listen` says so."""

INGEST_LOGIN = "promgres_ingest"
"""The write side's login on an embedded database (sql/queries/embedded/ingest_login.sql)."""

API_LOGIN = "promgres_api"
"""The login role of the read side; `promgres migrate` creates it and sets its password."""

MOST_SOCKET_PATH_BYTES = 103
"""`sun_path` has 104 bytes on macOS (108 on Linux), one of them for the final NUL."""


@dataclass(frozen=True)
class Layout:
    """Paths below one (absolute) data directory."""

    data_dir: Path

    @property
    def postgres(self) -> Path:
        """All that belongs to the embedded server."""
        return self.data_dir / "postgres"

    @property
    def cluster(self) -> Path:
        """PGDATA."""
        return self.postgres / "data"

    @property
    def socket_dir(self) -> Path:
        """The directory of the socket, for the users of our processes alone."""
        return self.postgres / "socket"

    @property
    def logs(self) -> Path:
        """The server's own log files."""
        return self.postgres / "log"

    @property
    def programs(self) -> Path:
        """Copies of the binaries, each in a folder that names its version."""
        return self.postgres / "programs"

    @property
    def hba_file(self) -> Path:
        """Who may connect."""
        return self.postgres / "pg_hba.conf"

    @property
    def ident_file(self) -> Path:
        """Which user of this machine may be which login."""
        return self.postgres / "pg_ident.conf"

    @property
    def startup_log(self) -> Path:
        """What a server says before its log is open."""
        return self.postgres / "startup.log"


def socket_file(directory: Path, port: int) -> Path:
    """The socket in a socket directory."""
    return directory / f".s.PGSQL.{port}"


def socket_url(directory: Path, port: int, user: str = "postgres") -> str:
    """The URL of database `postgres` through a socket, for asyncpg, libpq and psql."""
    host = quote(str(directory), safe="/")
    return f"postgresql://{user}@/postgres?host={host}&port={port}"


def addressable_socket_dir(layout: Layout, port: int) -> Path:
    """A name of the socket directory that fits a socket address; makes a symlink if it must.

    A path may be too long for a socket address, or hold a comma, which clients take for a list of
    hosts. Then a symlink in a runtime directory stands for it; the socket itself stays where it is.
    """
    if _fits(layout.socket_dir, port):
        return layout.socket_dir
    name = "promgres-" + hashlib.sha256(os.fsencode(layout.socket_dir)).hexdigest()[:16]
    usable = [
        parent / name
        for parent in _runtime_directories()
        if os.access(parent, os.W_OK | os.X_OK) and _fits(parent / name, port)
    ]
    for alias in usable:
        if _point(alias, layout.socket_dir):
            return alias
    return layout.socket_dir  # the server will say that the path is too long


def _fits(directory: Path, port: int) -> bool:
    path = os.fsencode(socket_file(directory, port))
    return len(path) <= MOST_SOCKET_PATH_BYTES and b"," not in path


def _runtime_directories() -> list[Path]:
    """Directories for things that need not survive a reboot, the most private first."""
    private = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR", "")
    return [Path(each) for each in (private, tempfile.gettempdir(), "/tmp") if each]  # noqa: S108


def _point(alias: Path, target: Path) -> bool:
    """Have `alias` be our symlink to `target`; false where somebody else holds that name."""
    try:
        alias.symlink_to(target)
    except FileExistsError:
        ours = alias.lstat().st_uid == os.geteuid()
        return ours and alias.is_symlink() and alias.readlink() == target
    except OSError:
        return False
    return True
