"""`promgres tenant create|list|limit`."""

from __future__ import annotations

import shlex
from math import isfinite
from typing import Any

import click

from ingest.cli.administration import as_json_option, ask, cell, print_json, print_table
from ingest.cli.options import with_settings
from ingest.config import Settings
from ingest.errors import OperatorError

DEFAULT = "default"


def _as_limit(_ctx: click.Context, param: click.Parameter, text: str | None) -> float | str | None:
    """A number, or `DEFAULT`. Which numbers a limit may be, the database knows."""
    if text is None or text == DEFAULT:
        return text
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise OperatorError(f"{param.opts[0]}: {text!a} is neither a number nor {DEFAULT}")
    return int(number) if number.is_integer() else number


@click.group("tenant", short_help="whose data it is, and what each may use")
def command() -> None:
    """Tenants: whose data it is. Nobody sees another tenant's.

    A request without a key belongs to tenant `default`, unless auth.required is set.
    """


@command.command("create")
@click.argument("name")
@as_json_option
@with_settings
def create(settings: Settings, name: str, as_json: bool) -> None:
    """Make a tenant."""
    tenant_id = ask(settings, lambda database: database.create_tenant(name))
    if as_json:
        print_json({"tenant_id": tenant_id, "name": name})
    else:
        todo = f"promgres key create {shlex.quote(name)}"
        click.echo(f"tenant {cell(name)} has the id {tenant_id}; a key for it: {todo}")


@command.command("list", short_help="List tenants, their limits and how many keys they have.")
@as_json_option
@with_settings
def list_(settings: Settings, as_json: bool) -> None:
    """List tenants: how many good keys each has, when one was used last, and its own limits."""
    tenants = ask(settings, lambda database: database.tenants())
    if as_json:
        print_json(tenants)
        return
    columns = ("tenant_id", "name", "created_at", "keys", "last_used_at", "limits")
    rows = [[tenant[column] for column in columns] for tenant in tenants]
    heads = ("id", "name", "created at (UTC)", "keys", "last used (UTC)", "limits")
    print_table(heads, rows, "no tenants")


@command.command("limit", short_help="Set or show the limits of a tenant.")
@click.argument("name")
@click.option("--items-per-second", callback=_as_limit, help="samples, measures, events; 0: any")
@click.option("--series", callback=_as_limit, help="in all; 0: any number")
@click.option("--spool-share", callback=_as_limit, help="of the spool, 0 to 1")
@click.option("--new-series-per-hour", callback=_as_limit, help="0: any number")
@as_json_option
@with_settings
def limit(settings: Settings, name: str, as_json: bool, **given: float | str | None) -> None:
    """Set limits of a tenant; `default` leaves one to the settings again.

    Without an option: show the limits that the tenant has of its own.
    """
    changes = {
        key: None if isinstance(value, str) else value
        for key, value in given.items()
        if value is not None
    }
    if changes:
        limits = ask(settings, lambda database: database.change_limits(name, changes))
    else:
        limits = _limits_of(settings, name)
    if as_json:
        print_json(limits)
    else:
        print_table(("limit", "value"), list(limits.items()), "none of its own: the settings hold")


def _limits_of(settings: Settings, name: str) -> dict[str, Any]:
    for tenant in ask(settings, lambda database: database.tenants()):
        if tenant["name"] == name:
            limits: dict[str, Any] = tenant["limits"]
            return limits
    raise OperatorError("there is no such tenant: promgres tenant list")
