from __future__ import annotations

import asyncio
import os

import pytest

from ingest.lifeline import ENVIRONMENT, watch_parent


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    read_end, write_end = os.pipe()
    monkeypatch.setenv(ENVIRONMENT, str(read_end))
    return read_end, write_end


async def test_the_end_of_the_pipe_is_the_end_of_the_parent(pipe: tuple[int, int]) -> None:
    gone = asyncio.Event()
    watch_parent(asyncio.get_running_loop(), gone.set)
    assert not gone.is_set()
    os.close(pipe[1])
    await asyncio.wait_for(gone.wait(), 60)


async def test_our_own_children_inherit_neither_descriptor_nor_variable(
    pipe: tuple[int, int],
) -> None:
    os.set_inheritable(pipe[0], True)
    watch_parent(asyncio.get_running_loop(), lambda: None)
    assert ENVIRONMENT not in os.environ
    assert not os.get_inheritable(pipe[0])
    asyncio.get_running_loop().remove_reader(pipe[0])
    os.close(pipe[0])
    os.close(pipe[1])


@pytest.mark.parametrize("value", ["", "x", "-1", "99999"])
async def test_without_a_lifeline_nothing_happens(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, value)
    watch_parent(asyncio.get_running_loop(), lambda: pytest.fail("nobody died"))
    await asyncio.sleep(0)


async def test_a_descriptor_that_is_no_pipe_is_no_lifeline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open(os.devnull) as something:  # noqa: ASYNC230, PTH123
        monkeypatch.setenv(ENVIRONMENT, str(something.fileno()))
        watch_parent(asyncio.get_running_loop(), lambda: pytest.fail("nobody died"))
        await asyncio.sleep(0)
