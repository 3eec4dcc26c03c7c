"""`promgres migrate [up|status|repair]`."""

from __future__ import annotations

import asyncio

import click

from ingest.cli.options import with_settings
from ingest.config import Settings
from ingest.migrate import migrate, status
from ingest.storage.packs import named
from ingest.storage.urls import owner_database_url


@click.command("migrate", short_help="bring the database to this version")
@click.argument("action", type=click.Choice(["up", "status", "repair"]), default="up")
@with_settings
def command(settings: Settings, action: str) -> None:
    """Bring the database to this version (up, the default), or say where it stands (status).

    Both up and repair bring back functions, views, triggers and jobs that are gone; repair makes
    all of them again, as after somebody changed one.

    Safe to run from several places at once. `promgres up` does it by itself.
    """
    url = owner_database_url(settings)
    if action == "status":
        _status(url, settings)
    else:
        _up(url, settings, repair=action == "repair")


def _up(url: str, settings: Settings, repair: bool) -> None:
    report = asyncio.run(migrate(url, settings, repair=repair))
    for path in report.applied:
        click.echo(f"applied {path}")
    click.echo(f"engine {report.engine}: the database is up to date")


def _status(url: str, settings: Settings) -> None:
    found = asyncio.run(status(url, settings))
    if found.engine is None:
        click.echo("not migrated yet: promgres migrate")
        return
    click.echo(f"engine {found.engine}, {len(found.applied)} files applied")
    click.echo(f"packs: {named(found.packs)}")
    for path in found.pending:
        click.echo(f"pending {path}")
    if not found.pending:
        click.echo("up to date")
