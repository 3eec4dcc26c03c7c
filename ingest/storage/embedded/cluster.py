"""A new cluster, made whole or not at all."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
from contextlib import suppress
from pathlib import Path

from ingest.errors import OperatorError
from ingest.logs import get_logger
from ingest.storage.embedded.account import ENVIRONMENT, Account
from ingest.storage.embedded.layout import Layout
from ingest.storage.embedded.processes import Process, processes, works_in
from ingest.storage.embedded.programs import Programs

log = get_logger("embedded")

KILL_ROUNDS = 500
"""How often an initdb that was left behind is looked for, 10 ms apart, before it is put up with."""

STARTING_SETTINGS = {
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_connections": "60",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "synchronous_commit": "on",
    "fsync": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_error_verbosity": "terse",
    "log_line_prefix": "%m [%p] %a ",
}
"""What a new cluster's postgresql.conf says: for a machine of 1 GB or more, and a week of logs.
It is the operator's file from then on."""


async def make_cluster(layout: Layout, programs: Programs, account: Account) -> None:
    """Run initdb beside the cluster's place, then rename: an initdb that is killed leaves nothing
    that could be taken for a database.

    Raises:
        OperatorError: initdb failed; its last line is in the message.
    """
    await _remove_partial(layout)
    partial = layout.postgres / f"partial-{secrets.token_hex(4)}"
    account.own(partial)
    log.info("making a new database", directory=str(layout.cluster), version=programs.major)
    await _initdb(partial, programs, account)
    partial.rename(layout.cluster)
    _sync(layout.postgres)


async def _remove_partial(layout: Layout) -> None:
    """Remove what an initdb of a parent that died has made, once nobody writes there any more."""
    for left in layout.postgres.glob("partial-*"):
        for _ in range(KILL_ROUNDS):
            pids = [each.pid for each in processes() if _makes(left, each)]
            if not pids:
                break
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.01)  # it writes until it is gone
        shutil.rmtree(left, ignore_errors=True)  # the next start takes what is left


def _makes(directory: Path, process: Process) -> bool:
    """Whether a process is the initdb of `directory`, or the server that initdb runs in it."""
    server = "postgres" in process.command and works_in(process.pid, directory)
    return server or f" {directory}" in process.command


async def _initdb(directory: Path, programs: Programs, account: Account) -> None:
    process = await asyncio.create_subprocess_exec(
        programs.path("initdb"), "-D", directory, *_options(programs.major),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=ENVIRONMENT, cwd="/", start_new_session=True, **account.identity,
    )  # fmt: skip
    try:
        _, errors = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.kill()
        raise
    if process.returncode:
        said = [line for line in errors.decode(errors="replace").splitlines() if "error" in line]
        why = said[0] if said else f"initdb ended with status {process.returncode}"
        raise OperatorError(f"cannot make the database in {directory.parent}: {why}")


def _options(major: int) -> list[str]:
    """Byte order for sorting, Unicode for upper and lower case: alike on every machine."""
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= 17 else []
    settings = [f"--set={name}={value}" for name, value in STARTING_SETTINGS.items()]
    return ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", *builtin, *settings]


def _sync(directory: Path) -> None:
    """Have the rename survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
