"""`promgres pipe`: measures and events from a file or standard input."""

from __future__ import annotations

import logging
from typing import BinaryIO

import click

from ingest.cli.pipetext import BadLine, Line, read_lines
from ingest.cli.remote import TIMEOUT_SECONDS, with_server
from promgres_client.buffer import Bounds, Item
from promgres_client.delivery import Refusal
from promgres_client.exchange import Endpoint
from promgres_client.items import Encoder
from promgres_client.losses import LOG, REFUSED
from promgres_client.pipeline import Pipeline, Policy

MIB = 1024 * 1024
BOUNDS = Bounds(5_000, MIB, 0.5, 20_000, 64 * MIB)
MOST_SHOWN = 100


class _Refusals:
    """Says which lines were refused, the first of them in full."""

    def __init__(self) -> None:
        self.count = 0
        self.by_server_count = 0

    def add(self, number: object, reason: str) -> None:
        """Say why a line is not stored."""
        self.count += 1
        if self.count <= MOST_SHOWN:
            click.echo(f"line {number}: {reason}", err=True)
        elif self.count == MOST_SHOWN + 1:
            click.echo("further lines were refused and are only counted", err=True)

    def by_server(self, refusal: Refusal) -> None:
        """The same for one that the server refused."""
        self.by_server_count += 1
        self.add(refusal.origin, refusal.reason)


@click.command("pipe")
@click.option("--file", type=click.File("rb"), default="-", help="JSON; default: standard input")
@with_server
def command(url: str, key: str | None, file: BinaryIO) -> None:
    """Send measures and events, as NDJSON or arrays, and wait for the answers.

    An item is an object such as {"name": "checkout_seconds", "value": 0.21, "attributes": {…}}, an
    event the same without a value, or {"M": {…}} and {"E": {…}} as the older API has them. Exit
    status 1 if any was refused, each named with its line.
    """
    logging.basicConfig(format="%(message)s")
    LOG.addFilter(lambda record: REFUSED not in (record.args or ()))  # we say it with the line
    refusals = _Refusals()
    pipeline = _pipeline(Endpoint(url, key, TIMEOUT_SECONDS), refusals)
    try:
        _feed(pipeline, file, refusals)
    except KeyboardInterrupt:
        pipeline.close(0)
        _sum_up(pipeline, refusals)
        raise SystemExit(130) from None
    _sum_up(pipeline, refusals)
    if refusals.count or pipeline.losses.total:
        raise SystemExit(1)


def _pipeline(endpoint: Endpoint, refusals: _Refusals) -> Pipeline:
    policy = Policy(when_full="block", exit_seconds=0, on_refused=refusals.by_server)
    return Pipeline(endpoint, BOUNDS, policy, on_fork=lambda: None)


def _feed(pipeline: Pipeline, file: BinaryIO, refusals: _Refusals) -> None:
    """Send what can be sent, as long as it takes."""
    for line in read_lines(file, Encoder().stamp):
        match line:
            case BadLine(number, reason):
                refusals.add(number, reason)
            case Line(number, kind, text):
                pipeline.put(Item(kind, text, number))
    while not pipeline.wait_settled(pipeline.mark(), 1.0):
        pass  # in steps, so that Ctrl-C is heard
    pipeline.close(None)


def _sum_up(pipeline: Pipeline, refusals: _Refusals) -> None:
    others = pipeline.losses.total - refusals.by_server_count
    unknown = f", {others:,} not known to be stored" if others else ""
    click.echo(f"{pipeline.acknowledged:,} stored, {refusals.count:,} refused{unknown}", err=True)
