"""The statement that answers a query; PostgreSQL writes the body."""

from __future__ import annotations

from typing import NamedTuple

from ingest.errors import BadRequest
from ingest.records.bucket import no_interval
from ingest.records.query import RecordQuery, no_json

PAGE = (
    "SELECT convert_to(body, 'UTF8') AS body, next_time, next_id"
    " FROM internal.pushed_page($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8, $9)"
)
BUCKETS = (
    "SELECT convert_to(b, 'UTF8') AS body, NULL::timestamptz AS next_time, NULL::uuid AS next_id"
    " FROM internal.measure_buckets($1, $2, $3, $4::text::jsonb, $5::text::interval, $6) AS b"
)
"""Texts are cast in SQL, so that no number loses a digit and PostgreSQL reads every interval."""

_OF_AN_INTERVAL = frozenset({"22007", "22008", "22015", "22023"})
_OF_JSON = frozenset({"22P02", "22P05", "22003", "54001"})


class RecordStatement(NamedTuple):
    """SQL that returns one row: `body bytea, next_time timestamptz, next_id uuid`."""

    sql: str
    parameters: tuple[object, ...]


def statement_of(query: RecordQuery, most_bytes: int) -> RecordStatement:
    """The statement, for a transaction in which `promgres.tenant_id` is set.

    Args:
        most_bytes: of the body; a longer one is NULL.
    """
    sql, parameters = _whole(query)
    return RecordStatement(
        f"SELECT CASE WHEN pg_catalog.octet_length(q.body) <= {most_bytes} THEN q.body END"  # noqa: S608
        f" AS body, q.next_time, q.next_id FROM ({sql}) AS q",
        parameters,
    )


def _whole(query: RecordQuery) -> RecordStatement:
    filters = (query.name, query.since, query.before, query.attributes)
    if query.bucket is not None:
        return RecordStatement(BUCKETS, (*filters, query.bucket, query.limit))
    after = query.after or (None, None)
    return RecordStatement(PAGE, (query.kind, query.shape, *filters, query.limit, *after))


def refused_by_database(query: RecordQuery, sqlstate: str | None) -> BadRequest | None:
    """What of the query PostgreSQL could not take; None if its error is no fault of the query."""
    if query.bucket is not None and sqlstate in _OF_AN_INTERVAL:
        return no_interval()
    if query.attributes is not None and sqlstate in _OF_JSON:
        return no_json()
    return None
