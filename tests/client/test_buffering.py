"""What is held, for how long, and what happens when there is no room or no time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest

from promgres_client import AsyncClient, Client
from tests.support.records_server import RecordsServer, Reply, records_server

CLIENT = Path(__file__).parents[2] / "client"
APPLICATION = {**os.environ, "PYTHONPATH": str(CLIENT), "PYTHONWARNINGS": "ignore"}
"""Environment of a process of its own; newer Pythons warn of forks beside threads."""


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()


def blocked(server: RecordsServer, gate: threading.Event, **options: Any) -> Client:
    """A client whose first item is under way, and stays so until the gate opens."""
    client = Client(server.url, senders=1, interval=0, **options)
    client.event("under way")
    server.wait_for_pushes(1)
    return client


@pytest.mark.parametrize(
    ("when_full", "kept"), [("drop_newest", ["0", "1"]), ("drop_oldest", ["3", "4"])]
)
def test_a_full_buffer_drops(
    gate: threading.Event,
    caplog: pytest.LogCaptureFixture,
    when_full: Literal["drop_newest", "drop_oldest"],
    kept: list[str],
) -> None:
    with records_server(Reply(hold=gate, stores=True)) as server:
        with blocked(server, gate, max_items=3, when_full=when_full) as client:
            for number in range(5):
                client.event(str(number))
            assert client.pending == 3
            gate.set()
            assert client.flush()
            assert (client.acknowledged, client.dropped_by_cause) == (3, {"full": 3})
        assert server.names() == ["under way", *kept]
    assert [record.getMessage() for record in caplog.records] == [
        "promgres: 1 lost (full, 1 so far): the buffer is full (3 items or 67108864 bytes)",
        "promgres: 2 more lost (full, 3 in all)",
    ]


def test_bytes_are_bounded_too(gate: threading.Event) -> None:
    with (
        records_server(Reply(hold=gate, stores=True)) as server,
        blocked(server, gate, max_bytes=20_000) as client,
    ):
        for _ in range(100):
            client.event("large", text="x" * 1000)
        assert client.pending < 20
        client.event("larger than everything", text="x" * 30_000)
        gate.set()
        assert client.flush()
        assert client.acknowledged + client.dropped == 102


def test_a_full_buffer_blocks(gate: threading.Event) -> None:
    with (
        records_server(Reply(hold=gate, stores=True)) as server,
        blocked(server, gate, max_items=2, when_full="block") as client,
    ):
        recorded = threading.Event()

        def record() -> None:
            for number in range(10):
                client.event(str(number))
            recorded.set()

        thread = threading.Thread(target=record)
        thread.start()
        assert not recorded.is_set()
        gate.set()
        thread.join(30)
        assert recorded.is_set()
        assert client.flush()
        assert (client.acknowledged, client.dropped) == (11, 0)


def test_batches_are_cut_by_items_and_by_bytes(gate: threading.Event) -> None:
    options = {"batch_items": 3, "batch_bytes": 5_000}
    with records_server(Reply(hold=gate, stores=True)) as server:
        with blocked(server, gate, **options) as client:
            for number in range(7):
                client.event(str(number))
            for _ in range(3):
                client.event("large", text="x" * 4_900)
            gate.set()
        sizes = [len(push.items) for push in server.pushes]
        assert sizes == [1, 3, 3, 2, 1, 1]


def test_many_threads_lose_nothing() -> None:
    with records_server() as server:
        with Client(server.url, batch_items=50, interval=0.001) as client:

            def record(thread: int) -> None:
                for number in range(500):
                    client.measure("m", number, thread=thread)

            threads = [threading.Thread(target=record, args=(n,)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert (client.acknowledged, client.dropped, client.pending) == (4000, 0, 0)
        assert (len(server.stored), server.repeated) == (4000, 0)


def test_an_item_does_not_wait_for_others_for_long() -> None:
    with records_server() as server, Client(server.url, interval=0.01) as client:
        client.event("alone")
        server.wait_for_pushes(1)


def test_flush_gives_up_waiting_and_loses_nothing(gate: threading.Event) -> None:
    with records_server(Reply(hold=gate, stores=True)) as server, Client(server.url) as client:
        client.event("slow")
        assert not client.flush(timeout=0.01)
        assert client.pending == 1
        gate.set()
        assert client.flush()
        assert (client.acknowledged, client.dropped) == (1, 0)


def test_closing_gives_up_what_is_not_settled_in_time(gate: threading.Event) -> None:
    with records_server(Reply(503, hold=gate)) as server:
        client = blocked(server, gate)
        client.event("waits")
        assert not client.close(timeout=0.01)
        gate.set()
        assert client._pipeline.wait_settled(2, 30)
        assert (client.acknowledged, client.dropped_by_cause) == (0, {"closed": 2})
        client.event("too late")
        assert client.dropped_by_cause == {"closed": 3}


def test_closing_ends_the_threads() -> None:
    with records_server() as server:
        with Client(server.url) as client:
            client.event("e")
        assert not [t for t in threading.enumerate() if t.name.startswith("promgres-client")]


def test_a_client_that_nobody_holds_sends_what_it_has() -> None:
    with records_server() as server:
        Client(server.url, interval=600).event("forgotten")
        server.wait_for_pushes(1)


def test_recording_in_a_signal_handler_of_a_recording_thread() -> None:
    """It would hang with a lock that is not reentrant."""
    with records_server() as server, Client(server.url, interval=0) as client:
        previous = signal.signal(signal.SIGALRM, lambda *_: client.event("alarm"))
        signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
        try:
            for number in range(20_000):
                client.measure("m", number)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        assert client.flush()
        assert (client.pending, client.dropped) == (0, 0)
        assert client.acknowledged == len(server.stored) > 20_000


AT_EXIT = """
import sys
from promgres_client import Client
client = Client(sys.argv[1], interval=600)
client.event("at exit")
"""
IN_FORKS = """
import os, sys
from promgres_client import Client
client = Client(sys.argv[1], interval=600)
client.event("parent", n=1)
for number in range(3):
    child = os.fork()
    if not child:
        client.event("child", n=number)
        sys.exit()
    os.waitpid(child, 0)
