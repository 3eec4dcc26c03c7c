"""`promgres load`: a synthetic remote-write sender."""

from __future__ import annotations

import asyncio
import json

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ingest.cli.options import with_settings
from ingest.config import Settings
from ingest.errors import ConfigError
from ingest.load.sender import Load, Report, Senders


@click.command(name="load")
@click.option("--url", help="endpoint; unset: /api/v1/write of --listen")
@click.option("--series", default=1000, show_default=True, type=click.IntRange(1))
@click.option("--rate", default=0.0, show_default=True, help="samples a second; 0: no limit")
@click.option("--duration", default=10.0, show_default=True, help="seconds")
@click.option("--senders", default=1, show_default=True, type=click.IntRange(1, 1000))
@click.option(
    "--samples-per-request", default=2000, show_default=True, type=click.IntRange(1, 1_000_000)
)
@click.option("--metric", default="promgres_load", show_default=True, help="metric name")
@click.option("--protocol", default="1", type=click.Choice(["1"]), help="remote-write version")
@click.option("--json", "as_json", is_flag=True, help="report as JSON on standard output")
@with_settings
def command(
    settings: Settings,
    url: str | None,
    series: int,
    rate: float,
    duration: float,
    senders: int,
    samples_per_request: int,
    metric: str,
    protocol: str,
    as_json: bool,
) -> None:
    """Send synthetic samples to a write side, and say what became of them.

    Requests answered 5xx are sent again, as Prometheus does. Exit status 1 if any sample was not
    acknowledged.
    """
    del protocol  # one choice so far
    url = url or f"http://{settings.listen}/api/v1/write"
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"--url {url}: needs http:// or https://")
    load = Load(url, series, samples_per_request, rate, duration, senders, metric)
    report = _run_with_progress(load)
    if as_json:
        click.echo(json.dumps(_as_dict(report)))
    else:
        _print(report)
    if report.acknowledged < report.sent:
        raise SystemExit(1)


def _run_with_progress(load: Load) -> Report:
    columns = (
        TextColumn("sending"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("send", total=load.duration_seconds, counts="")

        def show(report: Report) -> None:
            counts = f"{report.acknowledged:,} acknowledged, {report.rate:,.0f}/s"
            progress.update(task, completed=report.seconds, counts=counts)

        try:
            return asyncio.run(Senders(load).run(show))
        except KeyboardInterrupt:
            raise SystemExit(130) from None


def _as_dict(report: Report) -> dict[str, object]:
    return {
        "sent": report.sent,
        "acknowledged": report.acknowledged,
        "requests": report.requests,
        "seconds": round(report.seconds, 3),
        "samples_per_second": round(report.rate),
        "statuses": dict(report.statuses),
        "first_ms": report.first_ms,
        "last_ms": report.last_ms,
        "last_error": report.last_error,
    }


def _print(report: Report) -> None:
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(report.statuses.items()))
    click.echo(f"sent          {report.sent:>12,} samples in {report.requests:,} requests")
    click.echo(f"acknowledged  {report.acknowledged:>12,} samples")
    click.echo(f"rate          {report.rate:>12,.0f} samples/s over {report.seconds:.1f} s")
    click.echo(f"answers       {answers}")
    if report.last_error:
        click.echo(f"last error    {report.last_error}")
