"""The keeper with real child processes: small programs instead of both sides."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from ingest.supervisor.child import Child, ChildRefused, Ties, is_ready
from ingest.supervisor.services import Keeper, ServiceEnded
from tests.support.processes import command, descendants, free_port, wait_until

WEB_SERVER = """
import asyncio, os, signal, sys
from pathlib import Path
from ingest.lifeline import watch_parent

async def answer(reader, writer):
    await reader.readline()
    writer.write(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
    writer.close()

async def main():
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    notes = Path(sys.argv[2]).open("a")
    def say(what):
        print(what, file=notes, flush=True)
    def leave(why):
        say(why)
        ended.set()
    loop.add_signal_handler(signal.SIGTERM, leave, "asked to end")
    if "stubborn" in sys.argv:
        loop.add_signal_handler(signal.SIGTERM, say, "asked to end")
    watch_parent(loop, lambda: leave("parent gone"))
    async with await asyncio.start_server(answer, "127.0.0.1", int(sys.argv[1])):
        say("serving")
        await ended.wait()

asyncio.run(main())
"""


@pytest.fixture
def ties(tmp_path: Path) -> Iterator[Ties]:
    read_end, write_end = os.pipe()
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    yield Ties(read_end, lock)
    for descriptor in (read_end, write_end, lock):
        os.close(descriptor)


@pytest.fixture
async def keeper() -> AsyncIterator[Keeper]:
    made = Keeper()
    yield made
    hurry = asyncio.Event()
    hurry.set()
    await made.stop(hurry)


def web_server(tmp_path: Path, ties: Ties, *words: str) -> Child:
    port = free_port()
    arguments = [sys.executable, "-c", WEB_SERVER, str(port), str(tmp_path / "notes"), *words]
    return Child(arguments, dict(os.environ), f"127.0.0.1:{port}", ties)


def python(text: str, ties: Ties) -> Child:
    return Child([sys.executable, "-c", text], dict(os.environ), f"127.0.0.1:{free_port()}", ties)


def pid_of(notes: Path) -> int:
    """The process of the web server that writes these notes."""
    [process] = [each for each in descendants(os.getpid()) if str(notes) in command(each)]
    return process.pid


async def test_started_means_ready(tmp_path: Path, ties: Ties, keeper: Keeper) -> None:
    child = web_server(tmp_path, ties)
    await keeper.start({"it": child})
    assert await is_ready(child.address)


async def test_a_killed_service_comes_back(tmp_path: Path, ties: Ties, keeper: Keeper) -> None:
    child = web_server(tmp_path, ties)
    await keeper.start({"it": child})
    for _ in range(2):
        killed = pid_of(tmp_path / "notes")
        os.kill(killed, signal.SIGKILL)
        assert await child.wait() == -signal.SIGKILL
        await until(lambda: ready(child))
        assert pid_of(tmp_path / "notes") != killed


async def test_a_refusal_is_final(ties: Ties, keeper: Keeper) -> None:
    with pytest.raises(ChildRefused):
        await keeper.start({"it": python("import sys; sys.exit(2)", ties)})


async def test_one_that_never_gets_ready_is_given_up(
    tmp_path: Path, ties: Ties, keeper: Keeper
) -> None:
    notes = tmp_path / "notes"
    text = f"import sys; print('tried', file=open({str(notes)!r}, 'a')); sys.exit(1)"
    with pytest.raises(ServiceEnded, match="status 1"):
        await keeper.start({"it": python(text, ties)})
    assert notes.read_text().split() == ["tried"] * 3


async def test_stop_asks_first(tmp_path: Path, ties: Ties, keeper: Keeper) -> None:
    await keeper.start({"it": web_server(tmp_path, ties)})
    await keeper.stop(asyncio.Event())
    assert (tmp_path / "notes").read_text().splitlines() == ["serving", "asked to end"]


async def test_hurry_does_not_ask_twice(tmp_path: Path, ties: Ties, keeper: Keeper) -> None:
    child = web_server(tmp_path, ties, "stubborn")
    await keeper.start({"it": child})
    hurry = asyncio.Event()
    ending = asyncio.ensure_future(keeper.stop(hurry))
    await until(lambda: "asked to end" in (tmp_path / "notes").read_text())
    assert not ending.done()
    hurry.set()
    await asyncio.wait_for(ending, 60)
    assert await child.wait() == -signal.SIGKILL


async def test_stages_end_in_reverse_order(tmp_path: Path, ties: Ties, keeper: Keeper) -> None:
    below, above = tmp_path / "below", tmp_path / "above"
    for stage, folder in enumerate((below, above)):
        folder.mkdir()
        await keeper.start({folder.name: web_server(folder, ties)}, stage)
    await keeper.stop(asyncio.Event())
    ended = {folder.name: (folder / "notes").stat().st_mtime_ns for folder in (below, above)}
    assert ended["above"] <= ended["below"]  # a file's time has steps of some milliseconds


async def test_children_notice_the_parent_s_end(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    child = web_server(tmp_path, Ties(read_end, lock))
    await child.start()
    os.close(write_end)
    assert await asyncio.wait_for(child.wait(), 60) == 0
    assert "parent gone" in (tmp_path / "notes").read_text()
    os.close(read_end)
    os.close(lock)


def ready(child: Child) -> bool:
    return asyncio.run(is_ready(child.address))


async def until(condition: Callable[[], object]) -> None:
    """`wait_until` beside a loop that must go on turning."""
    await asyncio.to_thread(wait_until, condition, 20)


async def test_a_defect_of_ours_does_not_end_the_keeping(
    keeper: Keeper, tmp_path: Path, ties: Ties, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a start runs into, the next one is tried."""
    server = web_server(tmp_path, ties)
    await keeper.start({"the server": server})
    start, tries = server.start, 0

    async def strike() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError(28, "No space left on device")
        await start()

    monkeypatch.setattr(server, "start", strike)
    watching = asyncio.ensure_future(keeper.watch())
    os.kill(pid_of(tmp_path / "notes"), signal.SIGKILL)
    async with asyncio.timeout(60):
        while tries < 2 or not await is_ready(server.address):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert not watching.done()
    watching.cancel()
