"""The files of the page at `/ui`: what a browser is served, whoever asks. They hold no data; what
the page shows it asks of the other APIs, with the key that its user types."""

from __future__ import annotations

import hashlib
import json
import mimetypes
from pathlib import Path

from ingest.errors import NotFound
from ingest.http.context import Context
from ingest.http.negotiation import wants_html
from ingest.http.reply import Reply
from ingest.promql.lexer import AGGREGATORS
from ingest.promql.signatures import FUNCTIONS

UI = "/ui"
BELOW = f"{UI}/"
PAGE = "index.html"
CSP = "; ".join(
    (
        "default-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Looked for again each time, and mostly answered 304: a page and modules of two versions never
    # meet.
    "Cache-Control": "no-cache",
}
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


def _language() -> bytes:
    """What the query box completes: functions with the kinds of their arguments, aggregations."""
    functions = {
        each.name: {"takes": each.takes, "experimental": each.experimental}
        for each in FUNCTIONS.values()
    }
    return json.dumps({"functions": functions, "aggregations": sorted(AGGREGATORS)}).encode()


def _replies() -> dict[str, Reply]:
    """Every file by its path below `/ui/`, read once: root's files are out of reach later on."""
    folder = Path(__file__).parent / "page"
    contents = {
        each.relative_to(folder).as_posix(): each.read_bytes()
        for each in folder.rglob("*")
        if each.is_file()
    }
    contents["promql.json"] = _language()
    return {name: _reply(name, body) for name, body in contents.items()}


def _reply(name: str, body: bytes) -> Reply:
    suffix = Path(name).suffix
    media = TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "text/plain"
    if suffix != ".png":
        media += "; charset=utf-8"
    tag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Reply(200, body, {**HEADERS, "Content-Type": media, "ETag": tag})


FILES = _replies()


async def serve_page(context: Context) -> Reply:
    """A file of the page, or 304 where the browser has it already.

    Raises:
        NotFound: there is no such file.
    """
    path = context.path.removeprefix(UI).removeprefix("/")
    if context.path in (BELOW, BELOW + PAGE):  # relative links would miss
        return Reply(308, b"", {"Location": "../ui"})
    kept = FILES.get(path or PAGE)
    if kept is None:
        raise NotFound("Invalid path specified in request URL")
    context.function = UI
    if context.header("If-None-Match") == kept.headers["ETag"]:
        return Reply(304, None, dict(kept.headers))
    return Reply(200, kept.body, dict(kept.headers))


def to_the_page(context: Context) -> Reply | None:
    """The way to `/ui`, for who asks `/` for HTML, as browsers do; None for everybody else."""
    if not wants_html(context.header("Accept")):
        return None
    return Reply(303, b"", {"Location": "ui", "Cache-Control": "no-store"})
