"""The limit of a tenant's series under any interleaving of requests, failures and counts.

One process never lets in more than the limit, and refuses nothing that it has room for.
"""

from __future__ import annotations

import os
from collections.abc import Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingest.config import LimitSettings
from ingest.intake.quotas import TenantQuotas
from ingest.model import Series
from ingest.writer.series_limits import RECOUNT_SECONDS, SeriesLimits
from tests.support.clock import Clock

LIMIT = 6
Numbers = st.sets(st.integers(0, 11), min_size=1, max_size=5)


def series(number: int) -> Series:
    return Series(number.to_bytes(16, "big"), 1, "internal", "common", "up", ())


class SeriesLimitsMachine(RuleBasedStateMachine):
    """Several requests of one tenant at once, and the database that they want to create series in.

    Attributes:
        stored: series that exist.
        under_way: what each request was let in with and is creating.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.stored: set[bytes] = set()
        self.under_way: list[list[Series]] = []
        quotas = TenantQuotas(LimitSettings(series=LIMIT))
        self.limits = SeriesLimits(quotas, self._count, self.clock)

    async def _count(self, tenant_id: int, most: int) -> int:
        del tenant_id
        return min(most, len(self.stored))

    @rule(numbers=Numbers)
    def request(self, numbers: set[int]) -> None:
        """As the resolver does: what does not exist is asked for, one after the other."""
        wanted = [one for one in map(series, sorted(numbers)) if one.identity not in self.stored]
        if wanted:
            at_once(self.limits.count(1))
        admitted = []
        self.under_way.append(admitted)
        for one in wanted:
            held = self._held()
            is_refused = self.limits.admit(one) is not None
            assert is_refused == (one.identity not in held and len(held) >= LIMIT)
            if not is_refused:
                admitted.append(one)

    @rule(place=st.integers(0, 100), works=st.booleans())
    @precondition(lambda self: self.under_way)
    def answer(self, place: int, works: bool) -> None:
        """The database has created what one request wanted, or has not."""
        admitted = self.under_way.pop(place % len(self.under_way))
        created = {one.identity for one in admitted} if works else set()
        self.stored |= created
        self.limits.settle(admitted, created)

    @rule(seconds=st.sampled_from([1.0, RECOUNT_SECONDS]))
    def time_passes(self, seconds: float) -> None:
        self.clock.seconds += seconds

    @invariant()
    def nobody_has_more_than_it_may(self) -> None:
        assert len(self.stored) <= LIMIT

    def _held(self) -> set[bytes]:
        """What exists or may exist soon."""
        return self.stored | {one.identity for admitted in self.under_way for one in admitted}


def at_once(work: Coroutine[Any, Any, None]) -> None:
    """Run what waits for nothing."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


EXAMPLES = min(200, int(os.environ.get("PROMGRES_EXAMPLES", "100")))
SeriesLimitsMachine.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=30)
TestSeriesLimits = SeriesLimitsMachine.TestCase
