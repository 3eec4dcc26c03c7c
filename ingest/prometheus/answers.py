"""Refusals of Prometheus' API as HTTP."""

from __future__ import annotations

from ingest.auth.credentials import challenge_of
from ingest.errors import KeyRefused, MethodNotAllowed, Unavailable
from ingest.http.context import Context
from ingest.http.reply import Reply
from ingest.logs import without_secrets
from ingest.prometheus.documents import JSON, failure, words_of


def refuse(_: Context, error: Exception) -> Reply:
    """The words of this API for an error of ours."""
    headers = {"Content-Type": JSON}
    status, error_type, message = words_of(error)
    if isinstance(error, KeyRefused):
        headers["WWW-Authenticate"] = challenge_of(error)
    elif isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.allow
    elif isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after_seconds)
    return Reply(status, failure(error_type, without_secrets(message)), headers)
