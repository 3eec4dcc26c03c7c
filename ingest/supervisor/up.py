"""The order of things in `promgres up`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ingest import tasks
from ingest.config import Settings
from ingest.errors import OperatorError
from ingest.known import recall
from ingest.logs import Output, get_logger
from ingest.migrate.known import is_of
from ingest.reserve import Reserve
from ingest.storage.embedded import EmbeddedPostgres, Layout, prepare_data_dir, users_of
from ingest.storage.urls import api_database_url, as_api_login
from ingest.supervisor.addresses import settle_addresses
from ingest.supervisor.child import Child, Ties
from ingest.supervisor.environment import (
    as_users,
    promgres_command,
    read_side_environment,
    write_side_environment,
)
from ingest.supervisor.locks import family_lock, parent_lock, wait_for_family
from ingest.supervisor.services import Keeper, Service, ServiceEnded
from ingest.supervisor.welcome import welcome
from ingest.users import Side, User, forbid_new_privileges, not_separated
from ingest.writer.spool.file import FOLDER

log = get_logger("up")

WRITE_SIDE, READ_SIDE = "the write side", "the read side"
SAME_REQUEST_SECONDS = 2.0
"""Signals so close to the first are the same request (a terminal and `make` may both send one);
a later one asks to hurry."""

Migrate = Callable[[str, Settings], Awaitable[object]]


async def up(settings: Settings, config_file: Path | None, migrate: Migrate) -> None:
    """Run database, migrations, write side and read side until SIGINT, SIGTERM or SIGHUP.

    Args:
        config_file: the file that `settings` came from, for the children.
        migrate: brings the database at a URL to this version.

    Raises:
        OperatorError: something is in the way that the operator can mend.
        ChildRefused: the same, and a child has already said it.
    """
    if not settings.embedded:
        api_database_url(settings)  # refuses early
    forbid_new_privileges()
    settings = settings.model_copy(update={"data_dir": prepare_data_dir(settings.data_dir)})
    with _hold(settings.data_dir) as ties:
        reserve = Reserve(settings.data_dir, settings.reserve_bytes)
        reserve.look()  # where the disk is full, the database needs it now
        keeper, signals = Keeper(), Signals()
        background = [
            asyncio.ensure_future(tasks.keep("reserve", reserve.keep, give_up=tasks.go_on)),
            asyncio.ensure_future(tasks.tell_now_and_then()),
        ]
        work = asyncio.ensure_future(_run(settings, config_file, migrate, keeper, ties))
        asked = asyncio.ensure_future(signals.stop.wait())
        try:
            await asyncio.wait([work, asked], return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            for task in background:
                task.cancel()
            await _end(work, keeper, signals)


class Signals:
    """Requests to end, from the terminal and from elsewhere.

    Attributes:
        stop: set by the first.
        hurry: set by a later one.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self._first = 0.0
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                loop.add_signal_handler(number, self._receive, loop)

    def _receive(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self.stop.is_set():
            self._first = loop.time()
            self.stop.set()
        elif loop.time() - self._first > SAME_REQUEST_SECONDS:
            self.hurry.set()


async def _run(
    settings: Settings, config_file: Path | None, migrate: Migrate, keeper: Keeper, ties: Ties
) -> None:
    """Start everything, then watch over it until cancelled."""
    await wait_for_family(ties.family_lock)
    settings = _with_settled_addresses(settings)
    users = _users(settings)
    database = _embedded(settings, users)
    url = _database_url(settings, database)
    known = recall(settings.data_dir / FOLDER)

    def sides() -> dict[str, Service]:
        ingest_url = database.ingest_url if database else url
        return _sides(settings, config_file, url, ingest_url, users, ties)

    async def have_database() -> str:
        if database is not None:
            await keeper.start({"the database": database})
        await migrate(_database_url(settings, database), settings)
        if database is not None:
            await database.make_ingest_login()
        return _database_url(settings, database)

    try:
        if known is not None and settings.spool.max_bytes and is_of(known, url, settings.packs):
            # The write side spools meanwhile: it knows this database, and the schema is this one.
            write = sides()[WRITE_SIDE]
            await _together(have_database(), keeper.start({WRITE_SIDE: write}, stage=1))
            await keeper.start({READ_SIDE: sides()[READ_SIDE]}, stage=1)
        else:
            url = await have_database()
            await keeper.start(sides(), stage=1)
    except ServiceEnded as error:
        raise OperatorError(f"{error}; it says why above") from None
    Output(sys.stdout).write(welcome(settings, url if settings.embedded else None) + "\n")
    watching = [keeper.watch()]
    if database is not None:
        nice = tasks.keep("readers' niceness", database.keep_readers_nice, give_up=tasks.go_on)
        watching.append(nice)
    await _together(*watching)


async def _together(*work: Coroutine[Any, Any, object]) -> None:
    """Do both; if one fails the other is given up."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _users(settings: Settings) -> dict[Side, User]:
    """As root, who is to run what; what that leaves open is said here, once."""
    users = users_of(settings.users, Layout(settings.data_dir).cluster)
    if not settings.embedded:
        users.pop("server", None)
    if reason := not_separated(users):
        log.warning("not separated", reason=reason)
    return users


def _embedded(settings: Settings, users: dict[Side, User]) -> EmbeddedPostgres | None:
    """The database, if it is ours to start."""
    if settings.database_url:
        return None
    password = settings.database.password
    return EmbeddedPostgres(
        settings.data_dir,
        settings.database.listen,
        password.get_secret_value() if password else None,
        users,
    )


def _database_url(settings: Settings, database: EmbeddedPostgres | None) -> str:
    """The owner's URL."""
    if database is not None:
        return database.url
    assert settings.database_url
    return settings.database_url.get_secret_value()


def _sides(
    settings: Settings,
    config_file: Path | None,
    database_url: str,
    ingest_url: str,
    users: dict[Side, User],
    ties: Ties,
) -> dict[str, Service]:
    given = settings.api_database_url
    api_url = (
        given.get_secret_value() if given else as_api_login(database_url, settings.api_password)
    )
    return {
        WRITE_SIDE: Child(
            promgres_command("ingest"),
            write_side_environment(settings, config_file, ingest_url) | as_users(users),
            settings.listen,
            ties,
        ),
        READ_SIDE: Child(
            promgres_command("api"),
            read_side_environment(settings, config_file, api_url) | as_users(users),
            settings.api_listen,
            ties,
        ),
    }


def _with_settled_addresses(settings: Settings) -> Settings:
    wanted = {"--listen": settings.listen, "--api-listen": settings.api_listen}
    if settings.embedded and settings.database.listen:
        wanted["--database-listen"] = settings.database.listen
    settled = settle_addresses(wanted)
    listen = settled.get("--database-listen")
    return settings.model_copy(
        update={
            "listen": settled["--listen"],
            "api_listen": settled["--api-listen"],
            "database": settings.database.model_copy(update={"listen": listen}),
        }
    )


@contextmanager
def _hold(data_dir: Path) -> Iterator[Ties]:
    """Hold the data directory, and what binds children to us.

    The lifeline's write end is in this process alone, and stays open until the children have ended:
    one that is asked to end must not take that for our death.
    """
    with parent_lock(data_dir), family_lock(data_dir) as family:
        read_end, write_end = os.pipe()
        try:
            yield Ties(read_end, family)
        finally:
            os.close(read_end)
            os.close(write_end)


async def _end(work: asyncio.Future[None], keeper: Keeper, signals: Signals) -> None:
    """End everything, then let an error of `work` through."""
    stopped_by_us = not work.done()
    if stopped_by_us:
        log.info("ending")
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    await keeper.stop(signals.hurry)
    if not stopped_by_us:
        work.result()
