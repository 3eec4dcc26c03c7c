"""What `promgres up` prints when all is ready: where it listens, and what to type next."""

from __future__ import annotations

import os
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
    sql = f"   ({sql_url})" if sql_url else ""
    return f"""
Promgres is ready.

  write  {write}/write      Prometheus remote write
  read   {read}/rpc/        SQL functions as JSON
  SQL    {psql_command(settings)}{sql}
  data   {settings.data_dir}

Send it something. In prometheus.yml:

  remote_write:
    - url: {write}/write

or start vmalert with  -remoteWrite.url={write}
or try it without either:  {_promgres()} load --url {write}/write --duration 10

Then read it:

  curl '{read}/rpc/get_all_latest_common_metrics'

Ctrl-C ends it; the data stays.
"""


def psql_command(settings: Settings) -> str:
    """What to type for a SQL prompt on this database."""
    data_dir = settings.data_dir
    elsewhere = settings.embedded and data_dir != default_data_dir()
    return f"{_promgres()} psql" + (f" --data-dir '{data_dir}'" if elsewhere else "")


def _promgres() -> str:
    """How the user of this terminal calls `promgres`: by name, or by the path it was called by."""
    called = Path(sys.argv[0])
    found = shutil.which("promgres")
    if found and Path(found).resolve() == called.resolve():
        return "promgres"
    path = os.path.relpath(called)
    return path if len(path) < len(str(called)) else str(called)
