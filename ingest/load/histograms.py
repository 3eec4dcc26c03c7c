"""Synthetic requests of native histograms: request durations, schema 3, 20 to 60 buckets.

Counts grow from request to request, and with them their varints: histograms are encoded anew, about
3 µs each. The message is the same in both protocols.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import snappy

from ingest.load.amounts import Amounts
from ingest.load.drafts import Draft, field
from ingest.load.requests import labels_of
from ingest.load.shapes import About, ProtocolVersion, shape_of
from ingest.wire.pb import remote_write_v2_pb2 as pb

SCHEMA = 3
"""Eight buckets for each power of two."""
FEWEST_BUCKETS, MOST_BUCKETS = 20, 60
ZERO_THRESHOLD = 2.0**-128
"""What client libraries take unless told otherwise."""

_ABOUT = About(
    pb.Metadata.METRIC_TYPE_HISTOGRAM, "Synthetic durations of promgres load.", "seconds"
)
_FLOAT_UNIT = 0.25
"""Counts of float histograms are no whole numbers, as rates are not."""


class HistogramTemplate:
    """One native histogram of each series a request, 10 labels a series.

    A template is a counter: two of equal arguments that are asked the same number of times say the
    same.

    Args:
        first: number of the first series.
        series: how many.
        metric: metric name, to which `_duration_seconds` is added.
        protocol: 1 or 2.
        floats: float histograms instead of integer ones.
    """

    def __init__(
        self,
        first: int,
        series: int,
        metric: str = "promgres_load",
        protocol: ProtocolVersion = 1,
        floats: bool = False,
    ) -> None:
        self.amounts = Amounts(histograms=series)
        shape = shape_of(protocol)
        name = f"{metric}_duration_seconds"
        self._frames = [
            shape.framed(labels_of(name, number), _ABOUT) for number in range(first, first + series)
        ]
        self._head, self._series_field = shape.head().content, shape.series_field
        self._floats = floats
        self._durations = _Durations(first, series)
        self._messages = [_constant_part(indexes) for indexes in self._durations.indexes]

    def payload(self, timestamp_ms: int) -> bytes:
        """The protobuf message with every histogram at this time, a little later than before."""
        self._durations.observe()
        self._write(timestamp_ms)
        series = [
            field(self._series_field, Draft(frame.around(message.SerializeToString()))).content
            for frame, message in zip(self._frames, self._messages, strict=True)
        ]
        return b"".join([self._head, *series])

    def body(self, timestamp_ms: int) -> bytes:
        """The same, as a snappy block."""
        return bytes(snappy.compress(self.payload(timestamp_ms)))

    def _write(self, timestamp_ms: int) -> None:
        """Bring all messages up to date."""
        durations = self._durations
        totals = durations.counts.sum(axis=1) + durations.zeros
        columns = durations.zeros, totals, durations.sums
        buckets = durations.counts if self._floats else np.diff(durations.counts, prepend=0)
        write = _write_floats if self._floats else _write_integers
        for message, indexes, row, *numbers in zip(
            self._messages,
            durations.indexes,
            buckets.tolist(),
            *[column.tolist() for column in columns],
            strict=True,
        ):
            write(message, row[: len(indexes)], *numbers)
            message.timestamp = timestamp_ms


class _Durations:
    """What is observed: log-normal, each series with a middle, a width and a rate of its own.

    Attributes:
        indexes: of the populated buckets of each series, ascending.
        counts: shape (series, MOST_BUCKETS); beyond a series' buckets 0.
        zeros, sums: of each series.
    """

    def __init__(self, first: int, series: int) -> None:
        self._random = np.random.default_rng(first)
        self.indexes = [_bucket_indexes(self._random) for _ in range(series)]
        self._weights = np.zeros((series, MOST_BUCKETS))
        self._middles = np.zeros((series, MOST_BUCKETS))
        for row, indexes in enumerate(self.indexes):
            self._weights[row, : len(indexes)] = _weights(self._random, len(indexes))
            self._middles[row, : len(indexes)] = 2.0 ** ((indexes - 0.5) * 2.0**-SCHEMA)
        # A process that has run for a while: every bucket has been hit.
        self.counts = self._random.poisson(self._weights * 200) + (self._weights > 0)
        self.zeros = np.zeros(series, np.int64)
        self.sums = (self.counts * self._middles).sum(axis=1)

    def observe(self) -> None:
        """Let some time pass."""
        new = self._random.poisson(self._weights)
        self.counts += new
        self.zeros += self._random.poisson(0.05, len(self.zeros))
        self.sums += (new * self._middles).sum(axis=1)


def _bucket_indexes(random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Populated buckets between about 1 ms and some seconds, with up to three gaps."""
    buckets = int(random.integers(FEWEST_BUCKETS, MOST_BUCKETS, endpoint=True))
    steps = np.ones(buckets, np.int64)
    steps[random.integers(1, buckets, size=int(random.integers(0, 4)))] += random.integers(1, 6)
    steps[0] = random.integers(-80, -40)
    indexes: npt.NDArray[np.int64] = np.cumsum(steps)
    return indexes


def _weights(random: np.random.Generator, buckets: int) -> npt.NDArray[np.float64]:
    """Observations a round of each bucket."""
    from_middle = (np.arange(buckets) - buckets / 2) / (buckets / 5)
    shape: npt.NDArray[np.float64] = np.exp(-(from_middle**2) / 2)
    return shape * random.uniform(0.2, 20)


def _constant_part(indexes: npt.NDArray[np.int64]) -> pb.Histogram:
    """A histogram that only lacks its counts, sum and time."""
    spans = [pb.BucketSpan(offset=offset, length=length) for offset, length in spans_of(indexes)]
    return pb.Histogram(schema=SCHEMA, zero_threshold=ZERO_THRESHOLD, positive_spans=spans)


def spans_of(indexes: Iterable[int]) -> list[tuple[int, int]]:
    """Runs of ascending bucket indexes: (steps from the end of the run before, length)."""
    spans: list[tuple[int, int]] = []
    following = 0
    for index in map(int, indexes):
        if spans and index == following:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((index - following, 1))
        following = index + 1
    return spans


def _write_integers(
    message: pb.Histogram, deltas: list[int], zeros: int, total: int, observed: float
) -> None:
    message.positive_deltas[:] = deltas
    message.zero_count_int, message.count_int, message.sum = zeros, total, observed


def _write_floats(
    message: pb.Histogram, counts: list[int], zeros: int, total: int, observed: float
) -> None:
    message.positive_counts[:] = [count * _FLOAT_UNIT for count in counts]
    message.zero_count_float, message.count_float = zeros * _FLOAT_UNIT, total * _FLOAT_UNIT
    message.sum = observed * _FLOAT_UNIT
