"""What is sent again: all new, one sample in a hundred repeated, everything repeated."""

from __future__ import annotations

import asyncio
import time

from ingest.load.requests import RequestTemplate
from tests.support.remote_write import send
from tests.support.stack import Stack, running_stack

REQUESTS = 100
SENDERS = 8
SERIES_A_REQUEST = 2000


def run() -> dict[str, float]:
    """Samples a second by the share that is stored already."""
    with running_stack() as stack:
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> dict[str, float]:
    templates = [RequestTemplate(i * SERIES_A_REQUEST, SERIES_A_REQUEST) for i in range(SENDERS)]
    few = [RequestTemplate(i * SERIES_A_REQUEST, SERIES_A_REQUEST // 100) for i in range(SENDERS)]
    start_ms = time.time_ns() // 1_000_000 - REQUESTS * 10
    times = [start_ms + step for step in range(REQUESTS)]
    await _send(stack, templates, [start_ms - 1])  # every series is known from here on
    new = await _send(stack, templates, times)
    again = await _send(stack, templates, times)
    later = [timestamp_ms + REQUESTS for timestamp_ms in times]
    await _send(stack, few, later)
    one_in_a_hundred = await _send(stack, templates, later)
    return {
        "duplicates_0_percent_samples_per_second": new,
        "duplicates_1_percent_samples_per_second": one_in_a_hundred,
        "duplicates_100_percent_samples_per_second": again,
    }


async def _send(stack: Stack, templates: list[RequestTemplate], times: list[int]) -> float:
    """Each template at each time, a thread a template; samples a second."""

    def stream(template: RequestTemplate) -> None:
        for timestamp_ms in times:
            answer = send(stack.write_url, template.body(timestamp_ms))
            assert answer.status == 204, answer

    started = time.perf_counter()
    await asyncio.gather(*[asyncio.to_thread(stream, template) for template in templates])
    samples = sum(template.samples for template in templates) * len(times)
    return samples / (time.perf_counter() - started)
