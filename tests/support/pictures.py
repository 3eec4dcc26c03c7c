"""The pictures of the page in the documents: `python -m tests.support.pictures [FOLDER]`.

A `promgres up` of its own is filled with a small shop's metrics of the last six hours, and its page
is looked at as a visitor would. With `--all` every state is pictured, wide and on a phone, light
and dark, for whoever changed the page to look through.
"""

from __future__ import annotations

import math
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

from playwright.sync_api import expect

from tests.support.browser import PHONE, SECONDS, WIDE, Visit, browser, visit
from tests.support.messages import Sent, SentMetadata, as_v1
from tests.support.processes import PROMGRES, run
from tests.support.remote_write import HEADERS, send, snappy
from tests.support.stack import Stack, running_stack

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
HOUR_MS, STEP_MS = 3_600_000, 30_000
HOURS = 6
COUNTER, GAUGE, HISTOGRAM = 1, 2, 3

Steps = Callable[[Visit], None]


def shop(now_ms: int) -> Iterator[Sent]:
    """A small shop: requests, memory, temperatures, an outage of ten minutes."""
    chance = random.Random(17)
    times = list(range(now_ms - HOURS * HOUR_MS, now_ms, STEP_MS))
    outage = range(now_ms - 100 * 60_000, now_ms - 90 * 60_000)

    def day(at: int, phase: float) -> float:
        return 1 + 0.5 * math.sin(at / HOUR_MS * math.pi / 2 + phase)

    def counter(name: str, said: str, rate: float, **labels: str) -> Sent:
        total, samples, phase = 0.0, [], chance.random() * 6
        for at in times:
            total += STEP_MS / 1000 * rate * day(at, phase) * (0.85 + 0.3 * chance.random())
            if at not in outage:
                samples.append((at, round(total, 3)))
        return Sent((("__name__", name), *sorted(labels.items())), samples,
                    metadata=SentMetadata(COUNTER, said))  # fmt: skip

    def gauge(name: str, said: str, unit: str, base: float, swing: float, **labels: str) -> Sent:
        phase = chance.random() * 6
        samples = [
            (at, round(base + swing * (day(at, phase) - 1) + swing / 8 * chance.random(), 4))
            for at in times
            if at not in outage
        ]
        return Sent((("__name__", name), *sorted(labels.items())), samples,
                    metadata=SentMetadata(GAUGE, said, unit))  # fmt: skip

    for instance in ("web-1", "web-2", "web-3"):
        job = {"instance": instance, "job": "shop"}
        for code, rate in (("200", 40.0), ("404", 1.5), ("500", 0.4)):
            for handler in ("/cart", "/products"):
                yield counter("http_requests_total", "Requests answered, by handler and status.",
                              rate, code=code, handler=handler, **job)  # fmt: skip
        yield gauge("process_resident_memory_bytes", "Resident memory size in bytes.", "bytes",
                    3.1e8, 9e7, **job)  # fmt: skip
        yield counter("process_cpu_seconds_total", "Processor time.", 0.4, **job)
        yield gauge("up", "Whether the last scrape went well.", "", 1, 0, **job)
        for le, rate in (("0.05", 20.0), ("0.1", 30.0), ("0.5", 38.0), ("+Inf", 40.0)):
            yield counter("http_request_duration_seconds_bucket", "Time to the last byte.",
                          rate, le=le, **job)  # fmt: skip
    for queue in ("mail", "orders", "thumbnails"):
        yield gauge("queue_length", "Jobs that wait.", "", 40, 35, queue=queue)
    for room in ("rack-1", "rack-2"):
        yield gauge("room_temperature_celsius", "Temperature at the top of a rack.", "celsius",
                    23, 4, room=room)  # fmt: skip
    yield gauge("node_filesystem_avail_bytes", "Space that is free.", "bytes", 6.2e10, 2e9,
                device="/dev/vda1", instance="db-1", job="node")  # fmt: skip
    yield gauge("pg_stat_database_numbackends", "Connections of a database.", "", 14, 6,
                datname="shop", instance="db-1", job="postgres")  # fmt: skip


def fill(stack: Stack) -> None:
    """Send all of it, and some events."""
    now_ms = time.time_ns() // 1_000_000 // STEP_MS * STEP_MS
    series = list(shop(now_ms))
    for start in range(0, len(series), 10):
        answer = send(stack.write_url, snappy(as_v1(series[start : start + 10])), HEADERS)
        assert answer.status in (200, 204), answer
    for minutes, version in ((230, "2.3.0"), (104, "2.4.0"), (88, "2.4.1")):
        event = (
            f'{{"name": "deployed", "time": {(now_ms - minutes * 60_000) // 1000},'
            f' "attributes": {{"version": "{version}", "by": "ci"}}}}'
        )
        json = {"Content-Type": "application/json"}
        url = stack.write_url.replace("/write", "/api/v1/event")
        answer = send(url, event.encode(), json)
        assert answer.status == 201, answer


