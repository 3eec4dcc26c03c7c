"""Who is connected, and who may be: connections are bounded in all and by address.

A full table lets a newcomer in at the cost of whoever has waited longest without a request in hand:
an idle client comes again, and one that never ends its head is the reason why the table is full.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from ingest.config.settings import HttpSettings
from ingest.descriptors import descriptor_limit
from ingest.http.metrics import ADDRESS, CONNECTIONS, FULL, ROOM
from ingest.logs import get_logger

OWN_DESCRIPTORS = 128
"""Files that a process needs besides connections and its pools: spool, listeners, logs, libraries,
connections that are being closed, requests to cancel."""
MOST_BY_DEFAULT = 10_000
"""A waiting connection costs some 5 KiB."""
PROBES = 8
"""Connections of this machine that a table full of requests still takes: probes, `/metrics`."""
MOST_HEAD_BYTES = 64 * 1024 * 1024
"""Of heads that are not complete, of all connections."""
SAY_SO_EVERY_SECONDS = 60.0

log = get_logger("http")


class Connection(Protocol):
    """What the table asks of a connection.

    Attributes:
        head_bytes: of a request that has begun, and whose head is not complete.
    """

    head_bytes: int

    def give_way(self) -> None:
        """End at once: no request is in hand."""


class Connections:
    """The connections of one port.

    Args:
        spare_descriptors: what else this process opens: its pools.
        is_proxy: whether an address is one of `auth.trusted_proxies`.

    Attributes:
        open: all that are connected.
    """

    def __init__(
        self,
        settings: HttpSettings,
        spare_descriptors: int,
        is_proxy: Callable[[str | None], bool],
    ) -> None:
        limit = descriptor_limit()
        left = limit - min(OWN_DESCRIPTORS + spare_descriptors, limit // 2)
        self._most = min(settings.max_connections or MOST_BY_DEFAULT, left)
        self._most_by_address = settings.max_connections_per_address or max(1, self._most // 4)
        self._is_proxy = is_proxy
        self._count = 0
        self._by_address: Counter[str] = Counter()
        self._waiting: dict[Connection, None] = {}
        self._head_bytes = 0
        self._said: dict[str, float] = {}
        self.open: set[Connection] = set()

    def admit(self, host: str) -> bool:
        """Whether a connection from there may be; then it counts until `leave`."""
        address, is_here = _counted_as(host)
        is_bounded = not is_here and not self._is_proxy(host)
        if is_bounded and self._by_address[address] >= self._most_by_address:
            self.say_sometimes("an address has all the connections it may have", address=host)
            ADDRESS.inc()
            return False
        if self._count >= self._most:
            self.say_sometimes("all connections are in use", connections=self._count)
            if not self.make_room() and not (is_here and self._count < self._most + PROBES):
                FULL.inc()
                return False
        self._count += 1
        self._by_address[address] += 1
        CONNECTIONS.set(self._count)
        return True

    def leave(self, host: str) -> None:
        """One of those that were admitted is gone."""
        address, _ = _counted_as(host)
        self._count -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
        CONNECTIONS.set(self._count)

    def make_room(self) -> bool:
        """End the connection that has waited longest; False if every one has a request in hand."""
        if not self._waiting:
            return False
        longest = next(iter(self._waiting))
        self.busy(longest)
        longest.give_way()
        ROOM.inc()
        return True

    def wait(self, connection: Connection) -> None:
        """It has no request in hand, from now on."""
        self._waiting[connection] = None

    def busy(self, connection: Connection) -> None:
        """It waits no more: it has a request, or is gone."""
        if self._waiting.pop(connection, self) is None:
            self._head_bytes -= connection.head_bytes
            connection.head_bytes = 0

    def head_grows(self, connection: Connection, length: int) -> None:
        """More of a head has come, and it is not complete yet."""
        connection.head_bytes += length
        self._head_bytes += length
        while self._head_bytes > MOST_HEAD_BYTES and self.make_room():
            pass

    def say_sometimes(self, event: str, **facts: object) -> None:
        """A warning, and not again for a minute: strangers can make it true as often as they
        like."""
        now = monotonic()
        if now >= self._said.get(event, 0.0):
            self._said[event] = now + SAY_SO_EVERY_SECONDS
            log.warning(event, **facts)


def _counted_as(host: str) -> tuple[str, bool]:
    """What an address is counted as (of IPv6, whoever has one has its whole /64), and whether it
    is of this machine."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host, False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return address.exploded[:19], address.is_loopback
        address = address.ipv4_mapped
    return str(address), address.is_loopback
