"""One series of a request read in full, whatever the protocol's version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ingest.model import Histogram

PAIR_BYTES = 72
"""Memory of a label in a label set, besides its texts."""
TEXT_BYTES = 56
"""Memory of a text, besides its bytes."""

LabelBytes = list[tuple[bytes, bytes]]
"""Names and values as sent, in the order sent; their text is not yet checked."""


class ParsedExemplar(NamedTuple):
    """An exemplar; timestamp 0 is a missing one. `complaint` says what is wrong with it."""

    labels: LabelBytes
    timestamp_ms: int
    value: float
    complaint: str | None = None


class ParsedMetadata(NamedTuple):
    """What a sender says of a metric; all text still bytes, but for the type."""

    name: bytes
    type: str
    unit: bytes
    help: bytes


@dataclass(slots=True)
class ParsedSeries:
    """One TimeSeries.

    Attributes:
        tokens: what stands for each label in the request, hashable: its bytes (1.0), or its texts.
        pair_of: from a token to name and value as sent; raises BadRequest if it is no label.
        timestamp_ms: milliseconds since 1970, parallel to `value`.
        value: sample values, NaN bits as sent.
        histograms: native histograms that keep to the rules.
        refused_histograms: what is wrong with each of the others.
        start_ms: when counting began, each that the samples say once.
        metadata: what the series says of its metric, if it says something (2.0).
        key: 16 bytes that identify the labels (and metadata) among all that this process is sent,
            as `Request.keys` has them; None where the encoding has no such part.
        text_bytes: length of all label names and values together, at most.
        complaint: why nothing of the series can be taken; its labels are as far as they were read.
    """

    tokens: Sequence[Any]
    pair_of: Callable[[Any], tuple[bytes, bytes]]
    timestamp_ms: Sequence[int] = ()
    value: Sequence[float] = ()
    exemplars: Sequence[ParsedExemplar] = ()
    histograms: Sequence[Histogram] = ()
    refused_histograms: Sequence[str] = ()
    start_ms: Sequence[int] = ()
    metadata: ParsedMetadata | None = None
    key: bytes | None = None
    complaint: str | None = None
    text_bytes: int = 0

    @property
    def labels(self) -> LabelBytes:
        """Names and values as sent, in the order sent."""
        return [*map(self.pair_of, self.tokens)]
