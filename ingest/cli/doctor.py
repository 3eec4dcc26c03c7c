"""`promgres doctor`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

import click

from ingest.auth.keys import parse_key
from ingest.cli.options import with_settings
from ingest.cli.remote import KEY_VARIABLE
from ingest.config import Settings
from ingest.config.document import masked
from ingest.doctor import Finding, Level, Prescription, Site, examine, worst
from ingest.doctor.words import count
from ingest.errors import ConfigError

_COLORS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}
_NEEDED_FLAGS = ("config", "database_url", "data_dir")


@click.command("doctor", short_help="say what is wrong and what to type about it")
@click.option("--json", "as_json", is_flag=True, help="for machines")
@click.option(
    "--key",
    envvar=KEY_VARIABLE,
    help=f"API key of the operator, for the accounts of all tenants (environment: {KEY_VARIABLE})",
)
@with_settings
def command(settings: Settings, as_json: bool, key: str | None) -> None:
    """Look at everything that can go wrong: database, rollups, spool, disk, both sides.

    Changes nothing. Exit status 0: all is well, or there are warnings; 1: there are problems;
    2: the database cannot be asked.
    """
    prescription = Prescription(_flags_to_repeat(), settings.embedded)
    if key and parse_key(key) is None:
        raise ConfigError(f"--key, {KEY_VARIABLE}: this is not an API key: they look like pmk_…_…")
    site = Site(settings=settings, key=key or None, prescribe=prescription)
    examination = asyncio.run(examine(site))
    (_print_json if as_json else _print_table)(examination.findings)
    if examination.unreachable:
        raise examination.unreachable
    sys.exit(1 if worst(examination.findings) == Level.PROBLEM else 0)


def _flags_to_repeat() -> tuple[str, ...]:
    """Flags of this call without which another command would look elsewhere; never a password."""
    given = click.get_current_context().params
    flags: list[str] = []
    for name in _NEEDED_FLAGS:
        value = given.get(name)
        if value is None or (name == "database_url" and masked(value) != value):
            continue
        flags += [f"--{name.replace('_', '-')}", str(value)]
    return tuple(flags)


def _print_json(findings: Sequence[Finding]) -> None:
    document = {"status": worst(findings), "checks": [asdict(finding) for finding in findings]}
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _print_table(findings: Sequence[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    indent = " " * (len(Level.PROBLEM) + width + 4)
    for finding in findings:
        level = click.style(finding.level.ljust(len(Level.PROBLEM)), _COLORS[finding.level])
        click.echo(f"{level}  {finding.check.ljust(width)}  {finding.what}")
        if finding.todo:
            click.echo(f"{indent}→ {finding.todo}")
    found = Counter(finding.level for finding in findings)
    bad = [count(found[level], level) for level in (Level.PROBLEM, Level.WARNING)]
    click.echo(f"\n{', '.join(bad)}")
