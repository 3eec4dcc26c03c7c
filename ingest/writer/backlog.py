"""Admission: how much work may wait, in all and of one tenant. Senders wait a little, then get a
503.

The share of a tenant holds only while other tenants ask as well: one alone has all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from prometheus_client import Gauge

from ingest.errors import Unavailable
from ingest.intake.limits import over_limit
from ingest.metrics import REGISTRY
from ingest.model import DEFAULT_TENANT_ID, TenantId
from ingest.writer.fairness import RoundRobin

FIRST_GUESS_ROWS_PER_SECOND = 100_000
SMALLEST_LIMIT_ROWS = 20_000
SPEED_SMOOTHING = 0.2
MOST_MEMORY_BYTES = 416 * 1024 * 1024
"""Of all requests together, from the first byte of each until it is stored."""
ASKS_FOR_SECONDS = 600.0
"""Room is kept for a tenant for ten minutes after its last request."""
LIMIT = Gauge("promgres_backlog_limit_rows", "Rows that may wait for a writer.", registry=REGISTRY)
MEMORY = Gauge(
    "promgres_backlog_memory_bytes",
    "Memory of write requests under way, as it is reckoned.",
    registry=REGISTRY,
)
REFUSED_BODIES = "too many requests are waiting; try again"


class Hold:
    """Memory that one request is reckoned to take, and its place among those under way; see
    `Backlog.hold`."""

    __slots__ = ("_backlog", "_held_bytes", "_tenant_id")

    def __init__(self, backlog: Backlog, tenant_id: TenantId) -> None:
        self._backlog = backlog
        self._tenant_id = tenant_id
        self._held_bytes = 0

    def set(self, memory_bytes: int) -> None:
        """Reckon with this much from now on.

        Raises:
            Unavailable: that is more than there is beside the others; it holds what it held.
        """
        more_bytes = memory_bytes - self._held_bytes
        self._backlog.reserve(self._tenant_id, self._held_bytes, more_bytes)
        self._held_bytes = memory_bytes

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.set(0)
        self._backlog.leave(self._tenant_id)


class Backlog:
    """Bounds rows in flight to what the database takes in `seconds`, and requests by their memory
    and number.

    Args:
        in_flight: rows received and not yet decided.
        seconds: work that may wait, and how long a request waits for its turn.
        rows_of: rows in flight of one tenant.
        tenant_share: of all of it, what one tenant may have while others ask.
        most_requests: under way at once; 0 is no limit.
    """

    def __init__(
        self,
        in_flight: Callable[[], int],
        seconds: float,
        rows_of: Callable[[TenantId], int] = lambda _: 0,
        tenant_share: float = 1.0,
        most_requests: int = 0,
    ) -> None:
        self._in_flight = in_flight
        self._rows_of = rows_of
        self._seconds = seconds
        self._share = tenant_share
        self._most_requests = most_requests
        self._rows_per_second = float(FIRST_GUESS_ROWS_PER_SECOND)
        self._waiting: RoundRobin[asyncio.Future[None]] = RoundRobin()
        self._memory_bytes: dict[TenantId, int] = {}
        self._total_bytes = 0
        self._requests: dict[TenantId, int] = {}
        self._under_way = 0
        self._asked: dict[TenantId, float] = {}
        LIMIT.set_function(lambda: self.limit_rows)
        MEMORY.set_function(lambda: self._total_bytes)

    @property
    def limit_rows(self) -> int:
        """Rows in flight beyond which no request is let in."""
        return max(SMALLEST_LIMIT_ROWS, int(self._rows_per_second * self._seconds))

    def hold(self, tenant_id: TenantId) -> Hold:
        """One more request is under way until the block ends, and takes memory while it is read,
        decoded and stored.

        Raises:
            Unavailable: too many are, in all or of its tenant.
        """
        self._note(tenant_id)
        mine, most = self._requests.get(tenant_id, 0), self._most_requests
        if 0 < most <= self._under_way or 0 < self._part(tenant_id, most) <= mine:
            over_limit("concurrent_requests")
            raise Unavailable("too many requests at once (limits.concurrent_requests)")
        self._requests[tenant_id] = mine + 1
        self._under_way += 1
        return Hold(self, tenant_id)

    def leave(self, tenant_id: TenantId) -> None:
        """One of a tenant's requests is no longer under way."""
        self._under_way -= 1
        self._requests[tenant_id] -= 1
        if not self._requests[tenant_id]:
            del self._requests[tenant_id]

    def reserve(self, tenant_id: TenantId, held_bytes: int, more_bytes: int) -> None:
        """A request that holds some memory takes more of it, or less. One alone always may, and
        one alone of its tenant may have more than the tenant's share.

        Raises:
            Unavailable: it may not.
        """
        total_bytes, mine_bytes = self._total_bytes, self._memory_bytes.get(tenant_id, 0)
        if more_bytes > 0 and total_bytes + more_bytes > self._share * MOST_MEMORY_BYTES:
            if total_bytes > held_bytes and total_bytes + more_bytes > MOST_MEMORY_BYTES:
                raise Unavailable(REFUSED_BODIES)
            most_bytes = self._part(tenant_id, MOST_MEMORY_BYTES)
            if mine_bytes > held_bytes and mine_bytes + more_bytes > most_bytes:
                raise Unavailable(REFUSED_BODIES)
        self._total_bytes = total_bytes + more_bytes
        self._memory_bytes[tenant_id] = mine_bytes + more_bytes
        if not self._memory_bytes[tenant_id]:
            del self._memory_bytes[tenant_id]

    async def wait_for_room(self, tenant_id: TenantId = DEFAULT_TENANT_ID) -> None:
        """Return when a request may be decoded; the caller decodes before it awaits again.

        Raises:
            Unavailable: no room came up in time.
        """
        self._note(tenant_id)
        if tenant_id not in self._waiting and self._has_room(tenant_id):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(tenant_id, turn)
        try:
            async with asyncio.timeout(self._seconds):
                await turn
        except TimeoutError:
            raise Unavailable("the database cannot keep up; try again") from None
        finally:
            self._waiting.remove(tenant_id, turn)
            if turn.done():  # the next one's turn comes once this one is decoded, and so counts
                asyncio.get_running_loop().call_soon(self._let_in)

    def written(self, rows: int, seconds: float) -> None:
        """A shard has decided so many rows in so many seconds: learn its speed, let others in.

        A batch that fails decides none: how fast a connection is refused is no speed.
        """
        if rows >= 1000 and seconds > 0:
            speed = rows / seconds
            self._rows_per_second += SPEED_SMOOTHING * (speed - self._rows_per_second)
        self._let_in()

    def _let_in(self) -> None:
        """One of those that wait, tenants by turns."""
        turn = self._waiting.pop(self._has_room)
        if turn is not None and not turn.done():
            turn.set_result(None)

    def _has_room(self, tenant_id: TenantId) -> bool:
        """Whether a tenant may bring more rows. Where others take all of it, as much as everybody
        has a right to."""
        rows, mine, limit = self._in_flight(), self._rows_of(tenant_id), self.limit_rows
        if rows < limit:
            return mine < self._part(tenant_id, limit)
        return self._others_ask(tenant_id) and mine < limit / len(self._asked)

    def _part(self, tenant_id: TenantId, whole: int) -> int:
        """What of something one tenant may have."""
        return int(whole * self._share) if self._others_ask(tenant_id) else whole

    def _others_ask(self, tenant_id: TenantId) -> bool:
        return len(self._asked) > (tenant_id in self._asked)

    def _note(self, tenant_id: TenantId) -> None:
        """A tenant asks; those that did not for long are forgotten."""
        now = time.monotonic()
        self._asked.pop(tenant_id, None)
        self._asked[tenant_id] = now
        while self._asked[oldest := next(iter(self._asked))] < now - ASKS_FOR_SECONDS:
            del self._asked[oldest]
