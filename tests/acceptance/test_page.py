"""The page as its users have it: a real browser before a real `promgres up`, step by step.

One browser and one stack for all; each test is a visit of its own, and leaves no complaint behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any, TypeVar
from urllib.parse import urlencode

import asyncpg
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.browser import PHONE, SECONDS, WIDE, Visit, browser, need_browser, visit
from tests.support.databases import Database, connect
from tests.support.keys import create_key, create_tenant
from tests.support.messages import Sent, SentMetadata, as_v1
from tests.support.pictures import in_url, operators_key, point_at, settled, type_key
from tests.support.processes import PROMGRES, descendants, run, wait_until
from tests.support.read_side import read_side
from tests.support.remote_write import HEADERS, send, snappy
from tests.support.stack import Stack, running_stack

expect.set_options(timeout=SECONDS * 1000)

MINUTE = 60_000
NOW_MS = time.time_ns() // 1_000_000 // MINUTE * MINUTE
STEP_MS = 15_000
T = TypeVar("T")


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


def panel(page: Page, number: int = 0) -> Locator:
    return page.locator(".panel").nth(number)


def no_wider_than_the_screen(seen: Visit) -> bool:
    return bool(seen.ask("document.documentElement.scrollWidth <= innerWidth"))


def test_a_first_visit_says_how_to_begin(stack: Stack, seen: Visit) -> None:
    """And shows by itself what arrives."""
    page = seen.page
    page.goto(stack.read_url.removesuffix("rpc/"))
    expect(page).to_have_url(f"{seen.url}/ui")
    expect(page.get_by_role("heading", name="Nothing is stored yet")).to_be_visible()
    page.get_by_role("link", name="Explore").click()
    expect(page.get_by_role("heading", name="Nothing is stored yet")).to_be_visible()
    assert seen.axe() == []
    page.go_back()
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


def test_a_chart_zooms_shows_gaps_and_isolates(filled: Stack, seen: Visit) -> None:
    page = seen.page
    seen.go(in_url("room_temperature_celsius", to=str(NOW_MS), tz="utc"))
    settled(seen)
    point_at(seen, 0.9)
    tooltip = page.locator(".tooltip")
    expect(tooltip.locator(".tooltip-line")).to_have_count(3)
    box = page.locator(".u-over").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * (60 - 32) / 60, box["y"] + 40)
    expect(tooltip).to_be_hidden()  # nothing was sent, and lookback is over
    page.get_by_role("button", name='{room="cellar"}').click()
    expect(page.locator(".legend-item[aria-pressed=true]")).to_have_count(1)
    point_at(seen, 0.9)
    expect(tooltip.locator(".tooltip-line")).to_have_count(1)
    expect(tooltip).to_contain_text("cellar")
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 60, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"range=1[123]m"))
    settled(seen)
    expect(panel(page).locator(".panel-status")).to_contain_text("step 5s")
    page.go_back()
    expect(page.get_by_label("Period", exact=True).locator("select").first).to_have_value("1h")


def test_a_chart_is_read_with_the_keyboard(filled: Stack, seen: Visit) -> None:
    page = seen.page
    seen.go(in_url("room_temperature_celsius", to=str(NOW_MS - MINUTE)))
    settled(seen)
    page.locator(".plot").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#announcer")).to_contain_text(re.compile(r"attic.*; .*kitchen.*cellar"))
    page.keyboard.press("+")
    expect(page).to_have_url(re.compile("range=30m"))
    page.keyboard.press("Tab")
    settled(seen)
    expect(page.locator(".legend-item").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#announcer")).to_contain_text("Only room_temperature_celsius")
    expect(page.locator(".legend-item").first).to_be_focused()


def test_what_may_come_next_is_offered_and_taken(filled: Stack, seen: Visit) -> None:
    page = seen.page
    seen.go("/explore")
    settled(seen)
    box = page.get_by_label("PromQL query")
    for typed, offered, taken in (
        ("su", "sum", "sum"),
        ("(rat", "rate", "rate("),
        ("room", "room_temperature_celsius", "room_temperature_celsius"),
        ("{ro", "room", "room"),
        ('="c', "cellar", 'cellar"'),
        ("}[5", "5m", "5m"),
    ):
        box.press_sequentially(typed)
        expect(page.locator(".offers").get_by_role("option", name=offered).first).to_be_visible()
        box.press("Tab")
        assert box.input_value().endswith(taken), box.input_value()
    assert seen.axe() == []
    box.press_sequentially("]))")
    box.press("Enter")
    expect(panel(page).locator(".panel-status")).to_contain_text("1 series")
    assert box.input_value() == 'sum(rate(room_temperature_celsius{room="cellar"}[5m]))'


def test_the_builder_writes_the_query_and_reads_one(filled: Stack, seen: Visit) -> None:
    page = seen.page
    seen.go("/explore")
    settled(seen)
    page.get_by_role("button", name="Builder").click()
    form = page.get_by_role("form", name="Query builder")
    form.get_by_label("Metric").fill("room_temperature_celsius")
    form.get_by_label("Metric").press("Tab")
    form.get_by_role("button", name="Add a label").click()
    form.get_by_label("Label", exact=True).select_option("room")
    form.get_by_label("Compared by").select_option("!=")
    form.get_by_label("Value of room").fill("attic")
    form.get_by_label("Value of room").press("Tab")
    form.get_by_label("Aggregate").last.select_option("max")
    form.get_by_role("checkbox", name="room").check()
    box = page.get_by_label("PromQL query")
    expect(box).to_have_value('max by (room) (room_temperature_celsius{room!="attic"})')
    expect(panel(page).locator(".panel-status")).to_contain_text("2 series")
    assert seen.axe() == []
    box.fill("sum(rate(http_requests_total[10m]))")
    box.press("Enter")
    expect(form.get_by_label("Metric")).to_have_value("http_requests_total")
    expect(form.get_by_label("Over time").last).to_have_value("rate")
    box.fill("http_requests_total / 2")
    box.press("Enter")
    expect(panel(page)).to_contain_text("has no form for this query")


WRITTEN_ALIKE = (
    "up",
    'up{job="a", x!~"b|c"}',
    "rate(up[5m])",
    "sum by (job) (rate(up[1h30m]))",
    "quantile by (a, b) (0.95, up)",
    '{"metric.with.dots", job="a"}',
)
IN_SQL = {
    "avg by (room) (up)": {"p_by": ["room"], "p_aggregate": "avg"},
    "up": {"p_by": ["*"], "p_aggregate": "last"},
    "sum(rate(up[5m]))": {"p_by": [], "p_aggregate": "rate"},
    "max_over_time(up[5m])": {"p_by": ["*"], "p_aggregate": "max"},
    "quantile(0.5, up)": {"p_by": [], "p_aggregate": "p50"},
}
NOT_IN_SQL = ("sum(up)", 'up{a!="b"}', "up + 1", "avg(rate(up[5m]))", "avg(max_over_time(up[5m]))")
PARTS = """async (query) => {
    const { prometheus } = await import("./ui/api.js"), promql = await import("./ui/promql.js");
    const parts = promql.partsOf((await prometheus("parse_query", { query })).data);
    const period = { start: 0, end: 60, step: 15 };
    return [parts && promql.written(parts), promql.asFunction(parts, period)];
}"""


def test_queries_and_what_the_builder_makes_of_them(filled: Stack, seen: Visit) -> None:
    seen.go()
    for query in WRITTEN_ALIKE:
        assert seen.page.evaluate(PARTS, query)[0] == query
    for query, expected in IN_SQL.items():
        asked = seen.page.evaluate(PARTS, query)[1]["arguments"]
        assert {name: asked[name] for name in expected} == expected, query
    for query in NOT_IN_SQL:
        assert seen.page.evaluate(PARTS, query)[1]["why"], query


def test_exact_decimals_and_events(filled: Stack, seen: Visit) -> None:
    page = seen.page
    name, number = "manifest_tokenomics_total_supply", "135304300855652060000.123456789"
    sample = (time.time_ns() // 1_000_000, float(number))
    write(filled, Sent((("__name__", name), ("supply", number)), [sample]))
    url = filled.write_url.replace("/write", "/api/v1/event")
    event = b'{"name": "deployed", "attributes": {"version": "1.4.2"}}'
    assert send(url, event, {"Content-Type": "application/json"}).status == 201
    seen.go(in_url(name, exact="0", tab="table", events="1"))
    expect(panel(page).locator("tbody td.number").last).to_have_text(number)
    expect(page.get_by_text("1 event")).to_be_visible()
    page.get_by_text("1 event").click()
    expect(page.get_by_role("region", name="Events")).to_contain_text("version=1.4.2")
    page.get_by_label("Exact decimals").uncheck()
    expect(panel(page).locator("tbody td.number").last).to_have_text("135304300855652060000")
    assert seen.axe() == []


def test_a_query_is_copied_in_five_languages(filled: Stack, seen: Visit) -> None:
    page = seen.page
    seen.go(in_url('avg by (room) (room_temperature_celsius{room="attic"})', to=str(NOW_MS)))
    settled(seen)
    copied = page.get_by_label("Text to copy")
    for language, part in (
        ("promql", "avg by (room)"),
        ("curl", "/api/v1/query_range"),
        ("sql", 'p_match => \'{"room":"attic"}\''),
        ("postgrest", 'client.rpc("query_metric", {'),
        ("csv", "timestamp,room,value\n"),
    ):
        page.get_by_label("Copy this query as").select_option(language)
        expect(copied).to_have_value(re.compile(re.escape(part)))
    rows = copied.input_value().splitlines()[1:]
    assert len(rows) > 50
    assert all(re.fullmatch(r"[\d:.TZ-]+,attic,2[78]\.?\d*", row) for row in rows)
    page.get_by_label("Copy this query as").select_option("sql")
    expect(copied).to_have_value(re.compile("SELECT"))

    async def ask() -> list[asyncpg.Record]:
        async with connect(Database(filled.database_url, "postgres")) as connection:
            return list(await connection.fetch(copied_sql))

    copied_sql = copied.input_value()
    answered = elsewhere(ask())
    assert {json.loads(row["labels"])["room"] for row in answered} == {"attic"}


def test_a_thousand_series_and_a_year(filled: Stack, seen: Visit) -> None:
    page = seen.page
    now_ms = time.time_ns() // 1_000_000  # charts end now, however long the tests run already
    times = range(now_ms - 10 * MINUTE, now_ms, MINUTE)
    crowd = [
        Sent(
            (("__name__", "crowd"), ("number", str(number))), [(at, float(number)) for at in times]
        )
        for number in range(1000)
    ]
    month = 30 * 24 * 60 * MINUTE
    old = [(now_ms - months * month, float(months)) for months in range(12, 0, -1)]
    write(filled, *crowd)
    write(filled, Sent((("__name__", "long_ago"),), old))
    seen.go(in_url("crowd", range="15m"))
    expect(panel(page).locator(".panel-status")).to_contain_text("1,000 series")
    expect(panel(page).locator(".legend-item")).to_have_count(60)
    point_at(seen, 0.8)
    page.get_by_role("button", name="940 more").click()
    expect(panel(page).locator(".legend-item")).to_have_count(1000)
    query = "last_over_time(long_ago[31d])"
    wait_until(lambda: query_of(filled, f"count({query})"))  # it may have gone through the spool
    seen.go(in_url(query, range="1y"))
    expect(panel(page).locator(".panel-status")).to_contain_text("1 series")
    expect(panel(page).locator(".panel-status")).to_contain_text("step 2d")
    point_at(seen, 0.5)


def query_of(stack: Stack, query: str) -> list[object]:
    """What an instant query answers."""
    url = stack.read_url.replace("rpc/", f"api/v1/query?{urlencode({'query': query})}")
    found: list[object] = json.loads(send(url, None, {}, "GET").text)["data"]["result"]
    return found


def test_nothing_found_and_a_slow_query_that_is_cancelled(filled: Stack, seen: Visit) -> None:
    page = seen.page
    seen.go(in_url("nothing_like_this"))
    expect(panel(page)).to_contain_text("Nothing in this period")
    with locked(filled, "internal.series"):
        page.get_by_label("PromQL query").fill("room_temperature_celsius")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Cancel").click()
        expect(panel(page).locator(".panel-status")).to_have_text("Cancelled")
    page.get_by_role("button", name="Run").click()
    expect(panel(page).locator(".panel-status")).to_contain_text("3 series")


@contextmanager
def locked(stack: Stack, table: str) -> Iterator[None]:
    """Nobody reads this table meanwhile."""
    held, done = Event(), Event()

    async def hold() -> None:
        connection = await asyncpg.connect(stack.database_url)
        await connection.execute(f"BEGIN; LOCK TABLE {table}")
        held.set()
        await asyncio.to_thread(done.wait)
        await connection.close()

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(asyncio.run, hold())
        assert held.wait(SECONDS), holding.exception(0)
        yield
        done.set()
        holding.result()


def elsewhere(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine makes in a thread of its own: Playwright has the loop of this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def test_cardinality(filled: Stack, seen: Visit) -> None:
    page = seen.page
    seen.go("/cardinality")
    region = page.get_by_role("region", name="Series by metric")
    expect(region).to_contain_text("room_temperature_celsius")
    page.get_by_role("button", name="How to drop room_temperature_celsius").click()
    expect(page.get_by_text("drop = true")).to_be_visible()
    assert seen.axe() == []


def test_health_with_and_without_a_key_and_tenants_apart(filled: Stack, seen: Visit) -> None:
    page = seen.page
    seen.expected |= {401, 403}
    seen.go("/health")
    expect(page.get_by_text("The rest is for operators")).to_be_visible()
    page.get_by_role("button", name="Key", exact=True).click()
    page.get_by_label("API key or token", exact=True).last.fill("pmk_aaaaaaaaaaaa_" + "b" * 43)
    page.get_by_role("button", name="Use it").click()
    expect(page.locator("dialog .query-error")).not_to_be_empty()
    assert seen.axe() == []
    page.get_by_role("button", name="Cancel").click()
    key = operators_key(filled)
    type_key(seen, key)
    checks = page.locator(".checks")
    for text in ("database", "rollups", "write side", "spool"):
        expect(checks).to_contain_text(text)
    assert seen.axe() == []
    database = Database(filled.database_url, "postgres")
    elsewhere(create_tenant(database, "other"))
    type_key(seen, elsewhere(create_key(database, "other", "read")))
    page.get_by_role("link", name="Metrics").click()
    expect(page.get_by_role("heading", name="Nothing is stored yet")).to_be_visible()
    page.get_by_label("Tenant").select_option(label="default")
    expect(page.get_by_role("link", name="room_temperature_celsius")).to_be_visible()
    kept = (
        "JSON.stringify([location.href, {...localStorage}, {...sessionStorage}, document.cookie])"
    )
    assert key.split("_")[2] not in seen.ask(kept)
    page.reload()
    expect(page.get_by_label("Tenant")).to_have_count(0)


def test_where_keys_are_required_it_says_so(filled: Stack, chromium: Browser) -> None:
    database = Database(filled.database_url, "postgres")
    # As root the socket is for the group of the data directory's processes.
    strict = {"PROMGRES_AUTH__REQUIRED": "true", "PROMGRES_DATA_DIR": str(filled.directory)}
    with read_side(database, **strict) as side, visit(chromium, side.url) as seen:
        seen.expected.add(401)
        for view in ("", in_url("up"), "/cardinality", "/health"):
            seen.go(view)
            expect(seen.page.get_by_role("alert").first).to_contain_text("A key is needed")
        assert seen.axe() == []
        type_key(seen, operators_key(filled))
        expect(seen.page.locator(".checks")).to_contain_text("cannot be asked")
        assert seen.complaints == []


def test_on_a_phone_and_in_the_dark(filled: Stack, chromium: Browser) -> None:
    views = (
        "",
        in_url("room_temperature_celsius", tab="table"),
        in_url("crowd"),
        "/cardinality",
        "/health",
    )
    with visiting(filled, chromium, PHONE, dark=True) as seen:
        for view in views:
            seen.go(view)
            settled(seen)
            assert no_wider_than_the_screen(seen), view
            assert seen.axe() == [], view
        seen.go("?theme=light")
        background = "getComputedStyle(document.documentElement).backgroundColor"
        expect(seen.page.locator("html")).to_have_attribute("data-theme", "light")
        assert seen.ask(background) == "rgb(246, 247, 249)"


def test_the_database_goes_and_comes_back(filled: Stack, seen: Visit) -> None:
    """The last test: it kills the database under all of it."""
    page = seen.page
    seen.expected |= {500, 503, 504}
    seen.go(in_url("room_temperature_celsius"))
    settled(seen)
    postmaster = int((filled.directory / "postgres/data/postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGSTOP)
    for child in descendants(postmaster):
        child.kill()
    os.kill(postmaster, signal.SIGKILL)
    page.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#banner")).to_contain_text(re.compile("away|^$"))
    expect(page.locator("#banner")).to_be_empty()
    page.get_by_role("button", name="Run").click()
    expect(panel(page).locator(".panel-status")).to_contain_text("3 series")
