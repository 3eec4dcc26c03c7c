"""`promgres psql`: a SQL prompt on the database in use."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit, urlunsplit

import click

from ingest.cli.options import with_settings
from ingest.config import Settings
from ingest.storage.embedded import find_psql
from ingest.storage.urls import owner_database_url


@click.command(
    short_help="a SQL prompt on the database in use",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@with_settings
def command(settings: Settings, arguments: tuple[str, ...]) -> None:
    """Become psql on the database of --database-url, or on the embedded one of a running `promgres
    up`. ARGUMENTS go to psql: promgres psql -c 'SELECT 1'
    """
    url, environment = _hide_password(owner_database_url(settings))
    program = find_psql()
    os.execve(program, ["psql", url, *arguments], environment)  # noqa: S606


def _hide_password(url: str) -> tuple[str, dict[str, str]]:
    """The URL without its password, and an environment with it: `ps` shows arguments to all."""
    parts = urlsplit(url)
    user, colon, password = parts.netloc.rpartition("@")[0].partition(":")
    if not colon:
        return url, dict(os.environ)
    bare = urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}"))
    return bare, {**os.environ, "PGPASSWORD": unquote(password)}
