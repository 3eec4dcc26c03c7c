"""TimescaleDB on a server of its own: many backends, and jobs that run by themselves.

The server is whatever the URL names, as superuser `postgres`, whose logins it trusts. Databases are
cloned from a migrated one, as those of PostgreSQL are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from ingest.migrate import migrate
from tests.support.databases import Database, blocking, execute

NATIVE_URL = "PROMGRES_TEST_TIMESCALEDB_URL"

WORKERS = "SELECT _timescaledb_functions.{}_background_workers()"


class NativeServer:
    """Databases of one test run; their names are its own, so that two runs may share a server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._prefix = f"promgres_test_{uuid4().hex[:8]}"
        self._numbers = count(1)
        self._template: str | None = None

    @contextmanager
    def lend(self, *, migrated: bool, workers: bool) -> Iterator[str]:
        """The URL of a database that is dropped at the end.

        Args:
            migrated: to engine `timescaledb`; else nothing is in it.
            workers: its jobs run by themselves.
        """
        name = f"{self._prefix}_{next(self._numbers)}"
        url = self._at(name)
        source = self._migrated() if migrated else "template0"
        blocking(execute(self._url, f"CREATE DATABASE {name} TEMPLATE {source}"))
        if migrated:
            # The launcher finds a clone by itself within a minute.
            blocking(execute(url, WORKERS.format("start" if workers else "stop")))
        yield url
        blocking(execute(self._url, f"DROP DATABASE {name} WITH (FORCE)"))

    def _migrated(self) -> str:
        """The template. Nobody may connect to it, so no scheduler does."""
        if self._template is None:
            name = f"{self._prefix}_migrated"
            database = Database(self._at(name), "timescaledb")
            blocking(execute(self._url, f"CREATE DATABASE {name} TEMPLATE template0"))
            blocking(migrate(database.url, database.settings()))
            blocking(execute(database.url, WORKERS.format("stop")))
            blocking(execute(self._url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
            blocking(
                execute(
                    self._url,
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                    f" WHERE datname = '{name}'",
                )
            )
            self._template = name
        return self._template

    def _at(self, database: str) -> str:
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{database}"))

    def __enter__(self) -> NativeServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._template is not None:
            blocking(execute(self._url, f"DROP DATABASE {self._template} WITH (FORCE)"))
