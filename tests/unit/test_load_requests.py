"""What `promgres load` sends: both protocols the same, and both as their specifications want it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import accumulate
from typing import Any, NamedTuple

import cramjam
import numpy as np
import pytest

from ingest.load.amounts import Amounts
from ingest.load.histograms import (
    FEWEST_BUCKETS,
    MOST_BUCKETS,
    SCHEMA,
    HistogramTemplate,
    spans_of,
)
from ingest.load.requests import RequestTemplate, labels_of, series_bytes
from ingest.load.shapes import ProtocolVersion
from ingest.model import Counts, Intake
from ingest.series.identity import key_seed
from ingest.wire.pb import remote_write_v1_pb2 as pb1
from ingest.wire.pb import remote_write_v2_pb2 as pb2
from ingest.wire.remote_write.negotiate import Message
from ingest.wire.remote_write.request import read_request
from tests.support.decoding import Decoding, rows_of
from tests.support.series_bytes import bits

T0 = 1_760_000_000_000
SERIES = 300
FIRST = 7000

Pairs = tuple[tuple[str, str], ...]


class Point(NamedTuple):
    """A sample or an exemplar, its value as bits; `trace` are the exemplar's labels."""

    labels: Pairs
    timestamp_ms: int
    value: int
    trace: Pairs = ()


class Content(NamedTuple):
    """What a message says, whatever its protocol."""

    samples: list[Point]
    exemplars: list[Point]
    histograms: list[tuple[Pairs, bytes]]


def read_v1(payload: bytes) -> Content:
    content = Content([], [], [])
    for series in pb1.WriteRequest.FromString(payload).timeseries:
        labels = tuple((label.name, label.value) for label in series.labels)
        content.samples.extend(points(labels, series.samples))
        for exemplar in series.exemplars:
            trace = tuple((label.name, label.value) for label in exemplar.labels)
            content.exemplars.extend(points(labels, [exemplar], trace))
        content.histograms.extend((labels, each.SerializeToString()) for each in series.histograms)
    return content


def read_v2(payload: bytes) -> Content:
    content = Content([], [], [])
    request = pb2.Request.FromString(payload)
    for series in request.timeseries:
        labels = resolved(request.symbols, series.labels_refs)
        content.samples.extend(points(labels, series.samples))
        for exemplar in series.exemplars:
            trace = resolved(request.symbols, exemplar.labels_refs)
            content.exemplars.extend(points(labels, [exemplar], trace))
        content.histograms.extend((labels, each.SerializeToString()) for each in series.histograms)
    return content


def points(labels: Pairs, found: Iterable[Any], trace: Pairs = ()) -> list[Point]:
    return [Point(labels, each.timestamp, bits(each.value), trace) for each in found]


def resolved(symbols: Sequence[str], refs: Sequence[int]) -> Pairs:
    assert len(refs) % 2 == 0
    texts = [symbols[ref] for ref in refs]
    return tuple(zip(texts[::2], texts[1::2], strict=True))


def template(protocol: ProtocolVersion, exemplar_share: float = 0.1) -> RequestTemplate:
    return RequestTemplate(FIRST, SERIES, protocol=protocol, exemplar_share=exemplar_share)


@pytest.mark.parametrize("share", [0, 0.1, 1])
def test_protocols_carry_the_same(share: float) -> None:
    one, two = template(1, share), template(2, share)
    assert one.amounts == two.amounts == Amounts(SERIES, 0, round(SERIES * share))
    for timestamp_ms in (T0, T0 + 1, T0 + 15_000):
        first, second = read_v1(one.payload(timestamp_ms)), read_v2(two.payload(timestamp_ms))
        assert first == second
        assert (len(first.samples), len(first.exemplars)) == (SERIES, one.amounts.exemplars)
        assert {each.timestamp_ms for each in [*first.samples, *first.exemplars]} == {timestamp_ms}


