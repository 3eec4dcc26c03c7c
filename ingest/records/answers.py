"""Answers about records: in JSON; or, to clients of the legacy API, as that gave them.

Of writing: `{"stored": n}`, with `"errors": [{"item": position, "reason": text}]` where something
is rejected; the position is null where the whole request is meant. Of reading: a page, or a refusal
as the read port gives them. The legacy API said `ok`, to a bad key `"api key failure"`, and of all
else a line of text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from ingest.auth.credentials import challenge_of, is_legacy
from ingest.errors import (
    KeyRefused,
    MethodNotAllowed,
    OverQuota,
    QueryRefused,
    RequestError,
    Unavailable,
)
from ingest.http.context import Context
from ingest.http.problems import problem_of
from ingest.http.reply import Reply, problem_reply, text_reply
from ingest.logs import get_logger, without_secrets
from ingest.model import Rejection
from ingest.records.cursor import Position, write_cursor
from ingest.records.query import RecordQuery
from ingest.wire.records.body import MOST_REASONS, RecordsRefused

log = get_logger("records")

Errors = Sequence[tuple[int | None, str]]
JSON_TYPE = "application/json; charset=utf-8"
LEGACY_REFUSAL = b'"api key failure"'
"""The whole body of a 403 for clients of the legacy API, whatever is wrong with the key."""


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


def page_headers(query: RecordQuery, page: Page) -> dict[str, str]:
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


def stored(items: int, rejections: Sequence[Rejection], legacy: bool) -> Reply:
    """So many are stored; the database rejects some others, for ever."""
    if not rejections:
        return text_reply("ok") if legacy else _json(201, {"stored": items})
    if legacy:
        return text_reply(f"{rejections[0].reason}\n", 400)
    errors = [(None, rejection.reason) for rejection in rejections[:MOST_REASONS]]
    return _json(400, _rejected(errors, len(rejections) - len(errors), items))


def refuse_write(context: Context, error: Exception) -> Reply:
    """Nothing is stored: the sender must change something, or come again, with the same idempotency
    keys if it has some."""
    legacy = is_legacy(context.request.headers)
    headers: dict[str, str] = {}
    if isinstance(error, RequestError):
        sender = context.request.remote
        log.info("refused", status=error.status, reason=str(error), sender=sender)
        status = error.status
        if isinstance(error, MethodNotAllowed):
            headers["Allow"] = error.allow
        elif isinstance(error, KeyRefused):
            if legacy:
                return Reply(403, LEGACY_REFUSAL, {"Content-Type": JSON_TYPE})
            headers["WWW-Authenticate"] = challenge_of(error)
    else:
        error = error if isinstance(error, Unavailable) else Unavailable("internal error")
        status = 429 if isinstance(error, OverQuota) else 503
        headers["Retry-After"] = str(error.retry_after_seconds)
    if legacy:
        reply = text_reply(f"{error}\n", status)
    elif isinstance(error, RecordsRefused):
        reply = _json(status, _rejected(error.errors, error.more))
    else:
        reply = _json(status, _rejected([(None, str(error))]))
    reply.headers.update(headers)
    return reply


def refuse_read(context: Context, error: Exception) -> Reply:
    """As the read port refuses, on both ports."""
    if isinstance(error, QueryRefused):
        log.warning("a read failed", reason=str(error), sqlstate=error.sqlstate)
    problem = problem_of(error)
    if not is_legacy(context.request.headers):
        return problem_reply(problem)
    if problem.status in (401, 403):
        return Reply(403, LEGACY_REFUSAL, {"Content-Type": JSON_TYPE})
    reply = text_reply(f"{problem.message}\n", problem.status)
    reply.headers.update(problem.headers)
    return reply


def refuse_forwarded(context: Context, error: Exception) -> Reply:
    """What the read port does not hand on to the write side, refused as that would."""
    if is_legacy(context.request.headers):
        return refuse_read(context, error)
    problem = problem_of(error)
    details = f": {problem.details}" if problem.details else ""
    text = json.dumps(_rejected([(None, problem.message + details)]), ensure_ascii=False)
    body = without_secrets(text).encode("utf-8", "replace")
    return Reply(problem.status, body, {"Content-Type": JSON_TYPE, **problem.headers})


def _rejected(errors: Errors, more: int = 0, stored: int = 0) -> dict[str, object]:
    """What a sender is told of records that are rejected.

    Args:
        errors: position of the item from 0 (None: the request as a whole) and the reason.
        more: how many are left out.
        stored: how many items are stored nevertheless.
    """
    told = [{"item": position, "reason": reason} for position, reason in errors]
    return {"stored": stored, "errors": told} | ({"more": more} if more else {})


def _json(status: int, document: object) -> Reply:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    body = without_secrets(text).encode("utf-8", "replace")
    return Reply(status, body, {"Content-Type": JSON_TYPE})
