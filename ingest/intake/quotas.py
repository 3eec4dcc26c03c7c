"""What each tenant may ask: as its own row in the database says, else as the settings say."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter

from ingest.config import LimitSettings
from ingest.intake.limits import over_limit
from ingest.metrics import REGISTRY, TenantNames
from ingest.model import TenantId, TenantLimits

TENANT_REFUSALS = Counter(
    "promgres_tenant_limit_refusals",
    "Requests (items_per_second, spool_share) or series (all other limits) of a tenant refused"
    " because of a limit.",
    ["tenant", "limit"],
    registry=REGISTRY,
)

OF_THE_SETTINGS = TenantLimits()
"""A tenant without limits of its own."""


class TenantQuotas:
    """The limits of every tenant, as they are now; a change holds from the next request on.

    Args:
        settings: the section `[limits]`.
        limits_of: what a tenant's own row says, from memory.
        names: tenants as labels.
    """

    def __init__(
        self,
        settings: LimitSettings,
        limits_of: Callable[[TenantId], TenantLimits] = lambda _: OF_THE_SETTINGS,
        names: TenantNames | None = None,
    ) -> None:
        self.settings = settings
        self.names = names or TenantNames()
        self._limits_of = limits_of

    def items_per_second(self, tenant_id: TenantId) -> float:
        """How fast a tenant may send to this process; 0 is no limit."""
        own = self._limits_of(tenant_id).items_per_second
        return self.settings.items_per_second if own is None else own

    def series(self, tenant_id: TenantId) -> int:
        """How many series a tenant may have; 0 is no limit."""
        own = self._limits_of(tenant_id).series
        return self.settings.series if own is None else own

    def new_series_per_hour(self, tenant_id: TenantId) -> int:
        """How many series a tenant may create within any hour; 0 is no limit."""
        own = self._limits_of(tenant_id).new_series_per_hour
        return self.settings.new_series_per_hour if own is None else own

    def spool_share(self, tenant_id: TenantId) -> float:
        """What part of the spool a tenant may fill."""
        own = self._limits_of(tenant_id).spool_share
        return self.settings.spool_share if own is None else own

    def note_refusal(self, tenant_id: TenantId, limit: str) -> None:
        """Count a request, or a series, that is refused."""
        over_limit(limit)
        TENANT_REFUSALS.labels(self.names(tenant_id), limit).inc()


UNLIMITED = TenantQuotas(LimitSettings())
