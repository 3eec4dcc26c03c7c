"""`promgres api`: the read side alone."""

from __future__ import annotations

import click
import uvloop

from ingest.cli.options import with_settings
from ingest.cli.stepdown import step_down
from ingest.config import Settings
from ingest.descriptors import raise_descriptor_limit
from ingest.ports.read_server import serve
from ingest.ports.read_workers import ALONE, fork_workers
from ingest.prometheus.nursery import Nursery
from ingest.storage.urls import api_database_url


@click.command(name="api")
@with_settings
def command(settings: Settings) -> None:
    """Serve the functions of schema api under /rpc, until Ctrl-C.

    As root it becomes the user of users.api before it listens.
    """
    raise_descriptor_limit()
    url = api_database_url(settings)
    settings = step_down(settings, "api", settings.api_listen)
    place = ALONE
    if (workers := settings.api.workers) > 1:
        place = fork_workers(settings)  # from here on there are so many of us
        share = {"workers": max(1, settings.query.workers // workers)}
        query = settings.query.model_copy(update=share)
        settings = settings.model_copy(update={"query": query})
    uvloop.run(serve(settings, url, Nursery(), place.is_ready, place))
