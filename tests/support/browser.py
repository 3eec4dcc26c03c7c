"""Debian's Chromium, headless, and what went wrong in it: nothing may."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.install import PAGE, installed

SECONDS = 60
"""How long a step may take, on a busy machine."""
WIDE, PHONE = (1280, 900), (390, 844)
GRAVE = {"serious", "critical"}


@dataclass
class Visit:
    """A page that is looked at, and what it did besides.

    Attributes:
        complaints: of the console, of scripts, and requests to other hosts.
        expected: statuses of answers that a step is about; the console tells of each.
    """

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    expected: set[int] = field(default_factory=set)

    def go(self, state: str = "") -> None:
        """Show a state: what stands after `#`."""
        self.page.goto(f"{self.url}/ui{'#' if state else ''}{state}")

    def ask(self, script: str) -> Any:
        """The value of an expression in the page."""
        return self.page.evaluate(script)

    def axe(self) -> list[str]:
        """What the accessibility checker finds that is serious."""
        # Not as a <script>: the page's policy lets nobody add one.
        self.ask((PAGE / "node_modules" / "axe-core" / "axe.min.js").read_text())
        found = self.ask("axe.run(document, {resultTypes: ['violations']})")["violations"]
        return [
            f"{each['id']}: {json.dumps([node['html'] for node in each['nodes']])}"
            for each in found
            if each["impact"] in GRAVE
        ]


def need_browser() -> str:
    """The path of Chromium; without it, or what the page is compared with, the test skips, and in
    CI it fails."""
    program = shutil.which("chromium")
    missing = None if program else "Chromium is not here: as root, apt-get install chromium"
    if not installed(PAGE):
        missing = "axe-core is not here: make test-deps"
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    assert program
    return program


@contextmanager
def browser() -> Iterator[Browser]:
    """The browser, for many visits."""
    program = need_browser()
    with sync_playwright() as driver:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = driver.chromium.launch(executable_path=program, args=arguments)
        yield chromium
        chromium.close()


@contextmanager
def visit(
    chromium: Browser, url: str, size: tuple[int, int] = WIDE, *, dark: bool = False
) -> Iterator[Visit]:
    """A visitor without a past, in UTC."""
    context = chromium.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        timezone_id="UTC",
        locale="en-GB",
        has_touch=size == PHONE,
    )
    page = context.new_page()
    page.set_default_timeout(SECONDS * 1000)
    seen = Visit(page, url)
    host = urlsplit(url).netloc

    def said(kind: str, text: str) -> None:
        if not any(f"status of {status}" in text for status in seen.expected):
            seen.complaints.append(f"{kind}: {text}")

    def asked(target: str) -> None:
        if urlsplit(target).scheme not in ("blob", "data") and urlsplit(target).netloc != host:
            seen.complaints.append(f"asked {target}")

    page.on("console", lambda line: said(line.type, line.text) if line.type != "log" else None)
    page.on("pageerror", lambda error: said("error", str(error)))
    page.on("request", lambda request: asked(request.url))
    try:
        yield seen
    finally:
        context.close()
