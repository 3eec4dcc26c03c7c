"""What `promgres up` prints when all is ready: where it listens, and what to type next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from ingest.config import Settings
from ingest.config.addresses import reachable_address
from ingest.config.settings import default_data_dir

IN_PROMETHEUS = "\n      authorization: {credentials: pmk_…}"
IN_VMALERT = " -remoteWrite.bearerToken=$PROMGRES_KEY"


def welcome(settings: Settings, sql_url: str | None) -> str:
    """The lines, for a terminal.

    Args:
        sql_url: address of the embedded database; None when a URL was given (it may hold a
            password).
    """
    write = f"http://{reachable_address(settings.listen)}"
    read = f"http://{reachable_address(settings.api_listen)}"
    is_key_needed = settings.auth.required
    bearer = ' -H "Authorization: Bearer $PROMGRES_KEY"' if is_key_needed else ""
    sql = "".join(f"\n         {address}" for address in _sql_addresses(settings, sql_url))
    return f"""
Promgres is ready.

  write  {write}/write    remote write; /api/v1/measure and /api/v1/event
  read   {read}/rpc/      SQL functions as JSON
  page   {read}/ui        metrics, queries, charts: open it in a browser
  SQL    {_promgres()} psql{_data_dir_flag(settings)}{sql}
  data   {settings.data_dir}
{_key_first(settings) if is_key_needed else ""}
Send it something. In prometheus.yml:

  remote_write:
    - url: {write}/write{IN_PROMETHEUS if is_key_needed else ""}

or start vmalert with  -remoteWrite.url={write}{IN_VMALERT if is_key_needed else ""}
or without either:     {_promgres()} load --url {write}/write --rate 1000
or push a measure:     curl{bearer} {write}/api/v1/measure -d '{{"name": "n", "value": 42}}'

Then read it:

  curl{bearer} '{read}/rpc/get_all_latest_common_metrics'

Ctrl-C ends it; the data stays.
"""


def _key_first(settings: Settings) -> str:
    """What to type before anything else where `auth.required` is set."""
    create = f"{_promgres()} key create default{_data_dir_flag(settings)}"
    return f"""
Every request needs an API key (auth.required):

  export PROMGRES_KEY=$({create})
"""


def _sql_addresses(settings: Settings, sql_url: str | None) -> Iterator[str]:
    """Where SQL clients find the embedded database: its socket, and TCP if that was asked for."""
    if sql_url is None:
        return
    yield sql_url
    database = settings.database
    for login, password in (
        ("postgres", database.password),
        ("promgres_reader", database.reader_password),
    ):
        if database.listen and password:
            yield f"postgresql://{login}@{database.listen}/postgres (with its password)"


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
