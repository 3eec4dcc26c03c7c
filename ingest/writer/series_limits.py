"""Which series may be created: so many of a tenant within any hour and in all, and so many of each
of its metrics within any hour."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Container, Hashable, Iterable
from dataclasses import dataclass, field

from prometheus_client import Gauge

from ingest.intake.quotas import TenantQuotas
from ingest.metrics import OTHERS, REGISTRY
from ingest.model import Series, TenantId

MINUTES = 60
RECOUNT_SECONDS = 60.0

TENANT_SERIES = Gauge(
    "promgres_tenant_series",
    "Series of a tenant with a limit of them, as far as it is known here, and up to the limit.",
    ["tenant"],
    registry=REGISTRY,
)
TENANT_SERIES_LIMIT = Gauge(
    "promgres_tenant_series_limit",
    "Series that such a tenant may have; 0: any number.",
    ["tenant"],
    registry=REGISTRY,
)


class HourlyCount:
    """Counts by key what came within the last hour, to the minute.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._minutes: dict[Hashable, deque[tuple[int, int]]] = {}
        self._swept = 0

    def has_room(self, key: Hashable, most: int, more: int = 1) -> bool:
        """Whether so much more may come, where so much may within an hour; 0 is no limit."""
        return not most or self._used(key) + more <= most

    def add(self, key: Hashable, count: int = 1) -> None:
        """So much came."""
        minute = self._minute()
        counts = self._minutes.setdefault(key, deque())
        if counts and counts[-1][0] == minute:
            count += counts.pop()[1]
        counts.append((minute, count))
        self._sweep(minute)

    def _used(self, key: Hashable) -> int:
        counts = self._minutes.get(key, deque())
        oldest = self._minute() - MINUTES
        while counts and counts[0][0] <= oldest:
            counts.popleft()
        return sum(count for _, count in counts)

    def _sweep(self, minute: int) -> None:
        """Forget keys of which nothing came for an hour; now and then."""
        if minute - self._swept < MINUTES:
            return
        self._swept = minute
        idle = [
            key
            for key, counts in self._minutes.items()
            if not counts or counts[-1][0] <= minute - MINUTES
        ]
        for key in idle:
            del self._minutes[key]

    def _minute(self) -> int:
        return int(self._clock() // 60)


@dataclass(slots=True)
class _Tenant:
    """The series of a tenant.

    Attributes:
        limit: of series in all when the database was asked, which counts no further.
        counted_at: when the database was asked.
        counted: what it said.
        created: identities that this process has created since.
        under_way: identities that it is creating, and for how many requests; none is in `created`.
    """

    limit: int = 0
    counted_at: float = float("-inf")
    counted: int = 0
    created: set[bytes] = field(default_factory=set)
    under_way: dict[bytes, int] = field(default_factory=dict)
    counting: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def known(self) -> int:
        return self.counted + len(self.created) + len(self.under_way)

    def begin(self, identity: bytes) -> None:
        if identity not in self.created:
            self.under_way[identity] = self.under_way.get(identity, 0) + 1

    def end(self, identity: bytes, is_created: bool) -> None:
        requests = self.under_way.pop(identity, 0)
        if requests and is_created and self.limit:
            self.created.add(identity)
        elif requests > 1 and not is_created:
            self.under_way[identity] = requests - 1


class SeriesLimits:
    """Admits series that do not exist yet: `count`, then `admit` each, then `settle` them.

    What a tenant has in all is counted in the database, about once a minute while it creates some.
    In between only what this process creates is known: several processes together may exceed the
    limit by what the others create within a minute.

    Args:
        quotas: the limits of tenants.
        count_series: from a tenant's id and a number to how many series it has, counted no further
            than that number; raises what the database raises.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        quotas: TenantQuotas,
        count_series: Callable[[TenantId, int], Awaitable[int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._quotas = quotas
        self._count_series = count_series
        self._clock = clock
        self._tenants_hour = HourlyCount(clock)
        self._metrics_hour = HourlyCount(clock)
        self._tenants: dict[TenantId, _Tenant] = {}

    def is_limited(self, tenant_id: TenantId) -> bool:
        """Whether anything of a tenant is ever refused."""
        return bool(
            self._quotas.settings.new_series_per_metric_per_hour
            or self._quotas.new_series_per_hour(tenant_id)
            or self._quotas.series(tenant_id)
        )

    async def count(self, tenant_id: TenantId) -> None:
        """Learn how many series a tenant has, if it has a limit of them and it is time to.

        Raises:
            DATABASE_ERRORS: as `count_series` does.
        """
        tenant = self._tenants.setdefault(tenant_id, _Tenant())
        async with tenant.counting:
            limit, now = self._quotas.series(tenant_id), self._clock()
            if limit == tenant.limit and now - tenant.counted_at < RECOUNT_SECONDS:
                return
            before = frozenset(tenant.created)  # so they are committed, and in the count
            tenant.counted = await self._count_series(tenant_id, limit) if limit else 0
            tenant.created -= before
            tenant.limit, tenant.counted_at = limit, now
        self._show(tenant_id, tenant)

    def admit(self, series: Series) -> str | None:
        """Count one more as under way; why it is refused, for the sender, if it is."""
        tenant = self._tenants.setdefault(series.tenant_id, _Tenant())
        if series.identity not in tenant.under_way and series.identity not in tenant.created:
            refusal = self._refusal(series, tenant)
            if refusal is not None:
                return refusal
            self._note_hour(series)
        tenant.begin(series.identity)
        return None

    def settle(self, admitted: Iterable[Series], created: Container[bytes]) -> None:
        """Say what became of admitted series.

        Args:
            created: identities of those that exist now.
        """
        for series in admitted:
            self._tenants[series.tenant_id].end(series.identity, series.identity in created)

    def _refusal(self, series: Series, tenant: _Tenant) -> str | None:
        limits = self._quotas
        hourly = limits.new_series_per_hour(series.tenant_id)
        of_metric = limits.settings.new_series_per_metric_per_hour
        if 0 < tenant.limit <= tenant.known:
            setting, what = "series", f"{tenant.limit} are taken in all"
        elif not self._tenants_hour.has_room(series.tenant_id, hourly):
            setting, what = "new_series_per_hour", f"{hourly} an hour may be created"
        elif not self._metrics_hour.has_room((series.tenant_id, series.name), of_metric):
            setting = "new_series_per_metric_per_hour"
            what = f"{of_metric} of one metric may be created an hour"
        else:
            return None
        limits.note_refusal(series.tenant_id, setting)
        return f"a new series, of which {what} (limits.{setting})"

    def _note_hour(self, series: Series) -> None:
        if self._quotas.new_series_per_hour(series.tenant_id):
            self._tenants_hour.add(series.tenant_id)
        if self._quotas.settings.new_series_per_metric_per_hour:
            self._metrics_hour.add((series.tenant_id, series.name))

    def _show(self, tenant_id: TenantId, tenant: _Tenant) -> None:
        name = self._quotas.names(tenant_id)
        if tenant.limit and name != OTHERS:
            TENANT_SERIES.labels(name).set_function(lambda: tenant.known)
            TENANT_SERIES_LIMIT.labels(name).set_function(lambda: self._quotas.series(tenant_id))
