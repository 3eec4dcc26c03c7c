"""`promgres spool status|rejected`."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from ingest.cli.options import with_settings
from ingest.config import Settings
from ingest.doctor.words import size, span
from ingest.writer.spool.damage import set_aside
from ingest.writer.spool.file import (
    FOLDER,
    Rejected,
    Standing,
    read_rejected,
    read_standing,
)

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="for machines")


@click.group("spool", short_help="what is acknowledged and not in the database yet")
def command() -> None:
    """Look at the spool: requests that were acknowledged while the database was away.

    Works while the write side runs, and when it does not.
    """


@command.command("status")
@_AS_JSON
@with_settings
def status(settings: Settings, as_json: bool) -> None:
    """Say how much waits in the spool, since when, and what the database refused of it."""
    standing = read_standing(settings.data_dir.expanduser())
    damaged = set_aside(settings.data_dir.expanduser() / FOLDER)
    if as_json:
        _print_json(settings, standing, damaged)
        return
    if standing is None:
        _say_none(settings)
    else:
        _print_standing(settings, standing)
    for file in damaged:
        click.echo(f"damaged, and set aside: {file}")


@command.command("rejected")
@_AS_JSON
@with_settings
def rejected(settings: Settings, as_json: bool) -> None:
    """List the samples that the database refused when they were written back, and why."""
    entries = read_rejected(settings.data_dir.expanduser())
    if as_json:
        click.echo(json.dumps([entry._asdict() for entry in entries or []], indent=2))
    elif entries is None:
        _say_none(settings)
    elif not entries:
        click.echo("the database refused nothing of what was spooled")
    else:
        _print_rejected(entries)


def _say_none(settings: Settings) -> None:
    where = settings.data_dir.expanduser() / FOLDER
    why = "it is switched off" if settings.spool.max_bytes == 0 else "nothing was ever spooled"
    click.echo(f"no spool in {where}: {why}, or the write side uses another --data-dir")


def _print_json(settings: Settings, standing: Standing | None, damaged: list[Path]) -> None:
    found = standing or Standing({}, 0)
    document = {
        "exists": standing is not None,
        "requests": found.requests,
        "samples": found.samples,
        "bytes": found.payload_bytes,
        "limit_bytes": settings.spool.max_bytes,
        "oldest_seconds": _oldest_seconds(found),
        "rejected": found.rejected,
        "damaged_files": [str(file) for file in damaged],
        "tenants": [
            {
                "tenant_id": tenant_id,
                "requests": share.requests,
                "samples": share.samples,
                "bytes": share.payload_bytes,
                "oldest_seconds": _age_seconds(share.oldest_ms),
            }
            for tenant_id, share in found.shares.items()
        ],
    }
    click.echo(json.dumps(document, indent=2))


def _print_standing(settings: Settings, standing: Standing) -> None:
    limit = settings.spool.max_bytes
    share = f" of {size(limit)} ({standing.payload_bytes / limit:.1%})" if limit else ""
    oldest = _oldest_seconds(standing)
    click.echo(f"requests  {standing.requests:,}")
    click.echo(f"samples   {standing.samples:,}")
    click.echo(f"bytes     {size(standing.payload_bytes)}{share}")
    click.echo(f"oldest    {'-' if oldest is None else span(oldest)}")
    click.echo(f"rejected  {standing.rejected:,} samples")
    if len(standing.shares) > 1:
        _print_shares(standing)
    if standing.rejected:
        click.echo("\npromgres spool rejected says which, and why")


def _print_shares(standing: Standing) -> None:
    """Tenants by what they hold, the largest first."""
    click.echo("\ntenant  requests      samples       bytes   share  oldest")
    total_bytes = max(1, standing.payload_bytes)
    by_size = sorted(standing.shares.items(), key=lambda one: -one[1].payload_bytes)
    for tenant_id, share in by_size:
        click.echo(
            f"{tenant_id:>6}  {share.requests:>8,}  {share.samples:>11,}"
            f"  {size(share.payload_bytes):>10}  {share.payload_bytes / total_bytes:>6.1%}"
            f"  {span(_age_seconds(share.oldest_ms))}"
        )


def _oldest_seconds(standing: Standing) -> float | None:
    return None if standing.oldest_ms is None else _age_seconds(standing.oldest_ms)


def _age_seconds(received_ms: int) -> float:
    return round(max(0.0, time.time() - received_ms / 1000), 3)


def _print_rejected(entries: list[Rejected]) -> None:
    click.echo("refused at (UTC)     received at (UTC)    tenant  samples  reason")
    for entry in entries:
        click.echo(
            f"{_moment(entry.rejected_ms)}  {_moment(entry.received_ms)}  {entry.tenant_id:>6}"
            f"  {entry.samples:>7,}  {' '.join(entry.reason.split())}"
        )


def _moment(timestamp_ms: int) -> str:
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
