"""`promgres reader create|list|drop`."""

from __future__ import annotations

import re
import secrets
import sys

import click

from ingest.cli.administration import as_json_option, ask, cell, print_json, print_table
from ingest.cli.options import with_settings
from ingest.config import Settings
from ingest.errors import OperatorError
from ingest.migrate.scram import scram_verifier

PASSWORD_BYTES = 24


@click.group("reader", short_help="logins for people with SQL, each of one tenant")
def command() -> None:
    """Logins for people with SQL. Each reads views and functions of one tenant, changes nothing,
    and sees nobody else's data. `promgres_reader` is there from the start, for tenant `default`.
    """


@command.command("create")
@click.argument("tenant")
@click.option("--login", help="its name; unset: promgres_reader_TENANT")
@click.option(
    "--password-stdin", is_flag=True, help="take the password from the first line of standard input"
)
@as_json_option
@with_settings
def create(
    settings: Settings, tenant: str, login: str | None, password_stdin: bool, as_json: bool
) -> None:
    """Make a login that reads a tenant's data.

    Its password alone is on standard output, this once; with --password-stdin nothing is.
    """
    login = login or "promgres_reader_" + re.sub(r"[^a-z0-9_]", "_", tenant.lower())[:40]
    password = _given_password() if password_stdin else secrets.token_urlsafe(PASSWORD_BYTES)
    ask(settings, lambda base: base.create_reader(tenant, login, scram_verifier(password)))
    if as_json:
        print_json({"login": login} | ({} if password_stdin else {"password": password}))
        return
    shown = "" if password_stdin else "; its password is shown this once: keep it"
    click.echo(f"login {login} reads tenant {cell(tenant)}{shown}", err=True)
    if not password_stdin:
        click.echo(password)


@command.command("list")
@as_json_option
@with_settings
def list_(settings: Settings, as_json: bool) -> None:
    """List readers, and the tenant that each of them sees."""
    readers = ask(settings, lambda base: base.readers())
    if as_json:
        print_json(readers)
        return
    columns = ("login", "tenant", "created_at", "can_login")
    rows = [[reader[column] for column in columns] for reader in readers]
    print_table(("login", "tenant", "created at (UTC)", "can log in"), rows, "no readers")


@command.command("drop")
@click.argument("login")
@with_settings
def drop(settings: Settings, login: str) -> None:
    """End a reader: its role is dropped, and sessions that are open see nothing any more."""
    ask(settings, lambda base: base.drop_reader(login))
    click.echo(f"reader {login} is no more")


def _given_password() -> str:
    password = sys.stdin.readline().rstrip("\r\n")
    if not password or "\0" in password:
        raise OperatorError("no password on standard input")
    return password
