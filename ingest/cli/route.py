"""`promgres route`: a dry run of routing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from ingest.cli.options import with_settings
from ingest.config import Settings
from ingest.errors import BadRequest, OperatorError
from ingest.intake.explain import Explained, explain_body, explain_series
from ingest.labeltext import parse_labels
from ingest.routing import Router

_HEAD = ("rule", "target", "schema", "value label", "series")


@click.command("route", short_help="say where series would go; writes nothing")
@click.option("--labels", metavar="SERIES", help="""a series, such as '{__name__="up",job="x"}'""")
@click.option(
    "--body",
    type=click.Path(path_type=Path, allow_dash=True),
    help="a recorded remote write 1.0 body (snappy, zstd or plain); - for standard input",
)
@with_settings
def command(settings: Settings, labels: str | None, body: Path | None) -> None:
    """Say which rule, target, schema and value label apply to a series, or to each of a request.

    Nothing is written and no database is needed. Timestamps are not judged.
    """
    if (labels is None) == (body is None):
        raise OperatorError("route needs one of --labels and --body")
    router = Router(settings)
    if labels is not None:
        explained = explain_series(router, parse_labels(labels))
        if explained.refusal:
            raise OperatorError(f"{explained.text}: {explained.refusal}")
        _print([_HEAD, _row(explained)])
        return
    assert body is not None
    most = settings.receiver.max_decompressed_bytes
    try:
        every = list(explain_body(router, _read(body), most))
    except BadRequest as error:
        raise OperatorError(f"{body}: {error}") from None
    _print([("samples", *_HEAD), *((str(one.samples), *_row(one)) for one in every)])


def _read(path: Path) -> bytes:
    try:
        with click.open_file(str(path), "rb") as file:
            content: bytes = file.read()
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}") from None
    return content


def _row(explained: Explained) -> Sequence[str]:
    described = explained.described
    if described is None:
        return "refused", "-", "-", "-", f"{explained.text}: {explained.refusal}"
    decision = described.decision
    value_label = described.value_label or "-"
    if described.exact is not None:
        value_label += f" = {described.exact}"
    elif described.value_label is not None:
        value_label += " (no decimal, stays a label)"
    if decision.drop:
        return decision.rule, "dropped", "-", "-", explained.text
    return decision.rule, decision.target, decision.schema, value_label, explained.text


def _print(rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as their longest text; the last one is not padded."""
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
