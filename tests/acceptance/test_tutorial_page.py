"""The tutorial's web page, as it stands in the tutorial, in Debian's Chromium.

With PROMGRES_PICTURE=yes it renews the picture in the tutorial, too."""

from __future__ import annotations

import asyncio
import functools
import math
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.engines.sql_api import Api, Sample
from tests.support.browser import browser, need_browser
from tests.support.databases import Database, connect
from tests.support.install import POSTGREST_JS, installed
from tests.support.readapi import running_api

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
PICTURE = TUTORIALS / "pictures" / "a-web-page.png"
READ_SIDE = "http://127.0.0.1:3000"
METRIC = "tutorial_requests_total"


def block(language: str) -> str:
    """The tutorial's one block in a language."""
    text = (TUTORIALS / "a-web-page.md").read_text()
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return str(found)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder over HTTP, as `python3 -m http.server` does it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def looked_at(url: str) -> tuple[str, list[list[list[float]]], list[str]]:
    """What the page says once it has drawn, the points of its lines, and its legend."""
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1000, "height": 640})
        page.goto(url)
        page.wait_for_selector("polyline", state="attached", timeout=60_000)
        said = page.inner_text("#said")
        lines = page.eval_on_selector_all(
            "polyline", "all => all.map(line => [...line.points].map(p => [p.x, p.y]))"
        )
        legend = page.eval_on_selector_all("li", "all => all.map(item => item.textContent)")
        if os.environ.get("PROMGRES_PICTURE"):
            PICTURE.write_bytes(page.screenshot())
        return said, lines, legend


async def store_some_minutes(database: Database) -> None:
    """Three counters at 15 seconds, at 4 to 9 requests a second; the last bucket is over."""
    async with connect(database) as connection:
        api = Api(database, connection)
        now = await api.minute()
        for number, series in enumerate("abc"):
            total, samples = 1000.0 * number, []
            for point in range(61):
                total += round(15 * (4 + number + 2 * math.sin(point / 6 + 2 * number)))
                time = now - timedelta(seconds=15 * (60 - point))
                samples.append(Sample(time, METRIC, total, labels={"series": series}))
            await api.store(*samples)


async def test_the_page_draws_the_metric(postgres_db: Database, tmp_path: Path) -> None:
    need_browser()
    if not installed(POSTGREST_JS):
        pytest.skip("the JavaScript client is not installed: make test-deps")
    await store_some_minutes(postgres_db)
    shutil.copytree(POSTGREST_JS / "node_modules", tmp_path / "node_modules")
    async with running_api(postgres_db) as api:
        assert (await api.get("requests_by_series")).status == 404
        await api.sql(block("sql"), "SELECT 1")
        asked = await api.get("requests_by_series", p_minutes=15)
        assert {row["series"] for row in asked.json} == set("abc")
        document = (await api.request("GET", "/")).json
        described = document["paths"]["/rpc/requests_by_series"]["get"]["summary"]
        assert described == "Requests a second of each series, of the last minutes"
        page = block("html")
        assert page.count(READ_SIDE) == 1
        (tmp_path / "index.html").write_text(page.replace(READ_SIDE, api.url))
        with served(tmp_path) as url:
            said, lines, legend = await asyncio.to_thread(looked_at, url)
    assert len(lines) == 3
    assert sum(map(len, lines)) == int(said.removesuffix(" points")) > 100
    assert all(0 <= x <= 100 and 0 <= y <= 40 for line in lines for x, y in line)
    assert len({y for _, y in lines[0]}) > 5
    assert all(re.fullmatch(r"series [abc]: \d+\.\d{3} a second", text) for text in legend)
