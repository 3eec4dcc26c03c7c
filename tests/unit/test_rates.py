"""How fast a tenant may send, and what it is told when it is too fast."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest.config import LimitSettings
from ingest.errors import OverQuota
from ingest.intake.quotas import TENANT_REFUSALS, TenantQuotas
from ingest.intake.rates import CAPACITY_SECONDS, RateLimiter
from ingest.metrics import OTHERS, TenantNames
from ingest.model import TenantLimits
from tests.support.clock import Clock
from tests.support.metrics import gauge


class Meter:
    """RateLimiter whose clock and limits a test has in its hands."""

    def __init__(self, per_second: float = 0) -> None:
        self.clock = Clock()
        self.own: dict[int, TenantLimits] = {}
        quotas = TenantQuotas(
            LimitSettings(items_per_second=per_second),
            lambda tenant_id: self.own.get(tenant_id, TenantLimits()),
            TenantNames(lambda tenant_id: f"tenant {tenant_id}"),
        )
        self.rates = RateLimiter(quotas, self.clock)

    def wait_of(self, items: int, tenant_id: int = 1) -> int:
        """Seconds until a try may succeed; 0 if this one does."""
        try:
            self.rates.check(tenant_id)
            self.rates.take(tenant_id, items)
        except OverQuota as error:
            return error.retry_after_seconds
        return 0


def test_nobody_is_limited_by_default() -> None:
    meter = Meter()
    assert [meter.wait_of(10**9) for _ in range(10)] == [0] * 10


def test_a_request_of_any_size_passes_and_is_paid_for_afterwards() -> None:
    meter = Meter(per_second=100)
    assert meter.wait_of(1000) == 0  # 200 were there
    assert meter.wait_of(1) == 8
    meter.clock.seconds += 7.5
    assert meter.wait_of(1) == 1
    meter.clock.seconds += 0.5
    assert meter.wait_of(1) == 0
    assert meter.wait_of(0) == 1, "it is in debt again"


def test_two_seconds_are_saved_up() -> None:
    meter = Meter(per_second=100)
    meter.clock.seconds += 3600
    assert [meter.wait_of(100) for _ in range(4)] == [0, 0, 0, 1]


def test_a_tenant_s_own_limit_goes_before_the_setting_and_no_tenant_pays_for_another() -> None:
    meter = Meter(per_second=100)
    meter.own = {2: TenantLimits(items_per_second=1), 3: TenantLimits(items_per_second=0)}
    assert [meter.wait_of(1000, tenant_id) for tenant_id in (1, 2, 3)] == [0, 0, 0]
    assert [meter.wait_of(1000, tenant_id) for tenant_id in (1, 2, 3)] == [8, 998, 0]


def test_a_limit_that_changes_holds_at_once() -> None:
    meter = Meter(per_second=1)
    assert meter.wait_of(1000) == 0
    meter.own[1] = TenantLimits(items_per_second=1000)
    assert meter.wait_of(1) == 1
    meter.own[1] = TenantLimits(items_per_second=0)
    assert meter.wait_of(10**9) == 0
    meter.own[1] = TenantLimits(items_per_second=10)
    assert meter.wait_of(1) == 0, "what was sent without a limit is no debt"


def test_a_refusal_is_counted_by_tenant() -> None:
    meter = Meter(per_second=1)
    refused = TENANT_REFUSALS.labels("tenant 77", "items_per_second")
    before = gauge(refused)
    assert [meter.wait_of(5, tenant_id=77) for _ in range(3)] == [0, 3, 3]
    assert gauge(refused) - before == 2


@given(
    per_second=st.floats(0.5, 1e6),
    requests=st.lists(st.tuples(st.floats(0, 10), st.integers(0, 10**6)), max_size=50),
)
def test_nobody_is_faster_than_the_limit_for_long(
    per_second: float, requests: list[tuple[float, int]]
) -> None:
    """And whoever waits as told is let in."""
    meter = Meter(per_second)
    began, passed = meter.clock.seconds, 0
    for pause, items in requests:
        meter.clock.seconds += pause
        allowed = per_second * (meter.clock.seconds - began + CAPACITY_SECONDS)
        wait = meter.wait_of(items)
        assert (wait == 0) or wait >= 1
        if wait == 0:
            assert passed <= allowed * (1 + 1e-9) + 1e-6, "it was in debt"
            passed += items
    meter.clock.seconds += meter.wait_of(0) + 0.001
    assert meter.wait_of(0) == 0


def test_labels_do_not_grow_without_bound() -> None:
    names = TenantNames(lambda tenant_id: f"tenant {tenant_id}", most=2)
    assert [names(5), names(6), names(7), names(5)] == ["tenant 5", "tenant 6", OTHERS, "tenant 5"]


def test_a_tenant_keeps_its_label() -> None:
    """Gauges go down where they went up; and nobody is taken for somebody else."""
    current = {1: "before"}
    names = TenantNames(current.__getitem__)
    assert names(1) == "before"
    current |= {1: "after", 2: "before"}
    assert [names(1), names(2)] == ["before", OTHERS]
