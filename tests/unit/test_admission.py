"""Who is let in when there is not room for all: tenants by turns, and none has more than its share
while another one asks."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from ingest.errors import Unavailable
from ingest.storage.turns import Turns
from ingest.writer.backlog import MOST_MEMORY_BYTES, SMALLEST_LIMIT_ROWS, Backlog
from ingest.writer.fairness import RoundRobin

GREEDY, MODEST = 1, 2
LIMIT_ROWS = 2 * 100_000


class Rows:
    """Rows in flight by tenant, and a backlog that asks for them."""

    def __init__(self, seconds: float = 2.0, most_requests: int = 0) -> None:
        self.of: dict[int, int] = {}
        self.backlog = Backlog(
            lambda: sum(self.of.values()),
            seconds,
            lambda tenant_id: self.of.get(tenant_id, 0),
            0.5,
            most_requests,
        )


def test_tenants_have_their_turns_whatever_each_has_waiting() -> None:
    queue: RoundRobin[str] = RoundRobin()
    for item in ("a1", "a2", "a3"):
        queue.put(GREEDY, item)
    queue.put(MODEST, "b1")
    assert [queue.pop() for _ in range(5)] == ["a1", "b1", "a2", "a3", None]
    assert not queue


def test_who_may_not_is_passed_over() -> None:
    queue: RoundRobin[str] = RoundRobin()
    queue.put(GREEDY, "a")
    queue.put(MODEST, "b")
    assert queue.pop(lambda tenant_id: tenant_id == MODEST) == "b"
    assert queue.pop(lambda _: False) is None
    assert queue.peek() == "a"


async def test_a_lock_goes_from_tenant_to_tenant() -> None:
    turns, had = Turns(1), []

    async def work(tenant_id: int, name: str) -> None:
        async with turns.of(tenant_id):
            had.append(name)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(work(GREEDY, f"greedy {number}"))
        group.create_task(work(MODEST, "modest"))
    assert had.index("modest") == 2
    assert len(had) == 5


async def test_who_waits_for_the_lock_and_leaves_takes_it_from_nobody() -> None:
    turns = Turns(1)
    async with turns.of(GREEDY):
        left, stays = (asyncio.create_task(_hold(turns)) for _ in range(2))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.sleep(0)
    left.cancel()
    assert await asyncio.wait_for(stays, 60)


async def _hold(turns: Turns) -> bool:
    async with turns.of(MODEST):
        return True


def test_what_a_body_may_become_is_not_held() -> None:
    """Nine that have sent one byte each hold nine bytes."""
    rows = Rows()
    with ExitStack() as stack:
        for _ in range(9):
            stack.enter_context(rows.backlog.hold(GREEDY)).set(1)
        stack.enter_context(rows.backlog.hold(MODEST)).set(MOST_MEMORY_BYTES // 4)


def test_memory_of_one_tenant() -> None:
    """Alone it has all of it; while another one asks, half, or one request."""
    backlog, step = Rows().backlog, MOST_MEMORY_BYTES // 4
    with ExitStack() as stack:
        held = [stack.enter_context(backlog.hold(GREEDY)) for _ in range(4)]
        for hold in held:
            hold.set(step)
        modest = stack.enter_context(backlog.hold(MODEST))
        with pytest.raises(Unavailable, match="too many requests are waiting"):
            modest.set(step)
        for hold in held[1:]:
            hold.set(0)
        held[1].set(step)
        with pytest.raises(Unavailable):
            held[2].set(1)
        modest.set(step)
        held[1].set(0)
        held[0].set(3 * step)
    assert not backlog._memory_bytes
    assert not backlog._requests


def test_requests_of_one_tenant() -> None:
    backlog = Rows(most_requests=4).backlog
    with ExitStack() as stack:
        stack.enter_context(backlog.hold(MODEST))
        for _ in range(2):
            stack.enter_context(backlog.hold(GREEDY))
        with pytest.raises(Unavailable, match=r"limits\.concurrent_requests"):
            stack.enter_context(backlog.hold(GREEDY))
        stack.enter_context(backlog.hold(MODEST))


async def test_rows_of_one_tenant_keep_no_other_out() -> None:
    rows = Rows(seconds=0.01)
    await rows.backlog.wait_for_room(MODEST)
    rows.of[GREEDY] = SMALLEST_LIMIT_ROWS  # of which half is its share
    with pytest.raises(Unavailable, match="cannot keep up"):
        await rows.backlog.wait_for_room(GREEDY)
    await rows.backlog.wait_for_room(MODEST)


async def test_who_is_alone_has_the_whole_backlog() -> None:
    rows = Rows()
    rows.of[GREEDY] = LIMIT_ROWS - 1
    await rows.backlog.wait_for_room(GREEDY)


async def test_those_that_wait_are_let_in_by_turns() -> None:
    """Each one's rows count before the next one is asked."""
    rows, let_in = Rows(), []
    await rows.backlog.wait_for_room(MODEST)
    rows.of = {GREEDY: LIMIT_ROWS, MODEST: LIMIT_ROWS}

    async def write(tenant_id: int) -> None:
        await rows.backlog.wait_for_room(tenant_id)
        rows.of[tenant_id] += 1
        let_in.append(tenant_id)

    async with asyncio.TaskGroup() as group:
        for tenant_id in (GREEDY, GREEDY, GREEDY, MODEST):
            group.create_task(write(tenant_id))
        await asyncio.sleep(0)
        rows.of = {GREEDY: 0, MODEST: 0}
        rows.backlog.written(0, 0.0)
    assert let_in == [GREEDY, MODEST, GREEDY, GREEDY]
