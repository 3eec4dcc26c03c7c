"""Series that do not exist yet: how many of them are let in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from ingest.config import LimitSettings
from ingest.intake.quotas import TenantQuotas
from ingest.model import Series, TenantLimits
from ingest.writer.series_limits import (
    RECOUNT_SECONDS,
    TENANT_SERIES,
    TENANT_SERIES_LIMIT,
    HourlyCount,
    SeriesLimits,
)
from tests.support.clock import Clock
from tests.support.metrics import gauge


def series(number: int, name: str = "up", tenant_id: int = 1) -> Series:
    identity = bytes([tenant_id]) + number.to_bytes(15, "big")
    return Series(identity, tenant_id, "internal", "common", name, (("__name__", name),))


@dataclass
class Catalogue:
    """How many series the database has of each tenant.

    Attributes:
        asked: for whom and how far it was counted.
        meanwhile: what happens while it counts.
    """

    stored: dict[int, int] = field(default_factory=dict)
    asked: list[tuple[int, int]] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None

    async def count(self, tenant_id: int, most: int) -> int:
        self.asked.append((tenant_id, most))
        counted = min(most, self.stored.get(tenant_id, 0))
        self.meanwhile()
        await asyncio.sleep(0)
        return counted


class Gatekeeper:
    """SeriesLimits of a process whose limits, clock and database a test has in its hands."""

    def __init__(self, **settings: int) -> None:
        self.clock, self.catalogue = Clock(), Catalogue()
        self.own: dict[int, TenantLimits] = {}
        quotas = TenantQuotas(
            LimitSettings(**settings), lambda id_: self.own.get(id_, TenantLimits())
        )
        self.limits = SeriesLimits(quotas, self.catalogue.count, self.clock)

    async def create(self, *wanted: Series) -> list[str | None]:
        """One request: why each is refused; the others are committed."""
        await self.limits.count(wanted[0].tenant_id)
        answers = [self.limits.admit(one) for one in wanted]
        admitted = [one for one, why in zip(wanted, answers, strict=True) if why is None]
        for one in admitted:
            stored = self.catalogue.stored
            stored[one.tenant_id] = stored.get(one.tenant_id, 0) + 1
        self.limits.settle(admitted, {one.identity for one in admitted})
        return answers


def test_an_hour_slides() -> None:
    clock = Clock()
    count = HourlyCount(clock)
    count.add("tenant", 60)
    clock.seconds += 30 * 60
    count.add("tenant", 40)
    assert not count.has_room("tenant", 100)
    assert count.has_room("tenant", 0)
    assert count.has_room("another", 100, 100)
    clock.seconds += 29 * 60
    assert not count.has_room("tenant", 100)
    clock.seconds += 60
    assert count.has_room("tenant", 100, 60)
    assert not count.has_room("tenant", 100, 61)


def test_whoever_is_idle_is_forgotten() -> None:
    clock = Clock()
    count = HourlyCount(clock)
    for key in range(1000):
        count.add(key)
    clock.seconds += 61 * 60
    assert count.has_room(7, 1)
    count.add("late")
    assert list(count._minutes) == ["late"]


def test_nobody_is_limited_by_default() -> None:
    keeper = Gatekeeper()
    assert not keeper.limits.is_limited(1)
    keeper.own[1] = TenantLimits(series=5)
    assert keeper.limits.is_limited(1)
    assert not keeper.limits.is_limited(2)
    assert Gatekeeper(new_series_per_metric_per_hour=1).limits.is_limited(1)


async def test_new_series_of_a_tenant_and_of_a_metric() -> None:
    keeper = Gatekeeper(new_series_per_hour=3, new_series_per_metric_per_hour=2)
    assert await keeper.create(series(0), series(1)) == [None, None]
    [why] = await keeper.create(series(2))
    assert why
    assert "2 of one metric" in why
    assert await keeper.create(series(3, name="down")) == [None]
    [why] = await keeper.create(series(4, name="other"))
    assert why
    assert "of which 3 an hour" in why
    assert await keeper.create(series(5, tenant_id=2)) == [None]
    assert keeper.catalogue.asked == [], "without a hard limit nobody counts"


async def test_a_tenant_s_own_hour_goes_before_the_setting() -> None:
    keeper = Gatekeeper(new_series_per_hour=1)
    keeper.own[2] = TenantLimits(new_series_per_hour=2)
    keeper.own[3] = TenantLimits(new_series_per_hour=0)
    for tenant_id, admitted in ((1, 1), (2, 2), (3, 4)):
        answers = await keeper.create(*(series(n, tenant_id=tenant_id) for n in range(4)))
        assert answers.count(None) == admitted


async def test_what_a_tenant_may_have_in_all() -> None:
    """What the database has, and what this process has created since."""
    keeper = Gatekeeper(series=5)
    keeper.catalogue.stored[1] = 3
    assert await keeper.create(series(0)) == [None]
    [ok, why] = await keeper.create(series(1), series(2))
    assert ok is None
    assert why == "a new series, of which 5 are taken in all (limits.series)"
    assert await keeper.create(series(0, tenant_id=2)) == [None]
    assert keeper.catalogue.asked == [(1, 5), (2, 5)], "once a minute"


async def test_it_is_counted_anew_after_a_minute_and_when_the_limit_changes() -> None:
    keeper = Gatekeeper(series=2)
    assert None not in [(await keeper.create(series(0), series(1), series(2)))[2]]
    keeper.catalogue.stored[1] = 1  # somebody has removed one
    keeper.clock.seconds += RECOUNT_SECONDS - 1
    assert await keeper.create(series(3)) != [None]
    keeper.clock.seconds += 1
    assert await keeper.create(series(3)) == [None]
    assert await keeper.create(series(4)) != [None]
    keeper.own[1] = TenantLimits(series=3)
    assert await keeper.create(series(4), series(5)) != [None, None]
    assert keeper.catalogue.stored[1] == 3
    keeper.own[1] = TenantLimits(series=0)
    assert set(await keeper.create(*(series(n) for n in range(6, 16)))) == {None}


async def test_what_is_wanted_twice_at_once_is_one_series() -> None:
    """As two replicas of a sender do; a request that fails gives back what it took."""
    keeper = Gatekeeper(series=3, new_series_per_hour=3)
    limits = keeper.limits
    await limits.count(1)
    both = [series(0), series(1)]
    for _ in range(3):
        assert [limits.admit(one) for one in both] == [None, None]
    limits.settle(both, set())
    assert limits.admit(series(2)) is None
    assert limits.admit(series(3)) is not None
    limits.settle([series(2)], set())
    limits.settle(both, {one.identity for one in both})
    limits.settle(both, {one.identity for one in both})
    assert [limits.admit(one) for one in both] == [None, None]
    keeper.clock.seconds += 3600
    assert limits.admit(series(3)) is None
    assert limits.admit(series(4)) is not None


async def test_what_is_created_during_a_count_is_counted() -> None:
    """It may be in the count as well: so for a minute one more than there is, never one less."""
    keeper = Gatekeeper(series=4)
    assert await keeper.create(series(0)) == [None]
    assert keeper.limits.admit(series(1)) is None
    keeper.catalogue.meanwhile = lambda: keeper.limits.settle([series(1)], {series(1).identity})
    keeper.clock.seconds += RECOUNT_SECONDS
    await keeper.limits.count(1)
    assert [keeper.limits.admit(series(n)) is None for n in (2, 3, 4)] == [True, True, False]


async def test_many_requests_ask_the_database_once() -> None:
    keeper = Gatekeeper(series=10)
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(keeper.limits.count(1))
    assert keeper.catalogue.asked == [(1, 10)]


async def test_how_near_a_tenant_is_can_be_seen() -> None:
    keeper = Gatekeeper(series=5)
    keeper.catalogue.stored[4] = 2
    await keeper.create(series(0, tenant_id=4))
    metrics = TENANT_SERIES.labels("4"), TENANT_SERIES_LIMIT.labels("4")
    assert [gauge(metric) for metric in metrics] == [3, 5]
    keeper.own[4] = TenantLimits(series=0)
    assert gauge(metrics[1]) == 0
