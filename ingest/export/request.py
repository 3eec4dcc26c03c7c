"""What a request for an export asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ingest.errors import BadRequest, NotAcceptable, PromqlError
from ingest.http.strict import query_pairs
from ingest.http.times import parse_time
from ingest.promql.matchers import Matcher
from ingest.promql.parser import parse_selector

MEDIA = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
"""By format, the first where none is asked for."""
PERIOD = timedelta(hours=1)
"""Before the end, where no beginning is given."""
MOST_PARAMETERS = 100
ONCE = ("metric", "from", "to", "format")


class Ask(NamedTuple):
    """What is asked.

    Attributes:
        metric: a name in lower case, as /rpc has it; None: any that meets the selectors.
        selectors: of each, all matchers have to be met; a series is in if it meets one of them.
        start, end: `start <= time < end`.
        format: one of `MEDIA`.
    """

    metric: str | None
    selectors: Sequence[Sequence[Matcher]]
    start: datetime
    end: datetime
    format: str


def read_ask(query: str, accept: str | None, now: datetime) -> Ask:
    """What a query string asks for.

    Args:
        query: still percent-encoded.
        accept: the header, which is asked where no `format` is given.

    Raises:
        BadRequest: it cannot be understood, or asks for every series there is.
        NotAcceptable: there is no such format.
    """
    try:
        pairs = query_pairs(query, MOST_PARAMETERS)
    except ValueError as error:
        raise BadRequest(f"the query string cannot be read: {error}") from None
    given: dict[str, str] = {}
    matches = []
    for name, value in pairs:
        if "\0" in value:
            raise BadRequest(f"{name} holds a NUL, as no text of PostgreSQL's does")
        if name in ("match", "match[]"):
            matches.append(value)
        elif name not in ONCE:
            raise BadRequest(f"{name[:100]!r} is no parameter: {', '.join((*ONCE, 'match'))} are")
        elif name in given:
            raise BadRequest(f"{name} is given twice")
        else:
            given[name] = value
    metric = given.get("metric", "").lower() or None
    selectors = [_selector(text) for text in matches]
    if metric is None and not selectors:
        raise BadRequest('metric is missing: the name of one, or match={job="x"}')
    for matchers in selectors:
        if metric is None and all(matcher.matches("") for matcher in matchers):
            raise BadRequest(
                "match must have a matcher that no empty label meets, or name a metric"
            )
    end = parse_time("to", given["to"]) if "to" in given else now
    start = parse_time("from", given["from"]) if "from" in given else _before(end)
    if start > end:
        raise BadRequest("from is after to")
    return Ask(metric, selectors, start, end, _format(given.get("format"), accept))


def _selector(text: str) -> list[Matcher]:
    """A PromQL selector, or labels as a JSON object, as `p_match` of functions."""
    text = text.strip()
    if text.startswith("{"):
        try:
            labels = json.loads(text)
        except (ValueError, RecursionError):
            labels = None
        if isinstance(labels, dict):
            if not all(isinstance(value, str) for value in labels.values()):
                raise BadRequest("match: the value of a label is a string")
            return [Matcher("=", name, value) for name, value in labels.items()]
    try:
        return parse_selector(text)
    except (PromqlError, RecursionError) as error:
        raise BadRequest(f"match: {error}") from None


def _before(end: datetime) -> datetime:
    try:
        return end - PERIOD
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _format(asked: str | None, accept: str | None) -> str:
    if asked is not None:
        if asked not in MEDIA:
            raise NotAcceptable(f"format is one of {', '.join(MEDIA)}")
        return asked
    for item in (accept or "").split(","):
        wanted = item.partition(";")[0].strip().lower()
        for name, media in MEDIA.items():
            if wanted == media.partition(";")[0]:
                return name
    return next(iter(MEDIA))
