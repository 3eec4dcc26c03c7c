"""Prometheus' API over HTTP: who asks, then a worker answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Mapping

from ingest.auth.access import READ
from ingest.auth.callers import Caller, Callers
from ingest.config import Settings
from ingest.errors import Busy, MethodNotAllowed, NotFound
from ingest.http.bodies import read_as_sent, read_body
from ingest.http.context import Context
from ingest.http.port import ANY, Route, Routes
from ingest.http.reply import ClientGone, Reply, Sending, compress
from ingest.http.shares import Memory, Slow, UnderWay
from ingest.logs import get_logger
from ingest.prometheus.answers import refuse
from ingest.prometheus.documents import JSON, dump, success
from ingest.prometheus.request import Form, read_form
from ingest.prometheus.workers import LONGEST_ANSWER_BYTES, SAMPLES, STAGES, Answered, Workers

API = "/api/v1/"
BELOW = "/api/"
PROMETHEUS_VERSION = "3.14.0"
"""Whose API and language this is: Grafana offers by it what that version has."""
BUILD = {
    "version": PROMETHEUS_VERSION,
    "revision": "promgres",
    "branch": "",
    "buildUser": "",
    "buildDate": "",
    "goVersion": "",
}
FORMS = {
    kind: kind
    for kind in (
        "query", "query_range", "series", "labels", "query_exemplars", "format_query", "parse_query"
    )
}  # fmt: skip
"""GET, or POST of a form."""
GETS = {"metadata": "metadata", "status/tsdb": "tsdb"}
READ_PATH = "read"
TOLD = {"rules": {"groups": []}, "alerts": {"alerts": []}, "status/buildinfo": BUILD}
"""The same for everybody. There are no rules: what a vmalert or a Prometheus evaluates is kept."""
MOST_QUERY_LOGGED = 2000
SMALL_BYTES = 64 * 1024
"""An answer up to here is what a connection keeps for its client anyway."""
MOST_BUFFERED_BYTES = 3 * LONGEST_ANSWER_BYTES
"""Of answers that are longer, while they are read: the longest has room in half of it."""

log = get_logger("api")


class Prometheus:
    """Answers the paths of Prometheus' API.

    Args:
        callers: find out who asks; scope `read`.
        under_way: what each may have under way.
        slow: told of slow ones.
    """

    def __init__(
        self,
        workers: Workers,
        callers: Callers,
        under_way: UnderWay,
        slow: Slow,
        settings: Settings,
    ) -> None:
        self._workers = workers
        self._callers = callers
        self._under_way = under_way
        self._slow = slow
        self._timeout_seconds = settings.query.timeout_seconds
        self._slow_seconds = settings.api.slow_seconds
        self._most_body_bytes = settings.api.max_body_bytes
        self._stream_seconds = settings.api.stream_timeout_seconds
        self._memory = Memory(MOST_BUFFERED_BYTES)

    def routes(self) -> Routes:
        """The table of its paths; what else is below `/api/` is not found in its words."""
        kinds = {**FORMS, **GETS, READ_PATH: "read"}
        asked = {f"{API}{path}": {ANY: Route(self, refuse)} for path in kinds}
        told = {f"{API}{path}": {ANY: Route(self._tell, refuse)} for path in TOLD}
        return {**asked, **told, BELOW: {ANY: Route(self, refuse)}}

    async def __call__(self, context: Context) -> Reply:
        """Have a worker answer.

        Raises:
            PromgresError: the request is refused.
        """
        request, (kind, name) = context.request, _kind_of(context)
        context.function = f"{API}{kind}"
        caller = await self._callers.caller_of(request.headers, request.remote, READ)
        body = b""
        if context.method == "POST":
            read = read_as_sent if kind == "read" else read_body
            body = await read(request, self._most_body_bytes)
        query = request.rel_url.raw_query_string
        form = Form([]) if kind == "read" else read_form(query, body)
        seconds = form.duration_seconds("timeout", 0)
        if seconds <= 0:
            seconds = self._timeout_seconds
        question = {"kind": kind, "name": name, "query": query, "tenant_id": caller.tenant_id}
        with self._under_way.one_more(caller.counted_as):
            started = time.monotonic()
            answered: Answered | None = None
            try:
                answered = await self._workers.ask(question, body, caller.counted_as, seconds)
            finally:
                self._note(kind, form, caller, time.monotonic() - started, answered)
        headers = {"Content-Type": answered.media, **answered.about.get("headers", {})}
        if "retry_after" in answered.about:
            headers["Retry-After"] = str(answered.about["retry_after"])
        reply = Reply(answered.status, answered.body, headers)
        if len(answered.body) > SMALL_BYTES and context.method != "HEAD":
            await self._send(context, reply, caller.counted_as)
        return reply

    async def _send(self, context: Context, reply: Reply, who: Hashable) -> None:
        """Send a long answer, and hold it for no longer than that.

        Raises:
            Busy: there is no room for it beside others that are being read.
        """
        assert reply.body is not None
        length = len(reply.body)
        if not self._memory.take(who, length):
            raise Busy("Too many long answers are being read")
        sending: Sending | None = None
        try:
            async with asyncio.timeout(self._stream_seconds):
                await compress(reply, context.request.headers)
                sending = await Sending.begin(context.request, reply, len(reply.body), None)
                await sending.write(reply.body)
                await sending.end()
            reply.sent, reply.sent_bytes = sending.response, sending.sent_bytes
        except (TimeoutError, ClientGone):
            if sending is None:
                raise ClientGone from None
            sending.cut()
            reply.sent = sending.response
        finally:
            self._memory.give(who, length)

    async def _tell(self, context: Context) -> Reply:
        """What is the same for everybody who may read."""
        request, path = context.request, context.path.removeprefix(API)
        _check_method(context, ("GET",))
        await self._callers.caller_of(request.headers, request.remote, READ)
        return Reply(200, success(dump(TOLD[path])), {"Content-Type": JSON})

    def _note(
        self, kind: str, form: Form, caller: Caller, seconds: float, answered: Answered | None
    ) -> None:
        """Count a query; say which ones were slow, or got no answer in time."""
        about: Mapping[str, float] = {}
        if answered is not None:
            about = answered.about.get("stages", {})
            SAMPLES.inc(answered.about.get("samples", 0))
        for stage, taken in about.items():
            STAGES.labels(stage).observe(taken)
        if seconds >= self._slow_seconds:
            self._slow.note(caller.tenant_id, form.text("query") or kind, seconds)
            log.warning(
                "a slow query" if answered is not None else "a query was abandoned",
                kind=kind,
                query=form.text("query")[:MOST_QUERY_LOGGED],
                tenant=caller.tenant,
                status=answered.status if answered is not None else None,
                seconds=round(seconds, 2),
                **{stage: round(taken, 3) for stage, taken in about.items()},
            )


def _kind_of(context: Context) -> tuple[str, str]:
    """What a path asks for, and of which label.

    Raises:
        NotFound, MethodNotAllowed: nothing, or not so.
    """
    path = context.path.removeprefix(API)
    if path in FORMS:
        _check_method(context, ("GET", "POST"))
        return FORMS[path], ""
    if path in GETS:
        _check_method(context, ("GET",))
        return GETS[path], ""
    if path == READ_PATH:
        _check_method(context, ("POST",))
        return "read", ""
    first, *rest = path.split("/")
    if first == "label" and len(rest) == 2 and rest[1] == "values":
        _check_method(context, ("GET",))
        return "values", rest[0]
    raise NotFound("404 page not found")


def _check_method(context: Context, methods: tuple[str, ...]) -> None:
    allowed = (*methods, "HEAD") if "GET" in methods else methods
    if context.method not in allowed:
        raise MethodNotAllowed(f"{context.method} is not taken here", ", ".join(allowed))
