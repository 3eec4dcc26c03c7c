"""The page as its users have it: a real browser before a real `promgres up`, step by step.

One browser and one stack for all; each test is a visit of its own, and leaves no complaint behind.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import SECONDS, WIDE, Visit, browser, need_browser, visit
from tests.support.messages import Sent, SentMetadata, as_v1
from tests.support.processes import PROMGRES, run
from tests.support.remote_write import HEADERS, send, snappy
from tests.support.stack import Stack, running_stack

expect.set_options(timeout=SECONDS * 1000)

MINUTE = 60_000
NOW_MS = time.time_ns() // 1_000_000 // MINUTE * MINUTE
STEP_MS = 15_000


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    need_browser()
    with running_stack() as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as program:
        yield program


@pytest.fixture
def seen(stack: Stack, chromium: Browser) -> Iterator[Visit]:
    with visiting(stack, chromium) as one:
        yield one


@contextmanager
def visiting(
    stack: Stack, chromium: Browser, size: tuple[int, int] = WIDE, *, dark: bool = False
) -> Iterator[Visit]:
    """A visit that must end without a complaint."""
    with visit(chromium, stack.read_url.removesuffix("/rpc/"), size, dark=dark) as one:
        yield one
        assert one.complaints == []


def write(stack: Stack, *sent: Sent) -> None:
    answer = send(stack.write_url, snappy(as_v1(sent)), HEADERS)
    assert answer.status in (200, 204), answer


@pytest.fixture(scope="module")
def filled(stack: Stack) -> Stack:
    """With an hour of a gauge that pauses for ten minutes, and a counter."""
    times = range(NOW_MS - 60 * MINUTE, NOW_MS, STEP_MS)
    gap = range(NOW_MS - 40 * MINUTE, NOW_MS - 30 * MINUTE)
    gauge = SentMetadata(2, "Temperature of a room.", "celsius")
    counter = SentMetadata(1, "Requests answered.")
    rooms = [
        Sent(
            (("__name__", "room_temperature_celsius"), ("room", room)),
            [(at, base + (at // STEP_MS) % 7 / 10) for at in times if at not in gap],
            metadata=gauge,
        )
        for room, base in (("attic", 28.0), ("cellar", 12.0), ("kitchen", 21.0))
    ]
    requests = Sent(
        (("__name__", "http_requests_total"), ("job", "api")),
        [(at, (at - times[0]) / 1000) for at in times],
        metadata=counter,
    )
    write(stack, *rooms, requests)
    return stack


def panel(page: Page, number: int = 0) -> Page:
    return page.locator(".panel").nth(number)  # type: ignore[return-value]


def test_a_first_visit_says_how_to_begin(stack: Stack, seen: Visit) -> None:
    """And shows by itself what arrives."""
    page = seen.page
    page.goto(stack.read_url.removesuffix("rpc/"))
    expect(page).to_have_url(f"{seen.url}/ui")
    expect(page.get_by_role("heading", name="Nothing is stored yet")).to_be_visible()
    assert seen.axe() == []
    done = run(
        PROMGRES, "load", "--url", stack.write_url, "--rate", "200", "--series", "20",
        "--duration", "1",
    )  # fmt: skip
    assert done.process.returncode == 0, done.output
    expect(page.get_by_role("link", name="promgres_load")).to_be_visible()


def test_a_metric_is_found_and_one_click_from_its_chart(filled: Stack, seen: Visit) -> None:
    page = seen.page
    seen.go()
    page.get_by_role("searchbox").fill("temperature")
    expect(page.locator(".metrics li")).to_have_count(1)
    item = page.locator(".metrics li")
    for text in ("gauge", "celsius", "3 series", "Temperature of a room."):
        expect(item).to_contain_text(text)
    expect(item.locator(".spark svg")).to_be_visible()
    assert "search=temperature" in page.url
    item.get_by_role("link").click()
    expect(panel(page).locator(".panel-status")).to_contain_text("3 series")
    expect(panel(page).locator(".legend-item")).to_have_count(3)
    assert seen.axe() == []


def test_what_is_wrong_is_marked_where_it_is(filled: Stack, seen: Visit) -> None:
    page = seen.page
    seen.expected.add(400)
    seen.go("/explore?q=sum(room_temperature_celsius")
    expect(panel(page).locator(".query-error")).to_contain_text("Line 1, column")
    expect(page.get_by_label("PromQL query")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("PromQL query").fill("rate(room_temperature_celsius)")
    page.keyboard.press("Enter")
    expect(panel(page).locator("mark")).to_have_text("room_temperature_celsius")
    assert seen.axe() == []
    page.get_by_label("PromQL query").fill("rate(room_temperature_celsius[5m])")
    page.keyboard.press("Enter")
    expect(panel(page).locator(".legend-item")).to_have_count(3)
    expect(panel(page).locator(".notice")).to_contain_text("might not be a counter")
