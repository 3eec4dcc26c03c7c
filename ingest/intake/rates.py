"""How fast each tenant may send."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import ceil

from ingest.errors import OverQuota
from ingest.intake.quotas import TenantQuotas
from ingest.model import TenantId

CAPACITY_SECONDS = 2.0
"""What a tenant did not use is saved up for so long."""

LIMIT = "items_per_second"


class RateLimiter:
    """A token bucket for each tenant that has a limit.

    Whoever is not in debt may send a request of any size, and is in debt then; so every request
    passes some day, and in the long run nobody is faster than the limit.

    Args:
        quotas: the limits, asked anew for each request.
        clock: seconds that never go back.
    """

    def __init__(self, quotas: TenantQuotas, clock: Callable[[], float] = time.monotonic) -> None:
        self._quotas = quotas
        self._clock = clock
        self._buckets: dict[int, tuple[float, float]] = {}

    def check(self, tenant_id: TenantId) -> bool:
        """Refuse a tenant in debt before its request costs anything: ask before the body is read.

        Returns:
            Whether it has a limit, so that `take` has to be asked, too.

        Raises:
            OverQuota: it is in debt.
        """
        per_second = self._quotas.items_per_second(tenant_id)
        if per_second:
            self._not_in_debt(tenant_id, per_second)
        else:
            self._buckets.pop(tenant_id, None)
        return bool(per_second)

    def take(self, tenant_id: TenantId, items: int) -> None:
        """Let a decoded request pass; ask before anything of it is counted or stored.

        Args:
            items: samples, native histograms, measures and events.

        Raises:
            OverQuota: the tenant is in debt; nothing is taken.
        """
        per_second = self._quotas.items_per_second(tenant_id)
        if not per_second:
            self._buckets.pop(tenant_id, None)
            return
        tokens = self._not_in_debt(tenant_id, per_second)
        self._buckets[tenant_id] = (tokens - items, self._clock())

    def _not_in_debt(self, tenant_id: TenantId, per_second: float) -> float:
        """What it may still take; less than nothing is debt."""
        capacity = CAPACITY_SECONDS * per_second
        tokens, since = self._buckets.get(tenant_id, (capacity, 0.0))
        tokens = min(capacity, tokens + (self._clock() - since) * per_second)
        if tokens < 0:
            self._quotas.note_refusal(tenant_id, LIMIT)
            raise OverQuota(
                f"more than {per_second:g} samples, measures and events a second (limits.{LIMIT})",
                max(1, ceil(-tokens / per_second)),
            )
        return tokens
