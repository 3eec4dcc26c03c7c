"""Work in turns with others."""

from __future__ import annotations

import asyncio
import time

import pytest

from ingest.errors import BadRequest
from ingest.intake import steps
from ingest.intake.steps import Steps, in_turns


def work(seconds: float) -> Steps:
    """One step that cannot be parted, and then a refusal."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    raise BadRequest("no")
    yield


@pytest.mark.parametrize("is_long", [True, False])
async def test_after_a_long_step_others_have_as_long(
    is_long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(steps.asyncio, "sleep", noted)
    with pytest.raises(BadRequest):
        await in_turns(work(1.2 * steps.LONG_SECONDS if is_long else 0))
    [pause] = pauses
    assert (pause >= steps.LONG_SECONDS) == is_long
    assert pause <= steps.LONGEST_PAUSE_SECONDS
