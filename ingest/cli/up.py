"""`promgres up`: everything in one terminal."""

from __future__ import annotations

import asyncio
import sys

import click

from ingest.cli.options import with_settings
from ingest.config import Settings
from ingest.descriptors import raise_descriptor_limit
from ingest.migrate import migrate
from ingest.routing.starlark import load_scripts
from ingest.supervisor import ChildRefused, up


@click.command(short_help="everything in one terminal")
@with_settings
def command(settings: Settings) -> None:
    """Start database, write side and read side, and keep them running until Ctrl-C.

    Without a database URL, PostgreSQL is started below the data directory.
    """
    raise_descriptor_limit()  # the children inherit it
    load_scripts(settings)  # what is wrong with one is said before anything is started
    config_file = click.get_current_context().params.get("config")
    try:
        asyncio.run(up(settings, config_file, migrate))
    except ChildRefused:
        sys.exit(2)  # it has said why
