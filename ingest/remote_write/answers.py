"""Answers to senders: plain text, one reason a line, short enough for their logs; and, where 2.0
demands it, how much was written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ingest.auth.credentials import challenge_of
from ingest.errors import KeyRefused, MethodNotAllowed, RequestError, Unavailable
from ingest.http.context import Context
from ingest.http.reply import Reply, text_reply
from ingest.logs import get_logger
from ingest.model import Counts, Intake, Rejection
from ingest.wire.remote_write.negotiate import Message, negotiate

REASONS_SHOWN = 10
REASON_CHARACTERS = 300

log = get_logger("receiver")


def stored(message: Message, intake: Intake, rejections: Sequence[Rejection]) -> Reply:
    """Everything is stored, or all but what never can be."""
    reply = rejected(rejections, intake.sent) if rejections else Reply(204)
    if message is Message.V2:
        _add_written(reply, intake.written(rejections))
    return reply


def rejected(rejections: Sequence[Rejection], sent: Counts) -> Reply:
    """Some of it can never be stored; the rest is. Prometheus logs the first 1024 bytes."""
    reasons = Counter(rejection.reason for rejection in rejections)
    lines = [_how_many(rejections, sent)]
    for reason, times in reasons.most_common(REASONS_SHOWN):
        shown = reason if len(reason) <= REASON_CHARACTERS else reason[:REASON_CHARACTERS] + "…"
        lines.append(f"{shown} ({times} times)" if times > 1 else shown)
    if len(reasons) > REASONS_SHOWN:
        lines.append(f"and {len(reasons) - REASONS_SHOWN} more reasons")
    return text_reply("\n".join(lines) + "\n", 400)


def _how_many(rejections: Sequence[Rejection], sent: Counts) -> str:
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


def refuse(context: Context, error: Exception) -> Reply:
    """The sender must change something, or come again with the same samples."""
    if isinstance(error, RequestError):
        sender = context.request.remote
        log.info("refused", status=error.status, reason=str(error), sender=sender)
        reply = text_reply(f"{error}\n", error.status)
        if isinstance(error, MethodNotAllowed):
            reply.headers["Allow"] = error.allow
        elif isinstance(error, KeyRefused):
            reply.headers["WWW-Authenticate"] = challenge_of(error)
    else:
        away = error if isinstance(error, Unavailable) else Unavailable("internal error")
        reply = text_reply(f"{away}\n", 503)
        reply.headers["Retry-After"] = str(away.retry_after_seconds)
    if _is_v2(context):
        _add_written(reply, Counts())
    return reply


def _is_v2(context: Context) -> bool:
    """Whether it was a request of 2.0 that could be taken: only such a sender hears what was
    written, even if nothing was."""
    try:
        return context.method == "POST" and negotiate(context.request.headers)[0] is Message.V2
    except RequestError:
        return False


def _add_written(reply: Reply, written: Counts) -> None:
    """Say what was written, as 2.0 demands of every answer, and 1.0 forbids."""
    prefix = "X-Prometheus-Remote-Write"
    reply.headers[f"{prefix}-Samples-Written"] = str(written.samples)
    reply.headers[f"{prefix}-Histograms-Written"] = str(written.histograms)
    reply.headers[f"{prefix}-Exemplars-Written"] = str(written.exemplars)
