"""`promgres api`: the read side alone."""

from __future__ import annotations

import asyncio

import click

from ingest.cli.options import with_settings
from ingest.config import Settings
from ingest.descriptors import raise_descriptor_limit
from ingest.readapi.server import serve
from ingest.storage.urls import api_database_url


@click.command(name="api")
@with_settings
def command(settings: Settings) -> None:
    """Serve the functions of schema api under /rpc, until Ctrl-C."""
    raise_descriptor_limit()
    asyncio.run(serve(settings, api_database_url(settings)))
