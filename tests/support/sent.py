"""What a sender means by a series: as a message of either version, and as the rows it becomes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ingest.wire.pb import remote_write_v1_pb2 as v1
from ingest.wire.pb import remote_write_v2_pb2 as v2
from tests.support.requests_v2 import Symbols
from tests.support.requests_v2 import request as request_v2

OWN = "@"
"""In any text: stands for a name that is the case's alone."""

Pairs = tuple[tuple[str, str], ...]
TYPES = (
    "unknown",
    "counter",
    "gauge",
    "histogram",
    "gaugehistogram",
    "summary",
    "info",
    "stateset",
)


class SentExemplar(NamedTuple):
    """An exemplar; `labels` are its own."""

    timestamp_ms: int
    value: float
    labels: Pairs = ()


class SentMetadata(NamedTuple):
    """What is said of a metric: in 2.0 with the series, in 1.0 beside it."""

    type: int = 0
    help: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Sent:
    """One series; no labels mean just the case's own name. `starts` is when its samples began, in
    milliseconds, as far as a case says it: only for what is stored."""

    labels: Pairs = (("__name__", OWN),)
    samples: Sequence[tuple[int, float]] = ()
    histograms: Sequence[v2.Histogram] = ()
    exemplars: Sequence[SentExemplar] = ()
    metadata: SentMetadata | None = None
    starts: Sequence[int] = ()

    def named(self, own: str) -> Sent:
        """The same with the case's own name."""
        exemplars = [each._replace(labels=_named(each.labels, own)) for each in self.exemplars]
        said = self.metadata
        if said is not None:
            said = said._replace(help=said.help.replace(OWN, own))
        return Sent(
            _named(self.labels, own), self.samples, self.histograms, exemplars, said, self.starts
        )


def series(*samples: tuple[int, float], name: str = OWN, **labels: str) -> Sent:
    """A series with samples of (time in ms, value)."""
    return Sent((("__name__", name), *labels.items()), samples)


def double(bits: int) -> float:
    """The float of 64 bits, NaN payloads too."""
    value: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return value


def counts(sent: Iterable[Sent]) -> tuple[int, int, int]:
    """Samples, histograms and exemplars in it."""
    each = [(len(one.samples), len(one.histograms), len(one.exemplars)) for one in sent]
    samples, histograms, exemplars = zip(*each, strict=True) if each else ((), (), ())
    return sum(samples), sum(histograms), sum(exemplars)


def encode(version: int, sent: Sequence[Sent]) -> bytes:
    """The protobuf message of version 1 or 2."""
    return as_v1(sent) if version == 1 else as_v2(sent)


def as_v1(sent: Sequence[Sent]) -> bytes:
    """A WriteRequest."""
    return v1.WriteRequest(
        timeseries=[_series_v1(one) for one in sent],
        metadata=[_metadata_v1(one) for one in sent if one.metadata is not None],
    ).SerializeToString()


def as_v2(sent: Sequence[Sent]) -> bytes:
    """A Request."""
    symbols = Symbols()
    return request_v2(symbols, [series_v2(symbols, one) for one in sent])


def series_v2(symbols: Symbols, one: Sent) -> v2.TimeSeries:
    """A TimeSeries of 2.0."""
    message = v2.TimeSeries(
        labels_refs=symbols.refs(one.labels),
        samples=[v2.Sample(timestamp=at, value=value) for at, value in one.samples],
        histograms=one.histograms,
        exemplars=[
            v2.Exemplar(labels_refs=symbols.refs(each.labels), timestamp=at, value=each.value)
            for each in one.exemplars
            for at in [each.timestamp_ms]
        ],
    )
    if one.metadata is not None:
        kind, text, unit = one.metadata
        said = v2.MetadataFields(type=kind, help_ref=symbols.ref(text), unit_ref=symbols.ref(unit))
        message.metadata.MergeFromString(said.SerializeToString())
    return message


def _named(pairs: Pairs, own: str) -> Pairs:
    return tuple((name.replace(OWN, own), value.replace(OWN, own)) for name, value in pairs)


def _series_v1(one: Sent) -> v1.TimeSeries:
    return v1.TimeSeries(
        labels=_labels_v1(one.labels),
        samples=[v1.Sample(timestamp=at, value=value) for at, value in one.samples],
        histograms=[v1.Histogram.FromString(each.SerializeToString()) for each in one.histograms],
        exemplars=[
            v1.Exemplar(
                labels=_labels_v1(each.labels), timestamp=each.timestamp_ms, value=each.value
            )
            for each in one.exemplars
        ],
    )


def _labels_v1(pairs: Pairs) -> list[v1.Label]:
    return [v1.Label(name=name, value=value) for name, value in pairs]


def _metadata_v1(one: Sent) -> v1.MetricMetadata:
    assert one.metadata is not None
    kind, text, unit = one.metadata
    message = v1.MetricMetadata(
        metric_family_name=dict(one.labels)["__name__"], help=text, unit=unit
    )
    message.MergeFromString(v1.MetadataFields(type=kind).SerializeToString())
    return message
