"""A trivial function of /rpc for 50 clients, beside a bare aiohttp handler with one asyncpg fetch:
one process each, and two workers; in turns of one run."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import asyncpg
import psutil

from tests.support.processes import child
from tests.support.stack import Stack, running_stack

ROUNDS = int(os.environ.get("BENCH_CALLS_ROUNDS", "5"))
SECONDS = float(os.environ.get("BENCH_CALLS_SECONDS", "3"))
CLIENTS = 50
TRIVIAL = """
CREATE FUNCTION api.trivial() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
GRANT EXECUTE ON FUNCTION api.trivial() TO web_anon"""


class Served(NamedTuple):
    """A server, and the processes whose time it takes."""

    port: int
    processes: list[psutil.Process]


class Round(NamedTuple):
    """What came of some seconds: calls a second, CPU of the server for each, and its p99."""

    rate: float
    cpu_us: float
    p99_ms: float


def run() -> dict[str, float]:
    """Requests a second, ratios of them, and processor time a request."""
    with running_stack() as one, running_stack(PROMGRES_API__WORKERS="2") as two:
        for stack in (one, two):
            asyncio.run(_prepare(stack))
        with _bare(one.database_url) as bare:
            servers = {"bare": bare, "rpc": _api(one), "rpc_2_workers": _api(two)}
            rounds: dict[str, list[Round]] = {name: [] for name in servers}
            for number in range(ROUNDS + 1):
                for name, server in servers.items():
                    measured = asyncio.run(_round(server, SECONDS if number else 1.0))
                    rounds[name] += [measured] if number else []
    rate = {name: statistics.median(each.rate for each in of) for name, of in rounds.items()}
    cpu = {name: statistics.median(each.cpu_us for each in of) for name, of in rounds.items()}
    return {
        "rpc_trivial_requests_per_second": rate["rpc"],
        "bare_trivial_requests_per_second": rate["bare"],
        "rpc_to_bare_ratio": rate["rpc"] / rate["bare"],
        "rpc_2_workers_to_1_ratio": rate["rpc_2_workers"] / rate["rpc"],
        "rpc_trivial_cpu_us": cpu["rpc"],
        "bare_trivial_cpu_us": cpu["bare"],
        "bare_to_rpc_cpu_ratio": cpu["bare"] / cpu["rpc"],
        "rpc_trivial_p99_ms": statistics.median(each.p99_ms for each in rounds["rpc"]),
    }


async def _prepare(stack: Stack) -> None:
    connection = await asyncpg.connect(stack.database_url)
    await connection.execute(TRIVIAL)
    await connection.close()


def _api(stack: Stack) -> Served:
    process = psutil.Process(child(stack.program.pid, "promgres api").pid)
    port = int(stack.read_url.removesuffix("/rpc/").rpartition(":")[2])
    return Served(port, [process, *process.children(recursive=True)])


@contextmanager
def _bare(url: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "tests.bench.bare", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield Served(int(process.stdout.readline()), [psutil.Process(process.pid)])


async def _round(server: Served, seconds: float) -> Round:
    """Fifty clients that ask again as soon as they have their answer."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    before = _cpu_seconds(server)
    until = time.perf_counter() + seconds
    clients = [_Client(server.port, until, latencies) for _ in range(CLIENTS)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", server.port)  # type: ignore[misc]
    await asyncio.gather(*[client.done for client in clients])
    cpu = _cpu_seconds(server) - before
    p99 = statistics.quantiles(latencies, n=100)[98]
    return Round(len(latencies) / seconds, cpu / len(latencies) * 1e6, p99 * 1000)


class _Client(asyncio.Protocol):
    """One connection of HTTP: far cheaper than a client library, whose time would be measured."""

    def __init__(self, port: int, until: float, latencies: list[float]) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self._request = f"GET /rpc/trivial HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        self._until, self._latencies = until, latencies
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._asked_at = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(b"\r\n\r\n1"):
            return
        assert self._received.startswith(b"HTTP/1.1 200"), self._received
        self._received = b""
        now = time.perf_counter()
        self._latencies.append(now - self._asked_at)
        if now < self._until:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.done.set_result(None)


def _cpu_seconds(server: Served) -> float:
    times = [process.cpu_times() for process in server.processes]
    return sum(each.user + each.system for each in times)
