"""Pages for probes and people, the same on both ports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

from prometheus_client.metrics_core import Metric as Family

from ingest.auth.authenticator import SeesTenant
from ingest.http.context import Context
from ingest.http.port import Refuse, Route
from ingest.http.reply import Reply, text_reply
from ingest.metrics import exposition

Ready = Callable[[], Awaitable[str | None]]
"""Why a request would not be taken now; None if it would."""
Sees = Callable[[Mapping[str, str], str | None], Awaitable[SeesTenant]]
"""From headers and address, whose metrics a request is shown."""
Families = Callable[[], Awaitable[Iterable[Family] | None]]
"""The metrics of several processes; None: of this one alone."""


async def _own_families() -> None:
    """Those of this process."""


def health_routes(
    ready: Ready, sees: Sees, refuse: Refuse, families: Families = _own_families
) -> dict[str, dict[str, Route]]:
    """Routes of `/-/healthy`, `/healthz`, `/-/ready` and `/metrics`.

    Args:
        refuse: the words of the port.
        families: what `/metrics` shows.
    """

    async def healthy(_: Context) -> Reply:
        return text_reply("ok\n")

    async def healthz(_: Context) -> Reply:  # under the legacy API's name, and in its words
        return text_reply("ok")

    async def is_ready(_: Context) -> Reply:
        why_not = await ready()
        if why_not is None:
            return text_reply("ready\n")
        reply = text_reply(f"{why_not}\n", 503)
        reply.headers["Retry-After"] = "1"
        return reply

    async def metrics(context: Context) -> Reply:
        shown = await sees(context.request.headers, context.request.remote)
        body, content_type = exposition(shown, await families())
        return Reply(200, body, {"Content-Type": content_type})

    pages = {
        "/-/healthy": healthy,
        "/healthz": healthz,
        "/-/ready": is_ready,
        "/metrics": metrics,
    }
    return {path: read_only(Route(page, refuse)) for path, page in pages.items()}


def read_only(route: Route) -> dict[str, Route]:
    """A route for GET and HEAD."""
    return {"GET": route, "HEAD": route}
