"""What there is: series, labels, their values, metadata, exemplars, cardinality."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import unquote

from ingest.prometheus.documents import dump, number_text, success
from ingest.prometheus.query import TRUNCATED, features_of
from ingest.prometheus.question import Question
from ingest.prometheus.request import BadParameter, label_name
from ingest.promql import tree
from ingest.promql.matchers import Matcher
from ingest.promql.parser import parse
from ingest.promql.values import Labels
from ingest.storage.engine import to_datetime
from ingest.storage.selecting import (
    NEWEST_MS,
    OLDEST_MS,
    Found,
    can_be_stored,
    find_series,
    live_series,
)

TSDB_ROWS = 10
MOST_TSDB_ROWS = 10_000
MOST_EXEMPLARS = 100_000


async def series(question: Question) -> bytes:
    """Label sets of series that meet one of `match[]`."""
    form = question.form
    limit, matchers = form.limit(), form.selectors(required=True)
    found = await _found(question, matchers)
    distinct = {one.key: one.labels for one in found}
    ordered = [distinct[key] for key in sorted(distinct)]
    return _limited(ordered, limit)


async def label_names(question: Question) -> bytes:
    """Names of labels, of all series or of those that meet one of `match[]`."""
    form = question.form
    limit, matchers = form.limit(), form.selectors()
    if matchers or _period(question) is not None:
        found = await _found(question, matchers or [[]])
        names: Iterable[str] = {name for one in found for name in one.labels}
    else:
        async with question.reading() as connection:
            names = [
                row[0] for row in await connection.fetch("SELECT * FROM internal.label_names()")
            ]
    return _limited(sorted(names), limit)


async def label_values(question: Question) -> bytes:
    """Values of a label, of all series or of those that meet one of `match[]`."""
    form, name = question.form, label_name(unquote(question.name))
    limit, matchers = form.limit(), form.selectors()
    if matchers or _period(question) is not None:
        found = await _found(question, matchers or [[Matcher("!=", name, "")]])
        values: Iterable[str] = {one.labels[name] for one in found if name in one.labels}
    elif not can_be_stored(name):
        values = ()
    else:
        async with question.reading() as connection:
            rows = await connection.fetch("SELECT * FROM internal.label_values($1)", name)
        values = [row[0] for row in rows]
    return _limited(sorted(values), limit)


async def metadata(question: Question) -> bytes:
    """Type, unit and help of metrics, by name: the newest first."""
    form = question.form
    limit, each = form.number("limit", -1), form.number("limit_per_metric", -1)
    metric = form.text("metric") or None
    rows: list[Any] = []
    if metric is None or can_be_stored(metric):
        async with question.reading() as connection:
            rows = await connection.fetch("SELECT * FROM internal.metadata_of($1)", metric)
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if row["name"] not in found and 0 <= limit <= len(found):
            break
        mine = found.setdefault(row["name"], [])
        if each <= 0 or len(mine) < each:
            mine.append({"type": row["type"], "unit": row["unit"], "help": row["help"]})
    return success(dump(found))


async def exemplars(question: Question) -> bytes:
    """Exemplars of the series that a query selects."""
    form = question.form
    start_ms, end_ms = form.time_ms("start", OLDEST_MS), form.time_ms("end", NEWEST_MS)
    if end_ms < start_ms:
        raise BadParameter("end timestamp must not be before start timestamp")
    expression = parse(form.text("query"), features_of(question.settings.query))
    matchers = [
        list(node.matchers) for node, _ in tree.walk(expression) if isinstance(node, tree.Selector)
    ]
    async with question.reading() as connection:
        labels: dict[int, Labels] = {}
        for asked in matchers:
            found = await find_series(connection, asked, question.budget, question.labels)
            labels |= {one.series_id: one.labels for one in found}
        rows = await connection.fetch(
            "SELECT * FROM internal.exemplars_of_series($1, $2, $3, $4)",
            list(labels),
            to_datetime(start_ms),
            to_datetime(end_ms),
            MOST_EXEMPLARS,
        )
    by_series: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_series.setdefault(row["series_id"], []).append(
            {
                "labels": json.loads(row["labels"]),
                "value": number_text(row["value"]),
                "timestamp": round(row["time"].timestamp(), 3),
            }
        )
    data = [
        {"seriesLabels": labels[series_id], "exemplars": mine}
        for series_id, mine in by_series.items()
    ]
    return success(dump(data))


async def cardinality(question: Question) -> bytes:
    """What there is most of: series by metric, values by label."""
    limit = question.form.number("limit", TSDB_ROWS)
    if limit < 1:
        raise BadParameter("limit must be a positive number")
    if limit > MOST_TSDB_ROWS:
        raise BadParameter(f"limit must not exceed {MOST_TSDB_ROWS}")
    async with question.reading() as connection:
        rows = await connection.fetch("SELECT * FROM internal.cardinality($1)", limit)
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["kind"], []).append({"name": row["name"], "value": row["value"]})
    head = {one["name"]: one["value"] for one in found.get("head", ())}
    return success(
        dump(
            {
                "headStats": {"chunkCount": 0, "minTime": 0, "maxTime": 0, **head},
                "seriesCountByMetricName": found.get("metric", []),
                "labelValueCountByLabelName": found.get("label", []),
                "memoryInBytesByLabelName": found.get("bytes", []),
                "seriesCountByLabelValuePair": found.get("pair", []),
            }
        )
    )


def _period(question: Question) -> tuple[int, int] | None:
    """What the request is limited to, in milliseconds; None if it is not."""
    form = question.form
    if not form.text("start") and not form.text("end"):
        return None
    start_ms, end_ms = form.time_ms("start", OLDEST_MS), form.time_ms("end", NEWEST_MS)
    if end_ms < start_ms:
        raise BadParameter('invalid parameter "end": end timestamp must not be before start time')
    return start_ms, end_ms


async def _found(question: Question, selectors: Sequence[Sequence[Matcher]]) -> list[Found]:
    """Series that meet one of the selectors and have a sample in the request's period."""
    period = _period(question)
    found: dict[int, Found] = {}
    async with question.reading() as connection:
        for matchers in selectors:
            mine = await find_series(connection, matchers, question.budget, question.labels)
            found |= {one.series_id: one for one in mine}
        every = list(found.values())
        if period is not None:
            live = await live_series(connection, every, *period)
            every = [one for one in every if one.series_id in live]
    return every


def _limited(items: Sequence[Any], limit: int) -> bytes:
    if 0 < limit < len(items):
        return success(dump(items[:limit]), [TRUNCATED])
    return success(dump(list(items)))
