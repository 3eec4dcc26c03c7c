"""Reading measures and events: what a GET asks for, and how its answer looks.

The write port and the read port answer alike, so what they share is here: no HTTP library, no
database driver. A port checks the query (`parse_query`), runs its statement (`statement_of`) for
the tenant of the request, and answers with the body that PostgreSQL made and `page_headers`.
"""

from ingest.pushed.answers import (
    JSON_TYPE,
    OLDER_REFUSAL,
    Page,
    page_headers,
    problem_body,
    push_refusal_body,
    refused_push,
)
from ingest.pushed.cursor import Position
from ingest.pushed.query import LONGEST_PAGE, PARAMETERS, PushedQuery, parse_query
from ingest.pushed.routes import PUSH_PATHS, Kind, kind_of
from ingest.pushed.statement import Statement, refused_by_database, statement_of

__all__ = [
    "JSON_TYPE",
    "LONGEST_PAGE",
    "OLDER_REFUSAL",
    "PARAMETERS",
    "PUSH_PATHS",
    "Kind",
    "Page",
    "Position",
    "PushedQuery",
    "Statement",
    "kind_of",
    "page_headers",
    "parse_query",
    "problem_body",
    "push_refusal_body",
    "refused_by_database",
    "refused_push",
    "statement_of",
]
