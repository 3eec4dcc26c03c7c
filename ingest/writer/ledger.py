"""What became of every sample, native histograms included: the counts that must add up.

received = written + duplicate + rejected + dropped + unavailable + in flight + spooled, at any
moment. Unavailable are those that were answered 503: the sender has them, and sends them again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prometheus_client import Counter
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from ingest.errors import Unavailable
from ingest.metrics import REGISTRY, Tally, TenantNames
from ingest.model import DEFAULT_TENANT_ID, Intake, Rejection, TenantId
from ingest.stores import STORES
from ingest.writer.batch import Batch

SAMPLES = Tally(
    CounterMetricFamily,
    "promgres_samples",
    "Samples by what became of them: received = written + duplicate + rejected + dropped"
    " + unavailable + in flight + spooled.",
    ("tenant", "result"),
)
IN_FLIGHT = Tally(
    GaugeMetricFamily,
    "promgres_samples_in_flight",
    "Samples received and not yet decided.",
    ("tenant",),
)
SPOOLED = Tally(
    GaugeMetricFamily,
    "promgres_samples_spooled",
    "Samples acknowledged and kept on disk until the database is back.",
    ("tenant",),
)
EXEMPLARS = Tally(
    CounterMetricFamily,
    "promgres_exemplars",
    "Exemplars by what became of them; one that is sent again after a 503 is received again.",
    ("tenant", "result"),
)
NOT_DECIMAL = Counter(
    "promgres_value_labels_not_decimal",
    "Series whose value label is not a decimal number; it stayed an ordinary label.",
    ["tenant"],
    registry=REGISTRY,
)
RESULTS = ("received", "written", "duplicate", "rejected", "dropped", "unavailable")


class Ledger:
    """The accounts of all tenants. Every change of them goes through here: `receive` at the door,
    then a `PendingRequest` for what the request may store, of which `PendingRows` are settled batch
    by batch.

    Args:
        names: tenants as labels.
    """

    def __init__(self, names: TenantNames) -> None:
        self._name = names
        self._in_flight = 0
        self._in_flight_of: dict[TenantId, int] = {}
        self._beside_samples = 0
        default = names(DEFAULT_TENANT_ID)
        IN_FLIGHT.add(0, default)
        SPOOLED.add(0, default)
        for result in RESULTS:
            SAMPLES.add(0, default, result)

    def rows_in_flight(self) -> int:
        """Rows without a result yet: samples, and what else requests under way are to store."""
        return self._in_flight + self._beside_samples

    def samples_in_flight(self, tenant_id: TenantId) -> int:
        """Samples of one tenant without a result yet."""
        return self._in_flight_of.get(tenant_id, 0)

    def receive(self, intake: Intake) -> None:
        """Count a decoded request; what may still be stored is in flight from here on."""
        tenant_id, received = intake.tenant_id, intake.received
        rejected = intake.rejected if intake.rejections else 0
        left = received - rejected - intake.dropped
        self._count(tenant_id, left, received=received, rejected=rejected, dropped=intake.dropped)
        if intake.sent.exemplars:
            name = self._name(tenant_id)
            refused = sum(rejection.exemplars for rejection in intake.rejections)
            EXEMPLARS.add(intake.sent.exemplars, name, "received")
            EXEMPLARS.add(refused, name, "rejected")
            EXEMPLARS.add(intake.exemplars_dropped, name, "dropped")
        if intake.undecimal_value_labels:
            NOT_DECIMAL.labels(self._name(tenant_id)).inc(intake.undecimal_value_labels)

    def begin(self, intake: Intake) -> PendingRequest:
        """Follow a received request until it has its answer, which `PendingRequest.end` says."""
        extra_rows = beside_samples(intake) if intake.items or intake.new else 0
        self._beside_samples += extra_rows
        return PendingRequest(self, intake.tenant_id, intake.storable, extra_rows)

    def find(self, tenant_id: TenantId, samples: int) -> None:
        """Samples of an earlier process are in the spool: they count as received by this one."""
        self._count(tenant_id, 0, received=samples)
        SPOOLED.add(samples, self._name(tenant_id))

    def replay(self, tenant_id: TenantId, samples: int) -> PendingRequest:
        """Spooled samples are in flight again: all of a request that no earlier attempt counted."""
        self._spool(tenant_id, -samples)
        return PendingRequest(self, tenant_id, samples, 0)

    def settle(
        self, batch: Sequence[PendingRows], new_rows: int, rejections: Sequence[Rejection] = ()
    ) -> None:
        """A transaction has committed rows of one tenant and one store; their requests hear of it.

        Args:
            new_rows: those that were not there before; what is neither new nor rejected is a
                duplicate.
        """
        tenant_id, store = batch[0].request.tenant_id, batch[0].rows.store
        counted = sum(pending.counted for pending in batch)
        rejected = min(len(rejections), counted)
        written = min(new_rows, counted - rejected)
        duplicate = counted - rejected - written
        self._count(tenant_id, -counted, rejected=rejected, written=written, duplicate=duplicate)
        if store.counted_as == "exemplars":
            total = sum(len(pending.rows) for pending in batch)
            self._settle_exemplars(tenant_id, total, new_rows, len(rejections))
        for pending in batch:
            pending.settle(rejections)

    def _settle_exemplars(
        self, tenant_id: TenantId, total: int, written: int, rejected: int
    ) -> None:
        name = self._name(tenant_id)
        EXEMPLARS.add(written, name, "written")
        EXEMPLARS.add(rejected, name, "rejected")
        EXEMPLARS.add(total - written - rejected, name, "duplicate")

    def _spool(self, tenant_id: TenantId, samples: int) -> None:
        """Samples in flight went into the spool, or, less than none, came back."""
        SPOOLED.add(samples, self._name(tenant_id))
        self._count(tenant_id, -samples)

    def _count(self, tenant_id: TenantId, more_in_flight: int, **results: int) -> None:
        """So many samples have these results, and so many more, or less, have none yet."""
        name = self._name(tenant_id)
        for result, samples in results.items():
            if samples:
                SAMPLES.add(samples, name, result)
        self._in_flight += more_in_flight
        mine = self._in_flight_of.pop(tenant_id, 0) + more_in_flight
        if mine:
            self._in_flight_of[tenant_id] = mine
        IN_FLIGHT.add(more_in_flight, name)


class PendingRequest:
    """One attempt to store a request: decided when all of its rows are stored, rejected, or failed.

    A caller that stops waiting changes nothing for the batches. Made by a `Ledger`.

    Attributes:
        tenant_id: whose it is.
        undecided: samples without a result yet; those of failed rows stay undecided.
        is_detached: the undecided samples have been settled, or are about to be, by `detach`.
        rejections: what the database refuses for ever.
    """

    __slots__ = (
        "_counted_before",
        "_extra_rows",
        "_failure",
        "_ledger",
        "_open_rows",
        "_turn",
        "is_detached",
        "rejections",
        "tenant_id",
        "undecided",
    )

    def __init__(self, ledger: Ledger, tenant_id: TenantId, samples: int, extra_rows: int) -> None:
        self.tenant_id = tenant_id
        self.undecided = samples
        self.is_detached = False
        self.rejections: list[Rejection] = []
        self._ledger = ledger
        self._extra_rows = extra_rows
        self._counted_before = 0
        self._open_rows = 0
        self._failure: Exception | None = None
        self._turn: asyncio.Future[None] | None = None

    def count_before(self, samples: int) -> None:
        """So many of the samples to come have their result from an earlier attempt, or another
        process: whichever they were, the first ones are not counted again."""
        self._counted_before = samples

    def claim(self, rows: Batch, generation: int = 0) -> PendingRows:
        """Rows of the request that go to the database as one piece. All are claimed before any
        goes there.

        Args:
            generation: of the series cache that their ids are from.
        """
        length = len(rows)
        counted = length - self._take_counted(length) if rows.store.is_counted else 0
        self._open_rows += 1
        return PendingRows(self, rows, max(1, length * rows.row_weight), counted, generation)

    def reject(self, rejections: Sequence[Rejection]) -> None:
        """The database refuses series of the request, or there are too many: what was sent of them
        becomes no rows at all."""
        if not rejections:
            return
        samples = sum(rejection.accounted for rejection in rejections)
        exemplars = sum(rejection.exemplars for rejection in rejections)
        samples -= self._take_counted(samples)
        if not self.is_detached:
            self._ledger._count(self.tenant_id, -samples, rejected=samples)
            self._ledger._settle_exemplars(self.tenant_id, exemplars, 0, exemplars)
            self.undecided -= samples
        self.rejections += rejections

    def open(self) -> None:
        """There are rows to come, which `close_rows` has to be told of as of those claimed."""
        self._open_rows += 1

    @property
    def is_decided(self) -> bool:
        """Whether no row is open."""
        return not self._open_rows

    @property
    def failure(self) -> Exception | None:
        """Why some rows could not be stored: `Unavailable`, or a defect."""
        return self._failure

    async def wait(self) -> None:
        """Return once all rows are decided, or `stop_waiting` was called. For one caller."""
        if self._open_rows:
            self._turn = asyncio.get_running_loop().create_future()
            await self._turn

    def stop_waiting(self) -> None:
        """Have `wait` return."""
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def outcome(self) -> list[Rejection]:
        """What the database rejected.

        Raises:
            Unavailable: some rows could not be stored now.
        """
        failure = self._failure
        if isinstance(failure, Unavailable):
            raise Unavailable(str(failure), failure.retry_after_seconds, failure.blames_request)
        if failure is not None:
            raise failure
        return self.rejections

    def detach(self) -> int:
        """Someone else answers for the undecided samples from now on (the spool): a batch that
        still carries them counts them no more. How many they are."""
        self.is_detached = True
        return self.undecided

    def settle_rest(self, result: str) -> None:
        """What is undecided has this result, all of it."""
        samples = self.detach()
        self._ledger._count(self.tenant_id, -samples, **{result: samples})
        self.undecided = 0

    def spool_rest(self) -> None:
        """What is undecided is in the spool."""
        self._ledger._spool(self.tenant_id, self.detach())
        self.undecided = 0

    def end(self) -> None:
        """The request has its answer."""
        self._ledger._beside_samples -= self._extra_rows
        self._extra_rows = 0

    def close_rows(
        self,
        counted: int,
        rejections: Sequence[Rejection] = (),
        failure: Exception | None = None,
    ) -> None:
        """One claim is decided, or failed."""
        self.undecided -= counted
        self.rejections += rejections
        self._failure = failure or self._failure
        self._open_rows -= 1
        if not self._open_rows:
            self.stop_waiting()

    def _take_counted(self, samples: int) -> int:
        """How many of these samples were counted before; the next ones are told of the rest."""
        counted = min(self._counted_before, samples)
        self._counted_before -= counted
        return counted


class PendingRows:
    """Rows of one request for one store, on their way. Open until their request has heard of them,
    which happens once.

    Attributes:
        rows: what is to be stored.
        weight: how much of a transaction they take, in samples; at least one.
        generation: of the series cache that their ids are from.
        is_open: their request has not heard of them yet.
    """

    __slots__ = ("_counted", "generation", "is_open", "request", "rows", "weight")

    def __init__(
        self, request: PendingRequest, rows: Batch, weight: int, counted: int, generation: int
    ) -> None:
        self.request = request
        self.rows = rows
        self.weight = weight
        self.generation = generation
        self._counted = counted
        self.is_open = True

    @property
    def counted(self) -> int:
        """Samples whose result is still to be counted; exemplars and metadata are none."""
        return 0 if self.request.is_detached else self._counted

    def settle(self, rejections: Sequence[Rejection]) -> None:
        """They are stored, but for what is rejected."""
        if self.is_open:
            self.is_open = False
            self.request.close_rows(self.counted, rejections)

    def fail(self, failure: Unavailable) -> None:
        """They cannot be stored now."""
        if self.is_open:
            self.is_open = False
            self.request.close_rows(0, failure=failure)


def beside_samples(intake: Intake) -> int:
    """Items of a request that may be stored and that the accounts do not call samples."""
    known = sum(len(items) for store, items in intake.items.items() if not STORES[store].is_counted)
    return known + sum(len(samples.exemplars) + len(samples.starts) for samples in intake.new)
