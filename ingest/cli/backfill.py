"""`promgres backfill`: recording rules over the past."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiohttp
import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ingest.auth.keys import parse_key
from ingest.backfill.chained import expand
from ingest.backfill.patience import GaveUp
from ingest.backfill.plan import Plan, Window, plan_of, shown_url
from ingest.backfill.replay import Outcome, by_itself, replay
from ingest.backfill.rules import parse_duration_ms, read_rules
from ingest.backfill.source import QUERY_SECONDS, DataSource
from ingest.backfill.state import Progress as Standing
from ingest.backfill.state import State, state_of
from ingest.backfill.vmalert import Vmalert, relay_to
from ingest.backfill.write_side import REQUEST_SECONDS, WriteSide
from ingest.cli.options import with_settings
from ingest.cli.remote import KEY_VARIABLE
from ingest.config import Settings
from ingest.errors import ConfigError
from ingest.text import time_text

TOKEN_VARIABLE = "PROMGRES_DATASOURCE_TOKEN"  # noqa: S105
SAY_EVERY_SECONDS = 10.0
"""Where no progress bar can be drawn."""


@click.command("backfill", short_help="record rules over the past")
@click.option("--rules", "files", multiple=True, required=True,
              type=click.Path(path_type=Path, readable=False),
              help="rule file of Prometheus or vmalert; may be given again")  # fmt: skip
@click.option("--datasource", required=True, help="Prometheus that has the past: its URL")
@click.option("--from", "start", required=True, help="2025-01-31, 2025-01-31T12:00Z, or 1y (ago)")
@click.option("--to", "end", default="now", show_default=True, help="the same; itself not included")
@click.option("--step", help="between evaluations, such as 15m; unset: each group's interval")
@click.option("--bins", type=click.IntRange(1, 1_000_000),
              help="pieces of the period; unset: of 1000 evaluations each")  # fmt: skip
@click.option("--url", help="endpoint of remote write; unset: /api/v1/write of --listen")
@click.option("--key", envvar=KEY_VARIABLE, help=f"API key (environment: {KEY_VARIABLE})")
@click.option("--datasource-token", envvar=TOKEN_VARIABLE,
              help=f"bearer token for --datasource (environment: {TOKEN_VARIABLE})")  # fmt: skip
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE",
              help="set on every result; may be given again")  # fmt: skip
@click.option("--chained", type=click.Choice(["expand", "datasource"]), default="expand",
              show_default=True,
              help="where a rule finds what earlier rules record: in their own expressions, or in"
              " the data source")  # fmt: skip
@click.option("--vmalert", is_flag=False, flag_value="", metavar="[PROGRAM]",
              help="have vmalert evaluate the rules: the one named, or the one found")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1, 64), default=2, show_default=True,
              help="rules evaluated at once")  # fmt: skip
@click.option("--again", is_flag=True, help="begin anew, whatever an earlier run has done")
@click.option("--dry-run", is_flag=True, help="say what there is to do, and do nothing")
@with_settings
def command(
    settings: Settings,
    files: tuple[Path, ...],
    datasource: str,
    start: str,
    end: str,
    step: str | None,
    bins: int | None,
    url: str | None,
    key: str | None,
    datasource_token: str | None,
    labels: tuple[str, ...],
    chained: str,
    vmalert: str | None,
    concurrency: int,
    again: bool,
    dry_run: bool,
) -> None:
    """Evaluate recording rules at every step of a period, over the HTTP API of a Prometheus, and
    send the results as remote write.

    Interrupted, killed even, the same command goes on where it stopped; finished, it does nothing
    more. Evaluations are at multiples of the step, and what is sent twice is stored once. Exit
    status 1 if samples were rejected, or if one of both sides was away for half an hour; 2 if
    something has to be mended first.
    """
    groups = read_rules(files, _step_ms(step), dict(map(_label, labels)))
    plan = Plan(
        groups=expand(groups) if chained == "expand" else groups,
        datasource=_checked_url("--datasource", datasource),
        url=_checked_url("--url", url or f"http://{settings.listen}/api/v1/write"),
        start=start,
        end=end,
        bins=bins,
        whose=_id_of(key),
        with_vmalert=vmalert is not None,
    )
    if vmalert is not None and any(
        group.step_ms < 2000 or group.step_ms % 1000 for group in groups
    ):
        raise ConfigError("--vmalert: a step must be whole seconds, two or more")
    program = None if vmalert is None else _found(vmalert)
    data_dir, anew = settings.data_dir.expanduser(), again and not dry_run
    with state_of(data_dir, plan.identity(), again=anew) as state:
        try:
            if dry_run:
                asyncio.run(_say_plan(plan, None if again else state.progress, datasource_token))
                return
            run = _run(plan, state, key, datasource_token, program, concurrency)
            outcome = asyncio.run(run)
        except GaveUp as error:
            click.echo(f"promgres: {error}", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            click.echo("interrupted: the same command goes on from here", err=True)
            sys.exit(130)
    _say_outcome(plan, outcome)


def _step_ms(step: str | None) -> int | None:
    try:
        return parse_duration_ms(step) if step else None
    except ValueError as error:
        raise ConfigError(f"--step: {error}") from None


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name):
        raise ConfigError(f"--label {text}: needs NAME=VALUE")
    return name, value


def _checked_url(option: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{option} {shown_url(url)}: needs http:// or https:// and a host")
    return url


def _id_of(key: str | None) -> str:
    """Raises ConfigError: it is no key. The key itself is not in the message."""
    if not key:
        return ""
    parsed = parse_key(key)
    if parsed is None:
        raise ConfigError(f"--key, {KEY_VARIABLE}: this is not an API key: they look like pmk_…_…")
    return str(parsed.key_id)


def _found(vmalert: str) -> str:
    """Raises ConfigError: there is no such program."""
    for name in [vmalert] if vmalert else ["vmalert", "vmalert-prod"]:
        if path := shutil.which(name):
            return path
    raise ConfigError(
        f"--vmalert: there is no program {vmalert}" if vmalert
        else "--vmalert: no vmalert on the PATH: name one, --vmalert=PROGRAM, or leave it out"
    )  # fmt: skip


async def _run(
    plan: Plan,
    state: State,
    key: str | None,
    token: str | None,
    program: str | None,
    concurrency: int,
) -> Outcome:
    async with AsyncExitStack() as stack:
        source = await _source(stack, plan, token)
        session = await stack.enter_async_context(_session(REQUEST_SECONDS))
        write_side = WriteSide(session, plan.url, {"Authorization": f"Bearer {key}"} if key else {})
        await source.check()
        await write_side.check()
        evaluate = by_itself(source, write_side, concurrency)
        if program is not None:
            relay = await stack.enter_async_context(relay_to(write_side))
            evaluate = Vmalert(program, plan, token, relay).evaluate
        return await replay(plan, state, evaluate, stack.enter_context(_Shown()))


async def _source(stack: AsyncExitStack, plan: Plan, token: str | None) -> DataSource:
    parts = urlsplit(plan.datasource)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers = {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    session = await stack.enter_async_context(_session(QUERY_SECONDS))
    return DataSource(session, shown_url(plan.datasource), headers)


def _session(seconds: float) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=seconds)
    return aiohttp.ClientSession(timeout=timeout, headers={"User-Agent": "promgres-backfill"})


async def _say_plan(plan: Plan, standing: Standing | None, token: str | None) -> None:
    """Each group, and how many series each rule gives at the end of the period.

    Args:
        standing: what is done already.
    """
    start_ms, end_ms = plan.period_ms()
    done_ms: dict[str, int] = {}
    if standing:
        start_ms, end_ms, done_ms = standing.start_ms, standing.end_ms, standing.done_ms
    windows = plan_of(plan, start_ms, end_ms)
    async with AsyncExitStack() as stack:
        source = await _source(stack, plan, token)
        await source.check()
        for group in plan.groups:
            own = [window for window in windows if window.group is group]
            points = sum(window.points for window in own)
            reached = (
                f", done until {time_text(done_ms[group.name])}" if group.name in done_ms else ""
            )
            click.echo(
                f"group {group.name}: {len(group.rules)} rules, a step of"
                f" {group.step_ms / 1000:g} s, {points:,} evaluations of each in {len(own)}"
                f" windows{reached}"
            )
            for rule in group.rules if own else ():
                last = Window(group, own[-1].last_ms, own[-1].last_ms + group.step_ms)
                series = len(await source.evaluate(rule, last))
                click.echo(f"  {rule.record}: {series} series at {time_text(last.start_ms)}")
    click.echo(f"nothing was written; from {time_text(start_ms)} to {time_text(end_ms)}")


class _Shown:
    """A progress bar, or a line now and then where none can be drawn. Called for each window."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("replay"), BarColumn(), TextColumn("{task.fields[said]}"),
                   TimeRemainingColumn())  # fmt: skip
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._is_drawn = console.is_terminal
        self._task = self._bar.add_task("replay", total=None, said="")
        self._said = 0.0

    def __enter__(self) -> Callable[[Window, Standing, int, int], None]:
        self._bar.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _show(self, window: Window, standing: Standing, done: int, total: int) -> None:
        said = f"{time_text(window.end_ms)[:16]} {standing.samples:,} samples"
        self._bar.update(self._task, completed=done, total=total, said=said)
        if not self._is_drawn and (
            time.monotonic() - self._said > SAY_EVERY_SECONDS or done == total
        ):
            self._said = time.monotonic()
            click.echo(f"{done / total:4.0%}  {window.group.name} until {said}", err=True)


def _say_outcome(plan: Plan, outcome: Outcome) -> None:
    standing = outcome.progress
    if outcome.was_finished:
        click.echo(
            f"this replay was finished at {time_text(standing.finished_ms or 0)}: nothing to do;"
            " --again begins anew"
        )
    rules = sum(len(group.rules) for group in plan.groups)
    click.echo(
        f"{rules} rules from {time_text(standing.start_ms)} to {time_text(standing.end_ms)}:"
        f" {standing.samples:,} samples acknowledged, {outcome.samples:,} of them by this run"
    )
    if skipped := sum(group.skipped for group in plan.groups):
        click.echo(f"{skipped} alerting rules were left out: they record nothing")
    if standing.rejected or standing.reasons:
        click.echo(f"{standing.rejected:,} samples were rejected for good:")
        for reason in standing.reasons:
            click.echo(f"  {reason}")
        # Said once: what is finished is not started again and again, as compose would after a 1.
        sys.exit(0 if outcome.was_finished else 1)
