"""Limits on timestamps and on request sizes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from prometheus_client import Counter

from ingest.config import LimitSettings
from ingest.errors import BadRequest, Unavailable
from ingest.logs import get_logger
from ingest.metrics import REGISTRY
from ingest.model import Int64s, Labels
from ingest.stores import TARGETS
from ingest.text import time_text

log = get_logger("intake")

LIMIT_REFUSALS = Counter(
    "promgres_limit_refusals",
    "Requests, series and samples refused because of a limit, by the setting's name.",
    ["limit"],
    registry=REGISTRY,
)


def over_limit(setting: str, times: int = 1) -> None:
    """Count refusals because of one setting."""
    LIMIT_REFUSALS.labels(setting).inc(times)


@dataclass(slots=True)
class TimeLimits:
    """The rule for timestamps.

    Attributes:
        oldest_ms: from a target and the present (ms) to the oldest timestamp (ms) it takes.
        max_future_ms: how far ahead of the present a timestamp may be.
        ahead_ms: by how much the database's clock is ahead of this one, now.
    """

    oldest_ms: Callable[[str, int], int]
    max_future_ms: int
    ahead_ms: Callable[[], int] = lambda: 0
    _second: int = field(default=-1, init=False)
    _oldest: Int64s = field(default_factory=lambda: np.empty(0, np.int64), init=False)

    def window(self, now_ms: int) -> TimeWindow:
        """The rule at one moment, by this clock; what is oldest is asked once a second."""
        second = now_ms // 1000
        if second != self._second:
            oldest = [self.oldest_ms(target, second * 1000) for target in TARGETS]
            self._second, self._oldest = second, np.array(oldest, np.int64)
        return TimeWindow(self._oldest, *self.newest_ms(now_ms))

    def newest_ms(self, now_ms: int) -> tuple[int, int]:
        """The newest timestamp that is taken, and the newest that is not refused for good: by the
        earlier of the two clocks, and by the later."""
        ahead_ms, newest_ms = self.ahead_ms(), now_ms + self.max_future_ms
        return newest_ms + min(0, ahead_ms), newest_ms + max(0, ahead_ms)


def between_clocks(timestamp_ms: int) -> Unavailable:
    """What a sender hears, and our log, of a timestamp that one clock takes for the present, and
    the other one for the future."""
    log.warning(
        "this machine's clock and the database's disagree: set them; until then 503",
        sample=time_text(timestamp_ms),
    )
    return Unavailable(
        f"the timestamp {time_text(timestamp_ms)} is too far in the future by one of our clocks"
        " and not by the other; try again"
    )


class TimeWindow(NamedTuple):
    """Timestamps taken now: `oldest_ms[target number] <= timestamp_ms <= newest_ms`; up to
    `doubtful_ms` it is the clocks' fault."""

    oldest_ms: Int64s
    newest_ms: int
    doubtful_ms: int = 0

    def holds(self, targets: Int64s, timestamp_ms: Int64s) -> npt.NDArray[np.bool_]:
        """Which samples are in it.

        Args:
            targets: positions in TARGETS.
            timestamp_ms: parallel to `targets`.
        """
        return (timestamp_ms >= self.oldest_ms[targets]) & (timestamp_ms <= self.newest_ms)

    def complaint(self, target: str, timestamp_ms: int) -> str | None:
        """What is wrong with one timestamp, for the sender; None if nothing is.

        Samples of one series with the same kind of complaint get the same text.

        Raises:
            Unavailable: that depends on which of two clocks is right.
        """
        oldest = int(self.oldest_ms[TARGETS.index(target)])
        if timestamp_ms < oldest:
            over_limit("oldest_timestamp")
            return f"before {time_text(oldest)}, the oldest that target {target} takes"
        if timestamp_ms > self.newest_ms:
            if timestamp_ms <= self.doubtful_ms:
                raise between_clocks(timestamp_ms)
            over_limit("max_future_seconds")
            newest_ms = max(self.newest_ms, self.doubtful_ms)
            return f"after {time_text(newest_ms)}, which is too far in the future"
        return None


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """How large series and requests may be; 0 is no limit.

    Attributes:
        settings: the section `[limits]`.
    """

    settings: LimitSettings

    def complaint(self, labels: Labels) -> str | None:
        """What of a series is too much, for the sender; None if nothing is."""
        limits = self.settings
        if 0 < limits.labels_per_series < len(labels):
            over_limit("labels_per_series")
            return (
                f"{len(labels)} labels, more than the {limits.labels_per_series}"
                " that are taken (limits.labels_per_series)"
            )
        return _too_long(labels, 0, "label_name_bytes", limits.label_name_bytes) or _too_long(
            labels, 1, "label_value_bytes", limits.label_value_bytes
        )

    def check(self, setting: str, count: int) -> None:
        """Take a request with so much of what a setting limits: series, samples, bytes of the texts
        of new series (it may refer to one text often), bytes of memory once it is decoded so far.

        Args:
            setting: a key of `WHAT`.

        Raises:
            BadRequest: it is too much.
        """
        most = getattr(self.settings, setting)
        if 0 < most < count:
            over_limit(setting)
            raise BadRequest(
                f"the request has {count} {WHAT[setting]}, more than the {most} that are taken"
                f" (limits.{setting}): nothing of it is stored"
            )

    @property
    def most_fields(self) -> int:
        """Fields of a message, or of one series, beyond which nobody looks into them."""
        limits = self.settings
        bounds = (limits.memory_bytes_per_request // _FIELD_BYTES, limits.samples_per_request)
        return max(bounds) if all(bounds) else sys.maxsize

    def check_fields(self, fields: int) -> None:
        """Take a message of so many fields: series, symbols, metadata.

        Raises:
            BadRequest: they are too many.
        """
        most = self.most_fields
        if fields > most:
            over_limit("memory_bytes_per_request")
            raise BadRequest(
                f"the request has more than {most} series, symbols and metadata, which is what"
                " limits.memory_bytes_per_request allows: nothing of it is stored"
            )


WHAT = {
    "series_per_request": "series",
    "samples_per_request": "samples",
    "text_bytes_per_request": "bytes of text",
    "memory_bytes_per_request": "bytes once decoded",
}
"""What a request has too much of, by the setting that says so."""
_FIELD_BYTES = 300
"""Memory of a field at the top of a message, of whatever it is, at least."""

UNLIMITED = RequestLimits(
    LimitSettings(
        series_per_request=0,
        samples_per_request=0,
        text_bytes_per_request=0,
        memory_bytes_per_request=0,
    )
)
"""For what was acknowledged: whatever the limits are by now."""


def _too_long(labels: Labels, part: int, setting: str, most_bytes: int) -> str | None:
    """Whether names (part 0) or values (part 1) are within a limit."""
    if not most_bytes:
        return None
    for label in labels:
        length = len(label[part].encode())
        if length > most_bytes:
            over_limit(setting)
            what = "the value of label" if part else "label"
            return (
                f"{what} {label[0][:100]!r} has {length} bytes, more than the {most_bytes}"
                f" that are taken (limits.{setting})"
            )
    return None
