"""`promgres migrate [up|status|repair]`."""

from __future__ import annotations

import asyncio

import click

from ingest.cli.options import with_settings
from ingest.config import Settings
from ingest.errors import OperatorError
from ingest.migrate import OldStack, migrate, status
from ingest.storage.packs import named
from ingest.storage.urls import owner_database_url


@click.command("migrate", short_help="bring the database to this version")
@click.argument("action", type=click.Choice(["up", "status", "repair"]), default="up")
@click.option(
    "--beside-old-stack",
    is_flag=True,
    help="rename the schemas of the stack of Telegraf that stands there, and stop its jobs",
)
@with_settings
def command(settings: Settings, action: str, beside_old_stack: bool) -> None:
    """Bring the database to this version (up, the default), or say where it stands (status).

    Both up and repair bring back functions, views, triggers and jobs that are gone; repair makes
    all of them again, as after somebody changed one.

    Safe to run from several places at once. `promgres up` does it by itself.
    """
    url = owner_database_url(settings)
    if action == "status":
        if beside_old_stack:
            raise OperatorError("--beside-old-stack renames schemas, and status changes nothing")
        _status(url, settings)
        return
    report = asyncio.run(
        migrate(url, settings, repair=action == "repair", beside_old_stack=beside_old_stack)
    )
    for path in report.applied:
        click.echo(f"applied {path}")
    click.echo(f"engine {report.engine}: the database is up to date")
    if report.old_stack:
        _tell_of(report.old_stack)
    elif beside_old_stack:
        click.echo("the old stack does not stand in this database: nothing was renamed")


def _tell_of(aside: OldStack) -> None:
    renamed = ", ".join(f"{was} is {now}" for was, now in aside.schemas.items())
    click.echo(f"the old stack stands aside, with all of its rows: {renamed}")
    click.echo(f"jobs of it that were stopped: {', '.join(map(str, aside.jobs)) or 'none'}")
    click.echo("to take it back, stop promgres and what writes to it, then in psql:\n")
    click.echo(aside.take_back())


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
