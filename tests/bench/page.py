"""The page in Debian's Chromium: when something is to be seen, how long 1,000 lines take to draw,
and from the question to the chart of as many series."""

from __future__ import annotations

import statistics
import time

from playwright.sync_api import Page, expect

from tests.support.browser import SECONDS, browser, visit
from tests.support.messages import Sent, as_v1
from tests.support.pictures import in_url
from tests.support.remote_write import send, snappy
from tests.support.stack import Stack, running_stack

SERIES, POINTS, STEP_MS = 1000, 240, 15_000
VISITS, DRAWINGS, AT_ONCE = 7, 5, 50
PAINT = """new Promise((told) => new PerformanceObserver((list) => told(list.getEntries()
    .find((entry) => entry.name === "first-contentful-paint").startTime))
    .observe({ type: "paint", buffered: true }))"""
DRAW = """async ([series, points]) => {
    const { Chart, gridOf } = await import("./ui/chart.js");
    const made = Array.from({ length: series }, (_, number) => ({
        labels: { __name__: "crowd", number: String(number) },
        points: Array.from({ length: points }, (_, at) => [at * 15, String(number + Math.sin(at))]),
    }));
    const chart = new Chart({ title: "crowd", onzoom() {}, onmove() {} });
    document.getElementById("main").replaceChildren(chart.element);
    const began = performance.now();
    chart.show(gridOf(made, 0, (points - 1) * 15, 15), { zone: "UTC", step: 15 });
    await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)));
    return performance.now() - began;
}"""


def run() -> dict[str, float]:
    """Medians, in milliseconds."""
    with running_stack() as stack, browser() as chromium:
        _fill(stack)
        url = stack.read_url.removesuffix("/rpc/")
        paints, drawings, answers = [], [], []
        for _ in range(VISITS):
            with visit(chromium, url) as seen:
                seen.go("/health")
                paints.append(float(seen.ask(PAINT)))
        with visit(chromium, url) as seen:
            seen.go("/health")
            for _ in range(DRAWINGS):
                drawings.append(float(seen.page.evaluate(DRAW, [SERIES, POINTS])))
                answers.append(_answered_ms(seen.page, seen.url))
                seen.go("/health")
        return {
            "page_first_paint_ms": statistics.median(paints),
            "page_chart_of_1000_series_ms": statistics.median(drawings),
            "page_question_to_chart_of_1000_series_ms": statistics.median(answers),
        }


def _fill(stack: Stack) -> None:
    now_ms = time.time_ns() // 1_000_000 // STEP_MS * STEP_MS
    times = range(now_ms - POINTS * STEP_MS, now_ms, STEP_MS)
    for first in range(0, SERIES, AT_ONCE):
        some = [
            Sent(
                (("__name__", "crowd"), ("number", str(number))),
                [(at, number + at % 7) for at in times],
            )
            for number in range(first, first + AT_ONCE)
        ]
        assert send(stack.write_url, snappy(as_v1(some))).status == 204


def _answered_ms(page: Page, url: str) -> float:
    page.goto("about:blank")
    began = time.monotonic()
    page.goto(f"{url}/ui#{in_url('crowd', step='15')}")
    status = page.locator(".panel-status")
    expect(status).to_contain_text("1,000 series", timeout=SECONDS * 1000)
    return (time.monotonic() - began) * 1000
