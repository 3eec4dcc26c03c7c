"""`promgres query measures|events`: what is stored, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NoReturn

import click

from ingest.cli.administration import cell, print_table
from ingest.cli.pipetext import elements_of
from ingest.cli.remote import TIMEOUT_SECONDS, with_server
from ingest.errors import OperatorError
from promgres_client import PromgresError
from promgres_client.exchange import Endpoint
from promgres_client.items import EVENT, MEASURE
from promgres_client.reading import Query, Reader

KINDS = {"measures": MEASURE, "events": EVENT}
ATTRIBUTES = ',"attributes":'
"""No text within JSON looks like this: there, quotation marks are escaped."""
COLUMNS = {MEASURE: ("time", "name", "value", "attributes"), EVENT: ("time", "name", "attributes")}


def _moment(_ctx: click.Context, param: click.Parameter, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        _refuse(param, text, "no time such as 2030-01-31 or 2030-01-31T12:00 (UTC)")


def _attributes(
    _ctx: click.Context, param: click.Parameter, text: str | None
) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        attributes = json.loads(text)
    except (ValueError, RecursionError):
        attributes = None
    if not isinstance(attributes, dict):
        _refuse(param, text, 'not a JSON object such as {"shop": "berlin"}')
    return attributes


def _refuse(param: click.Parameter, text: str, why: str) -> NoReturn:
    raise OperatorError(f"{param.opts[0]}: {text!a} is {why}")


@click.command("query")
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option("--name", help="of one name only")
@click.option("--from", "since", callback=_moment, help="at or after; UTC unless it says more")
@click.option("--to", "until", callback=_moment, help="before")
@click.option("--attributes", callback=_attributes, help="JSON that they have to contain")
@click.option("--limit", type=click.IntRange(min=0), default=100, show_default=True,
              help="so many at most; 0: all")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line, every digit")
@with_server
def command(
    url: str, key: str | None, kind: str, as_json: bool, limit: int, **filters: Any
) -> None:
    """Print stored measures or events, newest first.

    With --json, what is printed is what `promgres pipe` reads.
    """
    endpoint = Endpoint(url, key, TIMEOUT_SECONDS)
    query = Query(KINDS[kind], limit=limit or None, **filters)
    try:
        if as_json:
            for row in _rows(endpoint, query):
                click.echo(pushable(row))
        else:
            _print(query.kind, [json.loads(row, parse_float=str) for row in _rows(endpoint, query)])
    except PromgresError as error:
        raise OperatorError(f"{endpoint.url}: {error}") from None


def _rows(endpoint: Endpoint, query: Query) -> Iterator[str]:
    """Each row as the server wrote it: no digit passes through a float."""
    for body in Reader(endpoint).bodies(query):
        yield from elements_of(body.decode())


def pushable(row: str) -> str:
    """A row as it may be pushed: what is not an object, as the older API takes it, is a `dict`."""
    before, _, attributes = row.partition(ATTRIBUTES)
    return row if attributes.startswith("{") else f'{before},"dict":{attributes}'


def _print(kind: str, rows: list[dict[str, Any]]) -> None:
    columns = COLUMNS[kind]
    heads = ["time (UTC)", *columns[1:]]
    shown = [[_shown(column, row[column]) for column in columns] for row in rows]
    print_table(heads, shown, "nothing found")


def _shown(column: str, value: Any) -> str:
    if column == "time":
        return str(value).replace("T", " ").removesuffix("Z")
    return cell(value)
