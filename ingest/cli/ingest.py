"""`promgres ingest`: the write side alone."""

from __future__ import annotations

import click
import uvloop

from ingest.cli.options import with_settings
from ingest.cli.stepdown import step_down
from ingest.config import Settings
from ingest.daemon.daemon import Daemon
from ingest.descriptors import raise_descriptor_limit
from ingest.heap import keep_freed_memory
from ingest.routing.starlark import load_scripts
from ingest.storage.urls import ingest_database_url


@click.command(name="ingest")
@with_settings
def command(settings: Settings) -> None:
    """Take remote write until SIGINT or SIGTERM, then finish what was taken in.

    As root it becomes the user of users.ingest before it listens.
    """
    raise_descriptor_limit()
    keep_freed_memory()
    url = ingest_database_url(settings)
    settings = step_down(settings, "ingest", settings.listen)
    load_scripts(settings)  # what is wrong with one is said now, not when the database is there
    uvloop.run(Daemon(settings, url).serve())
