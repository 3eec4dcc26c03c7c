"""`promgres query measures|events`: what is stored, as a table or as JSON; of any metric, or with
`--promql` of an expression, what it comes to, as a table, CSV, JSON or a plot."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from urllib.parse import urlencode

import click
from click.core import ParameterSource

from ingest.cli.administration import cell, print_table
from ingest.cli.curves import FORMATS, Curve, show, warn
from ingest.cli.pipetext import elements_of
from ingest.cli.remote import READ_URL, READ_URL_VARIABLE, TIMEOUT_SECONDS, with_server
from ingest.errors import OperatorError
from ingest.labeltext import parse_selector
from promgres_client import PromgresError
from promgres_client.exchange import Endpoint, Exchange
from promgres_client.items import EVENT, MEASURE
from promgres_client.reading import Query, Reader

PROMQL_SECONDS = 150.0
"""Longer than a query may take (`query.timeout_seconds`)."""
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
@click.argument("kind", required=False, metavar="[measures|events|METRIC]")
@click.option("--promql", metavar="EXPRESSION", help="what it comes to, now or over a period")
@click.option("--name", help="of one name only")
@click.option("--from", "since", callback=_moment, help="at or after; UTC unless it says more")
@click.option("--to", "until", callback=_moment, help="before; of PromQL the time, or the last one")
@click.option("--step", help="of PromQL over a period, such as 5m; unset: a 200th of it")
@click.option("--aggregate", help="of a metric: avg (unset), sum, min, max, last, count, rate,"
              " increase, p50, p90, p95, p99")  # fmt: skip
@click.option("--by", "by", multiple=True, metavar="LABEL",
              help="of a metric: a curve for each value; * is all labels")  # fmt: skip
@click.option("--attributes", callback=_attributes, help="JSON that they have to contain")
@click.option("--limit", type=click.IntRange(min=0), default=100, show_default=True,
              help="so many at most, of PromQL so many series; 0: all")  # fmt: skip
@click.option("--format", "form", help=f"of PromQL: {', '.join(FORMATS)}; unset: the first")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line, every digit")
@with_server
def command(
    url: str,
    key: str | None,
    kind: str | None,
    promql: str | None,
    step: str | None,
    form: str | None,
    as_json: bool,
    limit: int,
    aggregate: str | None,
    by: Sequence[str],
    **filters: Any,
) -> None:
    """Print stored measures or events, newest first, what a metric, such as up{job="node"}, amounts
    to in steps of time, or what a PromQL expression comes to. A metric that is called measures or
    events is {__name__="events"}.

    With --json, what is printed of measures and events is what `promgres pipe` reads. PromQL is
    asked over a period if --from, --step or --format plot is given: of the last hour unless --from
    says more. The read side answers it (--url, PROMGRES_READ_URL, http://127.0.0.1:3000).
    """
    if form is not None and form not in FORMATS:
        raise OperatorError(f"--format: {form!a} is none of {', '.join(FORMATS)}")
    if as_json and form is not None:
        raise OperatorError("--json and --format: choose one")
    source = click.get_current_context().get_parameter_source("url")
    if source is ParameterSource.DEFAULT and kind not in KINDS:
        url = os.environ.get(READ_URL_VARIABLE) or READ_URL
    if promql is None and kind is not None and kind not in KINDS:
        for name in ("name", "attributes"):
            if filters[name] is not None:
                raise OperatorError(f"--{name}: only with measures or events")
        arguments = {"p_by": list(by) or None, "p_aggregate": aggregate, "p_step": step}
        for name, moment in (("p_from", filters["since"]), ("p_to", filters["until"])):
            arguments[name] = None if moment is None else moment.isoformat()
        _metric(url, key, kind, arguments, limit, form or FORMATS[0], as_json)
        return
    if aggregate is not None or by:
        raise OperatorError("--aggregate, --by: only with a metric")
    if promql is not None:
        _check_unused(kind=kind, name=filters["name"], attributes=filters["attributes"])
        _promql(url, key, promql, _period(filters, step, form), limit, form or FORMATS[0], as_json)
        return
    if kind is None:
        raise OperatorError("say what to print: measures, events, a METRIC or --promql EXPRESSION")
    _check_unused(promql=False, step=step, format=form)
    endpoint = Endpoint(url, key, TIMEOUT_SECONDS)
    query = Query(KINDS[kind], limit=limit or None, **filters)
    try:
        bodies = Reader(endpoint).bodies(query)
        # each row as the server wrote it: no digit passes through a float
        rows = (row for body in bodies for row in elements_of(body.decode()))
        if as_json:
            for row in rows:
                click.echo(pushable(row))
        else:
            _print(query.kind, [json.loads(row, parse_float=str) for row in rows])
    except PromgresError as error:
        raise OperatorError(f"{endpoint.url}: {error}") from None


def _check_unused(promql: bool = True, **given: object) -> None:
    for name, value in given.items():
        if value is not None:
            what = f"{value!a}" if name == "kind" else f"--{name}"
            raise OperatorError(f"{what}: {'not with' if promql else 'only with'} --promql")


def _period(filters: Mapping[str, Any], step: str | None, form: str | None) -> dict[str, str]:
    """When an expression is asked for, as parameters of the API."""
    until: datetime = filters["until"] or datetime.now(UTC)
    since: datetime | None = filters["since"]
    if since is None and step is None and form != "plot":
        return {"time": f"{until.timestamp():.3f}"}
    since = since or until - timedelta(hours=1)
    if since > until:
        raise OperatorError(f"--from: {since:%Y-%m-%dT%H:%M:%SZ} is after --to")
    seconds = max(1, round((until - since).total_seconds() / 200))
    return {"start": f"{since.timestamp():.3f}", "end": f"{until.timestamp():.3f}",
            "step": step or str(seconds)}  # fmt: skip


def _promql(
    url: str, key: str | None, promql: str, period: Mapping[str, str], limit: int, form: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Ask the read side, and print its answer.

    Raises:
        OperatorError: it refuses, or there is none.
    """
    path = "/api/v1/query_range" if "step" in period else "/api/v1/query"
    body = urlencode({"query": promql, "limit": str(limit), **period}, errors="surrogateescape")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    endpoint = Endpoint(url, key, PROMQL_SECONDS)
    exchange = Exchange(endpoint)
    try:
        answer = exchange.request("POST", path, body.encode(), headers)
    except PromgresError as error:
        raise OperatorError(f"{endpoint.url}: {error}") from None
    finally:
        exchange.close()
    document = answer.document()
    if not isinstance(document, dict) or document.get("status") != "success":
        said = document.get("error") if isinstance(document, dict) else None
        if said is None and answer.status == 404:
            said = "no read side answers there"
        raise OperatorError(f"{endpoint.url}: {cell(said or answer.reason)}")
    warn([*document.get("warnings", []), *document.get("infos", [])])
    data = document["data"]
    if as_json:
        series = data["result"] if data["resultType"] in ("vector", "matrix") else [data["result"]]
        for each in series:
            click.echo(json.dumps(each, ensure_ascii=False))
        return
    if data["resultType"] in ("vector", "matrix"):
        show([_curve(each) for each in data["result"]], form)
    else:
        show([_curve({"metric": {}, "value": data["result"]})], form)


def _metric(
    url: str, key: str | None, selector: str, arguments: Mapping[str, object], limit: int,
    form: str, as_json: bool,
) -> None:  # fmt: skip
    """Ask the read side for what a metric amounts to (`api.query_metric`), and print its answer.

    Args:
        selector: name and labels, all of them with `=`.
        arguments: of the function; None is its default.

    Raises:
        OperatorError: the selector is none, or the read side refuses, or there is none.
    """
    match: dict[str, str] = {}
    for name, operator, value in parse_selector(selector):
        if operator != "=":
            raise OperatorError(f'{operator}: labels are name="value" here; for others, --promql')
        match[name.decode(errors="replace")] = value.decode(errors="replace")
    metric = match.pop("__name__", None)
    if metric is None:
        raise OperatorError(f'{selector!a} names no metric: up{{job="node"}}')
    given = {name: value for name, value in arguments.items() if value is not None}
    body = json.dumps({**given, "p_metric": metric, "p_match": match}).encode()
    endpoint = Endpoint(url, key, TIMEOUT_SECONDS)
    exchange = Exchange(endpoint)
    try:
        headers = {"Content-Type": "application/json"}
        answer = exchange.request("POST", "/rpc/query_metric", body, headers)
    except PromgresError as error:
        raise OperatorError(f"{endpoint.url}: {error}") from None
    finally:
        exchange.close()
    rows = answer.document()
    if not isinstance(rows, list):
        raise OperatorError(f"{endpoint.url}: {cell(answer.reason)}")
    if as_json:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
        return
    found: dict[str, list[tuple[float, str]]] = {}
    for row in rows:
        points = found.setdefault(json.dumps({"__name__": metric, **(row["labels"] or {})}), [])
        if row["value"] is not None:
            points.append((datetime.fromisoformat(row["timestamp"]).timestamp(), row["value"]))
    curves = [
        Curve(json.loads(labels), *zip(*sorted(points), strict=True))
        for labels, points in found.items()
        if points
    ]
    show(curves[: limit or None], form)


def _curve(series: Mapping[str, Any]) -> Curve:
    """A series of an answer; of a native histogram count and sum."""
    points = [*series.get("values", []), *([series["value"]] if "value" in series else [])]
    for at, one in [*series.get("histograms", []),
                    *([series["histogram"]] if "histogram" in series else [])]:  # fmt: skip
        points.append([at, f"{{count:{one['count']}, sum:{one['sum']}}}"])
    points.sort(key=lambda point: point[0])
    return Curve(series["metric"], [at for at, _ in points], [value for _, value in points])


def pushable(row: str) -> str:
    """A row as it may be pushed: what is not an object, as the older API takes it, is a `dict`."""
    before, _, attributes = row.partition(ATTRIBUTES)
    return row if attributes.startswith("{") else f'{before},"dict":{attributes}'


def _print(kind: str, rows: list[dict[str, Any]]) -> None:
    _, *others = COLUMNS[kind]
    shown = [
        [
            str(row["time"]).replace("T", " ").removesuffix("Z"),
            *[cell(row[each]) for each in others],
        ]
        for row in rows
    ]
    print_table(["time (UTC)", *others], shown, "nothing found")
