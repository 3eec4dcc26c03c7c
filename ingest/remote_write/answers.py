"""Answers to senders: plain text, one reason a line, short enough for their logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from aiohttp import web

from ingest.auth.credentials import challenge_of
from ingest.errors import KeyRefused, RequestError, Unavailable
from ingest.logs import without_secrets
from ingest.model import Counts, Rejection

REASONS_SHOWN = 10
REASON_CHARACTERS = 300


def no_content() -> web.Response:
    """Everything is stored."""
    return web.Response(status=204)


def rejected(rejections: Sequence[Rejection], sent: Counts) -> web.Response:
    """Some of it can never be stored; the rest is. Prometheus logs the first 1024 bytes."""
    reasons = Counter(rejection.reason for rejection in rejections)
    lines = [_refused(rejections, sent)]
    for reason, times in reasons.most_common(REASONS_SHOWN):
        shown = reason if len(reason) <= REASON_CHARACTERS else reason[:REASON_CHARACTERS] + "…"
        lines.append(f"{shown} ({times} times)" if times > 1 else shown)
    if len(reasons) > REASONS_SHOWN:
        lines.append(f"and {len(reasons) - REASONS_SHOWN} more reasons")
    return _text(400, "\n".join(lines))


def _refused(rejections: Sequence[Rejection], sent: Counts) -> str:
    """How many of how many samples, and of whatever else was refused; of what carries nothing that
    is counted (metadata, a series without samples) that it was."""
    if not (sent.samples or sent.histograms or sent.exemplars):
        return "series without samples, or metadata, refused:"
    parts = []
    for kind in ("samples", "histograms", "exemplars"):
        refused = sum(getattr(rejection, kind) for rejection in rejections)
        if refused or kind == "samples":
            parts.append(f"{refused} of {getattr(sent, kind)} {kind}")
    return f"{', '.join(parts)} refused, the others are stored:"


def add_written(response: web.Response, written: Counts) -> None:
    """Say what was written, as 2.0 demands of every answer, and 1.0 forbids."""
    response.headers["X-Prometheus-Remote-Write-Samples-Written"] = str(written.samples)
    response.headers["X-Prometheus-Remote-Write-Histograms-Written"] = str(written.histograms)
    response.headers["X-Prometheus-Remote-Write-Exemplars-Written"] = str(written.exemplars)


def request_error(error: RequestError) -> web.Response:
    """The sender must change something."""
    response = _text(error.status, str(error))
    if error.status == 405:
        response.headers["Allow"] = "POST"
    if isinstance(error, KeyRefused):
        response.headers["WWW-Authenticate"] = challenge_of(error)
    return response


def unavailable(error: Unavailable) -> web.Response:
    """Our trouble: the sender keeps its samples and tries again."""
    response = _text(503, str(error))
    response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=without_secrets(text) + "\n")
