"""A trivial function of /rpc for 50 clients, beside a bare aiohttp handler with one asyncpg fetch:
one process each, and two workers; in turns of one run.

The bare handler runs in asyncio's loop, as a few lines of Python usually do, and in uvloop, as we
do. CPU is that of the server, of PostgreSQL and of the clients, for each request: where they share
two processors, the sum bounds what a second worker can add.
"""

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

from tests.support.processes import child, cpu_seconds
from tests.support.stack import Stack, running_stack

ROUNDS = int(os.environ.get("BENCH_CALLS_ROUNDS", "5"))
SECONDS = float(os.environ.get("BENCH_CALLS_SECONDS", "3"))
CLIENTS = 50
TRIVIAL = """
CREATE FUNCTION api.trivial() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
GRANT EXECUTE ON FUNCTION api.trivial() TO web_anon"""


class Served(NamedTuple):
    """A server, and the processes whose time it takes: its own, and PostgreSQL."""

    port: int
    processes: list[psutil.Process]
    postmaster: psutil.Process


class Round(NamedTuple):
    """What came of some seconds: calls a second, CPU for each of them, and their p99."""

    rate: float
    cpu_us: float
    postgres_us: float
    client_us: float
    p99_ms: float


def run() -> dict[str, float]:
    """Requests a second, ratios of them, and processor time a request."""
    with running_stack() as one, running_stack(PROMGRES_API__WORKERS="2") as two:
        for stack in (one, two):
            asyncio.run(_prepare(stack))
        with _bare(one, "asyncio") as bare, _bare(one, "uvloop") as quick:
            servers = {
                "bare": bare,
                "bare_uvloop": quick,
                "rpc": _api(one),
                "rpc_2_workers": _api(two),
            }
            rounds: dict[str, list[Round]] = {name: [] for name in servers}
            for number in range(ROUNDS + 1):
                for name, server in servers.items():
                    measured = asyncio.run(_round(server, SECONDS if number else 1.0))
                    rounds[name] += [measured] if number else []
    rate = {name: statistics.median(each.rate for each in of) for name, of in rounds.items()}
    cpu = {name: statistics.median(each.cpu_us for each in of) for name, of in rounds.items()}
    figures = {}
    for name, of in rounds.items():
        figures[f"{name}_postgres_us"] = statistics.median(each.postgres_us for each in of)
        figures[f"{name}_client_us"] = statistics.median(each.client_us for each in of)
    one_process = max(cpu["rpc"], figures["rpc_postgres_us"] + figures["rpc_client_us"])
    all_of_two = sum(
        (cpu["rpc_2_workers"], figures["rpc_2_workers_postgres_us"],
         figures["rpc_2_workers_client_us"])
    )  # fmt: skip
    return {
        "rpc_trivial_requests_per_second": rate["rpc"],
        "bare_trivial_requests_per_second": rate["bare"],
        "bare_uvloop_trivial_requests_per_second": rate["bare_uvloop"],
        "rpc_to_bare_ratio": rate["rpc"] / rate["bare"],
        "rpc_to_bare_uvloop_ratio": rate["rpc"] / rate["bare_uvloop"],
        "rpc_2_workers_to_1_ratio": rate["rpc_2_workers"] / rate["rpc"],
        "rpc_trivial_cpu_us": cpu["rpc"],
        "bare_trivial_cpu_us": cpu["bare"],
        "bare_uvloop_trivial_cpu_us": cpu["bare_uvloop"],
        "rpc_2_workers_cpu_us": cpu["rpc_2_workers"],
        "rpc_2_workers_bound_of_cpu_ratio": (os.cpu_count() or 1) * one_process / all_of_two,
        **figures,
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
    return Served(port, [process, *process.children(recursive=True)], _postmaster(stack))


def _postmaster(stack: Stack) -> psutil.Process:
    pid = next(stack.directory.rglob("postmaster.pid")).read_text().split()[0]
    return psutil.Process(int(pid))


@contextmanager
def _bare(stack: Stack, loop: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "tests.bench.bare", stack.database_url, loop]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield Served(port, [psutil.Process(process.pid)], _postmaster(stack))


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
    spent = [
        (now - then) / len(latencies) * 1e6
        for now, then in zip(_cpu_seconds(server), before, strict=True)
    ]
    p99 = statistics.quantiles(latencies, n=100)[98]
    cpu_us, postgres_us, client_us = spent
    return Round(len(latencies) / seconds, cpu_us, postgres_us, client_us, p99 * 1000)


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


def _cpu_seconds(server: Served) -> tuple[float, float, float]:
    """Of the server, of PostgreSQL, and our own: we are the clients."""
    postgres = [server.postmaster, *server.postmaster.children(recursive=True)]
    groups = (server.processes, postgres, [psutil.Process()])
    ours, theirs, clients = (cpu_seconds(*group) for group in groups)
    return ours, theirs, clients
