"""`promgres config check|show|from-telegraf|docs|metrics`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ingest.cli.options import with_settings
from ingest.config import Settings
from ingest.config.document import markdown, shown
from ingest.errors import ConfigError
from ingest.logs import configure_logs
from ingest.routing import Router


@click.group("config", short_help="check the settings, or print all of them")
def command() -> None:
    """Check the settings, print those in force, or print what can be set."""


@command.command("check")
@with_settings
def check(settings: Settings) -> None:
    """Say whether the settings are right; exit status 2 and one line if they are not.

    Scripts of [[starlark]] are loaded, too.
    """
    Router(settings)
    database = "the embedded database" if settings.embedded else "the database of --database-url"
    scripts = f", {len(settings.starlark)} [[starlark]] scripts" if settings.starlark else ""
    rules = f"{len(settings.route)} [[route]] rules"
    click.echo(f"the settings are right: {database}, {rules}{scripts}")


@command.command("from-telegraf")
@click.argument("telegraf_conf", type=click.Path(path_type=Path, allow_dash=True))
def from_telegraf(telegraf_conf: Path) -> None:
    """Print Telegraf's Starlark scripts and PostgreSQL outputs as a promgres.toml.

    Variables of the environment are put in as Telegraf does it. What is left out is said there, in
    comments, and on standard error.
    """
    from ingest.cli.telegraf import promgres_toml, read_telegraf

    configure_logs("warning")  # what scripts say is not what is asked for
    try:
        with click.open_file(str(telegraf_conf), encoding="utf-8-sig") as file:
            text = file.read()
        converted = read_telegraf(text, os.environ)
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{telegraf_conf}: {reason}") from None
    click.echo(promgres_toml(converted), nl=False)
    found = f"{len(converted.starlark)} scripts, {len(converted.route)} routes"
    click.echo(f"{telegraf_conf}: {found}; left out: {len(converted.left_out)}", err=True)
    for one in converted.left_out:
        click.echo(f"  {one}", err=True)


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
