"""How answers look: pages, and refusals in the older way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from ingest.logs import without_secrets
from ingest.records.cursor import Position, write_cursor
from ingest.records.query import PushedQuery

JSON_TYPE = "application/json; charset=utf-8"
OLDER_REFUSAL = b'"api key failure"'
"""The whole body of a 403 for clients of the older API, whatever is wrong with the key."""


class Page(NamedTuple):
    """What the database answered: the body as it made it, and its last row if more follow."""

    body: bytes
    last: Position | None

    @classmethod
    def of(cls, body: bytes, next_time: datetime | None, next_id: UUID | None) -> Page:
        """From the one row of a statement."""
        if next_time is None or next_id is None:
            return cls(body, None)
        return cls(body, Position(next_time, next_id))


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


def problem_body(code: str, message: str, details: str | None = None) -> bytes:
    """The body of any other refusal: the four keys of the read side.

    Args:
        code: `PGRSTnnn`, or a SQLSTATE.
    """
    return _refusal({"code": code, "message": message, "details": details, "hint": None})


def refused_push(
    errors: Sequence[tuple[int | None, str]], more: int = 0, stored: int = 0
) -> dict[str, object]:
    """What a sender is told of a push that is refused.

    Args:
        errors: position of the item from 0 (None: the push as a whole) and the reason.
        more: how many are left out.
        stored: how many items are stored nevertheless.
    """
    told = [{"item": position, "reason": reason} for position, reason in errors]
    return {"stored": stored, "errors": told} | ({"more": more} if more else {})


def push_refusal_body(reason: str) -> bytes:
    """The body of the refusal of a whole push."""
    return _refusal(refused_push([(None, reason)]))


def _refusal(document: dict[str, object]) -> bytes:
    """Whatever it quotes of a request, the secret of a key is not in it."""
    text = json.dumps(document, ensure_ascii=False)
    return without_secrets(text).encode("utf-8", "replace")
