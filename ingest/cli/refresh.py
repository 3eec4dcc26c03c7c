"""`promgres refresh`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.progress import Progress

from ingest.cli.options import with_settings
from ingest.config import Settings
from ingest.storage.engines import load_engine
from ingest.storage.pool import AnyConnection, create_pool
from ingest.storage.urls import owner_database_url
from ingest.stores import TARGETS

MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]


@click.command("refresh", short_help="recompute rollups for a period")
@click.option("--from", "start", type=click.DateTime(MOMENTS), help="UTC; unset: the oldest sample")
@click.option("--to", "end", type=click.DateTime(MOMENTS), help="UTC; unset: now")
@with_settings
def command(settings: Settings, start: datetime | None, end: datetime | None) -> None:
    """Recompute the rollups of a period from raw samples, in whole days (UTC).

    Never needed after ingest, however late; only after rows were changed or deleted by hand.
    """
    asyncio.run(_refresh(settings, owner_database_url(settings), _utc(start), _utc(end)))


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment else None


async def _refresh(
    settings: Settings, url: str, start: datetime | None, end: datetime | None
) -> None:
    pool = await create_pool(url, settings.database, "promgres refresh")
    try:
        async with pool.acquire() as connection:
            engine = await load_engine(connection, settings)
            start = start or await _oldest(connection)
            end = end or datetime.now(UTC)
            if start is None or start >= end:
                click.echo("no samples in this period")
                return
            with Progress(console=Console(stderr=True)) as bar:
                task = bar.add_task("refresh", total=None)
                await engine.refresh(
                    connection,
                    start,
                    end,
                    lambda done, total: bar.update(task, completed=done, total=total),
                )
    finally:
        await pool.close()
    click.echo(f"rollups from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC are recomputed")


async def _oldest(connection: AnyConnection) -> datetime | None:
    starts = [
        await connection.fetchval("SELECT internal.raw_start($1)", target) for target in TARGETS
    ]
    return min((one for one in starts if one is not None), default=None)
