"""`promgres import telegraf|prometheus|dump|push`: history of other systems."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import aiohttp
import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ingest.cli.options import with_settings
from ingest.config import Settings
from ingest.errors import ConfigError
from ingest.labeltext import parse_selector
from ingest.moving import prometheus, push, telegraf, telegraf_tables
from ingest.moving.source import open_source
from ingest.moving.target import Part, Target, Tell, open_target
from ingest.storage.urls import owner_database_url, place_of
from ingest.stores import TARGETS
from ingest.wire.remote_read import Matcher

SOURCE_VARIABLE, TOKEN_VARIABLE = "PROMGRES_IMPORT_SOURCE", "PROMGRES_IMPORT_TOKEN"
MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]
MOST_REASONS = 20
TELL_EVERY_SECONDS = 10.0

_SOURCE = click.option(
    "--source",
    envvar=SOURCE_VARIABLE,
    help=f"database to read, a PostgreSQL URL (environment: {SOURCE_VARIABLE}, hidden from `ps`);"
    " unset: the one that is written to",
)
_FROM = click.option(
    "--from", "start", type=click.DateTime(MOMENTS), metavar="TIME", help="UTC, this and later"
)
_TO = click.option(
    "--to", "end", type=click.DateTime(MOMENTS), metavar="TIME", help="UTC, earlier than this"
)


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What every import takes."""
    for option in (
        click.option("--again", is_flag=True, help="from the beginning, though a run was killed"),
        click.option("--dry-run", is_flag=True, help="read and count; write nothing"),
    ):
        function = option(function)
    return with_settings(function)


_TENANT = click.option("--tenant", default="default", show_default=True, help="whose history it is")


@click.group("import", short_help="take over the history of other systems")
def command() -> None:
    """Take over the history of other systems: read there, written here like every sample.

    What is there already stays as it is, so an import can be started again at any time. One that
    was killed goes on where it was; one that has finished begins anew, and stores what is new.
    """


@command.command("telegraf")
@_SOURCE
@click.option("--schema", "schemas", multiple=True, help="where its tables are; unset: everywhere")
@click.option(
    "--telegraf-host",
    "hosts",
    multiple=True,
    default=["telegraf"],
    show_default=True,
    help="values of the tag host that are Telegraf's own, and no label; * is all of them",
)
@_TENANT
@_FROM
@_TO
@_options
def telegraf_command(
    settings: Settings,
    source: str | None,
    schemas: Sequence[str],
    hosts: Sequence[str],
    tenant: str,
    start: datetime | None,
    end: datetime | None,
    again: bool,
    dry_run: bool,
) -> None:
    """Tables that Telegraf's PostgreSQL output fills: rows with a tag_id, and a table of tags.

    The schema of a row stays. Rows of schema geo go into target geo, those of the table in a
    schema cumsum into target cumsum, all others into target internal.
    """
    url = source or owner_database_url(settings)
    period_us = (_us(start), _us(end))

    async def run(target: Target, tell: Tell) -> list[Part]:
        tenant_id = await target.known_tenant(tenant)
        async with open_source(url, settings.database) as connection:
            layout = await telegraf_tables.find_layout(connection, schemas)
            parts = {}
            for old in layout.tables:
                asked = f"telegraf {_place(url)} {old.table} {period_us} {' '.join(sorted(hosts))}"
                title = old.table.replace('"', "")
                parts[old] = await target.begin(tenant_id, title, asked, again)
            mapping = telegraf.TagMapping(target, tenant_id, hosts)
            await telegraf.import_tables(connection, layout, mapping, parts, period_us, tell)
            if layout.addresses is not None:
                found, new = await telegraf.import_addresses(
                    connection, layout.addresses, target, tenant_id
                )
                became = "" if dry_run else f", {new:,} of them new"
                click.echo(f"excluded addresses: {found:,} read{became}")
        await _finish(target, list(parts.values()), tenant_id, tell)
        _say_what_differs(mapping)
        return list(parts.values())

    _run(settings, dry_run, run)


def _say_what_differs(mapping: telegraf.TagMapping) -> None:
    for name, label in sorted(mapping.beside_settings):
        click.echo(
            f"{name}: its label {label} is its exact value, as the old functions read it; so that"
            f" new samples are read alike: [[value_label]] name = {name!r}, label = {label!r}"
        )
    if mapping.kept_hosts:
        some = ", ".join(sorted(mapping.kept_hosts)[:5])
        click.echo(f"host is a label where it is {some}: if that is Telegraf's, --telegraf-host")


