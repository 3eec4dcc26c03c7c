"""Which time stamps are taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ingest.model import TARGETS, Int64s
from ingest.wire.validate import time_text


@dataclass(frozen=True, slots=True)
class Limits:
    """The rule for time stamps.

    Attributes:
        oldest_ms: from a target and the present (ms) to the oldest time stamp (ms) it takes.
        max_future_ms: how far ahead of the present a time stamp may be.
    """

    oldest_ms: Callable[[str, int], int]
    max_future_ms: int

    def window(self, now_ms: int) -> Window:
        """The rule at one moment."""
        oldest = np.array([self.oldest_ms(target, now_ms) for target in TARGETS], np.int64)
        return Window(oldest, now_ms + self.max_future_ms)


@dataclass(frozen=True, slots=True)
class Window:
    """Time stamps taken now: `oldest_ms[target number] <= timestamp_ms <= newest_ms`."""

    oldest_ms: Int64s
    newest_ms: int

    def holds(self, targets: Int64s, timestamp_ms: Int64s) -> npt.NDArray[np.bool_]:
        """Which samples are in it.

        Args:
            targets: positions in TARGETS.
            timestamp_ms: parallel to `targets`.
        """
        return (timestamp_ms >= self.oldest_ms[targets]) & (timestamp_ms <= self.newest_ms)

    def complaint(self, target: str, timestamp_ms: int) -> str | None:
        """What is wrong with one time stamp, for the sender; None if nothing is.

        Samples of one series with the same kind of complaint get the same text.
        """
        oldest = int(self.oldest_ms[TARGETS.index(target)])
        if timestamp_ms < oldest:
            return f"before {time_text(oldest)}, the oldest that target {target} takes"
        if timestamp_ms > self.newest_ms:
            return f"after {time_text(self.newest_ms)}, which is too far in the future"
        return None
