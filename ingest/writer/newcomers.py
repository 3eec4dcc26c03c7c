"""How many series may be created: within any hour, for each tenant and for each of its metrics."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable

from ingest.config import LimitSettings
from ingest.intake.limits import over_limit
from ingest.model import Series

MINUTES = 60


class HourlyBudget:
    """Counts by key what came within the last hour, to the minute.

    Args:
        most: how much may come within an hour; 0 is no limit.
        clock: seconds that never go back.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._clock = clock
        self._minutes: dict[Hashable, deque[tuple[int, int]]] = {}
        self._swept = 0

    def has_room(self, key: Hashable, more: int = 1) -> bool:
        """Whether so much more may come."""
        return not self.most or self._used(key) + more <= self.most

    def spend(self, key: Hashable, count: int = 1) -> None:
        """So much came."""
        if not self.most:
            return
        minute = self._minute()
        spent = self._minutes.setdefault(key, deque())
        if spent and spent[-1][0] == minute:
            count += spent.pop()[1]
        spent.append((minute, count))
        self._sweep(minute)

    def _used(self, key: Hashable) -> int:
        spent = self._minutes.get(key, deque())
        oldest = self._minute() - MINUTES
        while spent and spent[0][0] <= oldest:
            spent.popleft()
        return sum(count for _, count in spent)

    def _sweep(self, minute: int) -> None:
        """Forget keys of which nothing came for an hour; now and then."""
        if minute - self._swept < MINUTES:
            return
        self._swept = minute
        idle = [key for key, spent in self._minutes.items() if spent[-1][0] <= minute - MINUTES]
        for key in idle:
            del self._minutes[key]

    def _minute(self) -> int:
        return int(self._clock() // 60)


class Newcomers:
    """Admits series that do not exist yet.

    Args:
        limits: the section `[limits]`.
    """

    def __init__(self, limits: LimitSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._tenants = HourlyBudget(limits.new_series_per_hour, clock)
        self._metrics = HourlyBudget(limits.new_series_per_metric_per_hour, clock)

    @property
    def is_limited(self) -> bool:
        """Whether anything is ever refused."""
        return bool(self._tenants.most or self._metrics.most)

    def admit(self, series: Series) -> str | None:
        """Count one more; why it is refused, for the sender, if it is."""
        metric = (series.tenant_id, series.name)
        if not self._tenants.has_room(series.tenant_id):
            over_limit("new_series_per_hour")
            return (
                f"a new series, of which {self._tenants.most} an hour may be created"
                " (limits.new_series_per_hour)"
            )
        if not self._metrics.has_room(metric):
            over_limit("new_series_per_metric_per_hour")
            return (
                f"a new series, of which {self._metrics.most} of one metric may be created an hour"
                " (limits.new_series_per_metric_per_hour)"
            )
        self._tenants.spend(series.tenant_id)
        self._metrics.spend(metric)
        return None
