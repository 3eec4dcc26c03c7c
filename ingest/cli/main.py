"""The command `promgres`: one file a command, imported only when it is called."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from keyword import iskeyword

import click

from ingest.errors import OperatorError

COMMANDS = {
    "up": "database, migrations, write side and read side in one terminal",
    "ingest": "the write side alone",
    "api": "the read side alone",
    "migrate": "bring the database to this version, or say where it stands",
    "load": "send synthetic samples to a write side",
    "route": "say where a series or a recorded request would go; writes nothing",
    "backfill": "record rules over the past, from a Prometheus that has it",
    "refresh": "recompute rollups for a period",
    "psql": "a SQL prompt on the database in use",
    "tenant": "whose data it is, and what each may use",
    "key": "API keys: make, list, rotate, revoke, expire",
    "reader": "logins for people with SQL: make, list, drop",
    "audit": "who changed tenants and keys, and what was refused",
    "spool": "what is acknowledged and not in the database yet",
    "doctor": "say what is wrong and what to type about it",
    "import": "take over history: Telegraf's tables, a Prometheus, a dump, the push API's tables",
    "pipe": "send measures and events from a file or standard input",
    "query": "print stored measures or events, a metric in steps of time, or what PromQL comes to",
    "export": "raw samples of a metric as CSV, lines of JSON or Parquet",
    "agent": "report facts about this machine as measures and events",
    "config": "check the settings, or print all of them",
}


class LazyGroup(click.Group):
    """Finds `promgres NAME` in `ingest/cli/NAME.py` (`import_.py` where Python keeps the word for
    itself), attribute `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name + "_" * iskeyword(cmd_name)
        # What modules are made of stays. To look for garbage among it takes a twelfth of a start,
        # later a pause now and then, and at the end 0.2 s of a large command.
        gc.disable()
        module = importlib.import_module(f"ingest.cli.{name}")
        gc.freeze()
        gc.enable()
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="promgres")
def cli() -> None:
    """Prometheus remote write into PostgreSQL, and exact aggregates back out of it.

    Settings come from flags, PROMGRES_* variables and promgres.toml, in this order.
    """


def main() -> None:
    """Run a command; what the operator can mend is one line on standard error and status 2."""
    _open_standard_streams()
    try:
        cli()
    except OperatorError as error:
        click.echo(f"promgres: {error}", err=True)
        sys.exit(2)
    except Exception as error:
        _end_by_database(error)
        raise


def _end_by_database(error: Exception) -> None:
    """If the database is what ended the command: one line and status 2, or 1 where starting the
    same again may go well. Everything else is a defect, and its traceback wanted."""
    if "asyncpg" not in sys.modules:  # the command has not talked to a database
        return
    from ingest.storage.pgerrors import is_of_database, may_pass, operator_error

    if is_of_database(error):
        click.echo(f"promgres: {operator_error(error)}", err=True)
        sys.exit(1 if may_pass(error) else 2)


def _open_standard_streams() -> None:
    """Where we were started without one (`2>&-`): the next file that is opened would get its
    number, the spool say, and what anybody prints would be written into it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
