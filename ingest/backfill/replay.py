"""A replay from its first window to its last: evaluate, write, remember."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from ingest.backfill.plan import Plan, Window, plan_of
from ingest.backfill.rules import Rule
from ingest.backfill.source import DataSource, TooMuch, samples_in
from ingest.backfill.state import Progress, State
from ingest.backfill.write_side import Refused, WriteSide
from ingest.errors import OperatorError

REASONS_KEPT = 10


@dataclass(frozen=True)
class Done:
    """What became of one window: samples that were sent, and those of them that were refused."""

    samples: int
    refused: Sequence[Refused] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        progress: of all runs of this replay together.
        samples: of this run alone.
        was_finished: there was nothing left to do.
    """

    progress: Progress
    samples: int
    was_finished: bool = False


Evaluate = Callable[[Window], Awaitable[Done]]
"""Has all rules of a window evaluated and their results acknowledged."""


async def replay(
    plan: Plan,
    state: State,
    evaluate: Evaluate,
    on_window: Callable[[Window, Progress, int, int], None],
) -> Outcome:
    """Go on where the state says, window after window, the oldest first.

    Args:
        on_window: told of each window that is done, how many of how many evaluations are.

    Raises:
        OperatorError, GaveUp: the same replay can be continued.
    """
    if state.progress is None:
        state.progress = Progress(*plan.period_ms())
        state.save()
    progress = state.progress
    if progress.finished_ms is not None:
        return Outcome(progress, 0, was_finished=True)
    windows = plan_of(plan, progress.start_ms, progress.end_ms)
    total = sum(window.points for window in windows)
    done, before = 0, progress.samples
    for window in windows:
        done += window.points
        reached_ms = progress.done_ms.get(window.group.name, 0)
        if window.end_ms <= reached_ms:
            continue
        found = await evaluate(_rest(window, reached_ms))
        _add(progress, found)
        progress.done_ms[window.group.name] = window.end_ms
        state.save()
        on_window(window, progress, done, total)
    progress.finished_ms = time.time_ns() // 1_000_000
    state.save()
    return Outcome(progress, progress.samples - before)


def _rest(window: Window, reached_ms: int) -> Window:
    """What is left of a window; a run with other bins may have ended in the middle of it."""
    return replace(window, start_ms=max(window.start_ms, reached_ms))


def _add(progress: Progress, found: Done) -> None:
    refused = sum(each.samples for each in found.refused)
    progress.samples += found.samples - refused
    progress.rejected += refused
    for each in found.refused:
        if each.reason not in progress.reasons and len(progress.reasons) < REASONS_KEPT:
            progress.reasons.append(each.reason)


def by_itself(source: DataSource, write_side: WriteSide, concurrency: int) -> Evaluate:
    """Evaluate rules over the data source's HTTP API, some at a time."""
    free = asyncio.Semaphore(concurrency)

    async def evaluate_rule(rule: Rule, window: Window) -> Done:
        try:
            async with free:
                runs = await source.evaluate(rule, window)
                refused = await write_side.write(runs)
        except TooMuch as error:
            if window.points == 1:
                raise OperatorError(str(error)) from None
        else:
            return Done(samples_in(runs), [refused] if refused else [])
        middle_ms = window.start_ms + window.points // 2 * window.group.step_ms
        return _together(
            [
                await evaluate_rule(rule, replace(window, end_ms=middle_ms)),
                await evaluate_rule(rule, replace(window, start_ms=middle_ms)),
            ]
        )

    async def evaluate(window: Window) -> Done:
        tasks = [asyncio.ensure_future(evaluate_rule(rule, window)) for rule in window.group.rules]
        try:
            return _together(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    return evaluate


def _together(parts: Sequence[Done]) -> Done:
    return Done(
        sum(part.samples for part in parts), [one for part in parts for one in part.refused]
    )
