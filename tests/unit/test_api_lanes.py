"""Whose turn it is, and who has how much room."""

import asyncio

import pytest

from ingest.http.shares import Memory
from ingest.rpc import lanes
from ingest.rpc.lanes import Remembered
from ingest.rpc.request import TextArguments
from ingest.storage.read import dear_connections
from ingest.storage.turns import Turns


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_every_caller_has_a_turn() -> None:
    turns, order = Turns(1), []

    async def ask(caller: str) -> None:
        await turns.take(caller)
        order.append(caller)
        turns.give()

    await turns.take()
    waiting = [asyncio.create_task(ask(caller)) for caller in "aaaabac"]
    await _settle()
    turns.give()
    await asyncio.gather(*waiting)
    assert order == list("abcaaaa")


async def test_no_turn_is_lost_by_who_goes_away() -> None:
    turns = Turns(1)
    await turns.take()
    waiting = [asyncio.create_task(turns.take(number % 3)) for number in range(6)]
    await _settle()
    waiting[0].cancel()
    turns.give()
    waiting[1].cancel()  # its turn has just come
    await _settle()
    assert [task.done() for task in waiting] == [True, True, True, False, False, False]
    assert [task.cancelled() for task in waiting[:3]] == [True, True, False]
    for task in waiting[3:]:
        task.cancel()
    await _settle()
    turns.give()
    await turns.take()


def test_a_question_that_was_dear_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MOST_REMEMBERED", 2)
    dear = Remembered()
    questions = [(7, TextArguments({"p_n": (str(number),)})) for number in range(4)]
    for question in questions[:3]:
        assert question not in dear
        dear.note(question)
    assert [question in dear for question in questions] == [False, True, True, False]
    assert (7, TextArguments({"p_n": ("2",)})) in dear
    assert (8, TextArguments({"p_n": ("2",)})) not in dear
    monkeypatch.setattr(lanes, "REMEMBERED_SECONDS", 0.0)
    assert questions[2] not in dear


def test_nobody_has_more_than_half_of_the_room() -> None:
    memory = Memory(100)
    assert memory.take("a", 50)
    assert not memory.take("a", 1)
    assert memory.take("b", 30)
    assert not memory.take("c", 21)
    assert memory.take("c", 20)
    memory.give("a", 50)
    assert memory.take("c", 30)
    assert not memory.take("c", 1)


@pytest.mark.parametrize("size", [1, 2, 4, 100])
def test_one_connection_is_no_two_lanes(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert dear_connections(size) == (0 if size == 1 else 4)