@command.command("push")
@_SOURCE
@click.option("--schema", default="monitoring", show_default=True, help="where its tables are")
@click.option(
    "--tenant", "renamed", multiple=True, metavar="UID=NAME", help="another name for a tenant"
)
@_options
def push_command(
    settings: Settings,
    source: str | None,
    schema: str,
    renamed: Sequence[str],
    again: bool,
    dry_run: bool,
) -> None:
    """Tables of the push API: tenants, measures, events. Its keys stay behind.

    A tenant whose name is here already is that tenant, else it is made; then it needs a new key:
    promgres key create.
    """
    url = source or owner_database_url(settings)
    names = dict(map(_renamed, renamed))

    async def run(target: Target, tell: Tell) -> list[Part]:
        owner = await target.known_tenant("default")
        async with open_source(url, settings.database) as connection:
            found = await push.find_tenants(connection, schema, target, names)
            tenants = await push.make_tenants(found, target)
            for one in found:
                made = "would be made" if dry_run else "is made"
                how = made if one.tenant_id is None else "is there"
                click.echo(f"tenant {one.uid} {one.old_name!a}: {one.name!a}, which {how}")
            parts = []
            for kind in ("measure", "event"):
                asked = f"push {_place(url)} {schema} {kind} {sorted(names.items())}"
                part = await target.begin(owner, f"{kind}s", asked, again)
                parts.append(part)
                await push.import_records(
                    connection, schema, kind, tenants, target, owner, part, tell
                )
        await _finish(target, parts, owner, tell)
        return parts

    _run(settings, dry_run, run)


@command.command("prometheus")
@click.option("--source", required=True, envvar=SOURCE_VARIABLE, help="its root, http://HOST:9090")
@click.option(
    "--match", "matches", multiple=True, help='series to read, such as up{job=~"n.*"}; unset: all'
)
@click.option(
    "--token", envvar=TOKEN_VARIABLE, help=f"bearer token (environment: {TOKEN_VARIABLE})"
)
@_TENANT
@_FROM
@_TO
@_options
def prometheus_command(
    settings: Settings,
    source: str,
    matches: Sequence[str],
    token: str | None,
    tenant: str,
    start: datetime | None,
    end: datetime | None,
    again: bool,
    dry_run: bool,
) -> None:
    """Samples of a Prometheus, by remote read: all that it keeps, or a period of it.

    Routes and value labels hold as for samples that are sent.
    """
    url, login = _http_source(source)
    selectors = [
        [Matcher(name.decode(), operator, value.decode()) for name, operator, value in parsed]
        for parsed in map(parse_selector, matches)
    ] or [[Matcher("__name__", "!=", "")]]
    headers = {**prometheus.HEADERS, **({"Authorization": f"Bearer {token}"} if token else {})}

    async def run(target: Target, tell: Tell) -> list[Part]:
        tenant_id = await target.known_tenant(tenant)
        timeout = aiohttp.ClientTimeout(prometheus.READ_SECONDS)
        async with aiohttp.ClientSession(headers=headers, auth=login, timeout=timeout) as session:
            server = prometheus.Prometheus(url, session)
            asked = f"prometheus {url} {sorted(matches)} {start} {end}"
            part = await target.begin(tenant_id, url, asked, again)
            oldest = _us(start)
            first_ms = oldest // 1000 if oldest is not None else await server.oldest_ms()
            first_ms = max(first_ms, min(target.oldest_ms(each) for each in TARGETS))
            last = _us(end)
            last_ms = last // 1000 if last is not None else time.time_ns() // 1_000_000
            await prometheus.import_prometheus(
                server, selectors, (first_ms, last_ms), target, tenant_id, part, tell
            )
        await _finish(target, [part], tenant_id, tell)
        return [part]

    _run(settings, dry_run, run)


