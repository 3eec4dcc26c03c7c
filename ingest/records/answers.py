"""Answers to pushes: as today, all JSON; or as the older API gave them.

Today: `{"stored": n}`, with `"errors": [{"item": position, "reason": text}]` where something is
refused; the position is null where the whole request is meant. The older API said `ok`, and to a
bad key `"api key failure"`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from aiohttp import web

from ingest.auth.credentials import challenge_of
from ingest.errors import KeyRefused, OverQuota, RequestError, Unavailable
from ingest.logs import without_secrets
from ingest.model import Rejection
from ingest.records.pages import JSON_TYPE, OLDER_REFUSAL, refused_push
from ingest.wire.records.body import MOST_REASONS, PushRefused

Errors = Sequence[tuple[int | None, str]]
ALLOWED = "GET, HEAD, POST"


def stored(items: int, older: bool) -> web.Response:
    """All of it is stored."""
    if older:
        return web.Response(status=200, text="ok")
    return _json(201, {"stored": items})


def rejected(items: int, rejections: Sequence[Rejection], older: bool) -> web.Response:
    """The database refused some, for ever; so many others are stored."""
    if older:
        return _text(400, rejections[0].reason)
    errors = [(None, rejection.reason) for rejection in rejections[:MOST_REASONS]]
    return _refusal(400, errors, len(rejections) - len(errors), items)


def request_error(error: RequestError, older: bool) -> web.Response:
    """The sender must change something; nothing is stored."""
    if isinstance(error, KeyRefused) and older:
        return web.Response(status=403, body=OLDER_REFUSAL, headers={"Content-Type": JSON_TYPE})
    if older:
        response = _text(error.status, str(error))
    elif isinstance(error, PushRefused):
        response = _refusal(error.status, error.errors, error.more)
    else:
        response = _refusal(error.status, [(None, str(error))])
    if error.status == 405:
        response.headers["Allow"] = ALLOWED
    if isinstance(error, KeyRefused):
        response.headers["WWW-Authenticate"] = challenge_of(error)
    return response


def unavailable(error: Unavailable, older: bool) -> web.Response:
    """Not now: the sender tries again, with the same idempotency keys if it has some."""
    status = 429 if isinstance(error, OverQuota) else 503
    response = _text(status, str(error)) if older else _refusal(status, [(None, str(error))])
    response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def _refusal(status: int, errors: Errors, more: int = 0, stored: int = 0) -> web.Response:
    return _json(status, refused_push(errors, more, stored))


def _json(status: int, document: object) -> web.Response:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    body = without_secrets(text).encode("utf-8", "replace")
    return web.Response(status=status, body=body, headers={"Content-Type": JSON_TYPE})


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=without_secrets(text) + "\n")
