"""Remote write messages: what a sender means by a series, in 1.0 and 2.0.

The one encoder of the tests, on the generated classes; `series_bytes` writes what those cannot.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ingest.wire.pb import remote_write_v1_pb2 as v1
from ingest.wire.pb import remote_write_v2_pb2 as v2

HEADERS_V2 = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    "User-Agent": "promgres-tests",
    "X-Prometheus-Remote-Write-Version": "2.0.0",
}

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


@dataclass
class Symbols:
    """Texts by reference; the first is the empty one."""

    texts: list[str] = field(default_factory=lambda: [""])

    def ref(self, text: str) -> int:
        """The reference of a text."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text)

    def refs(self, pairs: Iterable[tuple[str, str]]) -> list[int]:
        """References of names and values in turn."""
        return [self.ref(text) for pair in pairs for text in pair]


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


def sent_series(*samples: tuple[int, float], name: str = OWN, **labels: str) -> Sent:
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
    return request(symbols, [series_v2(symbols, one) for one in sent])


def request(symbols: Symbols, series: Sequence[v2.TimeSeries]) -> bytes:
    """The message."""
    return v2.Request(symbols=symbols.texts, timeseries=series).SerializeToString()


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


def series(labels: Mapping[str, str], *samples: tuple[int, float]) -> v1.TimeSeries:
    """A TimeSeries of 1.0, labels sorted; `name` stands for `__name__`."""
    pairs = {("__name__" if name == "name" else name): value for name, value in labels.items()}
    return _series_v1(Sent(tuple(sorted(pairs.items())), samples))


def payload(*timeseries: v1.TimeSeries) -> bytes:
    """A WriteRequest of these."""
    return v1.WriteRequest(timeseries=timeseries).SerializeToString()


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
