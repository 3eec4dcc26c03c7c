"""A decoder with all its parts, and intakes in a form that can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ingest.config import Settings
from ingest.intake import Decoder, TimeLimits
from ingest.model import Intake, Items, Metadata, SeriesId, Start, TenantId
from ingest.routing.router import Decision, Router
from ingest.series.cache import SeriesCache
from ingest.wire.remote_write.negotiate import Message
from tests.support.series_bytes import bits, write_request

NOW = 1_760_000_000_000
YEAR_2000 = 946_684_800_000
TEN_MINUTES = 600_000


class CountingRouter(Router):
    """Counts how often it is asked."""

    asked = 0

    def decide(self, name: str, labels: Mapping[str, str]) -> Decision:
        self.asked += 1
        return super().decide(name, labels)


@dataclass
class Decoding:
    """A decoder and the catalogue that a database would keep."""

    decoder: Decoder
    cache: SeriesCache
    router: CountingRouter
    catalogue: dict[bytes, int]

    @classmethod
    def create(cls, catalogue: dict[bytes, int] | None = None, **settings: Any) -> Decoding:
        """Fresh parts; `catalogue` is shared with those of another, as by two daemons."""
        router = CountingRouter(Settings(_env_file=None, **settings))
        cache = SeriesCache(100_000)
        limits = TimeLimits(lambda target, now_ms: YEAR_2000, TEN_MINUTES)
        ids = {} if catalogue is None else catalogue
        return cls(Decoder(router, cache, limits), cache, router, ids)

    def decode(self, *series: bytes, tenant_id: int = 1) -> Intake:
        """Decode a request of these series."""
        return self.decoder.decode(Message.V1, write_request(series), TenantId(tenant_id), NOW)

    def commit(self, intake: Intake) -> None:
        """Store the new series, metadata and starts of `intake`, as the writer does."""
        for samples in intake.new:
            identity = samples.series.identity
            series_id = SeriesId(self.catalogue.setdefault(identity, len(self.catalogue) + 100))
            self.cache.remember(samples.series, series_id)
            for start in samples.starts:
                self.cache.remember_item("start", series_id, start)
        starts = intake.items.get("start", Items())
        for owner_id, item in zip(starts.owner_id, starts.item, strict=True):
            assert isinstance(item, Start)
            self.cache.remember_item("start", owner_id, item)
        if described := intake.items.get("metadata"):
            for tenant_id, said in zip(described.owner_id, described.item, strict=True):
                assert isinstance(said, Metadata)
                self.cache.remember_item("metadata", tenant_id, said)

    def learn(self, *series: bytes, tenant_id: int = 1) -> None:
        """See these series until the fast path knows them."""
        self.commit(self.decode(*series, tenant_id=tenant_id))
        self.decode(*series, tenant_id=tenant_id)


def rows_of(intake: Intake, target: str = "internal") -> list[tuple[int, int, int, str | None]]:
    """Known rows of a target: id, timestamp, bits of the value, exact text."""
    rows = intake.known.get(target)
    if rows is None:
        return []
    columns = (rows.series_id.tolist(), rows.timestamp_ms.tolist(), rows.value.tolist())
    return [
        (series_id, timestamp_ms, bits(value), rows.exact.get(index))
        for index, (series_id, timestamp_ms, value) in enumerate(zip(*columns, strict=True))
    ]


def comparable(intake: Intake) -> dict[str, Any]:
    """Everything that an intake says, with floats as bits so that NaN equals itself."""
    return {
        "known": {target: rows_of(intake, target) for target in intake.known},
        "new": [
            (
                new.series,
                new.timestamp_ms,
                [bits(value) for value in new.value],
                new.exact,
                repr(new.histograms),
                repr(new.exemplars),
            )
            for new in intake.new
        ],
        "rejections": intake.rejections,
        "dropped": intake.dropped,
        "sent": intake.sent,
        "items": {store: _comparable_items(items) for store, items in intake.items.items()},
        "undecimal": intake.undecimal_value_labels,
        "tenant": intake.tenant_id,
    }


def _comparable_items(items: Items) -> list[tuple[int, str]]:
    return [(owner, repr(item)) for owner, item in zip(items.owner_id, items.item, strict=True)]
