"""What a function itself says of its answer, and what caches are told of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import blake2b

from ingest.auth.credentials import says_who
from ingest.http.problems import Problem
from ingest.http.reply import Reply

FRAMING = frozenset({"content-length", "content-encoding", "transfer-encoding", "connection"})
"""Headers that are the server's alone: with a wrong one a client reads something else."""

OURS = ("Content-Type", "Content-Range", "Cache-Control", "ETag", "Preference-Applied",
        "Content-Profile", "Vary", "Server")  # fmt: skip
"""Headers that are there anyway, as we spell them: what a function chooses takes their place."""

WITHOUT_BODY = (204, 205, 304)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def apply_choices(reply: Reply, status: str | None, headers: str | None) -> None:
    """`response.status` and `response.headers` as a function, or the one before it, set them.

    Raises:
        Problem: 500, they mean nothing; the transaction is rolled back.
    """
    if status:
        if not re.fullmatch(r"[1-5]\d\d", status, re.ASCII) or status.startswith("1"):
            raise Problem(500, "PGRST112", "response.status guc must be a valid status code")
        reply.status = int(status)
        if reply.status in WITHOUT_BODY:
            reply.body = None
            reply.headers.pop("Content-Type", None)
    if headers:
        for name, value in _chosen_headers(headers):
            known = [each for each in OURS if each.lower() == name.lower()]
            reply.headers[known[0] if known else name] = value


def _chosen_headers(document: str) -> list[tuple[str, str]]:
    """Names and values of `[{"Name": "value"}, …]`."""
    try:
        found = json.loads(document)
        pairs = [pair for each in found for pair in each.items()]
        is_list = isinstance(found, list) and all(len(each) == 1 for each in found)
    except (ValueError, AttributeError, TypeError, RecursionError):
        is_list, pairs = False, []
    for name, value in pairs:
        allowed = isinstance(value, str) and _VALUE.fullmatch(value) and _TOKEN.fullmatch(name)
        is_list = is_list and bool(allowed) and name.lower() not in FRAMING
    if not is_list:
        raise Problem(
            500,
            "PGRST111",
            "response.headers guc must be a JSON array composed of objects with a single key and a"
            " string value",
        )
    return pairs


def add_caching(reply: Reply, asked: Mapping[str, str]) -> None:
    """Late data may change any answer, so none is used again without asking; what a key or a token
    decides is for nobody else. A function may have said otherwise."""
    if "Cache-Control" not in reply.headers:
        is_private = says_who(asked)
        reply.headers["Cache-Control"] = "private, no-cache" if is_private else "no-cache"


def add_tag(reply: Reply, body: bytes, asked: Mapping[str, str]) -> None:
    """A tag made of the answer; 304 without a body if the client has this answer already. It is
    weak, as the same answer may be compressed."""
    if reply.status not in (200, 206):
        return
    tag = reply.headers.get("ETag")
    if tag is None:
        made = blake2b(body, digest_size=12)
        made.update(f"{reply.headers['Content-Type']} {reply.headers['Content-Range']}".encode())
        tag = reply.headers["ETag"] = f'W/"{made.hexdigest()}"'
    if wanted := asked.get("If-None-Match"):
        known = [each.strip().removeprefix("W/") for each in wanted.split(",")]
        if "*" in known or tag.removeprefix("W/") in known:
            reply.status, reply.body = 304, None
            del reply.headers["Content-Type"]
