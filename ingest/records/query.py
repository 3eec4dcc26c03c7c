"""What a GET of measures or events asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ingest.errors import BadRequest
from ingest.http.strict import parse_json, query_pairs
from ingest.http.times import microseconds_of, parse_time
from ingest.model import RecordKind
from ingest.records.bucket import parse_bucket
from ingest.records.cursor import Position, read_cursor

Shape = Literal["older", "flat"]

PARAMETERS: Mapping[RecordKind, tuple[str, ...]] = {
    "measure": ("name", "from", "to", "attributes", "limit", "cursor", "shape", "bucket"),
    "event": ("name", "from", "to", "attributes", "limit", "cursor", "shape"),
}
DEFAULT_PAGE = 100
LONGEST_PAGE = 10_000
MOST_PARAMETERS = 50
SHOWN_CHARACTERS = 50

_LIMIT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class RecordQuery:
    """A checked query; None: no filter.

    Attributes:
        given: the parameters as they were sent, for the link to the next page.
        since, before: half-open, `since <= time < before`.
        attributes: JSON text that must be contained.
        after: the last row of the page before.
        bucket: an interval for PostgreSQL; then the answer is aggregates and has no pages.
    """

    kind: RecordKind
    given: tuple[tuple[str, str], ...] = ()
    name: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    attributes: str | None = None
    limit: int = DEFAULT_PAGE
    after: Position | None = None
    shape: Shape = "older"
    bucket: str | None = None

    @property
    def filters(self) -> bytes:
        """What decides which rows are in the list: cursors are bound to it."""
        return _filters(self.kind, self.name, self.since, self.before, self.attributes)


def parse_query(kind: RecordKind, query: str) -> RecordQuery:
    """Check the query string of a GET.

    Args:
        query: as it came, still percent-encoded.

    Raises:
        BadRequest: the first thing that is wrong with it.
    """
    try:
        pairs = query_pairs(query, MOST_PARAMETERS)
    except ValueError:
        raise BadRequest(
            "the query string is not valid UTF-8, or has too many parameters"
        ) from None
    given = _once_each(kind, pairs)
    name = given.get("name")
    if name is not None and (not name or "\0" in name):
        raise BadRequest("name is empty or holds U+0000: nothing can have such a name")
    since = parse_time("from", given["from"]) if "from" in given else None
    before = parse_time("to", given["to"]) if "to" in given else None
    if since and before and since > before:
        raise BadRequest("from is after to")
    attributes = given.get("attributes")  # as it came: PostgreSQL keeps every digit of a number
    if attributes is not None:
        try:
            parse_json(attributes)
        except (ValueError, RecursionError):
            raise no_json() from None
    filters = _filters(kind, name, since, before, attributes)
    bucket = _bucket(given)
    return RecordQuery(
        kind=kind,
        given=tuple(pairs),
        name=name,
        since=since,
        before=before,
        attributes=attributes,
        limit=_limit(given),
        after=read_cursor(given["cursor"], filters) if "cursor" in given else None,
        shape=_shape(given),
        bucket=bucket,
    )


def _filters(
    kind: RecordKind,
    name: str | None,
    since: datetime | None,
    before: datetime | None,
    attributes: str | None,
) -> bytes:
    times = [None if time is None else microseconds_of(time) for time in (since, before)]
    return json.dumps([kind, name, *times, attributes]).encode()


def _once_each(kind: RecordKind, pairs: list[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in PARAMETERS[kind]:
            shown = name if len(name) <= SHOWN_CHARACTERS else name[:SHOWN_CHARACTERS] + "…"
            raise BadRequest(
                f"{json.dumps(shown)} is not a parameter of {kind}s:"
                f" {', '.join(PARAMETERS[kind])} are"
            )
        if name in given:
            raise BadRequest(f"{name} is given twice")
        given[name] = value
    return given


def no_json() -> BadRequest:
    """What the client hears, here or once PostgreSQL has looked."""
    return BadRequest('attributes is not valid JSON that can be stored: write {"key": "value"}')


def _limit(given: Mapping[str, str]) -> int:
    # Buckets have no next page, so all of them are wanted.
    text = given.get("limit", str(LONGEST_PAGE if "bucket" in given else DEFAULT_PAGE))
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= LONGEST_PAGE:
        raise BadRequest(f"limit is not a whole number from 1 to {LONGEST_PAGE}")
    return int(text)


def _shape(given: Mapping[str, str]) -> Shape:
    text = given.get("shape", "older")
    if text == "older":
        return "older"
    if text == "flat":
        return "flat"
    raise BadRequest("shape is neither older nor flat")


def _bucket(given: Mapping[str, str]) -> str | None:
    if "bucket" not in given:
        return None
    for name in ("cursor", "shape"):
        if name in given:
            raise BadRequest(f"{name} does not go with bucket: aggregates have one shape, no pages")
    return parse_bucket(given["bucket"])
