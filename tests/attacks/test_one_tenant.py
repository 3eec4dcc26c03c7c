"""One tenant that takes all there is of something: memory, requests at once, rows that wait."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from urllib.parse import urlsplit

from ingest.load.requests import RequestTemplate
from tests.attacks.siege import Siege, at_once
from tests.support.keys import bearer
from tests.support.remote_write import HEADERS, send

MIB = 1024 * 1024
PATIENCE_SECONDS = 60


def test_chunked_bodies_of_one_byte(siege: Siege) -> None:
    """They hold what they sent, not what they might send."""
    sockets: list[socket.socket] = []
    with ExitStack() as stack:
        report = siege.resist(pause, begin=lambda: sockets.extend(begun(siege, stack, 9)))
        assert {one.status for one in report.meanwhile} == {204}, report
        for one in sockets:
            one.sendall(b"0\r\n\r\n")
            assert status_of(one) == 204


def test_bodies_that_are_never_complete(siege: Siege) -> None:
    """Half of the memory is for others, as long as others ask."""
    piece = b"%x\r\n" % (24 * MIB) + bytes(24 * MIB) + b"\r\n"
    sockets: list[socket.socket] = []

    def begin() -> None:
        sockets.extend(begun(siege, stack, 16))
        for one in sockets:
            with suppress(OSError):  # refused in the middle of it
                one.sendall(piece)

    with ExitStack() as stack:
        report = siege.resist(pause, begin=begin)
        assert {one.status for one in report.meanwhile} == {204}, report
        held = siege.metrics.value("promgres_backlog_memory_bytes")
        assert 100 * MIB < held < 300 * MIB
        refused = [one for one in sockets if is_answered(one)]
        assert refused
        assert {status_of(one) for one in refused} == {503}


def test_more_requests_at_once_than_are_taken(siege: Siege) -> None:
    with ExitStack() as stack:
        report = siege.resist(pause, begin=lambda: begun(siege, stack, 700))
        assert {one.status for one in report.meanwhile} == {204}, report


def test_more_rows_than_the_database_takes(siege: Siege) -> None:
    """Large requests, one upon the other; the neighbour's samples wait for a few of them only."""
    template = RequestTemplate(0, 20_000, "flood")
    headers = {**HEADERS, **bearer(siege.attacker)}

    def flood() -> int:
        body = template.body(time.time_ns() // 1_000_000)
        return send(siege.write_url, body, headers, seconds=PATIENCE_SECONDS).status

    siege.resist(partial(at_once, flood, 8))


def pause() -> list[int]:
    """The attack goes on by itself."""
    time.sleep(0.05)
    return []


def begun(siege: Siege, stack: ExitStack, requests: int) -> list[socket.socket]:
    """So many writes of which a byte has come; the stack ends them."""
    return [stack.enter_context(half_sent(siege, b"1\r\n\x00\r\n")) for _ in range(requests)]


@contextmanager
def half_sent(siege: Siege, begun: bytes) -> Iterator[socket.socket]:
    """A chunked write of the attacker that has begun."""
    address = urlsplit(siege.write_url)
    assert address.hostname
    fields = {**HEADERS, **bearer(siege.attacker), "Transfer-Encoding": "chunked", "Host": "attack"}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    at = (address.hostname, address.port)
    with closing(socket.create_connection(at, PATIENCE_SECONDS)) as one:
        one.sendall(f"POST /write HTTP/1.1\r\n{head}\r\n".encode() + begun)
        yield one


def is_answered(one: socket.socket) -> bool:
    """Whether there is something to read, or nothing will ever be."""
    one.setblocking(False)
    try:
        return bool(one.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    except OSError:
        return False
    finally:
        one.settimeout(PATIENCE_SECONDS)


def status_of(one: socket.socket) -> int:
    """Of the answer."""
    with one.makefile("rb") as answer:
        return int(answer.readline().split()[1])
