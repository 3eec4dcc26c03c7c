"""Measures and events: a body becomes an `Intake`, all of it or nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from ingest.config import LimitSettings
from ingest.intake.limits import TimeLimits, between_clocks, over_limit
from ingest.intake.steps import Pace, Steps, complete
from ingest.model import METRIC_NAME, Event, Intake, Items, Measure, RecordKind, TenantId
from ingest.routing.router import Decision, Router, lower_name
from ingest.text import time_text
from ingest.wire.records.body import (
    MOST_REASONS,
    Complaint,
    Pushed,
    RecordsRefused,
    check_count,
    read_items,
)
from ingest.wire.records.spooled import spooled_items

ITEM_BYTES, BODY_BYTES = 900, 2
"""Memory of an item until it is stored, besides its text; and that, which is spooled as well."""
ITEM_ID_BYTES = 16
MOST_ROUTES = 10_000


class RecordDecoder:
    """Bodies in, intakes out; nothing waits and nothing is written.

    Args:
        router: as which metrics measures are read.
        limits: which times are taken.
        sizes: the section `[limits]`.
    """

    def __init__(self, router: Router, limits: TimeLimits, sizes: LimitSettings) -> None:
        self._routes = _Routes(router)
        self._limits = limits
        self._sizes = sizes

    def decode(
        self, body: bytes, kind: RecordKind, legacy: bool, tenant_id: TenantId, now_us: int
    ) -> Intake:
        """Decode a decompressed body.

        Args:
            kind: of items that do not say it themselves.
            tenant_id: whose it is.
            now_us: when it came: the time of items that say none.

        Raises:
            BadRequest: nothing of it is stored; RecordsRefused if it is for some of its items.
            PayloadTooLarge: it has too many items.
        """
        return complete(self.steps(body, kind, legacy, tenant_id, now_us))

    def steps(
        self, body: bytes, kind: RecordKind, legacy: bool, tenant_id: TenantId, now_us: int
    ) -> Steps:
        """As `decode`, with a pause now and then."""
        reception = _Reception(self._routes, self._limits, tenant_id, now_us)
        pace = Pace()
        yield from check_count(body, self._sizes.items_per_request)
        for item in read_items(body, kind, legacy, self._sizes.attributes_bytes):
            reception.take(item)
            if pace.is_due:
                yield None
        reception.check()
        intake = reception.intake
        intake.memory_bytes = BODY_BYTES * len(body) + ITEM_BYTES * intake.received
        return intake


def spooled_steps(payload: bytes, tenant_id: TenantId) -> Steps:
    """What the spool kept of a request, to be written as it was decided then.

    Raises:
        BadRequest: it cannot be read.
    """
    intake = Intake(tenant_id=tenant_id)
    pace = Pace()
    for item in spooled_items(payload):
        if pace.is_due:
            yield None
        intake.add_item("measure" if isinstance(item, Measure) else "event", tenant_id, item)
        intake.sent.samples += 1
    return intake


class _Reception:
    """One request while its items are taken.

    Attributes:
        intake: what there is to store.
    """

    def __init__(
        self, routes: _Routes, limits: TimeLimits, tenant_id: TenantId, now_us: int
    ) -> None:
        now_ms = now_us // 1000
        self.intake = Intake(tenant_id=tenant_id)
        self._now_us = now_us
        self._oldest_us = limits.oldest_ms("measure", now_ms) * 1000
        newest_ms, doubtful_ms = limits.newest_ms(now_ms)
        self._newest_us = newest_ms * 1000 + now_us % 1000
        self._doubtful_us = doubtful_ms * 1000
        self._route = routes.of
        self._items: dict[RecordKind, Items] = {"measure": Items(), "event": Items()}
        self._random_ids = _random_ids()
        self._errors: list[tuple[int | None, str]] = []
        self._refused = 0

    def take(self, item: Pushed | Complaint) -> None:
        """Take the next one."""
        refusal = item if isinstance(item, Complaint) else self._untimely(item.timestamp_us)
        if refusal is not None:
            self._refuse(refusal)
        elif not self._refused:
            assert isinstance(item, Pushed)
            self._store(item)
        self.intake.sent.samples += 1

    def check(self) -> None:
        """Nothing is stored if something cannot be.

        Raises:
            RecordsRefused: it cannot.
        """
        if self._refused:
            more = self._refused - len(self._errors)
            raise RecordsRefused(self._errors, more, self.intake.sent.samples)
        self.intake.items.update((kind, items) for kind, items in self._items.items() if items)

    def _refuse(self, refusal: Complaint) -> None:
        if refusal.limit is not None:
            over_limit(refusal.limit)
        if len(self._errors) < MOST_REASONS:
            self._errors.append((self.intake.sent.samples, refusal.reason))
        self._refused += 1

    def _untimely(self, timestamp_us: int | None) -> Complaint | None:
        if timestamp_us is None or self._oldest_us <= timestamp_us <= self._newest_us:
            return None
        moment = time_text(timestamp_us // 1000)
        if timestamp_us < self._oldest_us:
            oldest = time_text(self._oldest_us // 1000)
            return Complaint(
                f"the time {moment} is before {oldest}, the oldest that is taken",
                "oldest_timestamp",
            )
        if timestamp_us <= self._doubtful_us:
            raise between_clocks(timestamp_us // 1000)
        newest = time_text(max(self._newest_us, self._doubtful_us) // 1000)
        return Complaint(
            f"the time {moment} is after {newest}, which is too far in the future",
            "max_future_seconds",
        )

    def _store(self, pushed: Pushed) -> None:
        kind, name, value, exact, attributes, decoded, timestamp_us, key = pushed
        item_id = next(self._random_ids) if key is None else item_id_of(kind, key)
        key_decides = key is not None and timestamp_us is None
        at_us = self._now_us if timestamp_us is None else timestamp_us
        items = self._items[kind]
        if kind == "event":
            items.add(self.intake.tenant_id, Event(at_us, name, attributes, item_id, key_decides))
            return
        decision = self._route(name, decoded)
        if decision.drop:
            self.intake.dropped += 1
            return
        items.add(
            self.intake.tenant_id,
            Measure(
                at_us,
                name,
                attributes,
                item_id,
                key_decides,
                value,
                exact,
                decision.target,
                decision.schema,
            ),
        )


class _Routes:
    """Where measures are read, decided once for all that look alike to the rules."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._asked = [label for label in router.asked_labels if label != METRIC_NAME]
        self._known: dict[tuple[Any, ...], Decision] = {}

    def of(self, name: str, attributes: Any) -> Decision:
        """As which metric a measure is read. Text among its attributes is what labels are to rules;
        `geo` is for coordinates, so its measures are among those of `internal`."""
        given = attributes if type(attributes) is dict else {}
        found = [given.get(label) for label in self._asked]
        key = (name, *[text if type(text) is str else None for text in found])
        decision = self._known.get(key)
        if decision is None:
            asked = zip(self._asked, key[1:], strict=True)
            labels = {label: text for label, text in asked if text is not None}
            decision = self._router.decide(lower_name(name), {METRIC_NAME: name, **labels})
            if decision.target == "geo":
                decision = decision._replace(target="internal")
            if len(self._known) >= MOST_ROUTES:
                self._known.clear()
            self._known[key] = decision
        return decision


def item_id_of(kind: RecordKind, key: str) -> bytes:
    """The id of an item that was sent with an idempotency key; each kind has its own keys."""
    return blake2b(f"{kind}\0{key}".encode(), digest_size=ITEM_ID_BYTES).digest()


def _random_ids() -> Iterator[bytes]:
    """Ids of items without a key, some hundred for each question to the kernel."""
    while True:
        block = os.urandom(256 * ITEM_ID_BYTES)
        for start in range(0, len(block), ITEM_ID_BYTES):
            yield block[start : start + ITEM_ID_BYTES]
