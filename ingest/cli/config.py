"""`promgres config check|show|docs|metrics`."""

from __future__ import annotations

import click

from ingest.cli.options import with_settings
from ingest.config import Settings
from ingest.config.document import markdown, shown


@click.group("config", short_help="check the settings, or print all of them")
def command() -> None:
    """Check the settings, print those in force, or print what can be set."""


@command.command("check")
@with_settings
def check(settings: Settings) -> None:
    """Say whether the settings are right; exit status 2 and one line if they are not."""
    database = "the embedded database" if settings.embedded else "the database of --database-url"
    click.echo(f"the settings are right: {database}, {len(settings.route)} [[route]] rules")


@command.command("show")
@with_settings
def show(settings: Settings) -> None:
    """Print the settings in force as a promgres.toml, secrets masked."""
    click.echo(shown(settings), nl=False)


@command.command("docs")
def docs() -> None:
    """Print every setting as markdown: docs/reference/configuration.md."""
    click.echo(markdown(setting_flags()), nl=False)


@command.command("metrics")
def metrics() -> None:
    """Print every metric of both sides as markdown: docs/reference/metrics.md."""
    from ingest.cli.metrictable import metrics_markdown  # imports both sides, which takes a while

    click.echo(metrics_markdown(), nl=False)


def setting_flags() -> dict[str, str]:
    """From the path of a setting to its flag, for those that have one."""
    nested = {"database_listen": "database.listen"}
    flags = {param.name: param.opts[0] for param in show.params if param.name != "config"}
    return {nested.get(name, name): flag for name, flag in flags.items() if name}
