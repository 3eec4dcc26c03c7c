"""The two ways through a request: known series all at once, the others one by one."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from ingest.intake.fast_path import KnownColumns, joined, rows_by_target
from ingest.intake.limits import UNLIMITED, RequestLimits, TimeLimits, TimeWindow
from ingest.intake.slow_path import METADATA_BYTES, SAMPLE_BYTES, SlowPath
from ingest.intake.steps import Pace, Steps, complete
from ingest.model import Int64s, Intake, TenantId
from ingest.routing import Router
from ingest.series.cache import DROPPED, SeriesCache, target_numbers
from ingest.series.identity import key_seed
from ingest.series.key_table import UNKNOWN
from ingest.wire.remote_write import fields
from ingest.wire.remote_write.fields import count_fields
from ingest.wire.remote_write.negotiate import Message
from ingest.wire.remote_write.request import Request, parse_in_pieces, parts_of, read_request

SCANNED_BYTES = 2 * 1024 * 1024
"""A shorter message is taken apart at once: it has a million elements at most."""
READ_BYTES = 3
"""Memory of a message, for each of its bytes, until its series are decoded."""
_NONE = np.empty(0, np.int64)


class Decoder:
    """Payloads in, intakes out; nothing waits and nothing is written.

    Args:
        router: where series go.
        cache: which ids are known; it learns the keys of series from what is decoded, their ids
            from `SeriesCache.remember`.
        limits: which timestamps are taken.
        sizes: how much is taken.
    """

    def __init__(
        self,
        router: Router,
        cache: SeriesCache,
        limits: TimeLimits,
        sizes: RequestLimits = UNLIMITED,
    ) -> None:
        self._router = router
        self._cache = cache
        self._limits = limits
        self._sizes = sizes

    def decode(self, message: Message, payload: bytes, tenant_id: TenantId, now_ms: int) -> Intake:
        """Decode a decompressed request.

        Args:
            message: whether `payload` is a WriteRequest of 1.0 or a Request of 2.0.
            tenant_id: whose request it is.
            now_ms: the present, for the limits of timestamps.

        Raises:
            BadRequest: `payload` is no protobuf, or too much; nothing of it counts as received.
        """
        return complete(self.steps(message, payload, tenant_id, now_ms))

    def steps(self, message: Message, payload: bytes, tenant_id: TenantId, now_ms: int) -> Steps:
        """As `decode`, with a pause now and then: many series that are new take seconds."""
        if len(payload) > SCANNED_BYTES:
            found = yield from count_fields(payload, self._sizes.most_fields)
            self._sizes.check_fields(found)
        request = read_request(message, payload, key_seed(tenant_id))
        self._sizes.check("series_per_request", len(request.series))
        self._sizes.check("memory_bytes_per_request", METADATA_BYTES * request.metadata_count)
        intake = Intake(tenant_id=tenant_id, generation=self._cache.generation)
        intake.memory_bytes = READ_BYTES * len(payload)
        window = self._limits.window(now_ms)
        slow = SlowPath(
            self._router,
            self._cache,
            window,
            self._sizes,
            intake,
            now_ms,
            request.label_bytes,
            request.pair_of,
        )
        pace = Pace()
        for said in request.metadata():
            slow.take_metadata(said)
            if pace.is_due:
                yield intake.memory_bytes + slow.memory_bytes
        if request.series:
            yield from self._decode_series(request, len(payload), window, intake, slow, pace)
        received = intake.received
        self._sizes.check("samples_per_request", received)
        intake.memory_bytes = slow.memory_bytes + SAMPLE_BYTES * received
        return intake

    def _decode_series(
        self,
        request: Request,
        payload_bytes: int,
        window: TimeWindow,
        intake: Intake,
        slow: SlowPath,
        pace: Pace,
    ) -> Generator[int, None, None]:
        fast = []
        for part in parts_of(request, payload_bytes):
            taken, left = self._known(part, window, intake)
            fast.append(taken)
            for position in left.tolist():
                if len(part.series[position]) <= fields.LONG_BYTES:
                    slow.take(part.first + position, part.parse(position))
                    if pace.is_due:
                        yield intake.memory_bytes + slow.memory_bytes
                    continue
                for parsed in parse_in_pieces(part, position, self._sizes.most_fields):
                    if parsed is not None:
                        slow.take(part.first + position, parsed)
                    if pace.is_due:
                        yield intake.memory_bytes + slow.memory_bytes
            if pace.is_due:
                yield intake.memory_bytes + slow.memory_bytes
        intake.known = rows_by_target(joined(fast), slow.known)

    def _known(
        self, part: Request, window: TimeWindow, intake: Intake
    ) -> tuple[KnownColumns, Int64s]:
        """Samples of known series, and where the other series are in the part."""
        tails = part.tails
        places = self._places(part)
        is_known = places >= 0
        if is_known.all() and window.holds(target_numbers(places), tails.timestamp_ms).all():
            intake.sent.samples += len(places)
            positions = np.arange(part.first, part.first + len(places))
            return KnownColumns(positions, places, tails.timestamp_ms, tails.value), _NONE
        known = np.flatnonzero(is_known)
        in_time = window.holds(target_numbers(places[known]), tails.timestamp_ms[known])
        # A timestamp that is rejected takes the slow path too: it finds the words.
        taken = known[in_time]
        is_left = places != DROPPED
        dropped = len(places) - int(is_left.sum())
        intake.dropped += dropped
        intake.sent.samples += dropped + len(taken)
        is_left[taken] = False
        columns = KnownColumns(
            taken + part.first, places[taken], tails.timestamp_ms[taken], tails.value[taken]
        )
        return columns, np.flatnonzero(is_left)

    def _places(self, request: Request) -> Int64s:
        """The place of each series, UNKNOWN where the fast path cannot tell."""
        has_tail = np.flatnonzero(request.tails.length)
        keys = request.keys(has_tail)
        if len(keys) == len(request.series):
            return self._cache.places_by_key(keys)
        places = np.full(len(request.series), UNKNOWN, np.int64)
        places[has_tail] = self._cache.places_by_key(keys)
        return places
