"""`promgres key create|list|rotate|revoke|expire`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import click

from ingest.cli.administration import (
    as_duration,
    as_json_option,
    as_moment,
    ask,
    cell,
    print_json,
    print_table,
    words_of,
)
from ingest.cli.options import with_settings
from ingest.config import Settings
from ingest.errors import OperatorError
from ingest.storage.administration import NewKey

USUAL_SCOPES = ("write", "read")
KEEP_IT = "shown this once: keep it where secrets are kept"


def _as_key_id(_ctx: click.Context, _param: click.Parameter, text: str) -> str:
    """The id. Whoever has only the whole key at hand may give that: the rest goes no further."""
    found = re.fullmatch(r"(?:pmk_)?([a-z0-9]{12})(?:_.*)?", text.strip())
    if found is None:
        raise OperatorError("a key id is 12 lower-case letters and digits: promgres key list")
    return found[1]


_key_id = click.argument("key_id", callback=_as_key_id)


@click.group("key", short_help="API keys: make, list, rotate, revoke, expire")
def command() -> None:
    """API keys. A key is shown once, when it is made; the database keeps a salted hash of it."""


@command.command("create")
@click.argument("tenant")
@click.option(
    "--scope", "scopes", multiple=True,
    help="write, read or admin, as often as needed; unset: write and read; admin is all",
)  # fmt: skip
@click.option("--name", default="", help="what it is for, to tell keys apart")
@click.option("--expires", callback=as_moment, help="90d, or 2030-01-31T12:00 (UTC); unset: never")
@as_json_option
@with_settings
def create(
    settings: Settings, tenant: str, scopes: tuple[str, ...], name: str,
    expires: datetime | None, as_json: bool,
) -> None:  # fmt: skip
    """Make a key of a tenant.

    The key alone is on standard output: KEY=$(promgres key create NAME)
    """
    made = ask(
        settings,
        lambda database: database.create_key(tenant, scopes or USUAL_SCOPES, name, expires),
    )
    ends = f"it expires at {cell(expires)} UTC" if expires else "it never expires"
    _hand_over(made, f"key {made.key_id} of tenant {cell(tenant)}, {KEEP_IT}; {ends}", as_json)


@command.command("rotate", short_help="Make a key in the place of another.")
@_key_id
@click.option(
    "--overlap", callback=as_duration, default="1d", show_default=True,
    help="how long both are good: 15min, 12h, 7d",
)  # fmt: skip
@as_json_option
@with_settings
def rotate(settings: Settings, key_id: str, overlap: timedelta, as_json: bool) -> None:
    """Make a key in the place of another, with its tenant, scopes, name and expiry.

    The new key alone is on standard output. The old one is good for the overlap, and no longer.
    """
    made = ask(settings, lambda database: database.rotate_key(key_id, overlap))
    what = f"key {made.key_id} in the place of {key_id}, {KEEP_IT}; the old one is good for"
    _hand_over(made, f"{what} {words_of(overlap)} at most", as_json)


@command.command("revoke")
@_key_id
@with_settings
def revoke(settings: Settings, key_id: str) -> None:
    """End a key for ever. Every running daemon refuses it within seconds."""
    is_new = ask(settings, lambda database: database.revoke_key(key_id))
    click.echo(f"key {key_id} is revoked" if is_new else f"key {key_id} was revoked before")


@command.command("expire", short_help="Say when a key ends.")
@_key_id
@click.argument("when", callback=as_moment)
@with_settings
def expire(settings: Settings, key_id: str, when: datetime | None) -> None:
    """Say when a key ends: in 7d, at 2030-01-31T12:00 (UTC), or never.

    A key that has expired comes back by it; one that was revoked does not.
    """
    ask(settings, lambda database: database.expire_key(key_id, when))
    click.echo(
        f"key {key_id} expires at {cell(when)} UTC" if when else f"key {key_id} never expires"
    )


@command.command("list", short_help="List the keys of all tenants, or of one.")
@click.argument("tenant", required=False)
@as_json_option
@with_settings
def list_(settings: Settings, tenant: str | None, as_json: bool) -> None:
    """List the keys of all tenants, or of one: active and rotated ones are good, others refused."""
    keys = ask(settings, lambda database: database.keys(tenant))
    if as_json:
        print_json(keys)
        return
    columns = ("key_id", "tenant", "name", "scopes", "state", "created_at", "expires_at",
               "last_used_at")  # fmt: skip
    heads = ("key id", "tenant", "name", "scopes", "state", "created at (UTC)", "expires (UTC)",
             "last used (UTC)")  # fmt: skip
    print_table(heads, [[key[column] for column in columns] for key in keys], "no keys")


def _hand_over(made: NewKey, what: str, as_json: bool) -> None:
    """The key, and nothing but it, where a script takes it from."""
    if as_json:
        print_json({"key_id": made.key_id, "key": made.key})
        return
    click.echo(what, err=True)
    click.echo(made.key)