def operators_key(stack: Stack) -> str:
    """A key with scope admin."""
    made = run(PROMGRES, "key", "create", "default", "--scope", "admin",
               env={"PROMGRES_DATA_DIR": str(stack.directory)})  # fmt: skip
    found = re.search(r"pmk_\S+", made.stdout)
    assert found, made.output
    return found.group()


def type_key(seen: Visit, key: str) -> None:
    """Type a key into the dialog."""
    seen.page.get_by_role("button", name="Key", exact=True).click()
    seen.page.get_by_label("API key or token", exact=True).last.fill(key)
    seen.page.get_by_role("button", name="Use it").click()
    expect(seen.page.locator("dialog")).to_have_count(0)


def point_at(seen: Visit, share: float) -> None:
    """Put the pointer over the first chart, that share of its width from the left."""
    box = seen.page.locator(".u-over").first.bounding_box()
    assert box
    seen.page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] * 0.4)
    expect(seen.page.locator(".tooltip").first).to_be_visible()


def settled(seen: Visit) -> None:
    """Wait until nothing is asked any more."""
    seen.page.wait_for_load_state("networkidle")
    expect(seen.page.locator("[aria-busy]")).to_have_count(0)


REQUESTS = "sum by (code) (rate(http_requests_total[5m]))"
MEMORY = "process_resident_memory_bytes"


def in_url(*queries: str, **state: str) -> str:
    """A state of Explore."""
    pairs = [*(("q", query) for query in queries), *state.items()]
    return f"/explore?{urlencode(pairs, quote_via=quote)}"


def _explore(seen: Visit) -> None:
    seen.go(in_url(REQUESTS, MEMORY, range="6h", events="1"))
    settled(seen)
    point_at(seen, 0.66)


def _builder(seen: Visit) -> None:
    seen.go(in_url(REQUESTS, range="3h"))
    settled(seen)
    seen.page.get_by_role("button", name="Builder").click()
    expect(seen.page.locator(".builder .chip").first).to_be_visible()


def _completion(seen: Visit) -> None:
    seen.go("/explore")
    settled(seen)
    seen.page.get_by_label("PromQL query").press_sequentially("rate(http")
    expect(seen.page.locator(".offers li").first).to_be_visible()


def _error(seen: Visit) -> None:
    seen.expected.add(400)
    seen.go(in_url("sum by (code) (rate(http_requests_total[5m])"))
    settled(seen)
    expect(seen.page.locator(".query-error")).to_be_visible()


def _at(state: str) -> Steps:
    def steps(seen: Visit) -> None:
        seen.go(state)
        settled(seen)

    return steps


def _key(seen: Visit) -> None:
    seen.go()
    seen.page.get_by_role("button", name="Key", exact=True).click()
    expect(seen.page.locator("dialog")).to_be_visible()


def _copied(seen: Visit) -> None:
    seen.go(in_url("avg by (instance) (process_resident_memory_bytes)"))
    settled(seen)
    seen.page.get_by_label("Copy this query as").select_option("sql")
    expect(seen.page.get_by_label("Text to copy")).to_be_visible()


STATES: dict[str, Steps] = {
    "metrics": _at(""),
    "explore": _explore,
    "builder": _builder,
    "completion": _completion,
    "error": _error,
    "table": _at(in_url(MEMORY, tab="table")),
    "nothing": _at(in_url("nothing_like_this")),
    "copied": _copied,
    "cardinality": _at("/cardinality"),
    "health-without-key": _at("/health"),
    "key": _key,
}


def _health(seen: Visit, key: str) -> None:
    seen.go("/health")
    type_key(seen, key)
    expect(seen.page.locator(".checks")).to_be_visible()


def make(folder: Path, *, everything: bool) -> None:
    """Write the pictures as PNG files."""
    expect.set_options(timeout=SECONDS * 1000)
    folder.mkdir(parents=True, exist_ok=True)
    with running_stack() as stack, browser() as chromium:
        url = stack.read_url.removesuffix("/rpc/")
        looks = [(WIDE, False), (WIDE, True), (PHONE, False), (PHONE, True)]

        def picture(name: str, steps: Steps, size: tuple[int, int], dark: bool) -> None:
            suffix = f"-{'phone' if size == PHONE else 'wide'}-{'dark' if dark else 'light'}"
            with visit(chromium, url, size, dark=dark) as seen:
                steps(seen)
                path = folder / f"{name}{suffix if everything else ''}.png"
                seen.page.screenshot(path=path, full_page=everything)
                print(path.name, *seen.complaints)

        if everything:
            for size, dark in looks:
                picture("empty", _at(""), size, dark)
        fill(stack)
        key = operators_key(stack)
        states = {**STATES, "health": lambda seen: _health(seen, key)}
        if everything:
            for name, steps in states.items():
                for size, dark in looks:
                    picture(name, steps, size, dark)
        else:
            picture("metrics", states["metrics"], WIDE, False)
            picture("explore", states["explore"], WIDE, False)
            picture("builder", states["builder"], WIDE, True)
            picture("health", states["health"], WIDE, False)


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--all"]
    make(Path(words[0]) if words else FOLDER, everything="--all" in sys.argv)
