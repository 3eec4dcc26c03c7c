"""How answers look: pages, and refusals in the older way."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlencode

from ingest.pushed.cursor import Position, write_cursor
from ingest.pushed.query import PushedQuery

JSON_TYPE = "application/json; charset=utf-8"
OLDER_REFUSAL = b'"api key failure"'
"""The whole body of a 403 for clients of the older API, whatever is wrong with the key."""


class Page(NamedTuple):
    """What the database answered: the body as it made it, and its last row if more follow."""

    body: bytes
    last: Position | None


def page_headers(query: PushedQuery, page: Page) -> dict[str, str]:
    """Headers of a 200.

    The link is relative to the URL of the request, so that it holds behind proxies that change
    host or path.
    """
    headers = {"Content-Type": JSON_TYPE}
    if page.last is not None:
        cursor = write_cursor(page.last, query.filters)
        others = [(name, value) for name, value in query.given if name != "cursor"]
        headers["X-Next-Cursor"] = cursor
        headers["Link"] = f'<?{urlencode([*others, ("cursor", cursor)])}>; rel="next"'
    return headers
