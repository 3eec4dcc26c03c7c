"""`promgres load`: a synthetic remote-write sender."""

from __future__ import annotations

import asyncio
import json
import math
import re
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ingest.cli.options import with_settings
from ingest.cli.remote import KEY_VARIABLE
from ingest.config import Settings
from ingest.errors import ConfigError
from ingest.load.report import Report
from ingest.load.sender import Load, Senders

KINDS = ("samples", "histograms", "exemplars")


def _number(
    option: str,
    default: int,
    wanted: str,
    text: str,
    least: float = 0,
    most: float = math.inf,
    kind: type[int | float] = int,
) -> Any:
    """An option whose value is a number; any other value is one clear line and status 2."""

    def convert(ctx: click.Context, param: click.Parameter, value: str) -> int | float:
        try:
            number = kind(value)
        except ValueError:
            number = math.nan
        if math.isinf(number) or not least <= number <= most:
            raise ConfigError(f"{option} {value}: must be {wanted}")
        return number

    return click.option(
        option, default=str(default), show_default=True, metavar="N", callback=convert, help=text
    )


_COUNT, _REAL = "a whole number from 0", "a number from 0"
_OPTIONS = (
    click.option("--url", help="endpoint; unset: /api/v1/write of --listen"),
    click.option("--key", envvar=KEY_VARIABLE, help=f"API key (environment: {KEY_VARIABLE})"),
    _number("--protocol", 1, "1 or 2", "version of remote write, 1 or 2", 1, 2),
    _number("--series", 1000, _COUNT, "series, one sample each at a timestamp"),
    _number(
        "--exemplars",
        0,
        "a share from 0 to 1",
        "share of the series whose samples come with an exemplar, 0 to 1",
        most=1,
        kind=float,
    ),
    _number("--histograms", 0, _COUNT, "series of native histograms, besides --series"),
    click.option("--float-histograms", is_flag=True, help="histograms of the float flavour"),
    _number("--rate", 0, _REAL, "samples and histograms a second; 0: no limit", kind=float),
    _number("--duration", 10, _REAL, "seconds", kind=float),
    _number("--senders", 1, "a whole number from 1 to 1000", "requests at once", 1, 1000),
    _number(
        "--samples-per-request",
        2000,
        "a whole number from 1 to 1000000",
        "samples or histograms of a request",
        1,
        1_000_000,
    ),
    click.option("--metric", default="promgres_load", show_default=True, help="metric name"),
    click.option("--json", "as_json", is_flag=True, help="report as JSON on standard output"),
)


def _load_options(function: Any) -> Any:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command(name="load")
@_load_options
@with_settings
def command(settings: Settings, url: str | None, as_json: bool, **options: Any) -> None:
    """Send synthetic samples to a write side, and say what became of them.

    Requests answered 5xx are sent again, as Prometheus does. Exit status 1 if anything was not
    acknowledged, or if an answer of protocol 2 says that less was written than was sent.
    """
    load = _load(url or f"http://{settings.listen}/api/v1/write", options)
    report = _run_with_progress(load)
    if as_json:
        click.echo(json.dumps(_as_dict(report)))
    else:
        _print(report)
    if report.acknowledged != report.sent:
        raise SystemExit(1)


def _load(url: str, options: dict[str, Any]) -> Load:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"--url {url}: needs http:// or https://")
    if not re.fullmatch(r"[!-~]*", options["key"] or ""):
        raise ConfigError("--key: an API key consists of visible ASCII characters")
    if not options["metric"]:
        raise ConfigError("--metric: a metric name must not be empty")
    if not options["series"] and not options["histograms"]:
        raise ConfigError("nothing to send: --series and --histograms are both 0")
    return Load(url, duration_seconds=options.pop("duration"), **options)


def _run_with_progress(load: Load) -> Report:
    columns = (
        TextColumn("sending"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    is_shown = console.is_terminal  # elsewhere nothing could be drawn but an empty line
    with Progress(*columns, console=console, transient=True, disable=not is_shown) as progress:
        task = progress.add_task("send", total=load.duration_seconds, counts="")

        def show(report: Report) -> None:
            paced = report.acknowledged.paced
            counts = f"{paced:,} acknowledged, {report.per_second(paced):,.0f}/s"
            progress.update(task, completed=report.seconds, counts=counts)

        try:
            return asyncio.run(Senders(load).run(show))
        except KeyboardInterrupt:
            raise SystemExit(130) from None


def _as_dict(report: Report) -> dict[str, object]:
    """`sent` and `acknowledged` are samples; the other kinds have their name in the key."""
    sent, acknowledged = asdict(report.sent), asdict(report.acknowledged)
    others = {
        f"{kind}_{what}": counts[kind]
        for kind in KINDS[1:]
        for what, counts in (("sent", sent), ("acknowledged", acknowledged))
    }
    return {
        "sent": sent["samples"],
        "acknowledged": acknowledged["samples"],
        **others,
        "requests": report.requests,
        "seconds": round(report.seconds, 3),
        "samples_per_second": round(report.rate),
        "statuses": dict(report.statuses),
        "short_answers": report.short_answers,
        "first_ms": report.first_ms,
        "last_ms": report.last_ms,
        "last_error": report.last_error,
    }


def _print(report: Report) -> None:
    sent, acknowledged = asdict(report.sent), asdict(report.acknowledged)
    click.echo(f"{'':12}{'sent':>14}{'acknowledged':>14}{'a second':>14}")
    for kind in KINDS:
        if sent[kind]:
            rate = report.per_second(acknowledged[kind])
            click.echo(f"{kind:12}{sent[kind]:>14,}{acknowledged[kind]:>14,}{rate:>14,.0f}")
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(report.statuses.items()))
    click.echo(f"{report.requests:,} requests in {report.seconds:.1f} s, answers {answers}")
    if report.short_answers:
        click.echo(f"{report.short_answers:,} answers say that less was written than was sent")
    if report.last_error:
        click.echo(f"last error: {report.last_error}")