client.event("parent", n=2)
"""
IN_MULTIPROCESSING = """
import multiprocessing, sys
from promgres_client import Client
client = Client(sys.argv[1], interval=600)
def work(number):
    client.event("child", n=number)
if __name__ == "__main__":
    client.event("parent", n=1)
    children = [multiprocessing.get_context("fork").Process(target=work, args=(n,)) for n in "012"]
    for child in children: child.start()
    for child in children: child.join()
    client.event("parent", n=2)
"""


@pytest.mark.parametrize(
    ("program", "names"),
    [
        (AT_EXIT, ["at exit"]),
        (IN_FORKS, ["child"] * 3 + ["parent"] * 2),
        (IN_MULTIPROCESSING, ["child"] * 3 + ["parent"] * 2),
    ],
    ids=["exit", "fork", "multiprocessing"],
)
def test_what_a_process_recorded_is_sent_at_its_end(
    program: str, names: list[str], tmp_path: Path
) -> None:
    script = tmp_path / "application.py"
    script.write_text(program)
    with records_server() as server:
        done = subprocess.run(
            [sys.executable, script, server.url],
            env=APPLICATION,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stderr == ""
        assert sorted(server.names()) == names
        assert server.repeated == 0


def test_a_dead_server_holds_up_the_end_of_a_process_for_a_bounded_time(tmp_path: Path) -> None:
    script = tmp_path / "application.py"
    script.write_text(AT_EXIT.replace("interval=600", "exit_timeout=0.2"))
    done = subprocess.run(
        [sys.executable, script, "http://127.0.0.1:1"],
        env=APPLICATION,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "1 lost (closed, 1 so far)" in done.stderr


async def test_async(gate: threading.Event) -> None:
    with records_server(Reply(hold=gate, stores=True)) as server:
        async with AsyncClient(server.url) as client:
            client.measure("m", 1, a="b")
            assert not await client.flush(timeout=0.01)
            gate.set()
            assert await client.flush()
            client.event("e")
        assert (client.acknowledged, client.pending) == (2, 0)
        assert server.names() == ["m", "e"]
        with suppress(ValueError):
            AsyncClient(server.url, when_full="block")
            pytest.fail("it would stop the event loop")
