"""What `promgres up` prints when all is ready: where it listens, and what to type next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from ingest.config import Settings
from ingest.config.settings import default_data_dir
from ingest.supervisor.addresses import reachable_address


def welcome(settings: Settings, sql_url: str | None) -> str:
    """The lines, for a terminal.

    Args:
        sql_url: address of the embedded database; None when a URL was given (it may hold a
            password).
    """
    write = f"http://{reachable_address(settings.listen)}"
    read = f"http://{reachable_address(settings.api_listen)}"
    sql = f"\n         {sql_url}" if sql_url else ""
    return f"""
Promgres is ready.

  write  {write}/write    remote write
  read   {read}/rpc/      SQL functions as JSON
  SQL    {_promgres()} psql{_data_dir_flag(settings)}{sql}
  data   {settings.data_dir}

Send it something. In prometheus.yml:

  remote_write:
    - url: {write}/write

or start vmalert with  -remoteWrite.url={write}
or without either:     {_promgres()} load --url {write}/write --rate 1000

Then read it:

  curl '{read}/rpc/get_all_latest_common_metrics'

Ctrl-C ends it; the data stays.
"""


def _data_dir_flag(settings: Settings) -> str:
    """What `psql` must be told to find an embedded database that is not in the usual place."""
    if not settings.embedded or settings.data_dir == default_data_dir().resolve():
        return ""
    return f" --data-dir {shlex.quote(str(settings.data_dir))}"


def _promgres() -> str:
    """How the user of this terminal calls `promgres`: by name, or by the path it was called by."""
    called = Path(sys.argv[0])
    found = shutil.which("promgres")
    if found and Path(found).resolve() == called.resolve():
        return "promgres"
    path = os.path.relpath(called)
    return path if len(path) < len(str(called)) else str(called)
