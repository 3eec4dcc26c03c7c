"""The page as HTTP has it: what is at `/ui`, who is sent there, and what of it others made."""

from __future__ import annotations

import gzip
import hashlib
import re

from ingest.promql.signatures import FUNCTIONS
from ingest.ui.pages import FILES
from tests.support.answer import Answer
from tests.support.install import PAGE
from tests.support.readapi import Client

MOST_BYTES = 150_000
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


async def page(api: Client, path: str, **headers: str) -> Answer:
    return await api.request("GET", path, headers=headers, allow_redirects=False)


async def test_a_browser_is_sent_there_and_nobody_else(api: Client) -> None:
    sent = await page(api, "/", Accept=BROWSER)
    assert (sent.status, sent.headers["Location"]) == (303, "ui")
    for others in ("*/*", "application/json", "application/openapi+json, text/html", ""):
        answer = await page(api, "/", Accept=others)
        assert answer.status == 200, others
        assert b'"swagger"' in answer.body
    assert (await page(api, "/ui/")).headers["Location"] == "../ui"


async def test_every_file_is_there_and_only_from_here(api: Client) -> None:
    for name in FILES:
        answer = await page(api, "/ui" if name == "index.html" else f"/ui/{name}")
        assert answer.status == 200, name
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'; ")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for name in ("", "nothing", "%2e%2e/pages.py", "index.html", "app.js/x"):
        answer = await page(api, f"/ui/{name}")
        assert answer.status in (308, 404), name


async def test_what_the_browser_has_is_not_sent_again(api: Client) -> None:
    first = await page(api, "/ui/app.js")
    again = await page(api, "/ui/app.js", **{"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert (await page(api, "/ui/app.js", **{"If-None-Match": '"other"'})).status == 200


async def test_nothing_but_get_and_head(api: Client) -> None:
    assert (await api.request("POST", "/ui/app.js")).status == 405
    head = await api.request("HEAD", "/ui")
    assert (head.status, head.body) == (200, b"")


async def test_the_query_box_knows_every_function(api: Client) -> None:
    known = (await page(api, "/ui/promql.json")).json
    assert known["functions"].keys() == FUNCTIONS.keys()
    assert {"sum", "topk", "quantile"} <= set(known["aggregations"])


def test_all_of_it_is_small() -> None:
    packed = {name: len(gzip.compress(each.body or b"", 6)) for name, each in FILES.items()}
    assert sum(packed.values()) < MOST_BYTES, packed


def test_it_asks_nobody_else() -> None:
    """No other host is named, but in the licence and in texts."""
    for name, each in FILES.items():
        text = (each.body or b"").decode()
        named = set(re.findall(r"https?://[\w.]+", text)) - {"http://www.w3.org"}
        assert not named or name.startswith("vendor/"), (name, named)


def test_what_others_made_is_as_they_published_it() -> None:
    sums = (FILES["vendor/SHA256SUMS"].body or b"").decode().splitlines()
    assert len(sums) == sum(name.startswith("vendor/") for name in FILES) - 1
    for line in sums:
        digest, name = line.split()
        ours = FILES[f"vendor/{name}"].body or b""
        assert hashlib.sha256(ours).hexdigest() == digest
    published = PAGE / "node_modules" / "uplot"
    if published.exists():
        names = {"uPlot.LICENSE": "LICENSE"}
        for name in (line.split()[1] for line in sums):
            theirs = published / names.get(name, f"dist/{name}")
            assert theirs.read_bytes() == FILES[f"vendor/{name}"].body, name
