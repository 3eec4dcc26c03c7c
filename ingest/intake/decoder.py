"""The two ways through a request: known series all at once, the others one by one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ingest.intake.limits import UNLIMITED, Limits, SizeLimits, Window
from ingest.intake.ordinary import OrdinaryPath
from ingest.intake.rows import KnownColumns, rows_by_target
from ingest.model import Int64s, Intake
from ingest.routing import Router
from ingest.series.cache import DROPPED, UNKNOWN, SeriesCache, target_numbers
from ingest.series.identity import label_keys
from ingest.wire.negotiate import Protocol
from ingest.wire.request import Request, read_request

SERIES_BEFORE_A_PAUSE = 500
"""Of series that are read one by one: some 10 to 20 ms."""


class Decoder:
    """Payloads in, intakes out; nothing waits and nothing is written.

    Args:
        router: where series go.
        cache: which ids are known; it learns the keys of series from what is decoded, their ids
            from `SeriesCache.remember`.
        limits: which time stamps are taken.
        sizes: how much is taken.
    """

    def __init__(
        self,
        router: Router,
        cache: SeriesCache,
        limits: Limits,
        sizes: SizeLimits = UNLIMITED,
    ) -> None:
        self._router = router
        self._cache = cache
        self._limits = limits
        self._sizes = sizes

    def decode(self, protocol: Protocol, payload: bytes, tenant_id: int, now_ms: int) -> Intake:
        """Decode a decompressed request.

        Args:
            protocol: whether `payload` is a WriteRequest of 1.0 or a Request of 2.0.
            tenant_id: whose request it is.
            now_ms: the present, for the limits of time stamps.

        Raises:
            BadRequest: `payload` is no protobuf, or too much; nothing of it counts as received.
        """
        *_, intake = self.steps(protocol, payload, tenant_id, now_ms)
        return intake

    def steps(
        self, protocol: Protocol, payload: bytes, tenant_id: int, now_ms: int
    ) -> Iterator[Intake]:
        """As `decode`, with a pause now and then: many series that are new take seconds.

        Yields:
            The intake at each pause, and once more when it is complete.
        """
        request = read_request(protocol, payload)
        self._sizes.check_series(len(request.series))
        intake = Intake(tenant_id=tenant_id, generation=self._cache.generation)
        window = self._limits.window(now_ms)
        ordinary = OrdinaryPath(self._router, self._cache, window, self._sizes, intake, now_ms)
        for said in request.metadata():
            ordinary.take_metadata(said)
        if request.series:
            for _ in self._decode_series(request, window, intake, ordinary):
                yield intake
        self._sizes.check_samples(intake.received)
        yield intake

    def _decode_series(
        self, request: Request, window: Window, intake: Intake, ordinary: OrdinaryPath
    ) -> Iterator[None]:
        tails = request.tails
        places = self._places(request, intake.tenant_id)
        known = np.flatnonzero(places >= 0)
        in_time = window.holds(target_numbers(places[known]), tails.timestamp_ms[known])
        # A time stamp that is refused takes the ordinary path too: it finds the words.
        taken = known[in_time]
        is_left = places != DROPPED
        dropped = len(places) - int(is_left.sum())
        intake.dropped += dropped
        intake.sent.samples += dropped + len(taken)

        is_left[taken] = False
        for count, position in enumerate(np.flatnonzero(is_left).tolist(), 1):
            ordinary.take(position, request.parse(position))
            if count % SERIES_BEFORE_A_PAUSE == 0:
                yield

        fast = KnownColumns(taken, places[taken], tails.timestamp_ms[taken], tails.value[taken])
        intake.known = rows_by_target(fast, ordinary.known)

    def _places(self, request: Request, tenant_id: int) -> Int64s:
        """The place of each series, UNKNOWN where the fast path cannot tell."""
        has_tail = np.flatnonzero(request.tails.length)
        keys = label_keys(tenant_id, request.keys(has_tail.tolist()))
        places = np.full(len(request.series), UNKNOWN, np.int64)
        places[has_tail] = self._cache.places_by_key(keys)
        return places