def test_labels_are_sorted_and_tell_series_apart() -> None:
    samples = read_v1(template(1).payload(T0)).samples
    assert all(list(each.labels) == sorted(each.labels) for each in samples)
    assert [dict(each.labels)["series"] for each in samples[:2]] == ["00007000", "00007001"]
    assert samples[0].labels == tuple(labels_of("promgres_load", FIRST))
    labels = pb1.TimeSeries.FromString(series_bytes("promgres_load", FIRST)).labels
    assert tuple((label.name, label.value) for label in labels) == samples[0].labels


def test_values_change_except_the_zeros() -> None:
    two = RequestTemplate(0, 2000, protocol=2)
    before, after = (read_v2(two.payload(T0 + step)).samples for step in (0, 1))
    zeros = {each.labels for each in before if each.value == 0}
    assert 0.35 < len(zeros) / 2000 < 0.45
    for old, new in zip(before, after, strict=True):
        assert (old.value == new.value) == (old.labels in zeros)


def test_trace_ids_are_never_the_same_twice() -> None:
    two = template(2, 1)
    traces = [each.trace for step in range(3) for each in read_v2(two.payload(T0 + step)).exemplars]
    assert len(set(traces)) == 3 * SERIES
    for ((name, trace_id),) in traces:
        assert name == "trace_id"
        assert len(trace_id) == 32
        assert int(trace_id, 16) >= 0


def test_exemplars_of_version_1_have_a_series_of_their_own_as_from_prometheus() -> None:
    series = pb1.WriteRequest.FromString(template(1).payload(T0)).timeseries
    assert all(len(each.samples) + len(each.exemplars) == 1 for each in series)


@pytest.mark.parametrize(
    "payload", [template(2).payload(T0), HistogramTemplate(0, 5, "m", 2).payload(T0)]
)
def test_version_2_keeps_the_rules_of_its_specification(payload: bytes) -> None:
    request = pb2.Request.FromString(payload)
    assert request.symbols[0] == ""
    assert len(set(request.symbols)) == len(request.symbols)
    used = {0}
    for series in request.timeseries:
        used |= {series.metadata.help_ref, series.metadata.unit_ref, *series.labels_refs}
        for exemplar in series.exemplars:
            used |= set(exemplar.labels_refs)
        assert bool(series.samples) != bool(series.histograms)
        assert series.metadata.type
        assert request.symbols[series.metadata.help_ref]
    assert used == set(range(len(request.symbols)))


def test_metadata_says_what_the_series_are() -> None:
    samples = pb2.Request.FromString(template(2).payload(T0))
    histograms = pb2.Request.FromString(HistogramTemplate(0, 5, "m", 2).payload(T0))
    about = [(each, each.timeseries[0].metadata) for each in (samples, histograms)]
    assert [metadata.type for _, metadata in about] == [
        pb2.Metadata.METRIC_TYPE_GAUGE,
        pb2.Metadata.METRIC_TYPE_HISTOGRAM,
    ]
    assert [request.symbols[metadata.unit_ref] for request, metadata in about] == ["", "seconds"]


def test_fields_stand_in_the_order_in_which_senders_write_them() -> None:
    for protocol, message in ((1, pb1.WriteRequest), (2, pb2.Request)):
        for payload in (
            template(protocol).payload(T0),
            HistogramTemplate(0, 5, "m", protocol).payload(T0),
        ):
            assert message.FromString(payload).SerializeToString() == payload


def test_a_body_is_the_payload_as_a_snappy_block() -> None:
    two = template(2)
    assert bytes(cramjam.snappy.decompress_raw(two.body(T0))) == two.payload(T0)


@pytest.mark.parametrize(("protocol", "version"), [(1, Message.V1), (2, Message.V2)])
def test_known_series_take_the_fast_path(protocol: ProtocolVersion, version: Message) -> None:
    decoding, sender = Decoding.create(), template(protocol, 0)
    for step in range(2):
        decoding.commit(decoding.decoder.decode(version, sender.payload(T0 + step), 1, T0))
    request = read_request(version, sender.payload(T0 + 2), key_seed(1))
    assert request.tails.length.all()
    intake = decoding.decoder.decode(version, sender.payload(T0 + 2), 1, T0)
    assert len(rows_of(intake)) == SERIES
    assert not intake.rejections
    keys = request.keys(np.arange(SERIES))
    assert (decoding.cache.places_by_key(keys) >= 0).all()
    assert all(decoding.cache.place_by_key(key.tobytes()) >= 0 for key in keys)


