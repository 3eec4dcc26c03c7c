"""`promgres audit`."""

from __future__ import annotations

import click

from ingest.cli.administration import as_json_option, ask, print_json, print_table
from ingest.cli.options import with_settings
from ingest.config import Settings

MOST_ROWS = 100_000
HEADS = (
    "at (UTC)", "action", "times", "tenant", "key id", "address", "actor", "details",
)  # fmt: skip
COLUMNS = ("at", "action", "times", "tenant", "key_id", "address", "actor", "details")


@click.command("audit", short_help="who changed tenants and keys, and what was refused")
@click.option(
    "-n", "--limit", type=click.IntRange(1, MOST_ROWS), default=50, show_default=True,
    help="rows, the newest",
)  # fmt: skip
@click.option("--tenant", help="of this tenant alone")
@click.option("--action", help="such as create_key or revoke_key")
@as_json_option
@with_settings
def command(
    settings: Settings, limit: int, tenant: str | None, action: str | None, as_json: bool
) -> None:
    """Show the audit record, newest last: changes of tenants and keys, and refused requests.

    A refusal has no actor; the same refusal again and again is one row. No secret is in it.
    """
    rows = ask(settings, lambda database: database.audit(limit, tenant, action))
    rows.reverse()  # as a log: what happened last is next to the prompt
    if as_json:
        print_json(rows)
        return
    print_table(HEADS, [[row[column] for column in COLUMNS] for row in rows], "nothing recorded")