@command.command("dump")
@click.argument("file", type=click.File("rb"), default="-")
@_TENANT
@_options
def dump_command(settings: Settings, file: Any, tenant: str, again: bool, dry_run: bool) -> None:
    """Text of `promtool tsdb dump`, from FILE or standard input.

    NaN is taken for a stale marker, which a dump does not tell from it.
    """
    is_file = file.name != "<stdin>" and file.seekable()
    size = os.fstat(file.fileno()).st_size if is_file else None
    name = os.path.realpath(file.name) if is_file else "standard input"

    async def run(target: Target, tell: Tell) -> list[Part]:
        tenant_id = await target.known_tenant(tenant)
        anew = again or not is_file
        part = await target.begin(tenant_id, name, f"dump {name} ({size} bytes)", anew)
        await prometheus.import_dump(file, size, target, tenant_id, part, tell)
        await _finish(target, [part], tenant_id, tell)
        return [part]

    _run(settings, dry_run, run)


async def _finish(target: Target, parts: Sequence[Part], owner: Any, tell: Tell) -> None:
    """All rows are stored; what readers would compute from them is stored, too."""
    if not target.dry_run:
        await target.store_rollups(tell)
    for part in parts:
        await target.save(owner, part, part.position or "0", finished=True)


def _run(
    settings: Settings,
    dry_run: bool,
    run: Callable[[Target, Tell], Coroutine[Any, Any, list[Part]]],
) -> None:
    """Run an import with its progress, and say at the end what it did."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    began = told = time.monotonic()

    async def all_of_it() -> list[Part]:
        with Progress(*columns, console=console, transient=True, disable=not is_shown) as progress:
            task = progress.add_task("import", total=1.0)

            def tell(what: str, share: float | None) -> None:
                nonlocal told
                total = None if share is None else 1.0
                progress.update(task, description=what, completed=share or 0, total=total)
                if not is_shown and time.monotonic() > told + TELL_EVERY_SECONDS:
                    told = time.monotonic()
                    done = "" if share is None else f" {share:.0%}"
                    click.echo(f"{what}{done}, {told - began:.0f} s", err=True)

            async with open_target(settings, dry_run) as target:
                return await run(target, tell)

    is_shown = console.is_terminal  # elsewhere nothing could be drawn: a line now and then
    try:
        parts = asyncio.run(all_of_it())
    except KeyboardInterrupt:
        click.echo("stopped; the same command goes on where this one was", err=True)
        raise SystemExit(130) from None
    _sum_up(parts, time.monotonic() - began, dry_run)


def _sum_up(parts: Sequence[Part], seconds: float, dry_run: bool) -> None:
    for part in parts:
        report = part.report
        left_out = sum(report.left_out.values())
        became = (
            f"{report.stored:,} would be stored or are there already"
            if dry_run
            else f"{report.stored:,} stored, {report.present:,} already there"
        )
        if dry_run and report.present:
            became += f", {report.present:,} of one series and time with another"
        since = " (with those of the run before it)" if part.continues else ""
        click.echo(f"{part.title}: {report.read:,} read{since}, {became}, {left_out:,} left out")
        reasons = report.left_out.most_common()
        for reason, rows in reasons[:MOST_REASONS]:
            click.echo(f"  {rows:,} left out: {reason}")
        if len(reasons) > MOST_REASONS:
            click.echo(f"  and {len(reasons) - MOST_REASONS} more reasons")
    rows = sum(part.report.read - part.read_before for part in parts)
    rate = f", {rows / seconds:,.0f} rows a second" if rows and seconds > 1 else ""
    click.echo(f"took {seconds:.1f} s{rate}" + ("; nothing was written" if dry_run else ""))


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.replace(tzinfo=UTC).timestamp()) * 1_000_000


def _place(url: str) -> str:
    """Which database it is, without who reads it."""
    return place_of(url)


def _renamed(text: str) -> tuple[int, str]:
    uid, equals, name = text.partition("=")
    if not equals or not name or not (uid.isascii() and uid.isdigit()):
        raise ConfigError(f"--tenant {text!a}: must be UID=NAME, such as 3=shop")
    return int(uid), name


def _http_source(source: str) -> tuple[str, aiohttp.BasicAuth | None]:
    """The root of a server, without credentials, and those."""
    try:
        parts = urlsplit(source)
        host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise ConfigError(f"--source: {error}") from None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ConfigError("--source: must be the root of a server, such as http://127.0.0.1:9090")
    root = urlunsplit((parts.scheme, f"{host}{port}", parts.path.rstrip("/"), "", ""))
    if parts.username is None:
        return root, None
    return root, aiohttp.BasicAuth(unquote(parts.username), unquote(parts.password or ""))
