"""Native histograms of both versions: spans and deltas unrolled, and the rules that they keep to.

The rules are those of the Prometheus Remote-Write 2.0 specification ("Native Histograms") and of
Prometheus' own receiver.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from math import inf, isfinite, isnan

from google.protobuf.message import DecodeError

from ingest.errors import BadRequest, InvalidHistogram
from ingest.model import Buckets, Histogram, is_stale
from ingest.wire.pb import remote_write_v2_pb2 as pb

FINEST, COARSEST, CUSTOM = 8, -4, -53
FINEST_SENT = 52
"""Finer schemas than 8 are allowed by the specification, and reduced to it."""
MOST_BUCKETS = 100_000
"""Of one histogram: spans can claim billions in a few bytes."""
_LARGEST_INDEX = 2**31 - 1
_YEAR_1_MS, _YEAR_10000_MS = -62_135_596_800_000, 253_402_300_800_000


def parse_histogram(raw: bytes, position: int) -> pb.Histogram:
    """One Histogram message of a series.

    Raises:
        BadRequest: it is no protobuf, so nothing in the request can be trusted.
    """
    try:
        return pb.Histogram.FromString(raw)
    except DecodeError:
        raise BadRequest(
            f"a histogram of timeseries {position} is not a protobuf message"
        ) from None


def read_histograms(
    messages: Iterable[pb.Histogram], start_ms: int = 0
) -> tuple[list[Histogram], list[str]]:
    """As `read_histogram`: those that keep to the rules, and what is wrong with each other one."""
    taken, refused = [], []
    for message in messages:
        try:
            taken.append(read_histogram(message, start_ms))
        except InvalidHistogram as error:
            refused.append(str(error))
    return taken, refused


def read_histogram(message: pb.Histogram, start_ms: int = 0) -> Histogram:
    """Unroll and check one histogram.

    Args:
        start_ms: when counting began, if only the series says so (2.0-rc.3); 0 is unset.

    Raises:
        InvalidHistogram: which rule it breaks.
    """
    is_float = message.WhichOneof("count") == "count_float"
    custom = message.schema == CUSTOM
    if not custom and not COARSEST <= message.schema <= FINEST_SENT:
        raise InvalidHistogram(f"schema {message.schema} is not between -4 and 8, nor -53")
    histogram = Histogram(
        timestamp_ms=message.timestamp,
        schema=message.schema,
        is_float=is_float,
        observations=message.count_float if is_float else message.count_int,
        sum=message.sum,
        zero_threshold=message.zero_threshold,
        zero_count=message.zero_count_float if is_float else message.zero_count_int,
        positive=_buckets(
            message.positive_spans,
            message.positive_counts if is_float else list(accumulate(message.positive_deltas)),
            "positive",
        ),
        negative=_buckets(
            message.negative_spans,
            message.negative_counts if is_float else list(accumulate(message.negative_deltas)),
            "negative",
        ),
        custom_bounds=list(message.custom_values) if custom else None,
        reset_hint=message.reset_hint if 0 <= message.reset_hint <= 3 else 0,
        start_ms=valid_start(message.start_timestamp or start_ms),
    )
    if is_stale(histogram.sum):
        return _stale(histogram)
    _check_flavour(message, is_float)
    _check_counts(histogram)
    if custom:
        _check_custom(histogram)
    elif message.custom_values:
        raise InvalidHistogram("only schema -53 has custom bounds")
    return _reduced(histogram)


def _stale(histogram: Histogram) -> Histogram:
    """The marker alone: whatever else it carries counts nothing and was not checked."""
    nothing = Buckets([], [])
    return histogram._replace(
        schema=min(histogram.schema, FINEST),
        observations=0,
        zero_threshold=0.0,
        zero_count=0,
        positive=nothing,
        negative=nothing,
        custom_bounds=None if histogram.custom_bounds is None else [],
    )


def valid_start(start_ms: int) -> int | None:
    """A start timestamp, if it is one: 0 is unset, and there are years beyond calendars."""
    return start_ms if start_ms and _YEAR_1_MS <= start_ms < _YEAR_10000_MS else None


def _buckets(
    spans: Sequence[pb.BucketSpan], counts: Sequence[int] | Sequence[float], side: str
) -> Buckets:
    if not spans and not counts:
        return Buckets([], [])
    lengths = [span.length for span in spans]
    if sum(lengths) != len(counts):
        raise InvalidHistogram(f"{side} spans have {sum(lengths)} buckets, counts {len(counts)}")
    if len(counts) > MOST_BUCKETS:
        raise InvalidHistogram(f"more than {MOST_BUCKETS} {side} buckets")
    indexes: list[int] = []
    start = 0
    for number, span in enumerate(spans):
        if number and span.offset < 0:
            raise InvalidHistogram(f"{side} span {number + 1} has a negative offset")
        start += span.offset
        indexes += range(start, start + span.length)
        start += span.length
    if indexes and max(indexes[-1], -indexes[0]) > _LARGEST_INDEX:
        raise InvalidHistogram(f"a {side} bucket is out of range")
    return Buckets(indexes, list(counts))


def _check_flavour(message: pb.Histogram, is_float: bool) -> None:
    other = "zero_count_int" if is_float else "zero_count_float"
    deltas = message.positive_deltas or message.negative_deltas
    floats = message.positive_counts or message.negative_counts
    if message.WhichOneof("zero_count") == other or (deltas if is_float else floats):
        raise InvalidHistogram("it mixes integer and float counts")


def _check_counts(histogram: Histogram) -> None:
    counts = [*histogram.negative.counts, *histogram.positive.counts]
    whole = [histogram.observations, histogram.zero_count, *counts]
    if min(whole) < 0 or max(whole) == inf or any(map(isnan, whole)):
        raise InvalidHistogram("a count is negative or not a number")
    if histogram.zero_threshold < 0 or not isfinite(histogram.zero_threshold):
        raise InvalidHistogram("the zero threshold is negative or not a number")
    if histogram.is_float:
        return
    observed = histogram.zero_count + sum(counts)
    if observed > histogram.observations or (
        observed < histogram.observations and not isnan(histogram.sum)
    ):
        raise InvalidHistogram(
            f"its buckets hold {observed} observations, but its count is {histogram.observations}"
        )


def _check_custom(histogram: Histogram) -> None:
    bounds = histogram.custom_bounds or []
    if any(not isfinite(bound) for bound in bounds):
        raise InvalidHistogram("a custom bound is infinite or not a number")
    if any(upper <= lower for lower, upper in pairwise(bounds)):
        raise InvalidHistogram("custom bounds do not rise")
    if histogram.negative.indexes or histogram.zero_count or histogram.zero_threshold:
        raise InvalidHistogram("custom bounds allow neither negative buckets nor a zero bucket")
    indexes = histogram.positive.indexes
    if indexes and (indexes[0] < 0 or indexes[-1] > len(bounds)):
        raise InvalidHistogram(f"a bucket is beyond the {len(bounds)} custom bounds")


def _reduced(histogram: Histogram) -> Histogram:
    """The same at schema 8, if it is finer."""
    steps = histogram.schema - FINEST
    if steps <= 0:
        return histogram
    return histogram._replace(
        schema=FINEST,
        positive=_merged(histogram.positive, steps),
        negative=_merged(histogram.negative, steps),
    )


def _merged(buckets: Buckets, steps: int) -> Buckets:
    """Each step halves the resolution: buckets 2n-1 and 2n become n."""
    merged: dict[int, float] = {}
    for index, count in zip(buckets.indexes, buckets.counts, strict=True):
        coarse = ((index - 1) >> steps) + 1
        merged[coarse] = merged.get(coarse, 0) + count
    return Buckets(list(merged), list(merged.values()))
