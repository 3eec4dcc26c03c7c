"""What became of every sample, native histograms included: the counts that must add up.

received = written + duplicate + rejected + dropped + unavailable + in flight + spooled, at any
moment. Unavailable are those that were answered 503: the sender has them, and sends them again.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from ingest.metrics import REGISTRY, TenantNames
from ingest.model import DEFAULT_TENANT_ID, Intake
from ingest.stores import STORES

SAMPLES = Counter(
    "promgres_samples",
    "Samples by what became of them: received = written + duplicate + rejected + dropped"
    " + unavailable + in flight + spooled.",
    ["tenant", "result"],
    registry=REGISTRY,
)
IN_FLIGHT = Gauge(
    "promgres_samples_in_flight",
    "Samples received and not yet decided.",
    ["tenant"],
    registry=REGISTRY,
)
SPOOLED = Gauge(
    "promgres_samples_spooled",
    "Samples acknowledged and kept on disk until the database is back.",
    ["tenant"],
    registry=REGISTRY,
)
EXEMPLARS = Counter(
    "promgres_exemplars",
    "Exemplars by what became of them; one that is sent again after a 503 is received again.",
    ["tenant", "result"],
    registry=REGISTRY,
)
NOT_DECIMAL = Counter(
    "promgres_value_labels_not_decimal",
    "Series whose value label is no decimal number; it stayed an ordinary label.",
    ["tenant"],
    registry=REGISTRY,
)
RESULTS = ("received", "written", "duplicate", "rejected", "dropped", "unavailable")


class Accounts:
    """Counts samples by tenant and result.

    Args:
        names: tenants as labels.

    Attributes:
        in_flight: samples without a result yet.
        beside_samples: what else requests under way are to store.
    """

    def __init__(self, names: TenantNames) -> None:
        self._name = names
        self.in_flight = 0
        self.beside_samples = 0
        self._in_flight_of: dict[int, int] = {}
        default = names(DEFAULT_TENANT_ID)
        IN_FLIGHT.labels(default)
        SPOOLED.labels(default)
        for result in RESULTS:
            SAMPLES.labels(default, result)

    def receive(self, intake: Intake) -> None:
        """Count a decoded request; what may still be stored is in flight from here on."""
        self._count(intake.tenant_id, "received", intake.received)
        self._count(intake.tenant_id, "rejected", intake.rejected)
        self._count(intake.tenant_id, "dropped", intake.dropped)
        self._fly(intake.tenant_id, intake.storable)
        name = self._name(intake.tenant_id)
        rejected = sum(rejection.exemplars for rejection in intake.rejections)
        EXEMPLARS.labels(name, "received").inc(intake.sent.exemplars)
        EXEMPLARS.labels(name, "rejected").inc(rejected)
        EXEMPLARS.labels(name, "dropped").inc(intake.exemplars_dropped)
        if intake.undecimal_value_labels:
            NOT_DECIMAL.labels(name).inc(intake.undecimal_value_labels)

    def in_flight_of(self, tenant_id: int) -> int:
        """Samples of one tenant without a result yet."""
        return self._in_flight_of.get(tenant_id, 0)

    def settle(self, tenant_id: int, result: str, samples: int) -> None:
        """Samples in flight have got their result."""
        self._count(tenant_id, result, samples)
        self._fly(tenant_id, -samples)

    def settle_exemplars(self, tenant_id: int, total: int, written: int, rejected: int) -> None:
        """Exemplars have got their result; what is neither written nor rejected is a duplicate."""
        name = self._name(tenant_id)
        EXEMPLARS.labels(name, "written").inc(written)
        EXEMPLARS.labels(name, "rejected").inc(rejected)
        EXEMPLARS.labels(name, "duplicate").inc(total - written - rejected)

    def find(self, tenant_id: int, samples: int) -> None:
        """Samples of an earlier process are in the spool: they count as received by this one."""
        self._count(tenant_id, "received", samples)
        SPOOLED.labels(self._name(tenant_id)).inc(samples)

    def spool(self, tenant_id: int, samples: int) -> None:
        """Samples in flight went into the spool."""
        SPOOLED.labels(self._name(tenant_id)).inc(samples)
        self._fly(tenant_id, -samples)

    def unspool(self, tenant_id: int, samples: int) -> None:
        """Spooled samples are in flight again."""
        SPOOLED.labels(self._name(tenant_id)).dec(samples)
        self._fly(tenant_id, samples)

    def _count(self, tenant_id: int, result: str, samples: int) -> None:
        if samples:
            SAMPLES.labels(self._name(tenant_id), result).inc(samples)

    def _fly(self, tenant_id: int, samples: int) -> None:
        self.in_flight += samples
        mine = self._in_flight_of.pop(tenant_id, 0) + samples
        if mine:
            self._in_flight_of[tenant_id] = mine
        IN_FLIGHT.labels(self._name(tenant_id)).inc(samples)


def beside_samples(intake: Intake) -> int:
    """Items of a request that may be stored and that the accounts do not call samples."""
    known = sum(len(items) for store, items in intake.items.items() if not STORES[store].is_counted)
    return known + sum(len(samples.exemplars) + len(samples.starts) for samples in intake.new)
