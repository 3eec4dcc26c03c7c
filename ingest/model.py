"""What flows through the house: series, rows, and what became of a request's samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

DEFAULT_TENANT_ID = 1
"""The tenant `default`, to which requests without a key belong."""

TARGETS = ("internal", "cumsum", "geo")
"""Every target, in the fixed order in which their transactions run."""

STALE_MARKER_BITS = 0x7FF0000000000002
"""The NaN that says "this series ended" (remote write 1.0 and 2.0 specifications)."""

Labels = tuple[tuple[str, str], ...]
"""Label pairs, sorted by the UTF-8 bytes of the name, names unique."""

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


class Series(NamedTuple):
    """One time series as the catalogue `internal.series` holds it.

    `name` is lower-cased (ASCII); `labels` keep everything as sent, without a value label that was
    taken. `identity` is the BLAKE2b-128 that makes the series unique.
    """

    identity: bytes
    tenant_id: int
    target: str
    schema: str
    name: str
    labels: Labels


@dataclass(slots=True)
class Rows:
    """Samples of one target, as parallel columns of one length.

    `exact` maps a row's position to the decimal text of its exact value; rows of stale markers are
    not in it (the COPY encoder recognises their bits).
    """

    series_id: Int64s
    timestamp_ms: Int64s
    value: Float64s
    exact: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.series_id)


@dataclass(slots=True)
class NewSamples:
    """Samples of one series that has no id yet (or none that this process knows)."""

    series: Series
    timestamp_ms: list[int]
    value: list[float]
    exact: str | None = None


@dataclass(slots=True)
class Rejection:
    """Why samples of one series cannot be stored, ever.

    `samples` may be 0: the request still has to be answered 400, for what is no sample (a native
    histogram, an invalid series that carried none).
    """

    reason: str
    samples: int


@dataclass(slots=True)
class Intake:
    """A request after decode, identify and route: what to store, and what cannot be.

    Attributes:
        tenant_id: whose request it is.
        known: rows by target, of series whose id is known.
        new: samples of series without a known id.
        rejections: reasons for the 400, in the order of the request.
        dropped: samples that a rule drops, and stale markers of series with a value label.
        received: samples in the request, whatever became of them.
        ignored: what was sent and is not stored, by kind (`exemplar`, `histogram`, `metadata`).
        undecimal_value_labels: series whose value label is no decimal and stayed a label.
        generation: of the series cache that the ids of `known` are from.
    """

    tenant_id: int = DEFAULT_TENANT_ID
    known: dict[str, Rows] = field(default_factory=dict)
    new: list[NewSamples] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    dropped: int = 0
    received: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    undecimal_value_labels: int = 0
    generation: int = 0

    @property
    def rejected(self) -> int:
        """Samples that can never be stored."""
        return sum(rejection.samples for rejection in self.rejections)

    @property
    def storable(self) -> int:
        """Samples that may be stored: those of `known` and `new`."""
        return self.received - self.rejected - self.dropped