def test_the_decoder_finds_the_same_in_both_protocols() -> None:
    found = []
    for protocol, version in ((1, Message.V1), (2, Message.V2)):
        decoding = Decoding.create()
        for sender in (template(protocol), HistogramTemplate(FIRST, 20, "m", protocol)):
            intake = decoding.decoder.decode(version, sender.payload(T0), 1, T0)
            assert not intake.rejections
            assert intake.sent == Counts(**asdict(sender.amounts))
            found.append(stored(intake))
    assert found[:2] == found[2:]


def stored(intake: Intake) -> dict[str, tuple[object, ...]]:
    """What is stored of each new series, by identity; the order of a request does not matter."""
    merged: dict[str, list[object]] = {}
    for new in intake.new:
        said = merged.setdefault(repr(new.series), [])
        said += zip(new.timestamp_ms, map(bits, new.value), strict=True)
        said += [repr(each) for each in (*new.histograms, *new.exemplars)]
    return {series: tuple(said) for series, said in merged.items()}


@pytest.mark.parametrize("floats", [False, True])
def test_protocols_carry_the_same_histograms(floats: bool) -> None:
    one, two = (HistogramTemplate(40, 50, "m", protocol, floats) for protocol in (1, 2))
    assert one.amounts == two.amounts == Amounts(histograms=50)
    for timestamp_ms in (T0, T0 + 1):
        first, second = read_v1(one.payload(timestamp_ms)), read_v2(two.payload(timestamp_ms))
        assert first == second
        assert len(first.histograms) == len(set(first.histograms)) == 50
        assert dict(first.histograms[0][0])["__name__"] == "m_duration_seconds"


@pytest.mark.parametrize("floats", [False, True])
def test_histograms_keep_the_rules(floats: bool) -> None:
    """Those by which Prometheus checks them (remote write 2.0, native histograms)."""
    sizes = set()
    for histogram in histograms_of(HistogramTemplate(0, 200, "m", 2, floats).payload(T0)):
        buckets, zero, count = absolute(histogram)
        sizes.add(len(buckets))
        assert histogram.schema == SCHEMA
        assert histogram.timestamp == T0
        assert all(span.offset >= 0 for span in histogram.positive_spans[1:])
        assert sum(span.length for span in histogram.positive_spans) == len(buckets)
        assert min(buckets) > 0
        assert zero >= 0
        assert zero + sum(buckets) == count
        assert histogram.sum > 0
    assert min(sizes) >= FEWEST_BUCKETS
    assert max(sizes) <= MOST_BUCKETS
    assert len(sizes) > 10


@pytest.mark.parametrize("floats", [False, True])
def test_counts_of_histograms_only_grow(floats: bool) -> None:
    counter = HistogramTemplate(0, 20, "m", 2, floats)
    before, after = (histograms_of(counter.payload(T0 + step)) for step in (0, 15_000))
    for old, new in zip(before, after, strict=True):
        assert old.positive_spans == new.positive_spans
        assert all(np.greater_equal(absolute(new)[0], absolute(old)[0]))
        assert absolute(new)[2] > absolute(old)[2]
        assert new.sum > old.sum


def test_runs_of_indexes_become_spans() -> None:
    assert spans_of([-3, -2, 1, 2, 3, 9]) == [(-3, 2), (2, 3), (5, 1)]
    assert spans_of([]) == []


def histograms_of(payload: bytes) -> list[pb2.Histogram]:
    series = pb2.Request.FromString(payload).timeseries
    return [histogram for each in series for histogram in each.histograms]


def absolute(histogram: pb2.Histogram) -> tuple[list[float], float, float]:
    """Counts of the buckets, of the zero bucket, and of all."""
    if histogram.WhichOneof("count") == "count_float":
        counts = list(histogram.positive_counts)
        return counts, histogram.zero_count_float, histogram.count_float
    counts = list(accumulate(histogram.positive_deltas))
    return counts, histogram.zero_count_int, histogram.count_int
